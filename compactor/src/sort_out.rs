//! Sorts raw files that another program wrote: their rows are put in the order of the log again, a file for each
//! partition.
//!
//! A program that deletes or changes rows of `clicks`, or optimizes it, writes files with rows of several partitions in
//! any order. The log cannot be read back from these. Sorting changes no row, and its commits have no `dataChange`:
//! deleted rows stay deleted. Each file is a commit of its own, so that a crash repeats only one.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use arrow::compute::partition;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use datafusion::error::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use deltalake::kernel::Add;
use futures::TryStreamExt;
use lake_schemas::table::column;
use lake_schemas::{Table, TopicPartition};
use lake_store::commit::{Commit, Outcome, TableLog};
use lake_store::files::{Encoder, discard};
use lake_store::path::{is_own, may_be_earlier, path_of};
use lake_store::{LakeError, RawFile, read};

use crate::error::CompactError;
use crate::failures::Failures;
use crate::merge::{FAILURES_MAX, JOB, Sum, follows};
use crate::session::{Session, Source, ascending};
use crate::setbacks::{Setbacks, Work};
use crate::uncommitted::Uncommitted;

/// Columns of a position, in the order of the log.
const POSITION: [&str; 3] = [column::TOPIC, column::KAFKA_PARTITION, column::KAFKA_OFFSET];

/// Number of files named as an earlier clicklake named them that are checked in one round: a long history of them takes
/// hours, and other work does not wait for that. The newest come first, as other programs most often rewrite what is
/// new.
const EARLIER_MAX: usize = 100;

/// Sorts the files of a raw table.
pub(crate) struct SortOut<'a> {
    pub log: &'a mut TableLog,
    /// Memory that sorting may take, in bytes; beyond that it spills to disk.
    pub memory: usize,
    /// Files that are skipped for a while after a failure.
    pub setbacks: &'a mut Setbacks,
    /// Paths of files named as an earlier clicklake named them that were found in order.
    pub in_order: &'a mut HashSet<String>,
    /// Totals of what was sorted and committed.
    pub sum: Sum,
}

