//! Disasters: a group of members, with everything that can go wrong with them and their store, until it is over.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::future::BoxFuture;
use lake_schemas::Table;
use lake_store::Lake;
use lake_store::commit::TableLog;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::foreign::Engine;
use super::member::Fate;
use super::{
    Actor, Around, Clock, Computation, DAY, Group, Log, MOMENT, Member, Outage, WorldStore, compact, lake_on, named,
};

/// Simulated time in which things go wrong, and in which they must be right again. Where days pass, both are as many
/// times longer as everything there takes.
const DISASTER: Duration = Duration::from_secs(60);
const RECOVERY_MAX: Duration = Duration::from_secs(600);

/// Time in which things go wrong where clean-up runs: long enough for twice as many days as versions are kept.
const DISASTER_OF_DAYS: Duration = Duration::from_secs(17 * DAY.as_secs());

/// How long a process may be stopped.
const STOPPED_MS: Range<u64> = 1_000..90_000;

/// How long the store may be down.
const DOWN_MS: Range<u64> = 500..15_000;

const MEMBERS: usize = 3;

/// How far events lie behind their messages where windows are computed again.
const DISORDER: Duration = Duration::from_secs(90);

/// State of a world after everything is read.
pub struct Survivors {
    /// Lake of the world.
    pub lake: Lake,
    /// The same lake with everything that was ever in it: clean-up has deleted nothing here.
    pub history: Lake,
    pub store: WorldStore,
    pub log: Arc<Log>,
}

/// Brings groups of members, one for each computation, through a disaster, and out of it.
pub async fn survive(seed: u64, computations: &[Computation]) -> Result<Survivors, String> {
    survive_beside(seed, computations, &[]).await
}

/// Does what [`survive`] does, beside actors that write to the same lake and share the disaster. If one of them cleans
/// up, days pass: everything takes more time, so that as much happens as elsewhere.
pub async fn survive_beside(seed: u64, computations: &[Computation], actors: &[Actor]) -> Result<Survivors, String> {
    survive_in_part(seed, computations, &[], actors).await
}

/// Does what [`survive_beside`] does, with further computations that may be refused in the end, and that nobody waits
/// for.
pub async fn survive_in_part(
    seed: u64,
    computations: &[Computation],
    refusable: &[Computation],
    actors: &[Actor],
) -> Result<Survivors, String> {
    survive_on(WorldStore::new(Clock::start()), seed, computations, refusable, actors).await
}

/// Does what [`survive_in_part`] does, on a store that the caller made.
pub async fn survive_on(
    store: WorldStore,
    seed: u64,
    computations: &[Computation],
    refusable: &[Computation],
    actors: &[Actor],
) -> Result<Survivors, String> {
    // The disaster itself writes, too, and everything that writes takes turns.
    let store = store.of_process(0);
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let lasts = if actors.contains(&Actor::CleanUp) { DISASTER_OF_DAYS } else { DISASTER };
    let tempo = lasts.div_duration_f32(DISASTER).round() as u32;
    let partitions = rng.random_range(1..=4);
    // Where others write too, windows change long after they are closed.
    let log = match actors {
        [] => Log::of_seed(seed, partitions as usize, 150),
        _ => Log::with_disorder(seed, partitions as usize, 400, DISORDER).growing_for(seed, lasts),
    };
    let log = Arc::new(if rng.random_ratio(1, 3) { log.with_skew(seed) } else { log });
    let outage = Outage {
        fail: rng.random_range(0..60),
        lose_reply: rng.random_range(0..60),
        die: rng.random_range(0..20),
        slow: rng.random_range(0..60),
    };
    let world =
        World { seed, store: store.clone(), outage: watch::Sender::new(outage), processes: AtomicUsize::new(0) };
    let (mut members, mut others) = (JoinSet::new(), JoinSet::new());
    let mut jobs: Vec<_> = Vec::new();
    for computation in computations.iter().chain(refusable) {
        let group = Arc::new(Group::default());
        // A partition that is given to nobody is added later.
        for partition in 0..partitions {
            if actors.is_empty() || rng.random_ratio(2, 3) {
                group.give(partition, rng.random_range(0..MEMBERS));
            }
        }
        let members = (0..MEMBERS).map(|number| {
            let (log, group) = (Arc::clone(&log), Arc::clone(&group));
            let member = Arc::new(Member { number, log, group, computation: computation.clone(), tempo });
            world.begin(&mut members, number, false, move |lake, seed| {
                let member = Arc::clone(&member);
                Box::pin(async move { member.incarnation(lake, seed).await })
            })
        });
        let members: Vec<_> = members.collect();
        jobs.push((group, members));
    }
    let history = lake_on(store.archive());
    let (beside, around) = (actors, Around { store: store.clone(), tempo });
    let actors = (MEMBERS..).zip(actors.iter().copied()).map(|(number, actor)| {
        let around = around.clone();
        world.begin(&mut others, number, true, move |lake, seed| {
            let around = around.clone();
            Box::pin(async move { actor.act(&lake, &around, seed).await })
        })
    });
    let actors: Vec<_> = actors.collect();
    let (lake, end) = (world.lake(), Instant::now() + lasts);
    while Instant::now() < end {
        sleep(tempo * Duration::from_millis(rng.random_range(100..6_000))).await;
        let (group, members) = &jobs[rng.random_range(0..jobs.len())];
        match rng.random_range(0..10) {
            0 | 1 => members[rng.random_range(0..MEMBERS)].die(),
            2 => retain(&lake, &log, rng.random_range(0..partitions)).await,
            3 => members[rng.random_range(0..MEMBERS)].stop(&mut rng),
            4 => world.store_is_down(rng.random_range(DOWN_MS)).await,
            _ => group.give(rng.random_range(0..partitions), rng.random_range(0..MEMBERS)),
        }
        if let Some(actor) = actors.choose(&mut rng) {
            match rng.random_range(0..16) {
                0 | 1 => actor.die(),
                2 => actor.stop(&mut rng),
                _ => {}
            }
        }
    }
    for (group, _) in &jobs {
        (0..partitions).for_each(|partition| group.give(partition, rng.random_range(0..MEMBERS)));
    }
    world.outage.send_replace(Outage::NONE);
    others.shutdown().await;
    put_right(&lake, beside).await?;
    for actor in beside {
        actor.end(&around).await;
    }
    let recovered = Instant::now() + tempo * RECOVERY_MAX;
    for (computation, (group, _)) in computations.iter().zip(&jobs) {
        while let Some(behind) = behind(&lake, &log, computation).await {
            if Instant::now() > recovered {
                store.verdict()?;
                let last = group.last_words();
                return Err(format!(
                    "not caught up long after the last fault: {behind}; why a member ended last: {last}"
                ));
            }
            sleep(Duration::from_secs(5)).await;
        }
    }
    store.verdict()?;
    Ok(Survivors { lake, history, store, log })
}

