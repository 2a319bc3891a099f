//! File compaction: many small files of a folder become few large ones, with the same rows in their order.
//!
//! Readers see no change, and no follower is woken, because the commit has no `dataChange`. Rows of minutes are never
//! summed together, since each row says which clicks it was made from. A raw file holds one partition in the order of
//! its offsets, before and after.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Int32Type, Int64Type};
use deltalake::kernel::Add;
use futures::TryStreamExt;
use lake_schemas::table::{Version, column};
use lake_schemas::{Folder, Table, TopicPartition};
use lake_store::commit::{Commit, CommitId, Outcome, TableLog};
use lake_store::files::{Encoder, discard};
use lake_store::{LakeError, RawFile, Statistics, read};
use tracing::warn;

use crate::aggregation::{Aggregation, CountsTable, Input, WindowSelection};
use crate::bin_packing::{Growth, bin_packing};
use crate::error::CompactError;
use crate::failures::Failures;
use crate::report::Done;
use crate::setbacks::{Setbacks, Work};
use crate::uncommitted::Uncommitted;

/// Name of the job in `history`: it covers everything that moves rows into other files and changes none.
pub(crate) const JOB: &str = "compaction";

/// Bytes of input that are merged before a commit: after a crash, at most this much is repeated.
const COMMIT_BYTES: u64 = 1024 * 1024 * 1024;

/// Bins, or files to be sorted, that may fail in a row; the rest is then left for the next round. If the store is down,
/// each of them waits for a timeout.
pub(crate) const FAILURES_MAX: usize = 3;

/// Merges the files of one table.
pub(crate) struct FileCompaction<'a> {
    pub log: &'a mut TableLog,
    pub times: Times,
    /// Memory that sums may take, in bytes.
    pub memory: usize,
    /// Files that are skipped for a while after a failure.
    pub setbacks: &'a mut Setbacks,
    /// Totals of what was merged and committed.
    pub sum: Sum,
}

/// Times that tell which folders still grow.
#[derive(Clone, Copy)]
pub(crate) struct Times {
    /// Time before which folders of counts are closed, in milliseconds since 1970; `None` if none of them is.
    pub settled_ms: Option<i64>,
    /// Current time, in milliseconds since 1970: folders that claim to be later than it close no folder.
    pub now_ms: i64,
}

/// Neighbouring files that become one file, or stay as they are if they cannot be merged.
struct Bin {
    folder: Folder,
    inputs: Vec<Add>,
}

impl Bin {
    fn bytes(&self) -> u64 {
        self.inputs.iter().map(|file| file.size.unsigned_abs()).sum()
    }
}

/// Reason why a bin was not merged.
struct Unmerged {
    /// Path of the file that it failed at, if known.
    at: Option<String>,
    /// Error that stopped it; `None` if the files just do not follow each other.
    error: Option<CompactError>,
}

impl From<CompactError> for Unmerged {
    fn from(error: CompactError) -> Self {
        Self { at: None, error: Some(error) }
    }
}

impl From<LakeError> for Unmerged {
    fn from(error: LakeError) -> Self {
        Self::from(CompactError::from(error))
    }
}

