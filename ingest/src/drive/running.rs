//! The loop itself: waits for whatever comes first, and acts on it.

use std::collections::BTreeSet;
use std::time::Duration;

use lake_schemas::job::{Job, LogBatch};
use lake_schemas::{Cut, TopicPartition};
use lake_store::commit::TableLog;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::cadence::{Cadence, CommitPolicy, Reason, Stands, is_full};
use super::catch_up::CatchUp;
use super::committer::Committer;
use super::error::DriveError;
use super::fencings::Fencings;
use super::owned::Owned;
use super::progress::Progress;
use super::state::{Drive, LOOK};
use crate::backoff::unless_stopped;
use crate::source::{Demand, Signal, Source};

/// Longest wait of a stop for the last epochs; the contract gives 20 seconds in all.
const STOP_WAIT: Duration = Duration::from_secs(15);

/// Interval of looks at the tables while other processes bring in the rest of the goal.
const OTHERS_LOOK: Duration = Duration::from_millis(500);

/// Drives a job until it is stopped, has reached its goal, or cannot go on. `logs` are the job's tables, in its order.
/// The goal is reached when the last of the tables stands there, whichever process brought it there.
pub async fn drive<J: Job, S: Source>(
    job: &J,
    source: &mut S,
    logs: Vec<TableLog>,
    policy: CommitPolicy,
    goal: Option<Cut>,
    stop: CancellationToken,
    progress: watch::Sender<Progress>,
) -> Result<(), DriveError> {
    assert!(logs.iter().map(TableLog::table).eq(job.tables()), "one log for each of the job's tables, in its order");
    let now = Instant::now();
    let mut drive = Drive {
        job,
        source,
        committer: Committer::new(logs),
        policy,
        goal,
        progress,
        stop,
        owned: Owned::new(),
        lost: BTreeSet::new(),
        catch_up: CatchUp::default(),
        cadence: Cadence::new(policy, now),
        looked: now,
        checkpoints: JoinSet::new(),
        fencings: Fencings::new(policy.commit_interval),
        is_finished: false,
    };
    drive.run().await
}

impl<J: Job, S: Source> Drive<'_, J, S> {
    async fn run(&mut self) -> Result<(), DriveError> {
        loop {
            if self.stop.is_cancelled() {
                return timeout(STOP_WAIT, self.settle_all(&Reason::Everything))
                    .await
                    .map_err(|_| DriveError::StoppedShort)?;
            }
            let idle = self.committer.is_idle();
            if idle && self.is_finished {
                return self.write_checkpoints().await;
            }
            // Partitions that were reset begin again only when no epoch is in flight: its outcome decides where they
            // begin.
            if idle && !self.lost.is_empty() {
                let lost = std::mem::take(&mut self.lost);
                self.begin(lost.into_iter().collect()).await?;
                continue;
            }
            let pending = self.owned.pending();
            if pending.rows == 0 {
                // What was due has gone, or was lost or released, so there is nothing to wake up for.
                self.cadence.clear();
            }
            let caught_up = self.goal.is_some() && self.catch_up.is_done();
            // One epoch is in flight at a time; until it is settled the next one fills.
            let reason = if idle { self.reason(caught_up) } else { None };
            if let Some((reason, stands)) = reason {
                self.begin_epoch(&reason, stands);
                continue;
            }
            // Everything is read and nothing is in flight, yet other processes may still bring in their part of the
            // goal.
            let at_rest = idle && caught_up;
            if at_rest && self.has_reached_goal() {
                return self.write_checkpoints().await;
            }
            let look = self.looked + if at_rest { OTHERS_LOOK } else { LOOK };
            if idle && look <= Instant::now() {
                self.begin_look();
                continue;
            }
            let wake = self.cadence.wakes().map_or(look, |at| at.min(look));
            // A full epoch takes no more rows, but rebalances must still be seen, or the group would wait for this
            // member.
            let room = if is_full(pending) { Demand::ForControl } else { Demand::ForAll };
            tokio::select! {
                // In this order: a stop first, then an epoch that is done, so that a flood of signals never keeps
                // either waiting.
                biased;
                () = self.stop.cancelled() => {}
                Some(landed) = self.committer.landed() => self.settled(landed).await?,
                Some(_) = self.checkpoints.join_next() => {}
                () = sleep_until(wake), if idle => {}
                signal = self.source.next(room) => self.take(signal?).await?,
            }
        }
    }

    /// Returns why an epoch is to be cut now, if it is, and whether stands without rows are in it.
    fn reason(&mut self, caught_up: bool) -> Option<(Reason, Stands)> {
        let pending = self.owned.pending();
        if caught_up && (pending.rows > 0 || self.owned.hold_back()) {
            return Some((Reason::Everything, Stands::Go));
        }
        self.cadence.reason(pending, Instant::now())
    }

    async fn take(&mut self, signal: Signal) -> Result<(), DriveError> {
        match signal {
            Signal::Assigned(partitions) => {
                self.progress.send_modify(|progress| progress.rebalances += 1);
                self.assigned(partitions).await?;
            }
            Signal::Revoked(partitions) => {
                self.progress.send_modify(|progress| progress.rebalances += 1);
                self.release(&partitions).await?;
            }
            Signal::Batch(batch) => self.read(batch)?,
            Signal::CaughtUp(partition) => {
                self.catch_up.leave_out(&partition);
                if self.owned.has_what_waits(&partition) {
                    self.cadence.fell_silent(partition, Instant::now());
                }
            }
            Signal::Ended(partition) => self.finish(partition).await?,
            Signal::Finished => self.is_finished = true,
            Signal::Ends(ends) => self.progress.send_modify(|progress| progress.see_ends(&ends)),
        }
        Ok(())
    }

    fn read(&mut self, batch: LogBatch) -> Result<(), DriveError> {
        let (partition, offsets, read) = (batch.partition.clone(), batch.offsets, batch.read);
        if !self.owned.push(batch)? {
            unreachable!("the source yields batches of partitions that were started");
        }
        debug!(%partition, %offsets, read, "read");
        if let Some(remark) = self.owned.take_remark(&partition) {
            warn!(job = self.job.name(), "{remark}");
        }
        self.cadence.read(&partition, self.owned.has_rows(&partition), Instant::now());
        let (used, partitions) = (self.owned.bytes(), self.owned.len());
        match self.policy.memory_max {
            Some(max) if used > max => Err(DriveError::Memory { partitions, used, max }),
            _ => Ok(()),
        }
    }

    /// Returns whether the tables, as last looked at, stand at the goal.
    fn has_reached_goal(&self) -> bool {
        let Some(log) = self.committer.logs().and_then(|logs| logs.last()) else { return false };
        let reached = |(partition, next): (&TopicPartition, &i64)| log.stand(partition).cut >= Some(*next);
        self.goal.iter().flatten().all(reached)
    }

    async fn write_checkpoints(&mut self) -> Result<(), DriveError> {
        let written = async { while self.checkpoints.join_next().await.is_some() {} };
        // A checkpoint that is not written now is written when the next one is due.
        let _ = unless_stopped(written, &self.stop).await;
        Ok(())
    }
}