/// Undoes what other engines have done, and sorts the files that they have written.
async fn put_right(lake: &Lake, actors: &[Actor]) -> Result<(), String> {
    let mut are_others = false;
    for actor in actors {
        if let Actor::Foreign(table) = actor {
            // A job may be faster at one version or another.
            let mut engine = Engine::of(lake, *table);
            while engine.put_right().await.is_err() {
                sleep(Duration::from_millis(10)).await;
            }
            are_others = true;
        }
    }
    if are_others { compact(lake, 1).await.map_err(|error| error.to_string()) } else { Ok(()) }
}

/// State that all processes share.
struct World {
    seed: u64,
    store: WorldStore,
    outage: watch::Sender<Outage>,
    /// Number of processes that have been begun.
    processes: AtomicUsize,
}

impl World {
    /// Returns the lake, without faults.
    fn lake(&self) -> Lake {
        lake_on(Arc::new(self.store.clone()))
    }

    /// Takes the store down for a time: nothing can be read or written.
    async fn store_is_down(&self, millis: u64) {
        let usual = self.outage.send_replace(Outage::DOWN);
        sleep(Duration::from_millis(millis)).await;
        self.outage.send_replace(usual);
    }

    /// Begins a process that lives again and again.
    fn begin(
        &self,
        processes: &mut JoinSet<()>,
        number: usize,
        is_long: bool,
        incarnation: impl Fn(Lake, u64) -> BoxFuture<'static, ()> + Send + 'static,
    ) -> Process {
        let turn = self.processes.fetch_add(1, Ordering::Relaxed) + 1;
        let process = Process { kill: Arc::default(), stopped: watch::Sender::new(Instant::now()) };
        let fate = Fate {
            number,
            store: Arc::new(self.store.of_process(turn)),
            seed: self.seed,
            outage: self.outage.subscribe(),
            is_long,
            kill: Arc::clone(&process.kill),
            stopped: process.stopped.subscribe(),
        };
        processes.spawn(fate.live(incarnation));
        process
    }
}

/// Controls by which a process is hurt.
struct Process {
    kill: Arc<Notify>,
    stopped: watch::Sender<Instant>,
}

impl Process {
    fn die(&self) {
        self.kill.notify_one();
    }

    /// Stops the process for a time, without its knowledge, as a virtual machine that is moved.
    fn stop(&self, rng: &mut ChaCha8Rng) {
        self.stopped.send_replace(Instant::now() + Duration::from_millis(rng.random_range(STOPPED_MS)));
    }
}

/// Lets retention delete everything of a partition that the raw table has: whoever needs it finds it there.
async fn retain(lake: &Lake, log: &Log, partition: i32) {
    // Another program may have forbidden to write it.
    let Ok(raw) = TableLog::open(lake, Table::Clicks).await else { return };
    // Delta has read in a thread of its own, which others of this moment may have overtaken or not. In the next moment
    // the disaster acts first: it is no task, and the runtime polls it before all tasks.
    sleep(MOMENT).await;
    if let Some(cut) = raw.stand(&named(partition)).cut {
        log.drop_below(partition, cut);
    }
}

/// Returns a partition that is not read to its end, if there is one.
async fn behind(lake: &Lake, log: &Log, computation: &Computation) -> Option<String> {
    let table = match computation.open(lake).await {
        Ok(table) => table,
        Err(error) => return Some(error.to_string()),
    };
    let mut partitions = (0..log.partitions.len() as i32).map(|number| (named(number), log.end(number)));
    let behind = partitions.find(|(partition, end)| table.stand(partition).cut != *end);
    behind.map(|(partition, end)| {
        format!("{}: {partition} stands at {:?}, not {end:?}", table.table(), table.stand(&partition))
    })
}
