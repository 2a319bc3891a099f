//! Law: each position of the log is in the raw tables exactly once, in `clicks` or in `clicks_rejected`.

use std::sync::Arc;

use object_store::ObjectStore;
use object_store::memory::InMemory;

use crate::fault_store::{Fault, FaultStore};
use crate::simulation::{Computation, Log, check_raw_is_the_log, for_all_seeds, lake_on, simulate, survive};

#[test]
fn every_position_is_there_once_whatever_happens() {
    for_all_seeds(disaster);
}

async fn disaster(seed: u64) -> Result<(), String> {
    let world = survive(seed, &[Computation::Raw]).await?;
    check_raw_is_the_log(&world.lake, &world.log).await
}

/// Runs one process over the whole log, with a fault at one operation; then another one without, if it is needed.
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

/// Runs one process, from start to caught up.
async fn read_all(log: &Arc<Log>, store: Arc<dyn ObjectStore>) -> Result<(), String> {
    let lake = lake_on(store);
    lake.probe().await.map_err(|error| error.to_string())?;
    Computation::Raw.read_all(&lake, log).await.map(|_| ()).map_err(|error| error.to_string())
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
