//! The files of a minute table, as a backfill in place sees them: what each holds in scope, and what of it must stay.
//!
//! A file is looked at once. When the table has gone on, only what is new in it is looked at.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray, Date32Array, Int32Array, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{Int32Type, Int64Type, TimestampMicrosecondType};
use chrono::NaiveDate;
use deltalake::kernel::Add;
use futures::{StreamExt, TryStreamExt, stream};
use lake_schemas::minute::Parameters;
use lake_schemas::stored_file::StoredFile;
use lake_schemas::table::{as_written, column};
use lake_schemas::{EventTime, LakeError, OffsetRange, Result, Table, TopicPartition, files};
use object_store::ObjectStore;
use object_store::path::Path;
use parquet::arrow::ParquetRecordBatchStreamBuilder;
use serde_json::Value;

use super::contents::Contents;
use super::scope::{Row, Scope};

/// Files that are read at once.
const READS_MAX: usize = 8;

const MILLIS_PER_HOUR: i64 = 3_600_000;
const HOURS_PER_DAY: i64 = 24;

/// The files of a table, under a scope.
pub(super) struct MinuteFiles {
    table: Table,
    parameters: Parameters,
    store: Arc<dyn ObjectStore>,
    scope: Scope,
    /// The dimensions by which contents are told apart.
    dimensions: Vec<&'static str>,
    /// Whether what must stay is written into files of its own.
    is_writing: bool,
    /// By path, those that were looked at.
    seen: HashMap<String, Seen>,
}

/// A file that was looked at.
#[derive(Default)]
struct Seen {
    /// What its rows in scope hold; `None` if it has none.
    replaced: Option<Contents>,
    is_straddling: bool,
    /// The file that holds its other rows, if it has rows in scope and others.
    kept: Option<Add>,
}

/// What is to be done to a table for a scope to be replaced.
pub(super) struct Plan {
    /// The files that hold rows in scope.
    pub removes: Vec<Add>,
    /// Their other rows.
    pub keeps: Vec<Add>,
    /// What the rows in scope hold.
    pub before: Contents,
    /// Whether another backfill has been here: see [`Row::Straddling`].
    pub is_straddling: bool,
}

impl MinuteFiles {
    pub fn new(
        (table, parameters): (Table, Parameters),
        store: Arc<dyn ObjectStore>,
        scope: Scope,
        is_writing: bool,
    ) -> Self {
        let dimensions = parameters.dimension_columns();
        Self { table, parameters, store, scope, dimensions, is_writing, seen: HashMap::new() }
    }

    /// The same, with contents told apart by some of the table's dimensions only.
    pub fn by(self, dimensions: Vec<&'static str>) -> Self {
        Self { dimensions, ..self }
    }

    /// What is to be done to a table that has these files.
    pub async fn plan(&mut self, live: &[Add]) -> Result<Plan> {
        let unseen = live.iter().filter(|file| !self.seen.contains_key(&file.path));
        let looks: Vec<_> = unseen.map(|file| self.look_at(file)).collect();
        let seen: Vec<_> = stream::iter(looks).buffer_unordered(READS_MAX).try_collect().await?;
        self.seen.extend(seen);
        let (mut removes, mut keeps, mut before, mut is_straddling) =
            (Vec::new(), Vec::new(), Contents::default(), false);
        for file in live {
            let seen = &self.seen[&file.path];
            is_straddling |= seen.is_straddling;
            if let Some(replaced) = &seen.replaced {
                removes.push(file.clone());
                keeps.extend(seen.kept.clone());
                before.merge(replaced);
            }
        }
        Ok(Plan { removes, keeps, before, is_straddling })
    }

    /// The rows of these files, as far as a file may hold windows in scope.
    pub async fn rows(&self, live: &[Add]) -> Result<Vec<RecordBatch>> {
        let mut rows = Vec::new();
        for file in live {
            let hour = Hour::of(file).ok_or_else(|| self.unreadable(file))?;
            if self.may_hold(file, hour) {
                rows.extend(self.read(file, hour).await?);
            }
        }
        Ok(rows)
    }

    /// Whether a file may hold windows in scope, by its folder and its statistics.
    fn may_hold(&self, file: &Add, hour: Hour) -> bool {
        let statistics = || -> Option<(i64, i64)> {
            let statistics: Value = serde_json::from_str(file.stats.as_deref()?).ok()?;
            let start = |of: &str| EventTime::parse(statistics[of][column::WINDOW_START].as_str()?);
            Some((start("minValues")?.millis(), start("maxValues")?.millis() + 1))
        };
        let touches = |from_ms: i64, to_ms: i64| self.scope.windows.touch(from_ms, to_ms);
        touches(hour.start_ms(), hour.start_ms() + MILLIS_PER_HOUR)
            && statistics().is_none_or(|(from_ms, to_ms)| touches(from_ms, to_ms))
    }

    /// The files that were written for what must stay.
    pub fn written(&self) -> impl Iterator<Item = &Add> {
        self.seen.values().filter_map(|seen| seen.kept.as_ref())
    }

