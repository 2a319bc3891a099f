//! Begins partitions where the tables stand, and again when they turn out to stand elsewhere.

use lake_schemas::job::Job;
use lake_schemas::{Stand, Table, TopicPartition};
use lake_store::commit::{Outcome, TableLog};
use lake_store::fingerprint;
use lake_store::retire::waiting_for;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::error::DriveError;
use super::state::Drive;
use crate::backoff::{Backoff, unless_stopped};
use crate::source::{Source, SourceError, Start};

impl<J: Job, S: Source> Drive<'_, J, S> {
    /// Begins partitions that the group gives to this process, unless it is told to stop.
    pub async fn assigned(&mut self, partitions: Vec<TopicPartition>) -> Result<(), DriveError> {
        let stop = self.stop.clone();
        let begun = async {
            self.settle().await?;
            self.begin_now(partitions).await
        };
        unless_stopped(begun, &stop).await.unwrap_or(Ok(()))
    }

    /// Begins partitions where the tables stand now, unless the process is told to stop. No epoch may be in flight.
    pub async fn begin(&mut self, partitions: Vec<TopicPartition>) -> Result<(), DriveError> {
        let stop = self.stop.clone();
        unless_stopped(self.begin_now(partitions), &stop).await.unwrap_or(Ok(()))
    }

    async fn begin_now(&mut self, partitions: Vec<TopicPartition>) -> Result<(), DriveError> {
        let began = Instant::now();
        let logs = self.logs.as_mut().expect("no epoch is in flight when partitions begin");
        let mut backoff = Backoff::default();
        for log in logs.iter_mut() {
            while let Err(error) = log.refresh().await {
                backoff.again(error, &self.stop).await?;
            }
            log.warn_of_foreign();
            wait_for(log, &partitions, &mut backoff, &self.stop).await?;
        }
        self.behind.get_or_insert_default().extend(partitions.iter().cloned());
        let mut starts = Vec::new();
        for partition in partitions {
            let stands: Vec<_> = logs.iter().map(|log| log.stand(&partition)).collect();
            let (operator, from) = self.job.begin(&partition, &stands);
            info!(job = self.job.name(), %partition, from, "begins");
            let stand = stands.last().copied().unwrap_or_default();
            self.progress.send_modify(|progress| progress.stands(&partition, stand));
            self.owned.begin(partition.clone(), operator, stands);
            starts.push(Start { partition, from, fingerprint: None });
        }
        let stands: Vec<_> = starts.iter().filter_map(|start| Some((start.partition.clone(), start.from?))).collect();
        // The fingerprint of the last row below each start lets the source check that the topic still holds the same
        // log.
        let mut fingerprints = loop {
            match fingerprint::find(logs, &stands).await {
                Ok(fingerprints) => break fingerprints,
                Err(error) => backoff.again(error, &self.stop).await?,
            }
        };
        for start in &mut starts {
            start.fingerprint = fingerprints.remove(&start.partition);
        }
        start(self.source, starts, &mut backoff, &self.stop).await?;
        // While partitions begin, nothing can be found moved: that time must not break a run of fencings.
        self.fencings.leave_out(began.elapsed());
        Ok(())
    }

    /// Drops what partitions hold, and marks them to begin again.
    pub fn lose(&mut self, partitions: Vec<TopicPartition>) {
        for partition in &partitions {
            self.owned.let_go(partition);
            self.cadence.forget(partition);
        }
        self.lost.extend(partitions);
    }

    /// Resets the partitions that stand elsewhere, by the tables as they are known now: another writer has moved them,
    /// or another table has been promoted. Fails if that does not end.
    pub fn compare(&mut self) -> Result<(), DriveError> {
        self.looked = Instant::now();
        let Some(logs) = &self.logs else { return Ok(()) };
        let stand = |table: usize, partition: &TopicPartition| logs[table].stand(partition);
        let moved = self.owned.elsewhere(stand);
        let Some(first) = moved.first() else { return Ok(()) };
        let partitions = moved.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        warn!(job = self.job.name(), partitions, "moved by another writer; going back to where the table stands");
        let end = logs.iter().zip(self.owned.stands(first)).find_map(|(log, ours)| fenced(log, first, *ours));
        if self.fencings.go_on_for_too_long(self.looked)
            && let Some(end) = end
        {
            return Err(end);
        }
        self.lose(moved);
        Ok(())
    }
}

/// Returns the error of a fenced epoch, naming the first value of the partition's stand that the table has otherwise.
fn fenced(log: &TableLog, partition: &TopicPartition, ours: Stand) -> Option<DriveError> {
    let table = log.table();
    let mut both = ours.encode(table, partition).into_iter().zip(log.stand(partition).encode(table, partition));
    let ((app_id, expected), (_, found)) = both.find(|((_, expected), (_, found))| expected != found)?;
    Some(DriveError::Fenced { table: table.to_string(), app_id, expected, found })
}

/// Makes `clicks_minute` wait for partitions that it does not wait for yet, so that whatever they bring is not late,
/// even if it is the first they ever had. A reader who is told that a count is final relies on these partitions too.
async fn wait_for(
    log: &mut TableLog,
    partitions: &[TopicPartition],
    backoff: &mut Backoff,
    stop: &CancellationToken,
) -> Result<(), DriveError> {
    if log.table() != Table::ClicksMinute {
        return Ok(());
    }
    while let Some(commit) = waiting_for(log, partitions) {
        let outcome = loop {
            match log.commit(&commit).await {
                Ok(outcome) => break outcome,
                Err(error) => backoff.again(error, stop).await?,
            }
        };
        match outcome {
            Outcome::Committed(version) => {
                info!(table = %log.table(), version, partitions = commit.moves.len(), "waits for");
            }
            // Another writer has set a value for one of them meanwhile; the next round waits for the others.
            Outcome::Fenced { .. } => {}
            outcome @ (Outcome::InputGone { .. } | Outcome::Overtaken { .. }) => {
                unreachable!("it removes nothing, and goes onto any version: {outcome:?}")
            }
        }
    }
    Ok(())
}

/// Refreshes tables to their newest versions.
pub(super) async fn look(logs: &mut [TableLog]) -> lake_store::Result<()> {
    for log in logs {
        log.refresh().await?;
        log.warn_of_foreign();
    }
    Ok(())
}

/// Begins partitions in the source, and retries as long as the lake cannot tell where history ends.
pub async fn start(
    source: &mut impl Source,
    starts: Vec<Start>,
    backoff: &mut Backoff,
    stop: &CancellationToken,
) -> Result<(), DriveError> {
    loop {
        match source.start(starts.clone()).await {
            Err(SourceError::Lake(error)) => backoff.again(error, stop).await?,
            done => return Ok(done?),
        }
    }
}
