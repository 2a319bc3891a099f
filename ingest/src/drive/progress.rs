//! Progress of a job for those who watch: a progress line, metrics, tests. No decision depends on it.

use std::collections::BTreeMap;
use std::time::Duration;

use lake_schemas::{Stand, Table, TopicPartition};

/// Upper bounds of the classes by which epochs are counted, in seconds: from a local disk to a store that is down.
pub const COMMIT_SECONDS_BOUNDS: [f64; 10] = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0];

/// Counters and positions of a job so far.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    /// What was committed to each table.
    pub tables: BTreeMap<Table, Committed>,
    /// Number of rows committed to `clicks_rejected`, by reason.
    pub rejected: BTreeMap<String, u64>,
    /// Number of messages whose cut is committed.
    pub read: i64,
    /// Partitions that this process owns now.
    pub partitions: BTreeMap<TopicPartition, Reach>,
    /// Number of times that partitions came or went.
    pub rebalances: u64,
    /// Number of epochs that another writer was faster with.
    pub fenced: u64,
    /// Number of epochs that were given up, to be read again.
    pub abandoned: u64,
    /// Number of committed epochs by the time they took, files included: for each of [`COMMIT_SECONDS_BOUNDS`] those
    /// within it but not within the one before, then those beyond the last.
    pub commit_counts: [u64; COMMIT_SECONDS_BOUNDS.len() + 1],
    /// Time that all committed epochs took together.
    pub commit_time: Duration,
}

/// Position of a partition in the tables and in its log.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reach {
    /// Committed cut; `None` before the first.
    pub cut: Option<i64>,
    /// Watermark up to which its windows are committed, in milliseconds; only for jobs that have windows.
    pub watermark_ms: Option<i64>,
    /// End of its log, as last reported.
    pub end: Option<i64>,
}

impl Reach {
    /// Counts the offsets in the log that are not committed yet; `None` if the end is not known.
    pub fn lag(self) -> Option<i64> {
        Some((self.end? - self.cut.unwrap_or(0)).max(0))
    }
}

/// What was committed to one table.
#[derive(Clone, Copy, Debug, Default)]
pub struct Committed {
    /// Number of rows.
    pub rows: u64,
    /// Number of data files.
    pub files: u64,
    /// Size of these files in bytes.
    pub bytes: u64,
    /// Number of commits.
    pub commits: u64,
    /// Newest version written.
    pub version: u64,
}

impl Progress {
    /// Records where a partition stands in the last of the job's tables.
    pub(super) fn stands(&mut self, partition: &TopicPartition, stand: Stand) {
        let reach = self.partitions.entry(partition.clone()).or_default();
        reach.cut = stand.cut;
        reach.watermark_ms = stand.watermark_ms;
    }

    pub(super) fn release(&mut self, partition: &TopicPartition) {
        self.partitions.remove(partition);
    }

    pub(super) fn see_ends(&mut self, ends: &[(TopicPartition, i64)]) {
        for (partition, end) in ends {
            if let Some(reach) = self.partitions.get_mut(partition) {
                reach.end = Some(*end);
            }
        }
    }

    pub(super) fn commit_took(&mut self, took: Duration) {
        let seconds = took.as_secs_f64();
        let class = COMMIT_SECONDS_BOUNDS.iter().position(|&bound| seconds <= bound);
        self.commit_counts[class.unwrap_or(COMMIT_SECONDS_BOUNDS.len())] += 1;
        self.commit_time += took;
    }
}
