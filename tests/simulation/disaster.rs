//! Disasters: a group of members, and all that can go wrong with them and their store, until it is over.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use lake_schemas::commit::TableLog;
use lake_schemas::{Lake, Table, TopicPartition};
use object_store::ObjectStore;
use object_store::memory::InMemory;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::member::Fate;
use super::{Actor, Computation, Group, Log, Member, Outage, TOPIC, lake_on, simulate};

/// Seeds of a run of the tests; `CLICKLAKE_SEEDS=first..last` runs others.
const SEEDS: Range<u64> = 0..300;

/// Simulated time in which things go wrong, and in which they must be right again.
const DISASTER: Duration = Duration::from_secs(60);
const RECOVERY_MAX: Duration = Duration::from_secs(600);

const MEMBERS: usize = 3;

/// How many times as often the store is slow for who computes long: much happens between its look and its commit.
const ACTORS_SLOWNESS: u32 = 8;

/// How far events lie behind their messages where windows are computed again.
const DISORDER: Duration = Duration::from_secs(90);

/// Holds a law in the simulated world of every seed.
pub fn for_all_seeds<F: Future<Output = Result<(), String>>>(law: impl Fn(u64) -> F + Sync) {
    for_seeds(SEEDS, law);
}

/// The same, of these seeds, unless others are asked for.
pub fn for_seeds<F: Future<Output = Result<(), String>>>(seeds: Range<u64>, law: impl Fn(u64) -> F + Sync) {
    let seeds = seeds_asked_for().unwrap_or(seeds);
    let next = AtomicU64::new(seeds.start);
    std::thread::scope(|scope| {
        let worker = || {
            loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= seeds.end {
                    return;
                }
                if let Err(why) = simulate(law(seed)) {
                    panic!("seed {seed}: {why} (again: CLICKLAKE_SEEDS={seed}..{})", seed + 1);
                }
            }
        };
        for worker in [scope.spawn(worker), scope.spawn(worker)] {
            if let Err(panic) = worker.join() {
                std::panic::resume_unwind(panic);
            }
        }
    });
}

fn seeds_asked_for() -> Option<Range<u64>> {
    let text = std::env::var("CLICKLAKE_SEEDS").ok()?;
    let parsed = text.split_once("..").and_then(|(first, last)| Some(first.parse().ok()?..last.parse().ok()?));
    Some(parsed.expect("CLICKLAKE_SEEDS is first..last"))
}

/// Brings groups of members, one for each computation, through a disaster, and out of it: the lake when all is read,
/// and the log.
pub async fn survive(seed: u64, computations: &[Computation]) -> Result<(Lake, Arc<Log>), String> {
    survive_beside(seed, computations, &[]).await
}

/// The same, beside others that write to the same lake, and share the disaster.
pub async fn survive_beside(
    seed: u64,
    computations: &[Computation],
    actors: &[Actor],
) -> Result<(Lake, Arc<Log>), String> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let partitions = rng.random_range(1..=4);
    // Where others write too, windows change long after they are closed.
    let log = match actors {
        [] => Log::of_seed(seed, partitions as usize, 150),
        _ => Log::with_disorder(seed, partitions as usize, 400, DISORDER).growing_for(DISASTER),
    };
    let log = Arc::new(log);
    let outage = Outage {
        fail: rng.random_range(0..60),
        lose_reply: rng.random_range(0..60),
        die: rng.random_range(0..20),
        slow: rng.random_range(0..60),
    };
    let outage = watch::Sender::new(outage);
    let mut processes = JoinSet::new();
    let fate = |number: usize, slowness: u32| {
        let (store, outage, kill) = (Arc::clone(&store), outage.subscribe(), Arc::new(Notify::new()));
        (Arc::clone(&kill), Fate { number, store, seed, outage, slowness, kill })
    };
    let mut jobs: Vec<_> = Vec::new();
    for computation in computations {
        let group = Arc::new(Group::default());
        // A partition that is given to nobody is added later.
        for partition in 0..partitions {
            if actors.is_empty() || rng.random_ratio(2, 3) {
                group.give(partition, rng.random_range(0..MEMBERS));
            }
        }
        let mut kills = Vec::new();
        for number in 0..MEMBERS {
            let (log, group) = (Arc::clone(&log), Arc::clone(&group));
            let member = Arc::new(Member { number, log, group, computation: computation.clone() });
            let (kill, fate) = fate(number, 1);
            processes.spawn(fate.live(move |lake, seed| {
                let member = Arc::clone(&member);
                Box::pin(async move { member.incarnation(lake, seed).await })
            }));
            kills.push(kill);
        }
        jobs.push((group, kills));
    }
    let mut actors_kills = Vec::new();
    for (number, actor) in (MEMBERS..).zip(actors.iter().copied()) {
        let (kill, fate) = fate(number, ACTORS_SLOWNESS);
        let clean = lake_on(Arc::clone(&store));
        processes.spawn(fate.live(move |lake, seed| {
            let clean = clean.clone();
            Box::pin(async move { actor.act(&lake, &clean, seed).await })
        }));
        actors_kills.push(kill);
    }
    let (lake, end) = (lake_on(store), Instant::now() + DISASTER);
    while Instant::now() < end {
        sleep(Duration::from_millis(rng.random_range(100..6_000))).await;
        let (group, kills) = &jobs[rng.random_range(0..jobs.len())];
        match rng.random_range(0..8) {
            0 | 1 => kills[rng.random_range(0..MEMBERS)].notify_one(),
            2 => retain(&lake, &log, rng.random_range(0..partitions)).await,
            _ => group.give(rng.random_range(0..partitions), rng.random_range(0..MEMBERS)),
        }
        if let Some(kill) = actors_kills.choose(&mut rng)
            && rng.random_ratio(1, 8)
        {
            kill.notify_one();
        }
    }
    for (group, _) in &jobs {
        (0..partitions).for_each(|partition| group.give(partition, rng.random_range(0..MEMBERS)));
    }
    outage.send_replace(Outage::NONE);
    let recovered = Instant::now() + RECOVERY_MAX;
    for computation in computations {
        while !is_all_read(&lake, &log, computation).await {
            if Instant::now() > recovered {
                return Err("not caught up ten minutes after the last fault".to_owned());
            }
            sleep(Duration::from_secs(5)).await;
        }
    }
    Ok((lake, log))
}

/// Retention takes all that the raw table has of a partition: who needs it finds it there.
async fn retain(lake: &Lake, log: &Log, partition: i32) {
    let raw = TableLog::open(lake, Table::Clicks).await.expect("the lake can be opened");
    if let Some(cut) = raw.stand(&TopicPartition::new(TOPIC, partition)).cut {
        log.drop_below(partition, cut);
    }
}

async fn is_all_read(lake: &Lake, log: &Log, computation: &Computation) -> bool {
    let table = computation.open(lake).await.expect("the lake can be opened");
    (0..log.partitions.len() as i32)
        .all(|partition| table.stand(&TopicPartition::new(TOPIC, partition)).cut == log.end(partition))
}
