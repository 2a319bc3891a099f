//! Law: each position of the log is in the raw tables exactly once, in `clicks` or in `clicks_rejected`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ingest::append::Append;
use ingest::drive::{Progress, drive};
use lake_schemas::commit::TableLog;
use lake_schemas::job::Job;
use lake_schemas::{Lake, Table, TopicPartition};
use object_store::ObjectStore;
use object_store::memory::InMemory;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::fault_store::{Fault, FaultStore};
use crate::simulation::{Group, Log, Member, Outage, ScriptedSource, TOPIC, check_raw_is_the_log, lake_on, simulate};

/// Seeds of a run of the tests; `CLICKLAKE_SEEDS=first..last` runs others.
const SEEDS: std::ops::Range<u64> = 0..300;

/// Simulated time in which things go wrong, and in which they must be right again.
const DISASTER: Duration = Duration::from_secs(60);
const RECOVERY_MAX: Duration = Duration::from_secs(600);

const MEMBERS: usize = 3;

#[test]
fn every_position_is_there_once_whatever_happens() {
    let seeds = seeds();
    let next = AtomicU64::new(seeds.start);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    loop {
                        let seed = next.fetch_add(1, Ordering::Relaxed);
                        if seed >= seeds.end {
                            return;
                        }
                        if let Err(why) = simulate(disaster(seed)) {
                            panic!("seed {seed}: {why} (again: CLICKLAKE_SEEDS={seed}..{})", seed + 1);
                        }
                    }
                })
            })
            .collect();
        for worker in workers {
            if let Err(panic) = worker.join() {
                std::panic::resume_unwind(panic);
            }
        }
    });
}

fn seeds() -> std::ops::Range<u64> {
    let Ok(text) = std::env::var("CLICKLAKE_SEEDS") else { return SEEDS };
    let parsed = text.split_once("..").and_then(|(first, last)| Some(first.parse().ok()?..last.parse().ok()?));
    parsed.expect("CLICKLAKE_SEEDS is first..last")
}

/// A group of members through a disaster, and out of it.
async fn disaster(seed: u64) -> Result<(), String> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let partitions = rng.random_range(1..=4);
    let log = Arc::new(Log::of_seed(seed, partitions as usize, 150));
    let group = Arc::new(Group::default());
    (0..partitions).for_each(|partition| group.give(partition, rng.random_range(0..MEMBERS)));
    let outage = Outage {
        fail: rng.random_range(0..60),
        lose_reply: rng.random_range(0..60),
        die: rng.random_range(0..20),
        slow: rng.random_range(0..60),
    };
    let outage = watch::Sender::new(outage);
    let kills: Vec<_> = (0..MEMBERS).map(|_| Arc::new(Notify::new())).collect();
    let mut members = JoinSet::new();
    for (number, kill) in kills.iter().enumerate() {
        let (store, log, group) = (Arc::clone(&store), Arc::clone(&log), Arc::clone(&group));
        let member = Member { number, store, log, group, seed };
        members.spawn(member.run(outage.subscribe(), Arc::clone(kill)));
    }
    let end = Instant::now() + DISASTER;
    while Instant::now() < end {
        sleep(Duration::from_millis(rng.random_range(100..6_000))).await;
        if rng.random_ratio(1, 4) {
            kills[rng.random_range(0..MEMBERS)].notify_one();
        } else {
            group.give(rng.random_range(0..partitions), rng.random_range(0..MEMBERS));
        }
    }
    outage.send_replace(Outage::NONE);
    let lake = lake_on(store);
    let recovered = Instant::now() + RECOVERY_MAX;
    while !is_all_read(&lake, &log).await {
        if Instant::now() > recovered {
            return Err("not caught up ten minutes after the last fault".to_owned());
        }
        sleep(Duration::from_secs(5)).await;
    }
    check_raw_is_the_log(&lake, &log).await
}

async fn is_all_read(lake: &Lake, log: &Log) -> bool {
    let clicks = TableLog::open(lake, Table::Clicks).await.expect("the lake can be opened");
    (0..log.partitions.len() as i32)
        .all(|partition| clicks.stand(&TopicPartition::new(TOPIC, partition)).cut == log.end(partition))
}

/// Runs one process over the whole log, with a fault at one operation; then another, without, if it is needed.
async fn one_fault(log: &Arc<Log>, fault: Fault, at: u64) -> Result<u64, String> {
    let memory: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let store = FaultStore::new(
        Arc::clone(&memory),
        Box::new(move |operation| if operation == at { fault } else { Fault::None }),
    );
    let dead = store.dead();
    let operations = tokio::select! {
        biased;
        () = dead.cancelled() => 0,
        // A start that fails, or an end that does: the next process takes over.
        _ = read_all(log, Arc::new(store.clone())) => store.operations(),
    };
    dead.cancel();
    read_all(log, Arc::clone(&memory)).await?;
    check_raw_is_the_log(&lake_on(memory), log).await.map_err(|why| format!("{fault:?} at operation {at}: {why}"))?;
    Ok(operations)
}

/// Short, so that a run has several epochs.
const COMMIT_INTERVAL: Duration = Duration::from_millis(300);

/// One process, from start to caught up.
async fn read_all(log: &Arc<Log>, store: Arc<dyn ObjectStore>) -> Result<(), String> {
    let lake = lake_on(store);
    lake.probe().await.map_err(|error| error.to_string())?;
    let logs = TableLog::open_all(&lake, Append::TABLES).await.map_err(|error| error.to_string())?;
    let group = Arc::new(Group::default());
    (0..log.partitions.len() as i32).for_each(|partition| group.give(partition, 0));
    let mut source = ScriptedSource::new(Arc::clone(log), group, 0, 7);
    let progress = watch::Sender::new(Progress::default());
    let done =
        drive(&Append, &mut source, logs, COMMIT_INTERVAL, Some(log.ends()), CancellationToken::new(), progress).await;
    done.map_err(|error| error.to_string())
}

#[test]
fn each_operation_may_fail_lie_or_be_the_last() {
    let log = Arc::new(Log::of_seed(11, 2, 60));
    let operations = simulate(one_fault(&log, Fault::None, 0)).expect("nothing fails");
    assert!(operations > 30, "{operations} operations are too few to be an epoch's");
    for fault in [Fault::Fail, Fault::LoseReply, Fault::DieBefore, Fault::DieAfter] {
        for at in 0..operations {
            if let Err(why) = simulate(one_fault(&log, fault, at)) {
                panic!("{why}");
            }
        }
    }
}
