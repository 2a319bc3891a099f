//! One epoch on its way into the tables: the files, then one commit for each table, tried until an outcome is known.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::time::Duration;

use arrow::array::RecordBatch;
use deltalake::kernel::Add;
use futures::future::join_all;
use lake_schemas::commit::{Commit, Outcome, TableLog};
use lake_schemas::job::Step;
use lake_schemas::{LakeError, Result, Stand, Table, TopicPartition, files};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{Committed, Progress};

/// How long an epoch is tried: a quarter of the week that Delta keeps files no commit names before vacuum takes them.
const EPOCH_AGE_MAX: Duration = Duration::from_secs(7 * 24 * 3_600 / 4);

/// Waits between attempts.
const BACKOFF_FIRST: Duration = Duration::from_millis(200);
const BACKOFF_MAX: Duration = Duration::from_secs(10);

/// What is to be committed together.
pub(super) struct Epoch {
    pub job: &'static str,
    pub steps: Vec<Step>,
    pub give_up: CancellationToken,
}

/// What became of an epoch.
pub(super) enum Settled {
    /// All of it is in the tables.
    Committed(Done),
    /// Another writer owns one of its partitions.
    Fenced { table: Table, app_id: String, expected: Option<i64>, found: Option<i64>, partitions: Vec<TopicPartition> },
    /// It was given up; what of it is in the tables, they say themselves.
    Abandoned { partitions: Vec<TopicPartition>, error: LakeError },
    /// It cannot be committed by trying again.
    Failed(LakeError),
}

/// What an epoch has brought into the tables.
#[derive(Default)]
pub(super) struct Done {
    tables: BTreeMap<Table, Committed>,
    read: i64,
}

impl Done {
    fn take(&mut self, log: &TableLog, steps: &[Step], adds: &[Add]) {
        let rows: usize = steps.iter().flat_map(|step| &step.rows).map(RecordBatch::num_rows).sum();
        let bytes: u64 = adds.iter().map(|add| add.size.unsigned_abs()).sum();
        let (table, version) = (log.table(), log.version());
        let committed = Committed { rows: rows as u64, files: adds.len() as u64, bytes, commits: 1, version };
        self.tables.insert(table, committed);
        if table == Table::Clicks {
            let read = |stand: Stand| stand.read.unwrap_or(0);
            self.read += steps.iter().map(|step| read(step.to) - read(step.from)).sum::<i64>();
        }
    }

    pub fn add_to(&self, progress: &mut Progress) {
        progress.read += self.read;
        for (&table, done) in &self.tables {
            let sum = progress.tables.entry(table).or_default();
            sum.rows += done.rows;
            sum.files += done.files;
            sum.bytes += done.bytes;
            sum.commits += done.commits;
            sum.version = done.version;
        }
    }
}

impl Epoch {
    /// Brings the epoch into the tables, in their order.
    pub async fn settle(self, mut logs: Vec<TableLog>) -> (Vec<TableLog>, Settled) {
        let mut done = Done::default();
        for log in &mut logs {
            let steps: Vec<_> = self.steps.iter().filter(|step| step.table == log.table()).cloned().collect();
            if steps.is_empty() {
                continue;
            }
            let settled = match self.settle_table(log, &steps, &mut done).await {
                Ok(Outcome::Committed(_)) => continue,
                Ok(Outcome::Fenced { app_id, expected, found }) => {
                    Settled::Fenced { table: log.table(), app_id, expected, found, partitions: self.partitions() }
                }
                Ok(Outcome::InputGone { path }) => unreachable!("an append removes nothing, and no {path}"),
                Err(error) if error.is_retryable() => Settled::Abandoned { partitions: self.partitions(), error },
                Err(error) => Settled::Failed(error),
            };
            return (logs, settled);
        }
        (logs, Settled::Committed(done))
    }

    /// Tries one table until an outcome is known, or the epoch is given up.
    async fn settle_table(&self, log: &mut TableLog, steps: &[Step], done: &mut Done) -> Result<Outcome> {
        let mut backoff = Backoff::default();
        let adds = loop {
            match write_files(log, steps).await {
                Ok(adds) => break adds,
                Err(error) => backoff.again(error, &self.give_up).await?,
            }
        };
        let commit = Commit::epoch(self.job, steps, adds);
        loop {
            match log.commit(&commit).await {
                Ok(outcome) => {
                    if let Outcome::Committed(version) = outcome {
                        info!(job = self.job, table = %log.table(), version, files = commit.adds.len(), "committed");
                        done.take(log, steps, &commit.adds);
                    }
                    return Ok(outcome);
                }
                Err(error) => backoff.again(error, &self.give_up).await?,
            }
        }
    }

    fn partitions(&self) -> Vec<TopicPartition> {
        let partitions: BTreeSet<_> = self.steps.iter().map(|step| step.partition.clone()).collect();
        partitions.into_iter().collect()
    }
}

/// Writes the files of all steps side by side. All are waited for, so that a failing one leaves no upload behind.
async fn write_files(log: &TableLog, steps: &[Step]) -> Result<Vec<Add>> {
    let files = steps.iter().map(|step| files::write(log.object_store(), step.table, &step.rows));
    let files: Result<Vec<_>> = join_all(files).await.into_iter().collect();
    Ok(files?.into_iter().flatten().collect())
}

/// Waits longer after each failure, and says so.
pub(super) struct Backoff {
    began: Instant,
    wait: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { began: Instant::now(), wait: BACKOFF_FIRST }
    }
}

impl Backoff {
    /// Waits before the next attempt; returns the error if there should be none: it would fail again, too much time has
    /// passed, or `give_up` was told.
    pub async fn again(&mut self, error: LakeError, give_up: &CancellationToken) -> Result<()> {
        if !error.is_retryable() || self.began.elapsed() > EPOCH_AGE_MAX || give_up.is_cancelled() {
            return Err(error);
        }
        warn!(error = &error as &dyn Error, wait_ms = self.wait.as_millis(), "trying again");
        tokio::select! {
            () = sleep(self.wait) => {}
            () = give_up.cancelled() => return Err(error),
        }
        self.wait = (self.wait * 2).min(BACKOFF_MAX);
        Ok(())
    }
}
