//! Follows one partition of the raw table: reads it up to the table's cut, and on from there each time that the table
//! has grown.

use std::sync::Arc;

use arrow::array::RecordBatch;
use lake_schemas::job::LogBatch;
use lake_schemas::{OffsetRange, Table, TopicPartition};
use lake_store::{LakeError, Result, gone};
use object_store::path::Path;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use super::costs::WithoutTheirCost;
use super::growth::Growth;
use super::merge::{FileMerge, MergeError, RowSelection, held_bytes, offsets};
use super::raw_table::RawTable;
use super::turns::{Turn, Turns};
use crate::backoff::Backoff;

/// Message of a follow, in the order of the log.
#[derive(Debug)]
pub(crate) enum Followed {
    /// The next stretch. It begins where the one before has ended.
    Batch(LogBatch),
    /// The cut of the raw table, below which everything was given; `None` if the table does not know the partition. It
    /// is said when it has changed, and once at the beginning.
    At(Option<i64>),
    /// The bound of the table, at which a follow ends.
    End,
}

/// Follow of one partition.
pub(crate) struct Follow {
    raw: Arc<Mutex<RawTable>>,
    partition: TopicPartition,
    columns: Arc<[String]>,
    /// Turns that readings wait for; `None`: they wait for nothing.
    turns: Option<Arc<Turns>>,
    /// Offset at which it goes on; `None` is the first row that there is.
    next: Option<i64>,
    /// Cut that was said last; `None` before the first.
    said: Option<Option<i64>>,
    without_their_cost: WithoutTheirCost,
}

/// Extent of one reading: what was unread when it began, and what is to be said behind it.
struct Reading {
    /// Stretch that is not read yet, if there is one.
    unread: Option<OffsetRange>,
    then: Followed,
}

impl Follow {
    /// Makes a follow from an offset on; `columns` are the wanted columns of `clicks`.
    pub fn new(
        raw: &Arc<Mutex<RawTable>>,
        partition: TopicPartition,
        from: Option<i64>,
        columns: &Arc<[String]>,
    ) -> Self {
        Self {
            raw: Arc::clone(raw),
            partition,
            columns: Arc::clone(columns),
            turns: None,
            next: from,
            said: None,
            without_their_cost: WithoutTheirCost::default(),
        }
    }

    /// Returns this follow, set to wait for its turn before it reads.
    pub fn in_turns(self, turns: Option<&Arc<Turns>>) -> Self {
        Self { turns: turns.cloned(), ..self }
    }

    /// Follows the table until this future is dropped, or to the bound of the table. Passes all that it comes to to
    /// `yields`, which may wait. Retries what a store does not do for now.
    pub async fn run<F: Future<Output = ()>>(
        mut self,
        mut grown: Growth,
        yields: impl Fn(Followed) -> F,
    ) -> Result<()> {
        let (mut backoff, mut gone, never) = (Backoff::default(), None, CancellationToken::new());
        loop {
            grown.begin();
            let before = self.next;
            let unread = match self.read_on(&yields).await {
                Ok(Followed::End) => {
                    yields(Followed::End).await;
                    return Ok(());
                }
                Ok(at) => {
                    backoff = Backoff::default();
                    self.say(at, &yields).await;
                    grown.grown().await?;
                    continue;
                }
                Err(unread) => unread,
            };
            // A reading that made progress starts the waits anew; only failures in a row count.
            if self.next != before {
                backoff = Backoff::default();
            }
            match unread {
                // A file that is gone was replaced: the table as it is now names the new ones. If it still names the
                // same file, that is lost.
                MergeError::Gone(path) if gone.as_ref() != Some(&path) => {
                    gone = Some(path);
                    self.refresh(&mut backoff, &never).await?;
                }
                MergeError::Gone(path) => return Err(lost(&path)),
                MergeError::Failed(error) => backoff.again(error, &never).await?,
            }
        }
    }

    /// Says the cut below which everything was given, unless it is the one that was said last.
    async fn say<F: Future<Output = ()>>(&mut self, at: Followed, yields: &impl Fn(Followed) -> F) {
        if let Followed::At(cut) = at
            && self.said != Some(cut)
        {
            self.said = Some(cut);
            yields(Followed::At(cut)).await;
        }
    }

    async fn refresh(&self, backoff: &mut Backoff, never: &CancellationToken) -> Result<()> {
        loop {
            let refreshed = self.raw.lock().await.refresh().await;
            match refreshed {
                Ok(()) => return Ok(()),
                Err(error) => backoff.again(error, never).await?,
            }
        }
    }