impl SortOut<'_> {
    /// Sorts the files that another program wrote. A file that cannot be sorted is added to the failures and skipped
    /// for a while; an error means that nothing more can be done for this table.
    pub async fn run(&mut self, failures: &mut Failures) -> Result<(), CompactError> {
        let (table, mut failed) = (self.log.table(), 0);
        let work = Work::Commit(table);
        if self.setbacks.forbid(&work) {
            return Ok(());
        }
        for file in self.odd().await? {
            match self.sort(&file).await {
                Ok(adds) => {
                    failed = 0;
                    // The setback of an earlier commit stays recorded until merging succeeds, and merging commits in
                    // small steps until then.
                    if let Err(error) = self.commit(file, adds).await {
                        if !error.is_altered() {
                            self.setbacks.add(work);
                        }
                        return Err(error);
                    }
                }
                Err(error) => {
                    failed += 1;
                    self.setbacks.add(Work::FileCompaction(table, file.path));
                    failures.add(error);
                    if failed == FAILURES_MAX {
                        break;
                    }
                }
            }
        }
        Ok(())
    }

    /// Returns how many files would be sorted, without sorting them.
    pub async fn look(&mut self) -> Result<usize, CompactError> {
        Ok(self.odd().await?.len())
    }

    /// Returns the files that are not as clicklake writes them, as far as that is known. Files that are skipped for now
    /// are left out.
    async fn odd(&mut self) -> Result<Vec<Add>, CompactError> {
        let table = self.log.table();
        if !table.keeps_partitions_apart() {
            return Ok(Vec::new());
        }
        self.log.refresh().await?;
        let mut live = self.log.live_files().await?;
        let left_alone = self.setbacks.files(table);
        live.retain(|file| !left_alone.contains(&*file.path));
        let there: HashSet<_> = live.iter().map(|file| file.path.as_str()).collect();
        self.in_order.retain(|path| there.contains(path.as_str()));
        let (mut odd, known): (Vec<_>, Vec<_>) = live.into_iter().partition(|file| is_odd(table, file));
        let is_unknown = |file: &Add| !is_named_as_own(table, file) && !self.in_order.contains(&file.path);
        let mut unknown: Vec<_> = known.into_iter().filter(is_unknown).collect();
        unknown.sort_unstable_by(|one, other| other.path.cmp(&one.path));
        for file in unknown.into_iter().take(EARLIER_MAX) {
            match self.is_in_order(&file).await {
                Ok(true) => drop(self.in_order.insert(file.path)),
                Ok(false) => odd.push(file),
                // Sorting the file reports why it cannot be read. If the store is down, one such failure is enough.
                Err(_) => {
                    odd.push(file);
                    break;
                }
            }
        }
        Ok(odd)
    }

    /// Returns whether a file's rows are of one partition, in the order of their offsets.
    async fn is_in_order(&self, file: &Add) -> Result<bool, LakeError> {
        let (table, whole) = (self.log.table(), self.log.schema());
        let positions = POSITION.map(|name| whole.index_of(name)).into_iter().collect::<Result<Vec<_>, _>>();
        let what = || format!("{table}: the columns of positions");
        let schema = positions.and_then(|at| whole.project(&at)).map_err(|error| LakeError::store(what(), error))?;
        let mut rows = read::rows(self.log.object_store(), table, Arc::new(schema), file.clone()).await?;
        let mut last = None;
        while let Some(rows) = rows.try_next().await? {
            if !follows(&mut last, &rows) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Writes the sorted files that one file becomes, without committing them.
    async fn sort(&self, file: &Add) -> Result<Vec<Add>, CompactError> {
        let schema = self.log.whole_schema()?;
        let mut files = Uncommitted::new(self.log.object_store());
        let written = self.write_sorted(file, &schema, &mut files).await;
        files.after(written).await
    }

    /// Commits sorted files in place of the one they came from, unless that is gone meanwhile.
    async fn commit(&mut self, file: Add, adds: Vec<Add>) -> Result<(), CompactError> {
        let commit = Commit { adds, removes: vec![file], data_change: false, ..Commit::new(JOB) };
        match self.log.commit(&commit).await? {
            Outcome::Committed(_) => self.sum.add(&commit),
            Outcome::InputGone { .. } => discard(self.log.object_store().as_ref(), &commit.id, &commit.adds).await,
            outcome @ (Outcome::Fenced { .. } | Outcome::Overtaken { .. }) => {
                unreachable!("it moves no stand, and goes onto any version: {outcome:?}")
            }
        }
        Ok(())
    }

    /// Writes the rows of a file in the order of the log, a file for each partition.
    async fn write_sorted(&self, file: &Add, schema: &SchemaRef, files: &mut Uncommitted) -> Result<(), CompactError> {
        let mut sorted = self.sorted(file, schema).await?;
        let mut writing: Option<(TopicPartition, Encoder)> = None;
        let unsorted = |error: DataFusionError| error.context(format!("sorting {}", file.path));
        while let Some(rows) = sorted.try_next().await.map_err(unsorted)? {
            for run in runs(&rows)? {
                let of = partition_of(&run);
                if let Some((_, done)) = writing.take_if(|(written, _)| *written != of) {
                    put_last(done, files).await?;
                }
                let encoder = || (of, Encoder::new(self.log.table(), Arc::clone(schema)));
                let (_, encoder) = writing.get_or_insert_with(encoder);
                let run = RecordBatch::try_new(Arc::clone(schema), run.columns().to_vec())?;
                for file in encoder.push(&run).await? {
                    files.put(file).await?;
                }
            }
        }
        match writing {
            Some((_, done)) => put_last(done, files).await,
            None => Ok(()),
        }
    }

    /// Returns the rows of a file, in the order of the log.
    async fn sorted(&self, file: &Add, schema: &SchemaRef) -> Result<SendableRecordBatchStream, CompactError> {
        let (table, store, file) = (self.log.table(), self.log.object_store(), file.clone());
        let of = Source { table, store, file, select: Arc::new(Ok::<RecordBatch, ArrowError>) };
        let order = ascending(&POSITION);
        Session::new(self.memory)?.ask(&[of], schema, |rows| rows.sort(order)).await
    }
}

/// Returns whether no clicklake wrote a file like this: it is named differently, or its statistics span partitions.
fn is_odd(table: Table, file: &Add) -> bool {
    let may_be_earlier = || path_of(&file.path).is_some_and(|path| may_be_earlier(&path));
    !(is_named_as_own(table, file) || may_be_earlier()) || RawFile::of(file).is_none()
}

fn is_named_as_own(table: Table, file: &Add) -> bool {
    path_of(&file.path).is_some_and(|path| is_own(table, &path))
}

/// Writes the rows that an encoder still buffers.
async fn put_last(encoder: Encoder, files: &mut Uncommitted) -> Result<(), CompactError> {
    if let Some(file) = encoder.finish().await? {
        files.put(file).await?;
    }
    Ok(())
}

/// Splits sorted rows where the partition changes.
fn runs(rows: &RecordBatch) -> Result<Vec<RecordBatch>, CompactError> {
    let columns = [column::TOPIC, column::KAFKA_PARTITION].map(|name| Arc::clone(&rows[name]));
    let ranges = partition(&columns)?.ranges();
    Ok(ranges.into_iter().map(|range| rows.slice(range.start, range.len())).collect())
}

/// Returns the partition of rows that are all of one.
fn partition_of(rows: &RecordBatch) -> TopicPartition {
    let topic = rows[column::TOPIC].as_string::<i32>().value(0);
    TopicPartition::new(topic, rows[column::KAFKA_PARTITION].as_primitive::<arrow::datatypes::Int32Type>().value(0))
}
