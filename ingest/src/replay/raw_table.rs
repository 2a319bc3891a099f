//! The raw table as replays read it: how far it has come, and which files hold what.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use lake_schemas::fingerprint::Fingerprint;
use lake_schemas::table::Version;
use lake_schemas::{Cut, OffsetRange, Table, TopicPartition};
use lake_store::commit::TableLog;
use lake_store::{RawFile, Result};
use object_store::ObjectStore;
use tokio::sync::Mutex;

use super::listing::Listing;
use super::needed::Needs;

/// Greatest distance between the next offset and the row below it that a live log must confirm: the log is read again
/// from that row on.
const FINGERPRINT_REACH: i64 = 100_000;

/// Raw table, shared by all replays of a process.
pub struct RawTable {
    log: TableLog,
    /// The raw table of rejected messages, if somebody may ask for their offsets.
    rejected: Option<TableLog>,
    /// Files at the version of the log; `None` until they are asked for.
    listing: Option<Listing>,
    bounds: Option<Bounds>,
    meter: Arc<Meter>,
}

/// Counts the rows that replays read, for those who watch.
#[derive(Debug, Default)]
pub struct Meter {
    rows: AtomicU64,
    rows_in_all: AtomicU64,
}

impl Meter {
    /// Returns the rows read, and the rows to read in all.
    pub fn rows(&self) -> (u64, u64) {
        (self.rows.load(Relaxed), self.rows_in_all.load(Relaxed))
    }

    /// Counts rows that have been read.
    pub(super) fn count(&self, rows: usize) {
        self.rows.fetch_add(rows as u64, Relaxed);
    }
}

/// Bounds at which replays end.
struct Bounds {
    until: Cut,
    /// What the replay is for, which selects its files; `None`: all files are read.
    needs: Option<Needs>,
}

impl RawTable {
    /// Makes a raw table over the log of `clicks`.
    pub fn new(log: TableLog) -> Self {
        assert_eq!(log.table(), Table::Clicks, "replays read the events");
        Self { log, rejected: None, listing: None, bounds: None, meter: Arc::default() }
    }

    /// Makes a raw table that ends at a cut which it has reached, however far it goes on.
    pub fn until(log: TableLog, until: Cut) -> Self {
        let mut raw = Self::new(log);
        raw.end_at(until);
        raw
    }

    /// Makes a raw table of which no more is read than `needs` says.
    pub fn needed(log: TableLog, needs: Needs) -> Self {
        let mut raw = Self::new(log);
        raw.need(needs);
        raw
    }

    /// Returns this table with that of rejected messages beside it.
    pub fn beside(mut self, rejected: TableLog) -> Self {
        assert_eq!(rejected.table(), Table::ClicksRejected, "it is the other raw table");
        self.rejected = Some(rejected);
        self
    }

    /// Refreshes the log, to see how far the table has come by now.
    pub async fn refresh(&mut self) -> Result<()> {
        self.log.refresh().await?;
        self.log.warn_of_foreign();
        Ok(())
    }

    /// Returns the newest version known.
    pub(super) fn version(&self) -> Version {
        self.log.version()
    }

    /// Returns whether the table is read to a bound, however far it goes on.
    pub(super) fn is_bounded(&self) -> bool {
        self.bounds.is_some()
    }

    /// Returns how far a partition is read: to its cut in the table, unless that is bounded.
    pub fn cut(&self, partition: &TopicPartition) -> Option<i64> {
        match &self.bounds {
            Some(bounds) => bounds.until.get(partition).copied(),
            None => self.log.stand(partition).cut,
        }
    }

    /// Returns the fingerprints that Kafka must still confirm for partitions that go on there from these offsets.
    pub async fn fingerprints(&self, froms: &[(TopicPartition, i64)]) -> Result<HashMap<TopicPartition, Fingerprint>> {
        // A bounded replay does not go on in Kafka.
        let froms = if self.bounds.is_some() { &[] } else { froms };
        lake_store::fingerprint::find(std::slice::from_ref(&self.log), froms).await
    }

    /// Wraps the table so that several replays can share it.
    pub fn shared(self) -> Arc<Mutex<Self>> {
        Arc::new(Mutex::new(self))
    }

