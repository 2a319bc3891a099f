//! Merges the rows of many files of one partition into offset order.
//!
//! Each file is in offset order, but files may overlap: a day of log time ends while offsets go on. At any moment the
//! files are open whose rows may come next, and a few more, so that their requests are under way: as many as hold a few
//! megabytes.

use std::collections::VecDeque;
use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::{concat_batches, sort_to_indices, take_record_batch};
use arrow::datatypes::{Schema, SchemaRef};
use arrow::error::ArrowError;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt, stream};
use lake_schemas::rows::Positions;
use lake_schemas::schema::column_as;
use lake_schemas::table::column;
use lake_schemas::{Code, Refusal, Table, TopicPartition};
use lake_store::stored_file::{self, StoredFile, WHOLE_BYTES_MAX, is_gone};
use lake_store::{LakeError, RawFile};
use object_store::ObjectStore;
use object_store::path::Path;
use parquet::arrow::{ParquetRecordBatchStreamBuilder, ProjectionMask};
use tokio_util::task::AbortOnDropHandle;

use crate::task::unwind;

/// Number of files that are being opened ahead of the one that is read: enough to hide the latency of a bucket.
const OPEN_AHEAD: usize = 8;

/// Greatest size of these files together, in bytes, unless it is one alone.
const AHEAD_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// Largest file that is decoded as soon as it is opened, beside others, in bytes: some 10,000 clicks. A larger one is
/// decoded as it is read, so that memory holds a few of its rows.
const DECODED_AHEAD_BYTES_MAX: u64 = 512 * 1024;

/// Greatest number of bytes of Arrow for a byte of a file: of clicks, as ingest writes them.
const DECODED_RATIO: u64 = 8;

/// Advice for a file whose rows are not those of one partition, in order.
const FOREIGN: &str = "another program wrote it: run `clicklake compact`, which puts its rows in order again";

/// Number of rows of a batch.
const BATCH_ROWS: usize = 8_192;

/// Why rows could not be read.
pub(super) enum MergeError {
    /// The file is not in the store: it was replaced, and cleaned up, since it was listed.
    Gone(Path),
    /// Any other failure.
    Failed(LakeError),
}

impl From<LakeError> for MergeError {
    fn from(error: LakeError) -> Self {
        Self::Failed(error)
    }
}

type Rows = BoxStream<'static, Result<RecordBatch, MergeError>>;

/// Selection of the rows to read, and where to read them.
#[derive(Clone)]
pub(super) struct RowSelection {
    pub store: Arc<dyn ObjectStore>,
    pub partition: TopicPartition,
    /// Wanted columns, by name; the position is read in any case.
    pub columns: Arc<[String]>,
}

/// Merged rows of files.
pub(super) struct FileMerge {
    wanted: RowSelection,
    /// Files that are not opened yet, in the order of their first offsets.
    waiting: VecDeque<RawFile>,
    /// Files that are being opened, in the same order; they come before those that wait.
    opening: VecDeque<Opening>,
    heads: Vec<Head>,
}

/// A file that is being opened, by a task of its own, so that others are read meanwhile.
struct Opening {
    first: i64,
    bytes: u64,
    task: AbortOnDropHandle<Result<Rows, MergeError>>,
}

/// A file that is being read, and its next rows: at least one.
struct Head {
    rows: Rows,
    batch: RecordBatch,
}

impl FileMerge {
    /// Merges the rows of these files.
    pub fn new(wanted: &RowSelection, mut files: Vec<RawFile>) -> Self {
        files.sort_by_key(|file| file.offsets.first);
        Self { wanted: wanted.clone(), waiting: files.into(), opening: VecDeque::new(), heads: Vec::new() }
    }

    /// Opens files ahead, as far as there is room for them.
    fn open_ahead(&mut self) {
        while let Some(file) = self.waiting.front()
            && has_room(self.opening.iter().map(|file| file.bytes), held_bytes(file))
            && let Some(file) = self.waiting.pop_front()
        {
            let (first, bytes) = (file.offsets.first, held_bytes(&file));
            let task = AbortOnDropHandle::new(tokio::spawn(open(self.wanted.clone(), file)));
            self.opening.push_back(Opening { first, bytes, task });
        }
    }