impl FileCompaction<'_> {
    /// Merges files where it is worth the cost. A bin that fails is added to the failures and skipped for a while; an
    /// error means that nothing more can be done for this table.
    pub async fn run(&mut self, failures: &mut Failures) -> Result<(), CompactError> {
        let work = Work::Commit(self.log.table());
        if self.log.table().source().is_some() {
            carries_nothing_else(self.log)?;
        }
        if self.setbacks.forbid(&work) {
            return Ok(());
        }
        // Files of a commit that fails stay behind until the sweep: after one such failure, the next try writes as
        // little as possible before it commits.
        let bytes_max = if self.setbacks.have(&work) { 0 } else { COMMIT_BYTES };
        let (mut bin_packing, mut failed) = (self.bin_packing().await?.into_iter().peekable(), 0);
        while bin_packing.peek().is_some() && failed < FAILURES_MAX {
            let (mut merged, mut bytes) = (Vec::new(), 0);
            while failed < FAILURES_MAX
                && let Some(bin) = bin_packing.next_if(|bin| bytes == 0 || bytes + bin.bytes() <= bytes_max)
            {
                bytes += bin.bytes();
                match self.merge(&bin).await {
                    Ok(adds) if adds.is_empty() => {}
                    Ok(adds) => {
                        failed = 0;
                        merged.push((bin, adds));
                    }
                    Err(unmerged) => {
                        failed += usize::from(unmerged.error.is_some());
                        self.leave_alone(&bin, unmerged, failures);
                    }
                }
            }
            if let Err(error) = self.commit(merged).await {
                if !error.is_altered() {
                    self.setbacks.add(work);
                }
                return Err(error);
            }
        }
        self.setbacks.clear(&work);
        Ok(())
    }

    /// Returns how many files would be merged, without merging them.
    pub async fn look(&mut self) -> Result<usize, CompactError> {
        Ok(self.bin_packing().await?.iter().map(|bin| bin.inputs.len()).sum())
    }

    /// Skips the file that a bin failed at, or all its files if that is not known, for a while.
    fn leave_alone(&mut self, bin: &Bin, unmerged: Unmerged, failures: &mut Failures) {
        let table = self.log.table();
        match unmerged.at {
            Some(path) => self.setbacks.add(Work::FileCompaction(table, path)),
            None => {
                bin.inputs.iter().for_each(|file| self.setbacks.add(Work::FileCompaction(table, file.path.clone())))
            }
        }
        if let Some(error) = unmerged.error {
            failures.add(error);
        }
    }

    /// Commits merged files, leaving out the bins whose inputs are gone.
    async fn commit(&mut self, mut merged: Vec<(Bin, Vec<Add>)>) -> Result<(), CompactError> {
        let id = CommitId::unique();
        while !merged.is_empty() {
            let commit = Commit {
                id: id.clone(),
                adds: merged.iter().flat_map(|(_, adds)| adds.clone()).collect(),
                removes: merged.iter().flat_map(|(bin, _)| bin.inputs.clone()).collect(),
                data_change: false,
                ..Commit::new(JOB)
            };
            match self.log.commit(&commit).await? {
                Outcome::Committed(_) => {
                    self.sum.add(&commit);
                    return Ok(());
                }
                // A backfill or another compactor removed this input: its bin is left for the next round.
                Outcome::InputGone { path } => {
                    let (gone, left) =
                        merged.into_iter().partition(|(bin, _)| bin.inputs.iter().any(|file| file.path == path));
                    let gone: Vec<(Bin, Vec<Add>)> = gone;
                    for (_, adds) in &gone {
                        discard(self.log.object_store().as_ref(), &id, adds).await;
                    }
                    merged = left;
                }
                outcome @ (Outcome::Fenced { .. } | Outcome::Overtaken { .. }) => {
                    unreachable!("it moves no stand, and goes onto any version: {outcome:?}")
                }
            }
        }
        Ok(())
    }

    async fn bin_packing(&mut self) -> Result<Vec<Bin>, CompactError> {
        self.log.refresh().await?;
        let table = self.log.table();
        let live = self.log.live_files().await?;
        self.setbacks.keep_files(table, &live);
        let left_alone = self.setbacks.files(table);
        let mut groups: BTreeMap<(Folder, String), Vec<(i64, Add)>> = BTreeMap::new();
        for file in live {
            let Some(folder) = Folder::named(table, &file.partition_values) else { continue };
            if let Some((of, order)) = place(table, &file) {
                groups.entry((folder, of)).or_default().push((order, file));
            }
        }
        let Times { settled_ms, now_ms } = self.times;
        // A producer whose clock is ahead by years must not close today's folder.
        let begun = groups.keys().map(|(folder, _)| *folder).filter(|folder| folder.start_ms() <= now_ms);
        let newest = begun.max();
        let mut found = Vec::new();
        for ((folder, _), mut files) in groups {
            let growth = match (table.is_counts(), settled_ms) {
                (false, _) if Some(folder) < newest => Growth::Closed,
                (true, Some(settled_ms)) if folder.end_ms() <= settled_ms => Growth::Closed,
                // The next roll-up rewrites these files anyway.
                _ if table.source().is_some() => continue,
                _ => Growth::Open,
            };
            files.sort_by(|(one, file), (other, another)| (one, &file.path).cmp(&(other, &another.path)));
            // A skipped file separates its neighbours, as one that is large enough does.
            let size = |file: &Add| if left_alone.contains(&*file.path) { u64::MAX } else { file.size.unsigned_abs() };
            let bytes: Vec<_> = files.iter().map(|(_, file)| size(file)).collect();
            let inputs = |bin: std::ops::Range<usize>| files[bin].iter().map(|(_, file)| file.clone()).collect();
            found.extend(bin_packing(&bytes, growth).into_iter().map(|bin| Bin { folder, inputs: inputs(bin) }));
        }
        Ok(found)
    }

    /// Writes the files that a bin becomes, without committing them.
    async fn merge(&self, bin: &Bin) -> Result<Vec<Add>, Unmerged> {
        let mut files = Uncommitted::new(self.log.object_store());
        let done = if self.log.table().source().is_some() {
            self.sum_up(bin, &mut files).await
        } else {
            self.concatenate(bin, &mut files).await
        };
        files.after(done).await
    }

    /// Merges files of a roll-up. Its rows are sums already, so summing only puts them in order.
    async fn sum_up(&self, bin: &Bin, files: &mut Uncommitted) -> Result<(), Unmerged> {
        let of = CountsTable { table: self.log.table(), store: self.log.object_store() };
        let inputs = bin.inputs.iter().cloned();
        let inputs = inputs.map(|file| Input { of: of.clone(), file, wanted: WindowSelection::All }).collect();
        let aggregation = Aggregation::new(of.table, self.log.parameters()?, self.memory)?;
        let summed = aggregation.sum(bin.folder, inputs, files).await;
        summed.map_err(|error| Unmerged { at: aggregation.unread(), error: Some(error) })
    }

    /// Concatenates rows, file after file.
    async fn concatenate(&self, bin: &Bin, files: &mut Uncommitted) -> Result<(), Unmerged> {
        let (table, schema) = (self.log.table(), self.log.whole_schema()?);
        let mut encoder = Encoder::new(table, Arc::clone(&schema));
        let mut last: Option<(TopicPartition, i64)> = None;
        for file in &bin.inputs {
            let at = |error: LakeError| Unmerged { at: Some(file.path.clone()), error: Some(error.into()) };
            let rows = read::rows(self.log.object_store(), table, Arc::clone(&schema), file.clone()).await;
            let mut rows = rows.map_err(at)?;
            while let Some(rows) = rows.try_next().await.map_err(at)? {
                if !table.is_counts() && !follows(&mut last, &rows) {
                    warn!(%table, path = file.path, "not put together: its rows do not follow those before them");
                    return Err(Unmerged { at: Some(file.path.clone()), error: None });
                }
                for file in encoder.push(&rows).await? {
                    files.put(file).await?;
                }
            }
        }
        if let Some(file) = encoder.finish().await? {
            files.put(file).await?;
        }
        Ok(())
    }
}

