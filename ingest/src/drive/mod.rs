//! The one loop that drives a job: signals in, epochs out.
//!
//! ```text
//!   source ──Assigned──> look at the tables, begin each partition where it stands
//!          ──Batch─────> the partition's operator
//!          ──Revoked───> finish the epoch in flight, or abandon it, and let go
//!          ──Ended─────> write all that the partition holds, and let go
//!
//!   operators ──freeze, every commit interval──> epoch ──files, then one commit a table──> tables
//! ```
//!
//! One epoch is in flight at a time; meanwhile the next one fills, up to [`EPOCH_ROWS_MAX`]. What a table says of a
//! partition is believed, what this process remembers is not: after every epoch that did not go through, its
//! partitions are taken back to where the table stands, and read again from there.

mod epoch;
mod error;
mod progress;

pub use error::DriveError;
pub use progress::{COMMIT_SECONDS_BOUNDS, Committed, Progress, Reach};

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::time::Duration;

use lake_schemas::commit::TableLog;
use lake_schemas::job::{Freeze, Job, Operator, Pending, Room, Signal, Source, SourceError, Start};
use lake_schemas::witness::Witness;
use lake_schemas::{Cut, TopicPartition};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use self::epoch::{Epoch, Settled};
use crate::backoff::Backoff;

/// Rows taken in before an epoch is cut regardless of time: about 100 MB of Arrow at 400 bytes a click, small enough to
/// lose and read again in seconds.
const EPOCH_ROWS_MAX: usize = 250_000;

/// The same limit in bytes, for rows that are not clicks of the usual size.
const EPOCH_BYTES_MAX: usize = 96 * 1024 * 1024;

/// How long epochs may be fenced without one that is not. One that was taken for dead goes on until it learns of it, at
/// the latest when its own session ends, which takes 45 seconds by default; what goes on longer is another process that
/// writes the same partitions without knowing of this one.
const FENCED_MAX: Duration = Duration::from_secs(60);

/// How long to wait after an epoch was fenced: to begin at once would be to lose the next race too.
const FENCED_WAIT: Duration = Duration::from_millis(500);

/// How long a partition that is being taken away waits for the epoch in flight: the group waits too.
const RELEASE_WAIT: Duration = Duration::from_secs(10);

/// How long a stop waits for the last epochs; the contract gives 20 seconds in all.
const STOP_WAIT: Duration = Duration::from_secs(15);

/// How long nothing must come of a partition that has been read to its end, for its open windows to be written: beyond
/// the disorder that is usual, and still seconds after the minute.
const IDLE_AFTER: Duration = Duration::from_secs(10);

/// How often the tables are looked at while others bring in what is left.
const OTHERS_LOOK: Duration = Duration::from_millis(500);

/// When to commit, and what of memory may be used.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// How long a row waits at most before its epoch begins to be committed.
    pub commit_interval: Duration,
    /// How often all that is held is written, complete or not; `None`: only what is complete, or idle.
    pub early_fire: Option<Duration>,
    /// What the states of all partitions may take together, in bytes.
    pub memory_max: Option<usize>,
}

impl Pace {
    /// Commits that often, writes what is complete, and knows no limit on memory.
    pub fn every(commit_interval: Duration) -> Self {
        Self { commit_interval, early_fire: None, memory_max: None }
    }
}

/// Drives a job until it is stopped, has reached its goal, or cannot go on. `logs` are the job's tables, in its order.
/// The goal is reached when the last of the tables stands there, whoever brought it there.
pub async fn drive<J: Job, S: Source>(
    job: &J,
    source: &mut S,
    logs: Vec<TableLog>,
    pace: Pace,
    goal: Option<Cut>,
    stop: CancellationToken,
    progress: watch::Sender<Progress>,
) -> Result<(), DriveError> {
    assert!(logs.iter().map(TableLog::table).eq(job.tables()), "one log for each of the job's tables, in its order");
    let mut drive = Drive {
        job,
        source,
        logs: Some(logs),
        pace,
        goal,
        progress,
        stop,
        partitions: BTreeMap::new(),
        lost: BTreeSet::new(),
        behind: None,
        due: None,
        quiet: BTreeMap::new(),
        early: pace.early_fire.map(|every| Instant::now() + every),
        in_flight: JoinSet::new(),
        give_up: CancellationToken::new(),
        checkpoints: JoinSet::new(),
        fenced_since: None,
        is_finished: false,
    };
    drive.run().await
}