    /// Returns the next rows; `None` when there are no more.
    pub async fn next(&mut self) -> Result<Option<RecordBatch>, MergeError> {
        loop {
            self.open_ahead();
            // The smallest last offset of all heads: up to there every head's rows are in memory.
            let complete = self.heads.iter().map(|head| last_offset(&head.batch)).min();
            let first = self.opening.front().map(|file| file.first);
            let Some(complete) = complete.filter(|last| first.is_none_or(|first| first > *last)) else {
                // A file that is not read yet begins at or below that offset, so its rows come first: it becomes a
                // head.
                let Some(file) = self.opening.pop_front() else { return Ok(None) };
                let mut rows = unwind(file.task.await)?;
                if let Some(batch) = next_of(&mut rows).await? {
                    self.heads.push(Head { rows, batch });
                }
                continue;
            };
            // Cuts each head at that offset; what is above waits in memory for the next round.
            let mut parts = Vec::new();
            for mut head in std::mem::take(&mut self.heads) {
                let below = offsets(&head.batch).partition_point(|&offset| offset <= complete);
                if below > 0 {
                    parts.push(head.batch.slice(0, below));
                }
                if below < head.batch.num_rows() {
                    head.batch = head.batch.slice(below, head.batch.num_rows() - below);
                } else if let Some(batch) = next_of(&mut head.rows).await? {
                    head.batch = batch;
                } else {
                    continue;
                }
                self.heads.push(head);
            }
            return in_order(parts).map(Some);
        }
    }
}

/// Returns whether one more file may be opened beside those that are being opened: one always may.
fn has_room(opening: impl Iterator<Item = u64>, more: u64) -> bool {
    let (files, bytes) = opening.fold((0, 0), |(files, sum), bytes| (files + 1, sum + bytes));
    files == 0 || (files < OPEN_AHEAD && bytes + more <= AHEAD_BYTES_MAX)
}

/// Returns the memory that a file takes once it is opened, in bytes.
pub(super) fn held_bytes(file: &RawFile) -> u64 {
    if file.size <= DECODED_AHEAD_BYTES_MAX { file.size * DECODED_RATIO } else { file.size.min(WHOLE_BYTES_MAX) }
}

/// Returns the next rows of a file that has any.
async fn next_of(rows: &mut Rows) -> Result<Option<RecordBatch>, MergeError> {
    while let Some(batch) = rows.try_next().await? {
        if batch.num_rows() > 0 {
            return Ok(Some(batch));
        }
    }
    Ok(None)
}

async fn open(wanted: RowSelection, file: RawFile) -> Result<Rows, MergeError> {
    let RowSelection { store, partition, columns } = wanted;
    let path = file.path.clone();
    let unread = {
        let path = path.clone();
        move |error| {
            if is_gone(&error) {
                return MergeError::Gone(path.clone());
            }
            MergeError::Failed(stored_file::unread(Table::Clicks, "reading", path.as_ref(), error))
        }
    };
    let is_small = file.size <= DECODED_AHEAD_BYTES_MAX;
    let reader = StoredFile::new(store, file.path, file.size);
    let builder = ParquetRecordBatchStreamBuilder::new(reader).await.map_err(&unread)?;
    let schema = schema_of(&columns);
    let names = schema.fields().iter().map(|field| field.name().as_str());
    let mask = ProjectionMask::columns(builder.parquet_schema(), names);
    let rows = builder.with_projection(mask).with_batch_size(BATCH_ROWS).build().map_err(&unread)?;
    let mut last = None;
    let rows = rows.map(move |batch| {
        let batch = batch.map_err(&unread)?;
        let odd =
            |why: Refusal| MergeError::Failed(LakeError::Refused(why.about(format_args!("clicks: reading {path}: "))));
        let batch = as_asked(&batch, &schema).map_err(|error| odd(Code::FileForeign.because(error.to_string())))?;
        follows(&batch, &mut last).map_err(odd)?;
        Ok(batch)
    });
    // Where statistics have cut off the topic's name, only the rows tell their topic.
    let rows = rows.try_filter(move |batch| {
        let topics = batch.column_by_name(column::TOPIC).and_then(|topics| topics.as_string_opt::<i32>());
        let is_ours = topics.is_some_and(|topics| topics.iter().next().flatten() == Some(&partition.topic));
        std::future::ready(is_ours)
    });
    if is_small {
        let rows: Vec<_> = rows.collect().await;
        return Ok(stream::iter(rows).boxed());
    }
    Ok(rows.boxed())
}

