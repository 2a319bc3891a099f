//! One member of the group: it starts, runs until it dies or gives up, and starts again.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use ingest::append::Append;
use ingest::drive::{CommitPolicy, DriveError, Progress, drive};
use ingest::follow_source::FollowSource;
use ingest::hybrid::HybridSource;
use ingest::replay::{Grower, RawTable, follows_every};
use lake_schemas::job::Job;
use lake_schemas::minute::Parameters;
use lake_schemas::{Cut, Table};
use lake_store::commit::TableLog;
use lake_store::{Lake, LakeError};
use object_store::ObjectStore;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use stream_agg::job::Aggregate;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::lake_on;
use super::log::Log;
use super::source::{Group, NAP, ScriptedSource};
use crate::fault_store::{Fault, FaultStore, Plan};

/// Commit interval of a process without faults: short, so that a run has several epochs.
const COMMIT_INTERVAL: Duration = Duration::from_millis(300);

/// Number of partitions that are replayed at a time.
const REPLAYS: usize = 2;

/// Factor by which the store fails less often for long computations, and is slow more often.
const LONG: u32 = 8;

/// Frequency of the store's faults, each in operations of a thousand.
#[derive(Clone, Copy, Debug)]
pub struct Outage {
    pub fail: u32,
    pub lose_reply: u32,
    pub die: u32,
    pub slow: u32,
}

impl Outage {
    /// A store without faults.
    pub const NONE: Self = Self { fail: 0, lose_reply: 0, die: 0, slow: 0 };

    /// A store that is not there, or has no room, even for long computations.
    pub const DOWN: Self = Self { fail: 1_000 * LONG, ..Self::NONE };

    /// Returns the faults for long computations: these must come to an end, although much happens meanwhile.
    fn of_long(self) -> Self {
        let Self { fail, lose_reply, die, slow } = self;
        Self { fail: fail / LONG, lose_reply: lose_reply / LONG, die: die / LONG, slow: slow * LONG }
    }

    /// Returns the faults of one incarnation: a function of its seed and of the operation alone.
    pub fn plan(self, seed: u64) -> Plan {
        Box::new(move |operation| {
            let mut rng = ChaCha8Rng::seed_from_u64(seed.wrapping_mul(1_000_003).wrapping_add(operation));
            let mut share = rng.random_range(0..1_000);
            let mut falls_in = |size: u32| {
                let inside = share < size;
                share = share.wrapping_sub(size);
                inside
            };
            if falls_in(self.fail) {
                Fault::Fail
            } else if falls_in(self.lose_reply) {
                Fault::LoseReply
            } else if falls_in(self.die) {
                if rng.random() { Fault::DieBefore } else { Fault::DieAfter }
            } else if falls_in(self.slow) {
                Fault::Slow(Duration::from_millis(rng.random_range(1..20_000)))
            } else {
                // Nothing takes no time: what begins at once is over at different times, in an order of its own.
                Fault::Slow(Duration::from_millis(rng.random_range(1..20)))
            }
        })
    }
}

/// A member of a group.
pub struct Member {
    pub number: usize,
    pub log: Arc<Log>,
    pub group: Arc<Group>,
    pub computation: Computation,
    /// Factor by which it takes more time than in worlds where no days pass.
    pub tempo: u32,
}

/// Computations of members.
#[derive(Clone)]
pub enum Computation {
    Raw,
    Minutes(Parameters),
}

impl Computation {
    /// Opens the table that its cut is read from. An existing table keeps its own parameters, because a promotion may
    /// have changed them.
    pub async fn open(&self, lake: &Lake) -> lake_store::Result<TableLog> {
        match self {
            Self::Raw => TableLog::open(lake, Table::Clicks).await,
            Self::Minutes(parameters) => {
                if let Some(log) = TableLog::find(lake, Table::ClicksMinute).await? {
                    return Ok(log);
                }
                let log = TableLog::open_or_make(lake, &parameters.definition(Table::ClicksMinute)).await?;
                log.has_its_stands().await?;
                Ok(log)
            }
        }
    }
}

impl Computation {
    /// Runs one process, from start to caught up, without faults. Returns what it has done.
    pub async fn read_all(&self, lake: &Lake, log: &Arc<Log>) -> Result<Progress, DriveError> {
        let (policy, stop) = (CommitPolicy::every(COMMIT_INTERVAL), CancellationToken::new());
        let progress = watch::Sender::default();
        self.run_watched(lake, Self::all_of(log), policy, Some(log.ends()), stop, progress.clone()).await?;
        Ok(progress.borrow().clone())
    }

    /// Runs one process that counts what the raw table has, from start to caught up with the log, without faults.
    pub async fn follow_all(&self, lake: &Lake, log: &Arc<Log>) -> Result<(), DriveError> {
        let (policy, stop) = (CommitPolicy::every(COMMIT_INTERVAL), CancellationToken::new());
        self.follow(lake, Self::all_of(log), policy, Some(log.ends()), stop).await
    }

    /// Runs a process that counts what the raw table has, and follows it.
    pub async fn follow(
        &self,
        lake: &Lake,
        source: ScriptedSource,
        policy: CommitPolicy,
        goal: Option<Cut>,
        stop: CancellationToken,
    ) -> Result<(), DriveError> {
        let (log, clicks) = (self.open(lake).await?, TableLog::open(lake, Table::Clicks).await?);
        let (job, raw) = (Aggregate::new(log.parameters()?), RawTable::new(clicks).shared());
        let (grower, growth) = Grower::new(&raw, follows_every(policy.commit_interval));
        let mut source = FollowSource::new(raw, source, job.reads(), growth).replaying(REPLAYS).keeping(grower);
        drive(&job, &mut source, vec![log], policy, goal, stop, watch::Sender::default()).await
    }