    /// Ends the table at a cut from now on.
    pub fn end_at(&mut self, until: Cut) {
        self.bounds = Some(Bounds { until, needs: None });
    }

    /// Bounds the table to what something needs from now on.
    pub fn need(&mut self, needs: Needs) {
        self.bounds = Some(Bounds { until: needs.history.until.clone(), needs: Some(needs) });
    }

    /// Counts what is read into a meter.
    pub fn counted_by(mut self, meter: &Arc<Meter>) -> Self {
        self.meter = Arc::clone(meter);
        self
    }

    /// Counts what is read into a meter, and tells the meter how many rows that will be in all.
    pub async fn metered(mut self, meter: &Arc<Meter>) -> Result<Self> {
        let partitions: Vec<_> = self.bounds.iter().flat_map(|bounds| bounds.until.keys().cloned()).collect();
        for partition in &partitions {
            let rows = self.files_of(partition).await?.iter().map(|file| file.rows).sum();
            meter.rows_in_all.fetch_add(rows, Relaxed);
        }
        Ok(self.counted_by(meter))
    }

    /// Returns the meter that counts what is read.
    pub(super) fn meter(&self) -> Arc<Meter> {
        Arc::clone(&self.meter)
    }

    /// Returns the files to read of a partition, from its beginning to where it ends.
    pub async fn files_of(&mut self, partition: &TopicPartition) -> Result<Vec<RawFile>> {
        let next = self.cut(partition).unwrap_or(0);
        self.files(partition, OffsetRange { first: i64::MIN, next }).await
    }

    /// Returns all files of a partition, whatever is needed of them.
    pub async fn all_files_of(&mut self, partition: &TopicPartition) -> Result<Vec<RawFile>> {
        let all = OffsetRange { first: i64::MIN, next: i64::MAX };
        Ok(self.listing().await?.of(partition, all))
    }

    /// Returns the smallest offset of which the table has a row of a partition.
    pub(super) async fn first(&mut self, partition: &TopicPartition) -> Result<Option<i64>> {
        Ok(self.listing().await?.first(partition))
    }

    /// Returns the smallest offset of a rejected message of a partition, if their table is beside this one. It is
    /// listed anew each time.
    pub(super) async fn first_rejected(&mut self, partition: &TopicPartition) -> Result<Option<i64>> {
        let Some(rejected) = &mut self.rejected else { return Ok(None) };
        rejected.refresh().await?;
        Ok(Listing::new(rejected.raw_files().await?).first(partition))
    }

    /// Returns the files that hold a stretch of a partition, as far as they are needed.
    pub(super) async fn files(&mut self, partition: &TopicPartition, stretch: OffsetRange) -> Result<Vec<RawFile>> {
        let files = self.listing().await?.of(partition, stretch);
        Ok(match self.bounds.as_ref().and_then(|bounds| bounds.needs.as_ref()) {
            Some(needs) => needs.select(partition, files),
            None => files,
        })
    }

    /// Returns the file with the last row that a live log must confirm before it goes on from an offset; `None` where
    /// nothing goes on, or where that row is too far away.
    pub(super) async fn confirmed_by(&mut self, partition: &TopicPartition, next: i64) -> Result<Option<RawFile>> {
        if self.bounds.is_some() {
            return Ok(None);
        }
        let last = self.listing().await?.last_below(partition, next);
        Ok(last.filter(|file| next - file.offsets.next <= FINGERPRINT_REACH))
    }

    /// Returns the files that are live now. They are listed once; from then on each version tells what it changes.
    async fn listing(&mut self) -> Result<&Listing> {
        let met = self.log.take_met();
        let followed = self.listing.take().zip(met).and_then(|(mut listing, met)| {
            let is_followed = met.iter().all(|version| listing.follow(version));
            is_followed.then_some(listing)
        });
        let listing = match followed {
            Some(listing) => listing,
            None => Listing::new(self.log.raw_files().await?),
        };
        Ok(self.listing.insert(listing))
    }

    pub(super) fn store(&self) -> Arc<dyn ObjectStore> {
        self.log.object_store()
    }
}