    async fn look_at(&self, file: &Add) -> Result<(String, Seen)> {
        let mut seen = Seen::default();
        let hour = Hour::of(file).ok_or_else(|| self.unreadable(file))?;
        if self.may_hold(file, hour) {
            let mut kept = Vec::new();
            for rows in self.read(file, hour).await? {
                let decided = self.decide(&rows);
                seen.is_straddling |= decided.contains(&Row::Straddling);
                let of = |wanted: Row| -> BooleanArray { decided.iter().map(|row| Some(*row == wanted)).collect() };
                let filtered = |wanted: Row| {
                    let rows = filter_record_batch(&rows, &of(wanted));
                    rows.map_err(|error| LakeError::store(format!("{}: filtering rows", self.table), error))
                };
                let replaced = filtered(Row::Replaced)?;
                if replaced.num_rows() > 0 {
                    seen.replaced.get_or_insert_default().add(&replaced, &self.dimensions);
                }
                kept.push(filtered(Row::Kept)?);
            }
            kept.retain(|rows| rows.num_rows() > 0);
            if self.is_writing && seen.replaced.is_some() {
                for file in files::encode(self.table, &kept).await? {
                    file.put(self.store.as_ref()).await?;
                    seen.kept = Some(file.add);
                }
            }
        }
        Ok((file.path.clone(), seen))
    }

    /// The rows of a file, in all columns of the table.
    async fn read(&self, file: &Add, hour: Hour) -> Result<Vec<RecordBatch>> {
        let unread = |error| LakeError::store(format!("{}: reading {}", self.table, file.path), error);
        let path = Path::from_url_path(&file.path).map_err(|_| self.unreadable(file))?;
        let stored = StoredFile::new(Arc::clone(&self.store), path, file.size.unsigned_abs());
        let rows = ParquetRecordBatchStreamBuilder::new(stored).await.and_then(|builder| builder.build());
        let batches: Vec<_> = rows.map_err(unread)?.try_collect().await.map_err(unread)?;
        let schema = self.parameters.schema();
        let complete = |rows: RecordBatch| {
            let written = as_written(&schema, &rows)?;
            let columns = schema.fields().iter().map(|field| {
                let own = || written.column_by_name(field.name()).cloned();
                hour.column(field.name(), rows.num_rows()).or_else(own)
            });
            let columns: Option<Vec<_>> = columns.collect();
            columns.map(|columns| RecordBatch::try_new(Arc::clone(&schema), columns)).transpose()
        };
        let complete: Result<Option<Vec<_>>, arrow::error::ArrowError> = batches.into_iter().map(complete).collect();
        let failed = |error| LakeError::store(format!("{}: reading {}", self.table, file.path), error);
        complete.map_err(failed)?.ok_or_else(|| self.unreadable(file))
    }

    fn decide(&self, rows: &RecordBatch) -> Vec<Row> {
        let starts = rows[column::WINDOW_START].as_primitive::<TimestampMicrosecondType>().values();
        let topics = rows[column::TOPIC].as_string::<i32>();
        let partitions = rows[column::KAFKA_PARTITION].as_primitive::<Int32Type>().values();
        let offset = |name: &str| rows[name].as_primitive::<Int64Type>().values();
        let (firsts, nexts) = (offset(column::OFFSET_FIRST), offset(column::OFFSET_NEXT));
        let mut partition = TopicPartition::new("", 0);
        let decide = |row: usize| {
            if (partition.topic.as_str(), partition.partition) != (topics.value(row), partitions[row]) {
                partition = TopicPartition::new(topics.value(row), partitions[row]);
            }
            let events = OffsetRange { first: firsts[row], next: nexts[row] };
            self.scope.decide(&partition, starts[row].div_euclid(1_000), events)
        };
        (0..rows.num_rows()).map(decide).collect()
    }

    fn unreadable(&self, file: &Add) -> LakeError {
        LakeError::Refused(format!("{}: {} is not a file of minutes as clicklake writes them", self.table, file.path))
    }
}

/// The hour that a file's windows start in.
#[derive(Clone, Copy)]
struct Hour {
    date: i32,
    hour: i32,
}

impl Hour {
    fn of(file: &Add) -> Option<Self> {
        let value = |name: &str| file.partition_values.get(name)?.as_deref();
        let date: NaiveDate = value(column::DATE)?.parse().ok()?;
        let days = date.signed_duration_since(NaiveDate::default()).num_days();
        Some(Self { date: i32::try_from(days).ok()?, hour: value(column::HOUR)?.parse().ok()? })
    }

    fn start_ms(self) -> i64 {
        (i64::from(self.date) * HOURS_PER_DAY + i64::from(self.hour)) * MILLIS_PER_HOUR
    }

    /// A column that the table is partitioned by.
    fn column(self, name: &str, rows: usize) -> Option<ArrayRef> {
        match name {
            column::DATE => Some(Arc::new(Date32Array::from_value(self.date, rows))),
            column::HOUR => Some(Arc::new(Int32Array::from_value(self.hour, rows))),
            _ => None,
        }
    }
}