    /// Runs one process for good. As its command does, it opens its tables again when others have altered them.
    pub async fn go_on(&self, lake: &Lake, log: &Arc<Log>, policy: CommitPolicy) -> DriveError {
        loop {
            let stop = CancellationToken::new();
            match self.run(lake, Self::all_of(log), policy, None, stop).await {
                Err(DriveError::Lake(LakeError::Altered(_))) => {}
                done => return done.expect_err("nobody stops it"),
            }
        }
    }

    /// Runs one process, which is killed after a time.
    pub async fn run_for(&self, lake: &Lake, log: &Arc<Log>, policy: CommitPolicy, time: Duration) {
        let (source, stop) = (Self::all_of(log), CancellationToken::new());
        let running = timeout(time, self.run(lake, source, policy, None, stop));
        assert!(running.await.is_err(), "it ends by itself");
    }

    /// Returns a source of the whole log, for one process.
    fn all_of(log: &Arc<Log>) -> ScriptedSource {
        let group = Arc::new(Group::default());
        (0..log.partitions.len() as i32).for_each(|partition| group.give(partition, 0));
        ScriptedSource::new(Arc::clone(log), group, 0, 7)
    }

    /// Runs the job, as its command does.
    pub async fn run(
        &self,
        lake: &Lake,
        source: ScriptedSource,
        policy: CommitPolicy,
        goal: Option<Cut>,
        stop: CancellationToken,
    ) -> Result<(), DriveError> {
        self.run_watched(lake, source, policy, goal, stop, watch::Sender::default()).await
    }

    /// Runs the job, and reports its progress.
    async fn run_watched(
        &self,
        lake: &Lake,
        mut source: ScriptedSource,
        policy: CommitPolicy,
        goal: Option<Cut>,
        stop: CancellationToken,
        progress: watch::Sender<Progress>,
    ) -> Result<(), DriveError> {
        match self {
            Self::Raw => {
                let logs = TableLog::open_all(lake, &Append.tables()).await?;
                drive(&Append, &mut source, logs, policy, goal, stop, progress).await
            }
            Self::Minutes(_) => {
                let (log, clicks) = (self.open(lake).await?, TableLog::open(lake, Table::Clicks).await?);
                let job = Aggregate::new(log.parameters()?);
                let raw = RawTable::new(clicks).shared();
                let mut source = HybridSource::new(raw, source, job.reads()).replaying(REPLAYS);
                drive(&job, &mut source, vec![log], policy, goal, stop, progress).await
            }
        }
    }
}

/// A process that lives again and again over the same store, until it is dropped.
pub struct Fate {
    pub number: usize,
    pub store: Arc<dyn ObjectStore>,
    pub seed: u64,
    /// Faults of the store from now on.
    pub outage: watch::Receiver<Outage>,
    /// Whether the computation of the member is long.
    pub is_long: bool,
    /// Signal to die.
    pub kill: Arc<Notify>,
    /// Time until which the member is stopped.
    pub stopped: watch::Receiver<Instant>,
}

/// Lives, except while it is stopped: then it does nothing at all, and its time goes on.
async fn stoppable(life: impl Future<Output = ()>, mut stopped: watch::Receiver<Instant>) {
    let mut life = pin!(life);
    loop {
        let until = *stopped.borrow_and_update();
        sleep_until(until).await;
        tokio::select! {
            biased;
            Ok(()) = stopped.changed() => {}
            () = &mut life => return,
        }
    }
}

impl Fate {
    /// Lives incarnation after incarnation, each with a lake and a seed of its own.
    pub async fn live(self, incarnation: impl Fn(Lake, u64) -> BoxFuture<'static, ()>) {
        for number in 0_u64.. {
            let seed = self.seed.wrapping_mul(31).wrapping_add(number * 1_009 + self.number as u64);
            let store = FaultStore::by_nature(Arc::clone(&self.store), self.plan(seed));
            let dead = store.dead();
            tokio::select! {
                biased;
                () = dead.cancelled() => {}
                () = self.kill.notified() => dead.cancel(),
                () = stoppable(incarnation(lake_on(Arc::new(store)), seed), self.stopped.clone()) => {}
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }

    fn plan(&self, seed: u64) -> Plan {
        let (outage, is_long) = (self.outage.clone(), self.is_long);
        Box::new(move |operation| {
            let outage = *outage.borrow();
            if is_long { outage.of_long() } else { outage }.plan(seed)(operation)
        })
    }
}

impl Member {
    /// Lives through one incarnation.
    pub async fn incarnation(&self, lake: Lake, seed: u64) {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let interval = Duration::from_millis(rng.random_range(50..3_000));
        let source = ScriptedSource::new(Arc::clone(&self.log), Arc::clone(&self.group), self.number, rng.random());
        let early_fire = rng.random_ratio(1, 3).then(|| Duration::from_millis(rng.random_range(500..20_000)));
        let (early_fire, interval) = (early_fire.map(|every| self.tempo * every), self.tempo * interval);
        let policy = CommitPolicy { early_fire, ..CommitPolicy::every(interval) };
        // Whatever ends it, the next incarnation begins where the tables stand.
        let (source, stop) = (source.napping(self.tempo * NAP), CancellationToken::new());
        if let Err(error) = self.computation.run(&lake, source, policy, None, stop).await {
            self.group.ended(&error);
        }
    }
}