/// Returns the columns to read: the position, and those that are asked for.
fn schema_of(asked: &[String]) -> SchemaRef {
    let table = Table::Clicks;
    let is_asked = |name: &str| asked.iter().any(|asked| asked == name);
    let is_read = |name: &str| name == column::TOPIC || name == column::KAFKA_OFFSET || is_asked(name);
    let in_files = table
        .schema()
        .fields()
        .iter()
        .filter(|field| !table.partition_columns().contains(&field.name().as_str()))
        .filter(|field| is_read(field.name()))
        .cloned()
        .collect::<Vec<_>>();
    Arc::new(Schema::new(in_files))
}

/// Brings rows into the columns that are asked for; those that a file lacks are null.
fn as_asked(rows: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, ArrowError> {
    let columns = schema.fields().iter().map(|field| column_as(rows, field));
    RecordBatch::try_new(Arc::clone(schema), columns.collect::<Result<_, _>>()?)
}

/// Checks that the rows of a file go on where those before them ended. clicklake's files are of one topic, in the order
/// of its offsets, and a replay in another order would count differently.
fn follows(rows: &RecordBatch, last: &mut Option<i64>) -> Result<(), Refusal> {
    let odd = |why: String| Code::FileForeign.because(why);
    let topics = rows.column_by_name(column::TOPIC).and_then(|topics| topics.as_string_opt::<i32>());
    let topics = topics.ok_or_else(|| odd("it has no topics".to_owned()))?;
    if (1..topics.len()).any(|row| topics.value(row) != topics.value(0)) {
        return Err(odd(format!("it has rows of several topics; {FOREIGN}")));
    }
    for &offset in offsets(rows) {
        if last.is_some_and(|last| offset <= last) {
            return Err(odd(format!("its rows are not in the order of their offsets (at {offset}); {FOREIGN}")));
        }
        *last = Some(offset);
    }
    Ok(())
}

/// Merges rows of several files, each in order, into the order of all.
fn in_order(mut parts: Vec<RecordBatch>) -> Result<RecordBatch, MergeError> {
    if parts.len() == 1 {
        return Ok(parts.remove(0));
    }
    let sorted = concat_batches(&parts[0].schema(), &parts).and_then(|rows| {
        let order = sort_to_indices(&rows[column::KAFKA_OFFSET], None, None)?;
        take_record_batch(&rows, &order)
    });
    sorted.map_err(|error| MergeError::Failed(LakeError::store("clicks: merging files", error)))
}

fn last_offset(batch: &RecordBatch) -> i64 {
    *offsets(batch).last().expect("a head has rows")
}

/// Returns the offsets of rows, in their order.
pub(super) fn offsets(batch: &RecordBatch) -> &[i64] {
    Positions::of(batch).expect("the position is among the columns read").offsets()
}

#[cfg(test)]
mod tests {
    use arrow::array::{ArrayRef, Int64Array, StringArray};

    use super::*;

    const MIB: u64 = 1024 * 1024;

    fn rows(rows: &[(&str, i64)]) -> RecordBatch {
        let topics: ArrayRef = Arc::new(StringArray::from_iter_values(rows.iter().map(|(topic, _)| topic)));
        let offsets: ArrayRef = Arc::new(Int64Array::from_iter_values(rows.iter().map(|(_, offset)| *offset)));
        RecordBatch::try_from_iter([(column::TOPIC, topics), (column::KAFKA_OFFSET, offsets)]).expect("rows")
    }

    #[test]
    fn a_file_that_another_program_wrote_is_refused_with_what_sorts_it() {
        let mut last = None;
        assert_eq!(follows(&rows(&[("clicks", 4), ("clicks", 7)]), &mut last), Ok(()));
        assert_eq!(last, Some(7));
        for odd in [&[("clicks", 8), ("clicks-eu", 9)][..], &[("clicks", 7)], &[("clicks", 9), ("clicks", 8)]] {
            let why = follows(&rows(odd), &mut Some(7)).expect_err("it is not in order");
            assert_eq!(why.code, Code::FileForeign);
            assert!(why.why.contains("another program") && why.why.contains("clicklake compact"), "{why}");
        }
    }

    /// Counts the files of a size that are opened ahead.
    fn ahead(bytes: u64) -> usize {
        let mut opening = Vec::new();
        while has_room(opening.iter().copied(), bytes) {
            opening.push(bytes);
        }
        opening.len()
    }

    #[test]
    fn files_opened_ahead_are_bounded_in_bytes_and_at_least_one() {
        assert_eq!(ahead(100), OPEN_AHEAD);
        assert_eq!(ahead(3 * MIB), 2);
        assert_eq!(ahead(64 * MIB), 1);
    }
}
