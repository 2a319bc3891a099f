//! Files of a minute table as a backfill in place sees them: for each, the rows in scope, which are replaced, and the
//! other rows, which must stay.
//!
//! Each file is read once. When the table has gone on, only files that are new in it are read.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use arrow::array::{AsArray, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{Int32Type, Int64Type, SchemaRef, TimestampMicrosecondType};
use deltalake::kernel::Add;
use futures::{StreamExt, TryStreamExt, stream};
use lake_schemas::minute::Parameters;
use lake_schemas::table::column;
use lake_schemas::time::MICROS_PER_MILLI;
use lake_schemas::{Folder, OffsetRange, Table, TopicPartition};
use lake_store::{LakeError, Result, Statistics, files, read};
use object_store::ObjectStore;

use crate::contents::Contents;
use crate::scope::{Row, Scope};

/// Number of files that are read at once.
const READS_MAX: usize = 8;

/// Number of files that are read before the new files written for them are recorded. A stop before that leaves behind
/// at most the new files of this many.
const LOOKS_MAX: usize = 64;

/// Treatment of the rows that must stay, in files that also hold rows in scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OtherRows {
    /// The rows are written into files of their own, for a commit that removes these files.
    Rewritten,
    /// The rows stay in these files, which are only read.
    Untouched,
}

/// Files of a table, seen through a scope.
pub(crate) struct MinuteFiles {
    table: Table,
    /// Columns to read, in which the rows that must stay are also written.
    schema: SchemaRef,
    store: Arc<dyn ObjectStore>,
    scope: Scope,
    /// Dimensions by which [`Contents`] tells rows apart.
    dimensions: Vec<&'static str>,
    other_rows: OtherRows,
    /// Files that have been read, by path.
    seen: HashMap<String, Seen>,
}

/// Result of reading one file.
#[derive(Default)]
struct Seen {
    /// Contents of the file's rows in scope; `None` if it has no such rows.
    replaced: Option<Contents>,
    is_straddling: bool,
    /// Starts, in milliseconds, of its windows that are asked for and not complete: see [`Row::Open`].
    open: BTreeSet<i64>,
    /// New files with its rows that must stay, if it has rows in scope as well.
    kept: Vec<Add>,
}

/// Changes to a table that replace the rows in scope.
pub(crate) struct ReplacementPlan {
    /// Files that hold rows in scope.
    pub removes: Vec<Add>,
    /// New files with those rows of `removes` that must stay.
    pub keeps: Vec<Add>,
    /// Contents of the rows in scope, before the replacement.
    pub before: Contents,
    /// Whether another backfill has replaced rows since the snapshot: see [`Row::Straddling`].
    pub is_straddling: bool,
    /// Starts, in milliseconds, of the windows that are asked for and not complete: see [`Row::Open`].
    pub open: BTreeSet<i64>,
}

impl MinuteFiles {
    pub fn new(
        table: Table,
        parameters: &Parameters,
        store: Arc<dyn ObjectStore>,
        scope: Scope,
        other_rows: OtherRows,
    ) -> Self {
        let (schema, dimensions) = (parameters.schema(table), parameters.dimension_columns());
        Self { table, schema, store, scope, dimensions, other_rows, seen: HashMap::new() }
    }

    /// Reads and writes these columns from now on, so that columns of other programs stay with the rows that must stay.
    pub fn carry(&mut self, schema: SchemaRef) {
        self.schema = schema;
    }

    /// Returns this value, set to compare the contents of rows by only these dimensions of the table.
    pub fn by(self, dimensions: Vec<&'static str>) -> Self {
        Self { dimensions, ..self }
    }

    /// Plans the replacement of the rows in scope in a table whose live files are `live`.
    pub async fn plan(&mut self, live: &[Add]) -> Result<ReplacementPlan> {
        let unseen: Vec<_> = live.iter().filter(|file| !self.seen.contains_key(&file.path)).collect();
        for some in unseen.chunks(LOOKS_MAX) {
            let looks: Vec<_> = some.iter().map(|file| self.look_at(file)).collect();
            let seen: Vec<_> = stream::iter(looks).buffer_unordered(READS_MAX).try_collect().await?;
            self.seen.extend(seen);
        }
        let (mut removes, mut keeps, mut before) = (Vec::new(), Vec::new(), Contents::default());
        let (mut is_straddling, mut open) = (false, BTreeSet::new());
        for file in live {
            let seen = &self.seen[&file.path];
            open.extend(seen.open.iter().copied());
            is_straddling |= seen.is_straddling;
            if let Some(replaced) = &seen.replaced {
                removes.push(file.clone());
                keeps.extend(seen.kept.iter().cloned());
                before.merge(replaced);
            }
        }
        Ok(ReplacementPlan { removes, keeps, before, is_straddling, open })
    }

    /// Reads all rows of those files in `live` that may hold windows in scope.
    pub async fn rows(&self, live: &[Add]) -> Result<Vec<RecordBatch>> {
        let mut rows = Vec::new();
        for file in live {
            if self.may_hold(file) {
                rows.extend(self.read(file).await?);
            }
        }
        Ok(rows)
    }

    /// Returns whether a file may hold windows in scope, by its folder and its statistics.
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
                seen.open.extend(open_of(&rows, &decided));
                let of =
                    |wanted: &[Row]| -> BooleanArray { decided.iter().map(|row| Some(wanted.contains(row))).collect() };
                let filtered = |wanted: &[Row]| {
                    let rows = filter_record_batch(&rows, &of(wanted));
                    rows.map_err(|error| LakeError::store(format!("{}: filtering rows", self.table), error))
                };
                let replaced = filtered(&[Row::Replaced])?;
                if replaced.num_rows() > 0 {
                    seen.replaced.get_or_insert_default().add(&replaced, &self.dimensions);
                }
                kept.push(filtered(&[Row::Kept, Row::Open])?);
            }
            kept.retain(|rows| rows.num_rows() > 0);
            if self.other_rows == OtherRows::Rewritten && seen.replaced.is_some() {
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
            self.scope.decide(&partition, starts[row].div_euclid(MICROS_PER_MILLI), events)
        };
        (0..rows.num_rows()).map(decide).collect()
    }
}

/// Returns the starts, in milliseconds, of the windows of the rows that are decided to be [`Row::Open`].
fn open_of(rows: &RecordBatch, decided: &[Row]) -> BTreeSet<i64> {
    let starts = rows[column::WINDOW_START].as_primitive::<TimestampMicrosecondType>().values();
    let open = starts.iter().zip(decided).filter(|(_, row)| **row == Row::Open);
    open.map(|(start, _)| start.div_euclid(MICROS_PER_MILLI)).collect()
}
