//! The stored end of the log: a partition's events as the raw table has them, in offset order, up to the table's *cut*.
//!
//! The cut, not the last row: what was rejected follows it, and so do gaps. While a replay runs, the raw table goes on;
//! the replay follows it until there is nothing more to read, and what comes next is in Kafka. Or it is bounded: then
//! it ends where it was told to, and reads no more than that needs.

mod costs;
mod merge;
mod needed;

pub use needed::Needs;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use arrow::array::RecordBatch;
use lake_schemas::commit::{TableLog, Version};
use lake_schemas::job::{LogBatch, Start};
use lake_schemas::witness::Witness;
use lake_schemas::{Cut, LakeError, OffsetRange, RawFile, Result, Table, TopicPartition};
use object_store::ObjectStore;
use object_store::path::Path;
use tokio::sync::{Mutex, MutexGuard};
use tokio_util::sync::CancellationToken;
use tracing::info;

use self::costs::WithoutTheirCost;
pub(crate) use self::merge::offsets;
use self::merge::{Merge, Unread, Wanted};
use crate::backoff::Backoff;

/// The raw table, for all replays of a process.
pub struct RawTable {
    log: TableLog,
    /// Its files, at a version.
    listed: Option<(Version, Arc<[RawFile]>)>,
    bounds: Option<Bounds>,
    meter: Arc<Meter>,
}

/// Counts what replays read, for those who watch.
#[derive(Debug, Default)]
pub struct Meter {
    rows: AtomicU64,
    rows_in_all: AtomicU64,
}

impl Meter {
    /// Rows read, and rows to read.
    pub fn rows(&self) -> (u64, u64) {
        (self.rows.load(Relaxed), self.rows_in_all.load(Relaxed))
    }
}

/// Where replays end.
struct Bounds {
    until: Cut,
    /// What they are for; `None`: all that they come by is needed.
    needs: Option<Needs>,
}

impl RawTable {
    /// Over the log of `clicks`.
    pub fn new(log: TableLog) -> Self {
        assert_eq!(log.table(), Table::Clicks, "replays read the events");
        Self { log, listed: None, bounds: None, meter: Arc::default() }
    }

    /// The same, as far as a cut that it has reached, however far it goes on.
    pub fn until(log: TableLog, until: Cut) -> Self {
        let mut raw = Self::new(log);
        raw.end_at(until);
        raw
    }

    /// The same, of which no more is read than something needs.
    pub fn needed(log: TableLog, needs: Needs) -> Self {
        let mut raw = Self::new(log);
        raw.need(needs);
        raw
    }

    /// Looks how far it has come by now.
    pub async fn refresh(&mut self) -> Result<()> {
        self.log.refresh().await
    }

    /// How far it is read in a partition: as far as it has come, unless that is bounded.
    pub fn cut(&self, partition: &TopicPartition) -> Option<i64> {
        match &self.bounds {
            Some(bounds) => bounds.until.get(partition).copied(),
            None => self.log.stand(partition).cut,
        }
    }

    /// What Kafka must still say of partitions that are read on there from these offsets.
    pub async fn witnesses(&self, froms: &[(TopicPartition, i64)]) -> Result<HashMap<TopicPartition, Witness>> {
        // Behind a bound nothing is read on.
        let froms = if self.bounds.is_some() { &[] } else { froms };
        Witness::find(std::slice::from_ref(&self.log), froms).await
    }

    /// For several to read.
    pub fn shared(self) -> Arc<Mutex<Self>> {
        Arc::new(Mutex::new(self))
    }

    /// From now on it ends there.
    pub(crate) fn end_at(&mut self, until: Cut) {
        self.bounds = Some(Bounds { until, needs: None });
    }

    /// From now on it is read as far as something needs.
    pub(crate) fn need(&mut self, needs: Needs) {
        self.bounds = Some(Bounds { until: needs.history.until.clone(), needs: Some(needs) });
    }

    /// Counts what is read into a meter.
    pub fn counted_by(mut self, meter: &Arc<Meter>) -> Self {
        self.meter = Arc::clone(meter);
        self
    }

    /// Counts what is read into a meter, and tells it how much that will be in all.
    pub async fn metered(mut self, meter: &Arc<Meter>) -> Result<Self> {
        let partitions: Vec<_> = self.bounds.iter().flat_map(|bounds| bounds.until.keys().cloned()).collect();
        for partition in &partitions {
            let rows = self.files_of(partition).await?.iter().map(|file| file.rows).sum();
            meter.rows_in_all.fetch_add(rows, Relaxed);
        }
        Ok(self.counted_by(meter))
    }

    /// The files that are read of a partition, from its beginning to where it ends.
    pub async fn files_of(&mut self, partition: &TopicPartition) -> Result<Vec<RawFile>> {
        let next = self.cut(partition).unwrap_or(0);
        self.files(partition, OffsetRange { first: i64::MIN, next }).await
    }

    /// All files of a partition, whatever is needed of them.
    pub(crate) async fn all_files_of(&mut self, partition: &TopicPartition) -> Result<Vec<RawFile>> {
        self.all_files(partition, OffsetRange { first: i64::MIN, next: i64::MAX }).await
    }

    /// The files that hold a stretch of a partition, as far as they are needed.
    async fn files(&mut self, partition: &TopicPartition, stretch: OffsetRange) -> Result<Vec<RawFile>> {
        let files = self.all_files(partition, stretch).await?;
        Ok(match self.bounds.as_ref().and_then(|bounds| bounds.needs.as_ref()) {
            Some(needs) => needs.select(partition, files),
            None => files,
        })
    }

