//! The files of a minute table as a backfill in place sees them: what each holds in scope, and which other rows must
//! stay.
//!
//! Each file is read once. When the table has gone on, only files that are new in it are read.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{AsArray, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{Int32Type, Int64Type, SchemaRef, TimestampMicrosecondType};
use deltalake::kernel::Add;
use futures::{StreamExt, TryStreamExt, stream};
use lake_schemas::minute::Parameters;
use lake_schemas::table::column;
use lake_schemas::{Folder, OffsetRange, Table, TopicPartition};
use lake_store::{LakeError, Result, Statistics, files, read};
use object_store::ObjectStore;

use crate::contents::Contents;
use crate::scope::{Row, Scope};

/// Number of files that are read at once.
const READS_MAX: usize = 8;

/// Number of files that are read between two records of what was written for them: a stop in between leaves at
/// most what was written for these behind.
const LOOKS_MAX: usize = 64;

/// Files of a table, seen through a scope.
pub(crate) struct MinuteFiles {
    table: Table,
    /// Columns to read, in which the rows that must stay are also written.
    schema: SchemaRef,
    store: Arc<dyn ObjectStore>,
    scope: Scope,
    /// Dimensions by which contents are told apart.
    dimensions: Vec<&'static str>,
    /// Whether the rows that must stay are written into files of their own.
    is_writing: bool,
    /// Files that have been read, by path.
    seen: HashMap<String, Seen>,
}

/// Result of reading one file.
#[derive(Default)]
struct Seen {
    /// Contents of its rows in scope; `None` if it has none.
    replaced: Option<Contents>,
    is_straddling: bool,
    /// Files that hold its other rows, if it has both rows in scope and others.
    kept: Vec<Add>,
}

/// Changes to a table that replace the rows in scope.
pub(crate) struct ReplacementPlan {
    /// Files that hold rows in scope.
    pub removes: Vec<Add>,
    /// Files with the other rows of these files.
    pub keeps: Vec<Add>,
    /// Contents of the rows in scope.
    pub before: Contents,
    /// Whether another backfill has replaced rows since the snapshot: see [`Row::Straddling`].
    pub is_straddling: bool,
}

impl MinuteFiles {
    pub fn new(
        (table, parameters): (Table, Parameters),
        store: Arc<dyn ObjectStore>,
        scope: Scope,
        is_writing: bool,
    ) -> Self {
        let (schema, dimensions) = (parameters.schema(table), parameters.dimension_columns());
        Self { table, schema, store, scope, dimensions, is_writing, seen: HashMap::new() }
    }

    /// Reads and writes these columns from now on, so that columns of other programs stay with the rows that must stay.
    pub fn carry(&mut self, schema: SchemaRef) {
        self.schema = schema;
    }

    /// Returns the same, with contents told apart by only these dimensions of the table.
    pub fn by(self, dimensions: Vec<&'static str>) -> Self {
        Self { dimensions, ..self }
    }

    /// Plans the replacement in a table that has these files.
    pub async fn plan(&mut self, live: &[Add]) -> Result<ReplacementPlan> {
        let unseen: Vec<_> = live.iter().filter(|file| !self.seen.contains_key(&file.path)).collect();
        for some in unseen.chunks(LOOKS_MAX) {
            let looks: Vec<_> = some.iter().map(|file| self.look_at(file)).collect();
            let seen: Vec<_> = stream::iter(looks).buffer_unordered(READS_MAX).try_collect().await?;
            self.seen.extend(seen);
        }
        let (mut removes, mut keeps, mut before, mut is_straddling) =
            (Vec::new(), Vec::new(), Contents::default(), false);
        for file in live {
            let seen = &self.seen[&file.path];
            is_straddling |= seen.is_straddling;
            if let Some(replaced) = &seen.replaced {
                removes.push(file.clone());
                keeps.extend(seen.kept.iter().cloned());
                before.merge(replaced);
            }
        }
        Ok(ReplacementPlan { removes, keeps, before, is_straddling })
    }

    /// Reads the rows of those files that may hold windows in scope.
    pub async fn rows(&self, live: &[Add]) -> Result<Vec<RecordBatch>> {
        let mut rows = Vec::new();
        for file in live {
            if self.may_hold(file) {
                rows.extend(self.read(file).await?);
            }
        }
        Ok(rows)
    }

    /// Whether a file may hold windows in scope, by its folder and its statistics.
    fn may_hold(&self, file: &Add) -> bool {
        let touches = |from_ms: i64, to_ms: i64| self.scope.windows.touch(from_ms, to_ms);
        Folder::named(self.table, &file.partition_values)
            .is_none_or(|folder| touches(folder.start_ms(), folder.end_ms()))
            && Statistics::of(file).window_starts().is_none_or(|(first, last)| touches(first, last + 1))
    }

    /// Returns the files that were written for the rows that must stay.
    pub fn written(&self) -> Vec<Add> {
        self.seen.values().flat_map(|seen| seen.kept.iter().cloned()).collect()
    }

    async fn look_at(&self, file: &Add) -> Result<(String, Seen)> {
        let mut seen = Seen::default();
        if self.may_hold(file) {
            let mut kept = Vec::new();
            for rows in self.read(file).await? {
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
                    seen.kept.push(file.add);
                }
            }
        }
        Ok((file.path.clone(), seen))
    }

    /// Reads the rows of a file, in all columns of the table.
    async fn read(&self, file: &Add) -> Result<Vec<RecordBatch>> {
        read::all_rows(Arc::clone(&self.store), self.table, Arc::clone(&self.schema), file.clone()).await
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
}
