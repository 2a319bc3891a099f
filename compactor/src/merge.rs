//! File compaction: many small files of a folder become few large ones, with the same rows in their order.
//!
//! Nothing changes for readers, and nobody is woken: it is no `dataChange`. Rows of minutes are never put together, for
//! each tells of which clicks it is made. A raw file holds one partition in the order of its offsets before and after.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Int32Type, Int64Type};
use deltalake::kernel::Add;
use futures::TryStreamExt;
use lake_schemas::commit::{Commit, Outcome, TableLog};
use lake_schemas::files::{DataFile, Encoder, discard};
use lake_schemas::table::column;
use lake_schemas::{Folder, LakeError, RawFile, Statistics, Table, TopicPartition, read};
use tokio::time::Instant;
use tracing::warn;

use crate::bins::{Growth, bins};
use crate::error::CompactError;
use crate::report::Done;
use crate::summing::{Counts, Input, Summing, Wanted};

/// The job, as `history` names it.
const JOB: &str = "compaction";

/// How much is put together before it is committed, in bytes of the inputs: what a crash repeats.
const COMMIT_BYTES: u64 = 1024 * 1024 * 1024;

/// A table whose files are put together.
pub(crate) struct Merge<'a> {
    pub log: &'a mut TableLog,
    /// Up to when folders of counts are closed, in milliseconds since 1970.
    pub settled_ms: Option<i64>,
    /// How much memory it may take, in bytes.
    pub memory: usize,
}

/// Neighbours that become one file, or none if they cannot.
struct Bin {
    folder: Folder,
    inputs: Vec<Add>,
}

impl Bin {
    fn bytes(&self) -> u64 {
        self.inputs.iter().map(|file| file.size.unsigned_abs()).sum()
    }
}

