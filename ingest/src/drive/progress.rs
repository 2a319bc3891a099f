//! What a job has done so far, for those who watch: a progress line, metrics, tests. Nothing is decided by it.

use std::collections::BTreeMap;
use std::time::Duration;

use lake_schemas::{Stand, Table, TopicPartition};

/// Upper bounds of the classes by which epochs are counted, in seconds: from a local disk to a store that is down.
pub const COMMIT_SECONDS_BOUNDS: [f64; 10] = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0];

/// What a job has done so far.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    /// By table, what was committed to it.
    pub tables: BTreeMap<Table, Committed>,
    /// By reason, rows committed to `clicks_rejected`.
    pub rejected: BTreeMap<String, u64>,
    /// Messages whose cut is committed.
    pub read: i64,
    /// The partitions that are ours now.
    pub partitions: BTreeMap<TopicPartition, Reach>,
    /// Times that partitions came or went.
    pub rebalances: u64,
    /// Epochs that another writer was faster with.
    pub fenced: u64,
    /// Epochs that were given up, to be read again.
    pub abandoned: u64,
    /// Committed epochs by the time they took, files included: how many within each of [`COMMIT_SECONDS_BOUNDS`] but
    /// not the one before, then those beyond the last.
    pub commit_counts: [u64; COMMIT_SECONDS_BOUNDS.len() + 1],
    /// The time that all of them took.
    pub commit_time: Duration,
}

/// How far a partition has come.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reach {
    /// The cut that is committed; `None` before the first.
    pub cut: Option<i64>,
    /// The watermark up to which its windows are committed, in milliseconds; of jobs that have windows.
    pub emitted_ms: Option<i64>,
    /// Where its log ends, as last heard.
    pub end: Option<i64>,
}

impl Reach {
    /// Offsets that are in the log and not committed yet; `None` if the end is not known.
    pub fn lag(self) -> Option<i64> {
        Some((self.end? - self.cut.unwrap_or(0)).max(0))
    }
}

/// What was committed to one table.
#[derive(Clone, Copy, Debug, Default)]
pub struct Committed {
    /// Rows.
    pub rows: u64,
    /// Data files.
    pub files: u64,
    /// Their size in bytes.
    pub bytes: u64,
    /// Commits.
    pub commits: u64,
    /// The newest version written.
    pub version: u64,
}

impl Progress {
    /// Where a partition stands in the last of the job's tables.
    pub(super) fn stands(&mut self, partition: &TopicPartition, stand: Stand) {
        let reach = self.partitions.entry(partition.clone()).or_default();
        reach.cut = stand.cut;
        reach.emitted_ms = stand.emitted_ms;
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