/// Refuses a roll-up with columns of other programs: its rows are sums, and nothing sums those columns.
pub(crate) fn carries_nothing_else(roll_up: &TableLog) -> Result<(), LakeError> {
    let table = roll_up.table();
    let way_out = format!("remove the folder {table} while compact stands still, and compact makes the table again");
    roll_up.has_no_further_columns("summing its rows", &way_out)
}

/// Totals of the files that were replaced, and of those that replaced them.
#[derive(Default)]
pub(crate) struct Sum {
    inputs: usize,
    outputs: usize,
    bytes_in: u64,
    bytes_out: u64,
}

impl Sum {
    /// Adds the files of a commit.
    pub fn add(&mut self, commit: &Commit) {
        let bytes = |files: &[Add]| files.iter().map(|file| file.size.unsigned_abs()).sum::<u64>();
        self.inputs += commit.removes.len();
        self.outputs += commit.adds.len();
        self.bytes_in += bytes(&commit.removes);
        self.bytes_out += bytes(&commit.adds);
    }

    /// Returns the report for a raw table, now at `version`, whose files were sorted; `None` if none were.
    pub fn sorted_out(&self, table: Table, version: Version, took: Duration) -> Option<Done> {
        let files = (self.inputs, self.outputs);
        (self.inputs > 0).then_some(Done::SortedOut { table, version, files, took })
    }

