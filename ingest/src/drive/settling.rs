//! Sends epochs on their way, and settles their outcome before their partitions move on.

use std::collections::BTreeSet;
use std::error::Error;
use std::time::Duration;

use lake_schemas::TopicPartition;
use lake_schemas::job::Job;
use lake_store::commit::Checkpoint;
use tokio::time::{Instant, sleep};
use tracing::{info, warn};

use super::cadence::{Reason, Stands};
use super::committer::Landed;
use super::epoch::EpochOutcome;
use super::error::DriveError;
use super::state::{Drive, LOOK};
use crate::backoff::unless_stopped;
use crate::source::Source;

/// Wait after an epoch was fenced: beginning again at once would lose the next race too.
const FENCED_WAIT: Duration = Duration::from_millis(500);

/// Longest wait of a revoked partition for the epoch in flight: the group waits too.
const RELEASE_WAIT: Duration = Duration::from_secs(10);

impl<J: Job, S: Source> Drive<'_, J, S> {
    /// Cuts an epoch out of what is pending, and sends it on its way. While another operation is in flight nothing is
    /// cut: all that is pending stays so.
    pub fn begin_epoch(&mut self, reason: &Reason, stands: Stands) {
        let Some(committer) = self.committer.idle() else { return };
        let steps = self.owned.flush(|partition| reason.of(partition), stands);
        self.cadence.handed_over(stands);
        if steps.is_empty() {
            return;
        }
        self.cadence.was_cut(Instant::now());
        committer.commit(self.job.name(), steps);
    }

    /// Looks at the tables while signals keep coming; no epoch is cut meanwhile.
    pub fn begin_look(&mut self) {
        // Counts the attempt, not the success: a look that fails is not repeated at once.
        self.looked = Instant::now();
        if let Some(committer) = self.committer.idle() {
            committer.look();
        }
    }

    /// Waits for the epoch in flight, if there is one. A look is ended: the caller looks at the tables by itself. From
    /// then on nothing is in flight.
    pub async fn settle(&mut self) -> Result<(), DriveError> {
        self.committer.end_look();
        match self.committer.landed().await {
            Some(landed) => self.settled(landed).await,
            None => Ok(()),
        }
    }

    /// Settles the epoch in flight, and then everything pending as the last one: no stand waits for it.
    pub async fn settle_all(&mut self, reason: &Reason) -> Result<(), DriveError> {
        self.settle().await?;
        self.begin_epoch(reason, Stands::Go);
        self.settle().await
    }

    /// Acts on the outcome of an epoch or a look.
    pub async fn settled(&mut self, landed: Landed) -> Result<(), DriveError> {
        match landed {
            Landed::Epoch(settled, checkpoints) => self.epoch_settled(settled, checkpoints).await,
            Landed::Look(None) => Ok(()),
            Landed::Look(Some(Ok(()))) => self.compare(),
            Landed::Look(Some(Err(error))) if error.is_retryable() => {
                warn!(job = self.job.name(), error = &error as &dyn Error, "looking again");
                Ok(())
            }
            Landed::Look(Some(Err(error))) => Err(error.into()),
        }
    }

    async fn epoch_settled(&mut self, settled: EpochOutcome, checkpoints: Vec<Checkpoint>) -> Result<(), DriveError> {
        for checkpoint in checkpoints {
            self.checkpoints.spawn(async move { checkpoint.write_or_warn().await });
        }
        match settled {
            EpochOutcome::Committed(done) => {
                self.fencings.end();
                self.cadence.wrote_into(done.folders());
                let tables = self.job.tables();
                for (table, partition, to) in done.moves() {
                    let number = tables.iter().position(|one| one == table).expect("a step is of a table of the job");
                    self.owned.moved(number, partition, *to);
                }
                self.progress.send_modify(|progress| done.add_to(progress));
                if self.looked.elapsed() >= LOOK {
                    // The commit has refreshed the tables already, so no look of its own is needed.
                    self.compare()?;
                }
                self.source.committed(&done.cuts()).await;
            }
            EpochOutcome::Fenced { table, app_id, expected, found, partitions } => {
                self.progress.send_modify(|progress| progress.fenced += 1);
                warn!(
                    job = self.job.name(), %table, app_id, expected, found,
                    "fenced; going back to where the table stands"
                );
                if self.fencings.go_on_for_too_long(Instant::now()) {
                    return Err(DriveError::Fenced { table: table.to_string(), app_id, expected, found });
                }
                self.lose(partitions);
                // The writer that moved these may have moved others, of which nothing was pending.
                self.compare()?;
                let _ = unless_stopped(sleep(FENCED_WAIT), &self.stop).await;
            }
            EpochOutcome::Abandoned { partitions, error } => {
                self.progress.send_modify(|progress| progress.abandoned += 1);
                warn!(
                    job = self.job.name(),
                    error = &error as &dyn Error,
                    "epoch abandoned; going back to where the table stands"
                );
                self.lose(partitions);
            }
            EpochOutcome::Failed(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// Releases partitions: their last epoch is finished, or abandoned if that takes too long. A stop takes precedence:
    /// it cuts the last epoch of all partitions, and then all are released.
    pub async fn release(&mut self, partitions: &[TopicPartition]) -> Result<(), DriveError> {
        let stop = self.stop.clone();
        unless_stopped(self.release_now(partitions), &stop).await.unwrap_or(Ok(()))
    }

    async fn release_now(&mut self, partitions: &[TopicPartition]) -> Result<(), DriveError> {
        let reason = Reason::COMPLETE;
        tokio::select! {
            done = self.settle_all(&reason) => done?,
            () = sleep(RELEASE_WAIT) => self.committer.give_up_epoch(),
        }
        // An epoch that is given up comes back at once. The tables tell whether it was committed all the same.
        self.settle().await?;
        self.let_go(partitions).await
    }

    /// Writes all of a partition that has ended, and releases it; unless that does not go through, or the job stops.
    pub async fn finish(&mut self, partition: TopicPartition) -> Result<(), DriveError> {
        let (reason, stop) = (Reason::Closed { idle: BTreeSet::from([partition.clone()]) }, self.stop.clone());
        let Some(done) = unless_stopped(self.settle_all(&reason), &stop).await else { return Ok(()) };
        done?;
        // A partition whose epoch did not go through begins again, and ends a second time.
        if self.lost.contains(&partition) { Ok(()) } else { self.let_go(&[partition]).await }
    }

    async fn let_go(&mut self, partitions: &[TopicPartition]) -> Result<(), DriveError> {
        for partition in partitions {
            self.owned.let_go(partition);
            self.lost.remove(partition);
            self.cadence.forget(partition);
            self.catch_up.leave_out(partition);
            self.progress.send_modify(|progress| progress.release(partition));
            info!(job = self.job.name(), %partition, "released");
        }
        Ok(self.source.release(partitions).await?)
    }
}