struct Drive<'a, J: Job, S> {
    job: &'a J,
    source: &'a mut S,
    /// The tables; away while an epoch is in flight.
    logs: Option<Vec<TableLog>>,
    pace: Pace,
    goal: Option<Cut>,
    progress: watch::Sender<Progress>,
    stop: CancellationToken,
    partitions: BTreeMap<TopicPartition, J::Operator>,
    /// Partitions of an epoch that did not go through: they begin again.
    lost: BTreeSet<TopicPartition>,
    /// The assigned partitions that are not caught up yet; `None` before the first assignment.
    behind: Option<BTreeSet<TopicPartition>>,
    /// When what is pending is to be committed.
    due: Option<Instant>,
    /// Partitions that have been read to their end and hold open windows: when these are to be written.
    quiet: BTreeMap<TopicPartition, Instant>,
    /// When all that is held is to be written, complete or not.
    early: Option<Instant>,
    in_flight: JoinSet<(Vec<TableLog>, Settled)>,
    /// Tells the epoch in flight to try no longer.
    give_up: CancellationToken,
    checkpoints: JoinSet<()>,
    /// When epochs began to be fenced; `None` once one is not.
    fenced_since: Option<Instant>,
    /// Nothing more will come.
    is_finished: bool,
}

impl<J: Job, S: Source> Drive<'_, J, S> {
    async fn run(&mut self) -> Result<(), DriveError> {
        loop {
            if self.stop.is_cancelled() {
                return timeout(STOP_WAIT, self.settle_all(&Reason::Everything))
                    .await
                    .map_err(|_| DriveError::StoppedShort)?;
            }
            let idle = self.in_flight.is_empty();
            if idle && self.is_finished {
                while self.checkpoints.join_next().await.is_some() {}
                return Ok(());
            }
            if idle && !self.lost.is_empty() {
                let lost = std::mem::take(&mut self.lost);
                self.begin(lost.into_iter().collect()).await?;
                continue;
            }
            let pending = self.pending();
            if pending.rows == 0 {
                // What was due has been lost, or released: there is nothing to wake up for.
                self.due = None;
            }
            let full = pending.rows >= EPOCH_ROWS_MAX || pending.bytes >= EPOCH_BYTES_MAX;
            let caught_up = self.goal.is_some() && self.is_caught_up();
            if idle && let Some(reason) = self.reason(pending.rows > 0, full, caught_up) {
                self.begin_epoch(&reason);
                continue;
            }
            let at_rest = idle && caught_up;
            if at_rest && self.has_reached_goal() {
                while self.checkpoints.join_next().await.is_some() {}
                return Ok(());
            }
            let wake = self.wake().filter(|_| idle);
            let room = if full { Room::ForControl } else { Room::ForAll };
            tokio::select! {
                biased;
                () = self.stop.cancelled() => {}
                Some(done) = self.in_flight.join_next() => self.settled(unwind(done)).await?,
                Some(_) = self.checkpoints.join_next() => {}
                () = sleep_until(wake.unwrap_or_else(Instant::now)), if wake.is_some() => {}
                () = sleep(OTHERS_LOOK), if at_rest => self.look().await,
                signal = self.source.next(room) => self.take(signal?).await?,
            }
        }
    }

    /// Why an epoch is to be cut now, if it is.
    fn reason(&mut self, is_pending: bool, full: bool, caught_up: bool) -> Option<Reason> {
        let now = Instant::now();
        let is_due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        if caught_up && (is_pending || self.partitions.values().any(Operator::holds_back)) {
            return Some(Reason::Everything);
        }
        if is_due(self.early) {
            self.early = self.pace.early_fire.map(|every| now + every);
            return Some(Reason::Everything);
        }
        let idle: BTreeSet<_> = self.quiet.extract_if(.., |_, at| *at <= now).map(|(partition, _)| partition).collect();
        let is_closing = is_pending && (full || is_due(self.due));
        (is_closing || !idle.is_empty()).then_some(Reason::Closed { idle })
    }

    /// When the next epoch is to be cut, if nothing comes before.
    fn wake(&self) -> Option<Instant> {
        self.due.into_iter().chain(self.early).chain(self.quiet.values().copied()).min()
    }

    /// Settles the epoch in flight, and what is pending as the last one.
    async fn settle_all(&mut self, reason: &Reason) -> Result<(), DriveError> {
        self.settle().await?;
        self.begin_epoch(reason);
        self.settle().await
    }

    async fn take(&mut self, signal: Signal) -> Result<(), DriveError> {
        match signal {
            Signal::Assigned(partitions) => {
                self.progress.send_modify(|progress| progress.rebalances += 1);
                self.settle().await?;
                self.begin(partitions).await?;
            }
            Signal::Revoked(partitions) => {
                self.progress.send_modify(|progress| progress.rebalances += 1);
                self.release(&partitions).await?;
            }
            Signal::Batch(batch) => {
                let Some(operator) = self.partitions.get_mut(&batch.partition) else {
                    unreachable!("the source yields batches of partitions that were started");
                };
                let (partition, offsets, read) = (batch.partition.clone(), batch.offsets, batch.read);
                operator.push(batch);
                debug!(%partition, %offsets, read, "read");
                self.quiet.remove(&partition);
                self.due.get_or_insert_with(|| Instant::now() + self.pace.commit_interval);
                self.keep_within_memory()?;
            }
            Signal::CaughtUp(partition) => {
                self.behind.get_or_insert_default().remove(&partition);
                if self.partitions.get(&partition).is_some_and(Operator::holds_back) {
                    self.quiet.insert(partition, Instant::now() + IDLE_AFTER);
                }
            }
            Signal::Ended(partition) => self.finish(partition).await?,
            Signal::Finished => self.is_finished = true,
            Signal::Ends(ends) => self.progress.send_modify(|progress| progress.see_ends(&ends)),
        }
        Ok(())
    }

    fn keep_within_memory(&self) -> Result<(), DriveError> {
        let Some(max) = self.pace.memory_max else { return Ok(()) };
        let used = self.partitions.values().map(Operator::bytes).sum();
        let partitions = self.partitions.len();
        if used > max { Err(DriveError::Memory { partitions, used, max }) } else { Ok(()) }
    }

    /// Looks at what others have committed. If the store does not answer, the next look is not far.
    async fn look(&mut self) {
        for log in self.logs.iter_mut().flatten() {
            if let Err(error) = log.refresh().await {
                warn!(table = %log.table(), error = &error as &dyn Error, "looking again");
            }
        }
    }

    /// Begins partitions where the tables stand now.
    async fn begin(&mut self, partitions: Vec<TopicPartition>) -> Result<(), DriveError> {
        let logs = self.logs.as_mut().expect("no epoch is in flight when partitions begin");
        let mut backoff = Backoff::default();
        for log in logs.iter_mut() {
            while let Err(error) = log.refresh().await {
                backoff.again(error, &self.stop).await?;
            }
            log.warn_of_foreign();
        }
        self.behind.get_or_insert_default().extend(partitions.iter().cloned());
        let mut starts = Vec::new();
        for partition in partitions {
            let stands: Vec<_> = logs.iter().map(|log| log.stand(&partition)).collect();
            let (operator, from) = self.job.begin(&partition, &stands);
            info!(job = self.job.name(), %partition, from, "begins");
            self.partitions.insert(partition.clone(), operator);
            let stand = stands.last().copied().unwrap_or_default();
            self.progress.send_modify(|progress| progress.stands(&partition, stand));
            starts.push(Start { partition, from, witness: None });
        }
        let stands: Vec<_> = starts.iter().filter_map(|start| Some((start.partition.clone(), start.from?))).collect();
        let mut witnesses = loop {
            match Witness::find(logs, &stands).await {
                Ok(witnesses) => break witnesses,
                Err(error) => backoff.again(error, &self.stop).await?,
            }
        };
        for start in &mut starts {
            start.witness = witnesses.remove(&start.partition);
        }
        start(self.source, starts, &mut backoff, &self.stop).await
    }

    /// Lets go of partitions: their last epoch is finished, or abandoned if that takes too long.
    async fn release(&mut self, partitions: &[TopicPartition]) -> Result<(), DriveError> {
        let reason = Reason::COMPLETE;
        tokio::select! {
            done = self.settle_all(&reason) => done?,
            () = sleep(RELEASE_WAIT) => self.give_up.cancel(),
        }
        // Given up or not, the attempt that is under way ends by itself: its reply tells what the table says.
        self.settle().await?;
        self.let_go(partitions).await
    }

    /// Writes all of a partition that has ended, and lets go of it; unless that does not go through, or the job stops.
    async fn finish(&mut self, partition: TopicPartition) -> Result<(), DriveError> {
        let (reason, stop) = (Reason::Closed { idle: [partition.clone()].into() }, self.stop.clone());
        tokio::select! {
            done = self.settle_all(&reason) => done?,
            () = stop.cancelled() => return Ok(()),
        }
        if self.lost.contains(&partition) { Ok(()) } else { self.let_go(&[partition]).await }
    }

    async fn let_go(&mut self, partitions: &[TopicPartition]) -> Result<(), DriveError> {
        for partition in partitions {
            self.partitions.remove(partition);
            self.lost.remove(partition);
            self.quiet.remove(partition);
            self.behind.get_or_insert_default().remove(partition);
            self.progress.send_modify(|progress| progress.release(partition));
            info!(job = self.job.name(), %partition, "released");
        }
        Ok(self.source.release(partitions).await?)
    }

    /// Cuts an epoch out of what is pending, and sends it on its way.
    fn begin_epoch(&mut self, reason: &Reason) {
        self.due = None;
        let freeze = |(partition, operator): (&TopicPartition, &mut J::Operator)| operator.freeze(reason.of(partition));
        let steps: Vec<_> = self.partitions.iter_mut().flat_map(freeze).collect();
        if steps.is_empty() {
            return;
        }
        let logs = self.logs.take().expect("one epoch is in flight at a time");
        self.give_up = CancellationToken::new();
        let epoch = Epoch { job: self.job.name(), steps, give_up: self.give_up.clone() };
        self.in_flight.spawn(epoch.settle(logs));
    }

    /// Waits for the epoch in flight, if there is one.
    async fn settle(&mut self) -> Result<(), DriveError> {
        while let Some(done) = self.in_flight.join_next().await {
            self.settled(unwind(done)).await?;
        }
        Ok(())
    }

    async fn settled(&mut self, (mut logs, settled): (Vec<TableLog>, Settled)) -> Result<(), DriveError> {
        logs.iter_mut().for_each(TableLog::warn_of_foreign);
        for checkpoint in logs.iter_mut().filter_map(TableLog::take_checkpoint_owed) {
            self.checkpoints.spawn(async move { checkpoint.write_or_warn().await });
        }
        self.logs = Some(logs);
        match settled {
            Settled::Committed(done) => {
                self.fenced_since = None;
                self.progress.send_modify(|progress| done.add_to(progress));
                self.source.committed(&done.cuts()).await;
            }
            Settled::Fenced { table, app_id, expected, found, partitions } => {
                self.progress.send_modify(|progress| progress.fenced += 1);
                warn!(job = self.job.name(), %table, app_id, expected, found, "fenced; going back to where the table stands");
                if self.fenced_since.get_or_insert_with(Instant::now).elapsed() > FENCED_MAX {
                    return Err(DriveError::Fenced { table: table.to_string(), app_id, expected, found });
                }
                self.lose(partitions);
                sleep(FENCED_WAIT).await;
            }
            Settled::Abandoned { partitions, error } => {
                self.progress.send_modify(|progress| progress.abandoned += 1);
                warn!(
                    job = self.job.name(),
                    error = &error as &dyn Error,
                    "epoch abandoned; going back to where the table stands"
                );
                self.lose(partitions);
            }
            Settled::Failed(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// Drops what partitions hold: this epoch and all that was taken in since.
    fn lose(&mut self, partitions: Vec<TopicPartition>) {
        for partition in &partitions {
            self.partitions.remove(partition);
            self.quiet.remove(partition);
        }
        self.lost.extend(partitions);
    }

    fn pending(&self) -> Pending {
        self.partitions
            .values()
            .map(Operator::pending)
            .fold(Pending::default(), |sum, one| Pending { rows: sum.rows + one.rows, bytes: sum.bytes + one.bytes })
    }

    /// Whether what is assigned has been read to the end that it had then.
    fn is_caught_up(&self) -> bool {
        self.behind.as_ref().is_some_and(BTreeSet::is_empty)
    }

    /// Whether the tables, as last looked at, stand at the goal.
    fn has_reached_goal(&self) -> bool {
        let Some(log) = self.logs.as_ref().and_then(|logs| logs.last()) else { return false };
        let reached = |(partition, next): (&TopicPartition, &i64)| log.stand(partition).cut >= Some(*next);
        self.goal.iter().flatten().all(reached)
    }
}

/// What an epoch is cut for.
enum Reason {
    /// Time has passed, or there is enough: what is complete is written, and all of those partitions that are idle.
    Closed { idle: BTreeSet<TopicPartition> },
    /// A stop, a goal, or early firing: all is written.
    Everything,
}

impl Reason {
    /// What is complete is written, and nothing else.
    const COMPLETE: Self = Self::Closed { idle: BTreeSet::new() };

    fn of(&self, partition: &TopicPartition) -> Freeze {
        match self {
            Self::Closed { idle } if !idle.contains(partition) => Freeze::Closed,
            Self::Closed { .. } | Self::Everything => Freeze::Everything,
        }
    }
}

/// Begins partitions, however often the lake has to be asked where history ends.
pub(crate) async fn start(
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

/// The result of a task that nobody aborts; its panic is ours.
pub(crate) fn unwind<T>(done: Result<T, tokio::task::JoinError>) -> T {
    match done {
        Ok(done) => done,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}