    /// Returns the report for a table, now at `version`, whose files were merged; `None` if none were.
    pub fn merged(&self, table: Table, version: Version, took: Duration) -> Option<Done> {
        let (files, bytes) = ((self.inputs, self.outputs), (self.bytes_in, self.bytes_out));
        (self.inputs > 0).then_some(Done::Merged { table, version, files, bytes, took })
    }
}

/// Returns the key that a file shares with others of its folder that it may be merged with, and its order among them;
/// `None` if the file does not tell.
fn place(table: Table, file: &Add) -> Option<(String, i64)> {
    if table.is_counts() {
        let (first, _) = Statistics::of(file).window_starts()?;
        return Some((String::new(), first));
    }
    let file = RawFile::of(file)?;
    let (topic, partition) = file.partition();
    Some((format!("{topic}/{partition}"), file.offsets.first))
}

/// Returns whether rows of a raw table continue the rows before them: of the same partition, in the order of their
/// offsets. Statistics are not enough: they keep only the beginning of a long topic name, and say nothing of order.
pub(crate) fn follows(last: &mut Option<(TopicPartition, i64)>, rows: &RecordBatch) -> bool {
    let topics = rows[column::TOPIC].as_string::<i32>();
    let partitions = rows[column::KAFKA_PARTITION].as_primitive::<Int32Type>().values();
    let offsets = rows[column::KAFKA_OFFSET].as_primitive::<Int64Type>().values();
    let (Some(&first), Some(&next)) = (offsets.first(), offsets.last()) else { return true };
    let partition = TopicPartition::new(topics.value(0), partitions[0]);
    let is_one = (0..topics.len()).all(|row| topics.value(row) == partition.topic)
        && partitions.iter().all(|number| *number == partition.partition);
    let are_in_order = offsets.is_sorted_by(|one, other| one < other);
    let is_next = last.as_ref().is_none_or(|(before, offset)| *before == partition && *offset < first);
    *last = Some((partition, next));
    is_one && are_in_order && is_next
}

#[cfg(test)]
mod tests {
    use arrow::array::{ArrayRef, Int32Array, Int64Array, StringArray};

    use super::*;

    fn rows(all: &[(&str, i32, i64)]) -> RecordBatch {
        let columns: [(&str, ArrayRef); 3] = [
            (column::TOPIC, Arc::new(StringArray::from_iter_values(all.iter().map(|row| row.0)))),
            (column::KAFKA_PARTITION, Arc::new(Int32Array::from_iter_values(all.iter().map(|row| row.1)))),
            (column::KAFKA_OFFSET, Arc::new(Int64Array::from_iter_values(all.iter().map(|row| row.2)))),
        ];
        RecordBatch::try_from_iter(columns).expect("rows")
    }

    #[test]
    fn only_rows_of_one_partition_in_their_order_are_put_together() {
        let go_on = |batches: &[RecordBatch]| {
            let mut last = None;
            batches.iter().all(|rows| follows(&mut last, rows))
        };
        let (one, next) = (rows(&[("t", 0, 1), ("t", 0, 2)]), rows(&[("t", 0, 5)]));
        assert!(go_on(&[one.clone(), next.clone()]));
        for odd in [
            vec![next, one.clone()],
            vec![one.clone(), rows(&[("t", 1, 5)])],
            vec![one, rows(&[("u", 0, 5)])],
            vec![rows(&[("t", 0, 1), ("t", 1, 2), ("t", 0, 3)])],
            vec![rows(&[("t", 0, 1), ("u", 0, 2), ("t", 0, 3)])],
            vec![rows(&[("t", 0, 1), ("t", 0, 3), ("t", 0, 2), ("t", 0, 4)])],
            vec![rows(&[("t", 0, 1), ("t", 0, 1)])],
        ] {
            assert!(!go_on(&odd), "{odd:?}");
        }
    }
}
