//! Law: rounds of compaction, and promotions, fail, get wrong replies, or die at any operation on the store; no sum
//! changes, roll-ups are what they say they are made of, and a repeated run finishes.

use std::sync::Arc;

use backfill::{Promote, Promoted, Range, Staging, What, Work};
use chrono::DateTime;
use compactor::{Compactor, Plan};
use ingest::drive::DriveError;
use lake_schemas::minute::{Dimension, Parameters, Requested};
use lake_schemas::{Field, Table};
use lake_store::Lake;
use object_store::ObjectStore;
use object_store::memory::InMemory;
use tokio_util::sync::CancellationToken;

use super::rolled_up::are_rolled_up;
use crate::fault_store::{Fault, FaultStore};
use crate::history::copy;
use crate::minutes::at_every_commit;
use crate::simulation::{Computation, Log, START_MS, compact, contents, lake_on, simulate, versions};

const FAULTS: [Fault; 4] = [Fault::Fail, Fault::LoseReply, Fault::DieBefore, Fault::DieAfter];

/// Memory of the compactor, in bytes.
const MEMORY: usize = 1 << 28;

/// Makes a store with a lake of a log, whose minutes have seen half of it when they are rolled up, and then all of it.
pub async fn half_rolled_up() -> (Arc<InMemory>, Arc<Log>) {
    let mut logs = (0..).map(|seed| Log::of_seed(seed, 2, 180));
    let log = logs.find(|log| log.partitions.iter().all(|all| all.len() > 130)).expect("without end");
    let (store, log) = (Arc::new(InMemory::new()), Arc::new(log));
    let (lake, half) = (memory(&store), Arc::new(log.earlier(|_, all| all / 2)));
    for log in [&half, &log] {
        Computation::Raw.read_all(&lake, log).await.expect("ingest ends");
        Computation::Minutes(parameters()).read_all(&lake, log).await.expect("aggregate ends");
        if Arc::ptr_eq(log, &half) {
            compact(&lake, 1).await.expect("memory");
        }
    }
    (store, log)
}

fn parameters() -> Parameters {
    Parameters { allowed_lateness_ms: 30_000, dedup_horizon_ms: 60_000, ..Parameters::default() }
}

pub fn memory(store: &Arc<InMemory>) -> Lake {
    lake_on(Arc::clone(store) as Arc<dyn ObjectStore>)
}

/// Returns a view of a store in which one operation has a fault.
fn faulty(store: &Arc<InMemory>, number: u64, fault: Fault) -> FaultStore {
    let plan = move |operation| if operation == number { fault } else { Fault::None };
    FaultStore::new(Arc::clone(store) as Arc<dyn ObjectStore>, Box::new(plan))
}

pub async fn round(store: FaultStore) {
    let dead = store.dead();
    let mut compactor = Compactor::new(lake_on(Arc::new(store)), MEMORY);
    let (plan, mut tell) = (Plan::default(), |_| ());
    tokio::select! {
        _ = compactor.round(&plan, &mut tell) => {}
        () = dead.cancelled() => {}
    }
}

#[test]
fn a_round_that_is_interrupted_changes_no_sum() {
    simulate(async {
        let (store, log) = half_rolled_up().await;
        let whole = faulty(&copy(&store).await, u64::MAX, Fault::None);
        round(whole.clone()).await;
        for number in 0..whole.operations() {
            let fault = FAULTS[usize::try_from(number).expect("small") % FAULTS.len()];
            let store = copy(&store).await;
            round(faulty(&store, number, fault)).await;
            let lake = memory(&store);
            let check = async {
                are_rolled_up(&lake).await?;
                compact(&lake, 1).await.map_err(|error| error.to_string())?;
                are_rolled_up(&lake).await?;
                at_every_commit(&lake, &log).await.map(|_| ())
            };
            check.await.unwrap_or_else(|why| panic!("{fault:?} at operation {number}: {why}"));
        }
    });
}

pub fn staging() -> Table {
    Table::Staging("by_country".parse().expect("a name"))
}

/// Computes the same minutes into a staging table.
pub async fn make_staging(lake: &Lake, requested: Requested) {
    let stop = CancellationToken::new();
    let work = Work { lake, range: Range::All, at_a_time: 2, meter: Arc::default(), stop };
    Staging { work, table: staging(), requested }.run().await.expect("memory");
}

pub fn by_country() -> Requested {
    Requested { dimensions: Some(vec![Dimension::of(Field::Country)]), ..Requested::default() }
}

pub async fn promote(lake: &Lake, what: What) -> Result<Option<Promoted>, DriveError> {
    let now = DateTime::from_timestamp_millis(START_MS).expect("a time");
    Promote { lake, what, now, stop: CancellationToken::new() }.run().await
}

#[test]
fn a_promotion_that_is_interrupted_has_happened_or_not() {
    simulate(async {
        let (store, log) = half_rolled_up().await;
        let lake = memory(&store);
        make_staging(&lake, by_country()).await;
        let stagings = versions(&lake, staging()).await;
        let wanted = contents(&stagings).last().expect("it has versions");
        let before = versions(&lake, Table::ClicksMinute).await.len();
        let whole = faulty(&copy(&store).await, u64::MAX, Fault::None);
        promote(&lake_on(Arc::new(whole.clone())), What::Staging(staging())).await.expect("memory");
        for number in 0..whole.operations() {
            let fault = FAULTS[usize::try_from(number).expect("small") % FAULTS.len()];
            let store = copy(&store).await;
            let view = faulty(&store, number, fault);
            let dead = view.dead();
            let faulty = lake_on(Arc::new(view));
            let promoted = tokio::select! {
                promoted = promote(&faulty, What::Staging(staging())) => promoted.ok().flatten(),
                () = dead.cancelled() => None,
            };
            let lake = memory(&store);
            let minutes = versions(&lake, Table::ClicksMinute).await;
            assert!(minutes.len() <= before + 1, "{fault:?} at operation {number}: promoted twice");
            let has_happened = contents(&minutes).last().expect("versions") == wanted;
            assert!(promoted.is_none() || has_happened, "{fault:?} at operation {number}: it says that it happened");
            assert_eq!(has_happened, minutes.len() > before, "{fault:?} at operation {number}: in part");
            if !has_happened {
                promote(&lake, What::Staging(staging())).await.expect("memory");
            }
            at_every_commit(&lake, &log).await.unwrap_or_else(|why| panic!("{fault:?} at operation {number}: {why}"));
            promote(&lake, What::Before).await.expect("memory");
            at_every_commit(&lake, &log).await.unwrap_or_else(|why| panic!("{fault:?} at operation {number}: {why}"));
        }
    });
}
