//! File compaction: many small files of a folder become few large ones, with the same rows in their order.
//!
//! Nothing changes for readers, and nobody is woken: it is no `dataChange`. Rows of minutes are never put together, for
//! each tells of which clicks it is made. A raw file holds one partition in the order of its offsets before and after.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use deltalake::kernel::Add;
use futures::TryStreamExt;
use lake_schemas::commit::{Commit, Outcome, TableLog};
use lake_schemas::files::{DataFile, Encoder, discard};
use lake_schemas::table::column;
use lake_schemas::{Folder, Statistics, Table, read};
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
        let schema = self.log.schema();
        let (mut encoder, mut files) = (Encoder::new(table, Arc::clone(&schema)), Vec::new());
        let mut last: Option<(String, i64)> = None;
        for file in &bin.inputs {
            let mut rows = read::rows(Arc::clone(&store), table, Arc::clone(&schema), file.clone()).await?;
            while let Some(rows) = rows.try_next().await? {
                if !table.is_counts() && !follows(&mut last, &rows) {
                    warn!(%table, path = file.path, "not put together: its rows do not follow those before them");
                    return Ok(Vec::new());
                }
                files.extend(encoder.push(&rows).await?);
            }
        }
        files.extend(encoder.finish().await?);
        Ok(files)
    }
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
    let statistics = Statistics::of(file);
    if table.is_counts() {
        let (first, _) = statistics.window_starts()?;
        return Some((String::new(), first));
    }
    let (topic, partition) = (statistics.min(column::TOPIC).as_str()?, statistics.min(column::KAFKA_PARTITION));
    Some((format!("{topic}/{partition}"), statistics.min(column::KAFKA_OFFSET).as_i64()?))
}

/// Whether rows of a raw table go on where others of the same topic ended. Of a long topic's name, statistics may tell
/// the beginning only.
fn follows(last: &mut Option<(String, i64)>, rows: &RecordBatch) -> bool {
    let topics = rows[column::TOPIC].as_string::<i32>();
    let offsets = rows[column::KAFKA_OFFSET].as_primitive::<arrow::datatypes::Int64Type>().values();
    let (Some(&first), Some(&next)) = (offsets.first(), offsets.last()) else { return true };
    let topic = topics.value(0);
    let is_one = topics.value(topics.len() - 1) == topic;
    let is_next = last.as_ref().is_none_or(|(before, offset)| before == topic && *offset < first);
    *last = Some((topic.to_owned(), next));
    is_one && is_next
}