    /// Reads up to where the table, as it is known, stands at the beginning. Returns what is to be said then.
    async fn read_on<F: Future<Output = ()>>(
        &mut self,
        yields: &impl Fn(Followed) -> F,
    ) -> Result<Followed, MergeError> {
        let _turn = self.turn().await?;
        let mut raw = self.raw.lock().await;
        let Reading { unread, then } = self.reading(&raw);
        let Some(stretch) = unread else { return Ok(then) };
        let mut merge = self.merge(&mut raw, stretch).await?;
        let meter = raw.meter();
        drop(raw);
        while let Some(rows) = merge.next().await? {
            meter.count(rows.num_rows());
            let rows = within(&rows, stretch);
            self.without_their_cost.see(&rows);
            let Some((first, last)) = ends(&rows) else { continue };
            self.go_on(OffsetRange { first, next: last + 1 }, rows, yields).await;
        }
        self.without_their_cost.say(&self.partition);
        // Rejected messages and gaps may follow the last row: an empty batch carries the position on to the cut.
        let end = stretch.next;
        if self.next != Some(end) {
            let first = self.next.unwrap_or(end);
            let none = RecordBatch::new_empty(Table::Clicks.schema());
            self.go_on(OffsetRange { first, next: end }, none, yields).await;
        }
        Ok(then)
    }

    fn reading(&self, raw: &RawTable) -> Reading {
        let cut = raw.cut(&self.partition);
        let then = if raw.is_bounded() { Followed::End } else { Followed::At(cut) };
        let end = cut.filter(|cut| self.next.is_none_or(|next| next < *cut));
        Reading { unread: end.map(|next| OffsetRange { first: self.next.unwrap_or(i64::MIN), next }), then }
    }

    /// Waits for the turn to read what is unread. Who has nothing to read waits for none.
    async fn turn(&self) -> Result<Option<Turn>> {
        let Some(turns) = &self.turns else { return Ok(None) };
        let mut raw = self.raw.lock().await;
        let Some(unread) = self.reading(&raw).unread else { return Ok(None) };
        if self.said.is_none() {
            // Nothing is listed before the turn, so who waits for it holds no memory.
            drop(raw);
            return Ok(Some(turns.whole().await));
        }
        let bytes: u64 = raw.files(&self.partition, unread).await?.iter().map(held_bytes).sum();
        drop(raw);
        Ok(Some(turns.part(bytes).await))
    }

    async fn merge(&self, raw: &mut RawTable, stretch: OffsetRange) -> Result<FileMerge> {
        let files = raw.files(&self.partition, stretch).await?;
        if self.said.is_none() {
            info!(partition = %self.partition, end = stretch.next, files = files.len(), "replays from the raw table");
        } else {
            debug!(partition = %self.partition, end = stretch.next, files = files.len(), "follows the raw table");
        }
        let wanted =
            RowSelection { store: raw.store(), partition: self.partition.clone(), columns: Arc::clone(&self.columns) };
        Ok(FileMerge::new(&wanted, files))
    }

    /// Yields the rows of a stretch, which begins where the one before has ended.
    async fn go_on<F: Future<Output = ()>>(
        &mut self,
        stretch: OffsetRange,
        events: RecordBatch,
        yields: &impl Fn(Followed) -> F,
    ) {
        let first = self.next.unwrap_or(stretch.first);
        self.next = Some(stretch.next);
        yields(Followed::Batch(LogBatch {
            partition: self.partition.clone(),
            offsets: OffsetRange { first, next: stretch.next },
            read: i64::try_from(events.num_rows()).expect("a batch is small"),
            events,
            rejected: RecordBatch::new_empty(Table::ClicksRejected.schema()),
        }))
        .await;
    }
}

/// Slices the rows of a stretch.
pub(super) fn within(rows: &RecordBatch, stretch: OffsetRange) -> RecordBatch {
    let offsets = offsets(rows);
    let first = offsets.partition_point(|&offset| offset < stretch.first);
    let next = offsets.partition_point(|&offset| offset < stretch.next);
    rows.slice(first, next - first)
}

/// Returns the first and the last offset of rows.
pub(super) fn ends(rows: &RecordBatch) -> Option<(i64, i64)> {
    let offsets = offsets(rows);
    offsets.first().copied().zip(offsets.last().copied())
}

/// Builds the error for a file that the table names and the store lacks.
pub(super) fn lost(path: &Path) -> LakeError {
    gone::lost(Table::Clicks, path, "but no version has taken it out: the raw table is damaged")
}
