//! Replays one partition: pass after pass over the raw table, until the live log has what comes next.

use std::sync::Arc;

use arrow::array::RecordBatch;
use lake_schemas::fingerprint::Fingerprint;
use lake_schemas::job::LogBatch;
use lake_schemas::{OffsetRange, Table, TopicPartition};
use lake_store::Result;
use lake_store::gone::lost;
use tokio::sync::{Mutex, MutexGuard};
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::costs::WithoutTheirCost;
use super::live_log::LiveLog;
use super::merge::{FileMerge, MergeError, RowSelection, offsets};
use super::raw_table::RawTable;
use crate::backoff::Backoff;
use crate::source::Start;

/// What is said of a file that each newer version names, too, and the store does not have.
const NOT_TAKEN_OUT: &str = "but no version has taken it out: the raw table is damaged";

/// Replay of one partition.
pub(crate) struct Replay {
    raw: Arc<Mutex<RawTable>>,
    live: Arc<dyn LiveLog>,
    partition: TopicPartition,
    columns: Arc<[String]>,
    /// Offset at which it goes on; `None` is the first row that there is.
    next: Option<i64>,
    without_their_cost: WithoutTheirCost,
}

impl Replay {
    /// Makes a replay from an offset on; `columns` are the wanted columns of `clicks`, and `live` is the log that goes
    /// on behind it.
    pub fn new(
        raw: &Arc<Mutex<RawTable>>,
        live: &Arc<dyn LiveLog>,
        partition: TopicPartition,
        from: Option<i64>,
        columns: &Arc<[String]>,
    ) -> Self {
        Self {
            raw: Arc::clone(raw),
            live: Arc::clone(live),
            partition,
            columns: Arc::clone(columns),
            next: from,
            without_their_cost: WithoutTheirCost::default(),
        }
    }

    /// Reads up to the table's cut, again as long as the live log lacks what comes next, and returns where to go on.
    /// Passes every stretch to `yields`, which may wait. Retries what a store does not do for now.
    pub async fn run<F: Future<Output = ()>>(mut self, yields: impl Fn(LogBatch) -> F) -> Result<Start> {
        let (mut backoff, mut gone, never) = (Backoff::default(), None, CancellationToken::new());
        loop {
            let before = self.next;
            let unread = match self.read_on(&yields).await {
                Ok(Pass::Over(next)) => break self.hand_over(next).await,
                Ok(Pass::GoesOn) => continue,
                Err(unread) => unread,
            };
            // A pass that made progress starts the waits anew; only failures in a row count.
            if self.next != before {
                backoff = Backoff::default();
            }
            match unread {
                // A file that is gone was replaced: the next pass refreshes the table and finds the new ones. If the
                // same file is still named then, it is lost.
                MergeError::Gone(path) if gone.as_ref() != Some(&path) => gone = Some(path),
                MergeError::Gone(path) => return Err(lost(Table::Clicks, path, NOT_TAKEN_OUT)),
                MergeError::Failed(error) => backoff.again(error, &never).await?,
            }
        }
    }

    /// Makes one pass: reads up to where the table stands at its beginning. The table has gone on by then, but that
    /// need not be waited for: the live log begins at exactly the offset that comes next, if it has that.
    async fn read_on<F: Future<Output = ()>>(&mut self, yields: &impl Fn(LogBatch) -> F) -> Result<Pass, MergeError> {
        let mut raw = self.raw.lock().await;
        raw.refresh().await?;
        let Some(end) = raw.cut(&self.partition) else {
            unreachable!("a replay is of a partition that the raw table knows")
        };
        if let Some(next) = self.next.filter(|next| *next >= end) {
            return Ok(Pass::Over(next));
        }
        let stretch = OffsetRange { first: self.next.unwrap_or(i64::MIN), next: end };
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
        if self.next != Some(end) {
            let columns = Table::Clicks.schema();
            let first = self.next.unwrap_or(end);
            self.go_on(OffsetRange { first, next: end }, RecordBatch::new_empty(columns), yields).await;
        }
        // Kafka may have dropped what comes next while this pass read; then the raw table has it by now.
        Ok(if self.live.has(&self.partition, end).await { Pass::Over(end) } else { Pass::GoesOn })
    }

    async fn merge(&self, raw: &mut MutexGuard<'_, RawTable>, stretch: OffsetRange) -> Result<FileMerge> {
        let files = raw.files(&self.partition, stretch).await?;
        info!(partition = %self.partition, end = stretch.next, files = files.len(), "replays from the raw table");
        let wanted =
            RowSelection { store: raw.store(), partition: self.partition.clone(), columns: Arc::clone(&self.columns) };
        Ok(FileMerge::new(&wanted, files))
    }

    /// Yields the rows of a stretch, which begins where the one before has ended.
    async fn go_on<F: Future<Output = ()>>(
        &mut self,
        stretch: OffsetRange,
        events: RecordBatch,
        yields: &impl Fn(LogBatch) -> F,
    ) {
        let first = self.next.unwrap_or(stretch.first);
        self.next = Some(stretch.next);
        yields(LogBatch {
            partition: self.partition.clone(),
            offsets: OffsetRange { first, next: stretch.next },
            read: i64::try_from(events.num_rows()).expect("a batch is small"),
            events,
            rejected: RecordBatch::new_empty(Table::ClicksRejected.schema()),
        })
        .await;
    }

    /// Returns where the live log goes on, with the fingerprint that it must still confirm.
    async fn hand_over(self, next: i64) -> Result<Start> {
        let (mut backoff, never) = (Backoff::default(), CancellationToken::new());
        let fingerprint = loop {
            match self.fingerprint(next).await {
                Ok(fingerprint) => break fingerprint,
                Err(error) => backoff.again(error, &never).await?,
            }
        };
        Ok(Start { partition: self.partition, from: Some(next), fingerprint })
    }

    async fn fingerprint(&self, next: i64) -> Result<Option<Fingerprint>> {
        let mut raw = self.raw.lock().await;
        let (store, file) = (raw.store(), raw.confirmed_by(&self.partition, next).await?);
        drop(raw);
        let Some(file) = file else { return Ok(None) };
        lake_store::fingerprint::of_file(Table::Clicks, store, &self.partition, next, &file).await
    }
}

/// Outcome of a pass.
enum Pass {
    /// The live log takes over, from this offset on.
    Over(i64),
    /// The live log lacks what comes next: another pass follows.
    GoesOn,
}

/// Slices the rows of a stretch.
fn within(rows: &RecordBatch, stretch: OffsetRange) -> RecordBatch {
    let offsets = offsets(rows);
    let first = offsets.partition_point(|&offset| offset < stretch.first);
    let next = offsets.partition_point(|&offset| offset < stretch.next);
    rows.slice(first, next - first)
}

/// Returns the first and the last offset of rows.
fn ends(rows: &RecordBatch) -> Option<(i64, i64)> {
    let offsets = offsets(rows);
    offsets.first().copied().zip(offsets.last().copied())
}