    async fn all_files(&mut self, partition: &TopicPartition, stretch: OffsetRange) -> Result<Vec<RawFile>> {
        let version = self.log.version();
        let files = match self.listed.take() {
            Some((listed, files)) if listed == version => files,
            _ => self.log.raw_files().await?.into(),
        };
        let (_, files) = self.listed.insert((version, files));
        let holds = |file: &&RawFile| {
            file.may_be_of(partition) && file.offsets.first < stretch.next && stretch.first < file.offsets.next
        };
        Ok(files.iter().filter(holds).cloned().collect())
    }

    fn store(&self) -> Arc<dyn ObjectStore> {
        self.log.object_store()
    }
}

/// One partition's replay.
pub(crate) struct Replay {
    raw: Arc<Mutex<RawTable>>,
    partition: TopicPartition,
    columns: Arc<[String]>,
    /// Where it goes on; `None` is the first row that there is.
    next: Option<i64>,
    without_their_cost: WithoutTheirCost,
}

impl Replay {
    /// From an offset on; `columns` are those of `clicks` that are wanted.
    pub fn new(
        raw: &Arc<Mutex<RawTable>>,
        partition: TopicPartition,
        columns: &Arc<[String]>,
        from: Option<i64>,
    ) -> Self {
        let (raw, columns) = (Arc::clone(raw), Arc::clone(columns));
        Self { raw, partition, columns, next: from, without_their_cost: WithoutTheirCost::default() }
    }

    /// Reads up to the table's cut, wherever that is by then, and tells where to go on. Every stretch is given to
    /// `yields`, which may wait. What a store does not do for now is tried again.
    pub async fn run<F: Future<Output = ()>>(mut self, yields: impl Fn(LogBatch) -> F) -> Result<Start> {
        let (mut backoff, mut gone, never) = (Backoff::default(), None, CancellationToken::new());
        loop {
            let before = self.next;
            let unread = match self.read_on(&yields).await {
                Ok(Some(start)) => return Ok(start),
                Ok(None) => continue,
                Err(unread) => unread,
            };
            if self.next != before {
                backoff = Backoff::default();
            }
            match unread {
                Unread::Gone(path) if gone.as_ref() != Some(&path) => {
                    self.raw.lock().await.listed = None;
                    gone = Some(path);
                }
                Unread::Gone(path) => return Err(lost(&path)),
                Unread::Failed(error) => backoff.again(error, &never).await?,
            }
        }
    }

    /// Reads up to where the table stands now; if it has come there already, where to go on.
    async fn read_on<F: Future<Output = ()>>(
        &mut self,
        yields: &impl Fn(LogBatch) -> F,
    ) -> Result<Option<Start>, Unread> {
        let mut raw = self.raw.lock().await;
        raw.refresh().await?;
        let Some(end) = raw.cut(&self.partition) else {
            unreachable!("a replay is of a partition that the raw table knows")
        };
        if let Some(next) = self.next.filter(|next| *next >= end) {
            let witness = raw.witnesses(&[(self.partition.clone(), next)]).await?.remove(&self.partition);
            return Ok(Some(Start { partition: self.partition.clone(), from: Some(next), witness }));
        }
        let stretch = OffsetRange { first: self.next.unwrap_or(i64::MIN), next: end };
        let mut merge = self.merge(&mut raw, stretch).await?;
        let meter = Arc::clone(&raw.meter);
        drop(raw);
        while let Some(rows) = merge.next().await? {
            meter.rows.fetch_add(rows.num_rows() as u64, Relaxed);
            let rows = within(&rows, stretch);
            self.without_their_cost.see(&rows);
            let Some((first, last)) = ends(&rows) else { continue };
            self.go_on(OffsetRange { first, next: last + 1 }, rows, yields).await;
        }
        self.without_their_cost.say(&self.partition);
        if self.next != Some(end) {
            let columns = Table::Clicks.schema();
            let first = self.next.unwrap_or(end);
            self.go_on(OffsetRange { first, next: end }, RecordBatch::new_empty(columns), yields).await;
        }
        Ok(None)
    }

    async fn merge(&self, raw: &mut MutexGuard<'_, RawTable>, stretch: OffsetRange) -> Result<Merge> {
        let files = raw.files(&self.partition, stretch).await?;
        info!(partition = %self.partition, end = stretch.next, files = files.len(), "replays from the raw table");
        let wanted =
            Wanted { store: raw.store(), partition: self.partition.clone(), columns: Arc::clone(&self.columns) };
        Ok(Merge::new(&wanted, files))
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
}

/// The rows of a stretch.
fn within(rows: &RecordBatch, stretch: OffsetRange) -> RecordBatch {
    let offsets = offsets(rows);
    let first = offsets.partition_point(|&offset| offset < stretch.first);
    let next = offsets.partition_point(|&offset| offset < stretch.next);
    rows.slice(first, next - first)
}

/// The first and the last offset of rows.
fn ends(rows: &RecordBatch) -> Option<(i64, i64)> {
    let offsets = offsets(rows);
    offsets.first().copied().zip(offsets.last().copied())
}

fn lost(path: &Path) -> LakeError {
    LakeError::Refused(format!(
        "clicks: its file {path} is not in the store, but no version has taken it out; the raw table is damaged"
    ))
}
