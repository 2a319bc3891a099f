//! Sends epochs on their way, and settles their outcome before their partitions move on.

use std::collections::BTreeSet;
use std::error::Error;
use std::time::Duration;

use lake_schemas::TopicPartition;
use lake_schemas::job::Job;
use lake_store::Result;
use lake_store::commit::TableLog;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::beginning::look;
use super::cadence::Reason;
use super::epoch::{Epoch, EpochOutcome};
use super::error::DriveError;
use super::state::{Drive, Flight, LOOK};
use crate::backoff::unless_stopped;
use crate::source::Source;
use crate::task::unwind;

/// Wait after an epoch was fenced: beginning again at once would lose the next race too.
const FENCED_WAIT: Duration = Duration::from_millis(500);

/// Longest wait of a revoked partition for the epoch in flight: the group waits too.
const RELEASE_WAIT: Duration = Duration::from_secs(10);

impl<J: Job, S: Source> Drive<'_, J, S> {
    /// Cuts an epoch out of what is pending, and sends it on its way.
    pub fn begin_epoch(&mut self, reason: &Reason) {
        let steps = self.owned.flush(|partition| reason.of(partition));
        self.cadence.clear();
        if steps.is_empty() {
            return;
        }
        self.cadence.was_cut(Instant::now());
        let logs = self.take_off();
        let epoch = Epoch { job: self.job.name(), steps, give_up: self.give_up.clone() };
        self.in_flight.spawn(async move {
            let (logs, settled) = epoch.settle(logs).await;
            Flight::Epoch(logs, settled)
        });
    }

    /// Looks at the tables while signals keep coming; no epoch is cut meanwhile.
    pub fn begin_look(&mut self) {
        // Counts the attempt, not the success: a look that fails is not repeated at once.
        self.looked = Instant::now();
        let (mut logs, over) = (self.take_off(), self.end_look.clone());
        self.in_flight.spawn(async move {
            let looked = unless_stopped(look(&mut logs), &over).await;
            Flight::Look(logs, looked)
        });
    }

    fn take_off(&mut self) -> Vec<TableLog> {
        (self.give_up, self.end_look) = (CancellationToken::new(), CancellationToken::new());
        self.logs.take().expect("one epoch, or look, is in flight at a time")
    }

    /// Waits for the epoch in flight, if there is one. A look is cancelled: the caller looks at the tables by itself.
    pub async fn settle(&mut self) -> Result<(), DriveError> {
        self.end_look.cancel();
        while let Some(done) = self.in_flight.join_next().await {
            self.settled(unwind(done)).await?;
        }
        Ok(())
    }

    /// Settles the epoch in flight, and then everything pending as the last one.
    pub async fn settle_all(&mut self, reason: &Reason) -> Result<(), DriveError> {
        self.settle().await?;
        self.begin_epoch(reason);
        self.settle().await
    }

    /// Takes back the tables, and acts on the outcome of an epoch or a look.
    pub async fn settled(&mut self, flight: Flight) -> Result<(), DriveError> {
        match flight {
            Flight::Epoch(logs, settled) => self.epoch_settled(logs, settled).await,
            Flight::Look(logs, looked) => {
                self.logs = Some(logs);
                match looked {
                    None => {}
                    Some(Ok(())) => self.compare()?,
                    Some(Err(error)) if error.is_retryable() => {
                        warn!(job = self.job.name(), error = &error as &dyn Error, "looking again");
                    }
                    Some(Err(error)) => return Err(error.into()),
                }
                Ok(())
            }
        }
    }

    async fn epoch_settled(&mut self, mut logs: Vec<TableLog>, settled: EpochOutcome) -> Result<(), DriveError> {
        logs.iter_mut().for_each(TableLog::warn_of_foreign);
        for checkpoint in logs.iter_mut().filter_map(TableLog::take_checkpoint_owed) {
            self.checkpoints.spawn(async move { checkpoint.write_or_warn().await });
        }
        self.logs = Some(logs);
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
            () = sleep(RELEASE_WAIT) => self.give_up.cancel(),
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
            self.behind.get_or_insert_default().remove(partition);
            self.progress.send_modify(|progress| progress.release(partition));
            info!(job = self.job.name(), %partition, "released");
        }
        Ok(self.source.release(partitions).await?)
    }
}