impl Merge<'_> {
    /// Puts together what is worth it; what was done, if anything.
    pub async fn run(&mut self) -> Result<Option<Done>, CompactError> {
        let (began, table) = (Instant::now(), self.log.table());
        if table.source().is_some() {
            carries_nothing_else(self.log)?;
        }
        let (mut sum, mut bins) = (Sum::default(), self.bins().await?.into_iter().peekable());
        while bins.peek().is_some() {
            let (mut merged, mut bytes) = (Vec::new(), 0);
            while let Some(bin) = bins.next_if(|bin| bytes == 0 || bytes + bin.bytes() <= COMMIT_BYTES) {
                bytes += bin.bytes();
                let files = self.merge(&bin).await?;
                if !files.is_empty() {
                    let store = self.log.object_store();
                    for file in &files {
                        file.put(store.as_ref()).await?;
                    }
                    merged.push((bin, files.into_iter().map(|file| file.add).collect()));
                }
            }
            self.commit(merged, &mut sum).await?;
        }
        Ok((sum.inputs > 0).then(|| Done::Merged {
            table,
            version: self.log.version(),
            files: (sum.inputs, sum.outputs),
            bytes: (sum.bytes_in, sum.bytes_out),
            took: began.elapsed(),
        }))
    }

    /// How many files would be put together, without doing it.
    pub async fn look(&mut self) -> Result<usize, CompactError> {
        Ok(self.bins().await?.iter().map(|bin| bin.inputs.len()).sum())
    }

    /// Commits what was put together, as far as its inputs are still there.
    async fn commit(&mut self, mut merged: Vec<(Bin, Vec<Add>)>, sum: &mut Sum) -> Result<(), CompactError> {
        while !merged.is_empty() {
            let commit = Commit {
                adds: merged.iter().flat_map(|(_, adds)| adds.clone()).collect(),
                removes: merged.iter().flat_map(|(bin, _)| bin.inputs.clone()).collect(),
                data_change: false,
                ..Commit::new(JOB)
            };
            match self.log.commit(&commit).await? {
                Outcome::Committed(_) => {
                    sum.inputs += commit.removes.len();
                    sum.outputs += commit.adds.len();
                    sum.bytes_in += merged.iter().map(|(bin, _)| bin.bytes()).sum::<u64>();
                    sum.bytes_out += commit.adds.iter().map(|add| add.size.unsigned_abs()).sum::<u64>();
                    return Ok(());
                }
                // A backfill, or another compactor: what it has left is for the next round.
                Outcome::InputGone { path } => {
                    let (gone, left) =
                        merged.into_iter().partition(|(bin, _)| bin.inputs.iter().any(|file| file.path == path));
                    let gone: Vec<(Bin, Vec<Add>)> = gone;
                    for (_, adds) in &gone {
                        discard(self.log.object_store().as_ref(), adds).await;
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

    async fn bins(&mut self) -> Result<Vec<Bin>, CompactError> {
        self.log.refresh().await?;
        let table = self.log.table();
        let mut groups: BTreeMap<(Folder, String), Vec<(i64, Add)>> = BTreeMap::new();
        for file in self.log.live_files().await? {
            let Some(folder) = Folder::of(table, &file) else { continue };
            if let Some((of, order)) = place(table, &file) {
                groups.entry((folder, of)).or_default().push((order, file));
            }
        }
        let newest = groups.keys().map(|(folder, _)| *folder).max();
        let mut found = Vec::new();
        for ((folder, _), mut files) in groups {
            let growth = match (table.is_counts(), self.settled_ms) {
                (false, _) if Some(folder) < newest => Growth::Closed,
                (true, Some(settled_ms)) if folder.end_ms() <= settled_ms => Growth::Closed,
                // The next roll-up writes them again.
                _ if table.source().is_some() => continue,
                _ => Growth::Open,
            };
            files.sort_by(|(one, file), (other, another)| (one, &file.path).cmp(&(other, &another.path)));
            let bytes: Vec<_> = files.iter().map(|(_, file)| file.size.unsigned_abs()).collect();
            let inputs = |bin: std::ops::Range<usize>| files[bin].iter().map(|(_, file)| file.clone()).collect();
            found.extend(bins(&bytes, growth).into_iter().map(|bin| Bin { folder, inputs: inputs(bin) }));
        }
        Ok(found)
    }

    /// The files that a bin becomes; none, if what it holds does not belong into one.
    async fn merge(&self, bin: &Bin) -> Result<Vec<DataFile>, CompactError> {
        let (table, store) = (self.log.table(), self.log.object_store());
        if table.source().is_some() {
            let of = Counts { table, store };
            let inputs = bin.inputs.iter().cloned();
            let inputs = inputs.map(|file| Input { of: of.clone(), file, wanted: Wanted::All }).collect();
            let summing = Summing::new(table, self.log.parameters()?, self.memory)?;
            return summing.sum(bin.folder, inputs).await;
        }
        let schema = self.log.whole_schema()?;
        let mut encoder = Encoder::new(table, Arc::clone(&schema));
        let mut last: Option<(TopicPartition, i64)> = None;
        for file in &bin.inputs {
            let mut rows = read::rows(Arc::clone(&store), table, Arc::clone(&schema), file.clone()).await?;
            while let Some(rows) = rows.try_next().await? {
                if !table.is_counts() && !follows(&mut last, &rows) {
                    warn!(%table, path = file.path, "not put together: its rows do not follow those before them");
                    return Ok(Vec::new());
                }
                encoder.push(&rows).await?;
            }
        }
        Ok(encoder.finish().await?)
    }
}

/// Refuses a roll-up with columns of other programs: its rows are sums, and nothing sums those.
pub(crate) fn carries_nothing_else(roll_up: &TableLog) -> Result<(), LakeError> {
    let table = roll_up.table();
    let way_out = format!("remove the folder {table} while compact stands still, and compact makes the table again");
    roll_up.has_no_further_columns("summing its rows", &way_out)
}

/// What was put together.
#[derive(Default)]
struct Sum {
    inputs: usize,
    outputs: usize,
    bytes_in: u64,
    bytes_out: u64,
}

/// What besides its folder a file shares with those it may be put together with, and where among them it stands; `None`
/// if it does not tell.
fn place(table: Table, file: &Add) -> Option<(String, i64)> {
    if table.is_counts() {
        let (first, _) = Statistics::of(file).window_starts()?;
        return Some((String::new(), first));
    }
    let file = RawFile::of(file)?;
    let (topic, partition) = file.partition();
    Some((format!("{topic}/{partition}"), file.offsets.first))
}

/// Whether rows of a raw table go on where others of the same partition ended, in the order of their offsets. What
/// files state is not enough: of a long topic's name only the beginning, and of order nothing.
fn follows(last: &mut Option<(TopicPartition, i64)>, rows: &RecordBatch) -> bool {
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
