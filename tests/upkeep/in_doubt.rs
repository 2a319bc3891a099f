//! Laws of a commit of which nobody knows for a while whether it happened. Whatever fails next, and whatever is
//! stopped: no file is deleted that the commit names, a promotion can be undone, and its report is right.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use backfill::{Promote, Range, Replace, Replaced, What, Work, Writes};
use chrono::DateTime;
use lake_schemas::Table;
use lake_schemas::minute::Requested;
use lake_store::commit::{Commit, Outcome, TableLog, TableView};
use lake_store::{Lake, pins};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::faults::{by_country, half_rolled_up, make_staging, memory, promote, round, staging};
use crate::fault_store::{Fault, FaultStore};
use crate::history::{copy, damaged, is_right, rows};
use crate::minutes::at_every_commit;
use crate::simulation::{lake_on, simulate, versions};

/// Checks that each file that the newest version of a table names is there.
async fn has_its_files(store: &InMemory, table: Table) -> Result<(), String> {
    let lake = lake_on(copy(store).await);
    let Some(view) = TableView::newest(&lake, table).await.expect("memory") else { return Ok(()) };
    for file in view.live_files().await.expect("memory") {
        let path = Path::from_url_path(format!("lake/{table}/{}", file.path)).expect("a path");
        store.head(&path).await.map_err(|_| format!("version {} of {table} lacks {path}", view.version()))?;
    }
    Ok(())
}

async fn have_their_files(store: &InMemory) {
    for table in Table::ALL {
        has_its_files(store, table).await.unwrap_or_else(|why| panic!("{why}"));
    }
}

/// Returns a view of a store that loses the reply to one operation, and fails another.
fn two_faults(store: &Arc<InMemory>, lost: u64, fails: u64) -> FaultStore {
    let plan = move |operation| match operation {
        _ if operation == lost => Fault::LoseReply,
        _ if operation == fails => Fault::Fail,
        _ => Fault::None,
    };
    FaultStore::new(Arc::clone(store) as Arc<dyn ObjectStore>, Box::new(plan))
}

#[test]
fn what_was_promoted_can_be_undone_whatever_failed() {
    simulate(async {
        let (store, log) = half_rolled_up().await;
        make_staging(&memory(&store), by_country()).await;
        let before = versions(&memory(&store), Table::ClicksMinute).await.len();
        let whole = two_faults(&copy(&store).await, u64::MAX, u64::MAX);
        promote(&lake_on(Arc::new(whole.clone())), What::Staging(staging())).await.expect("memory");
        let mut promotions = 0;
        for lost in 0..whole.operations() {
            for behind in 1..=3 {
                let store = copy(&store).await;
                let faulty = lake_on(Arc::new(two_faults(&store, lost, lost + behind)));
                let said = promote(&faulty, What::Staging(staging())).await.ok().flatten();
                have_their_files(&store).await;
                let lake = memory(&store);
                let after = versions(&lake, Table::ClicksMinute).await.len();
                let has_happened = after > before;
                assert!(
                    after <= before + 1 && (said.is_none() || has_happened),
                    "{lost} and {behind} behind it: {said:?}"
                );
                if has_happened {
                    promotions += 1;
                    let undone = promote(&lake, What::Before).await;
                    undone.unwrap_or_else(|why| panic!("{lost} and {behind} behind it: not undone: {why}"));
                    at_every_commit(&lake, &log).await.unwrap_or_else(|why| panic!("{lost} and {behind}: {why}"));
                }
            }
        }
        assert!(promotions > 10, "only {promotions} happened");
    });
}

#[test]
fn a_backfill_that_is_stopped_in_doubt_deletes_nothing_that_is_live() {
    simulate(async {
        let (store, log) = damaged().await;
        let before = rows(&memory(&store)).await;
        let replace = async |lake: &Lake, stop: &CancellationToken| {
            let work = Work { lake, range: Range::All, at_a_time: 2, meter: Arc::default(), stop: stop.clone() };
            Replace { work, writes: Writes::Changes, wait: Duration::ZERO }.run().await
        };
        let mut replaced_in_doubt = 0;
        // Its commit happens and its reply is lost; one of the next operations fails, and it is stopped at one of them.
        for (fails, stops) in (1..=6).flat_map(|fails| (1..=6).map(move |stops| (fails, stops))) {
            let (store, stop) = (copy(&store).await, CancellationToken::new());
            let (stopped, inner) = (stop.clone(), Arc::clone(&store) as Arc<dyn ObjectStore>);
            let plan = move |entry, since| {
                if (entry, since) == (1, stops) {
                    stopped.cancel();
                }
                match (entry, since) {
                    (1, 0) => Fault::LoseReply,
                    (1, since) if since == fails => Fault::Fail,
                    _ => Fault::None,
                }
            };
            let faulty = lake_on(Arc::new(FaultStore::by_commit(inner, plan)));
            let said = replace(&faulty, &stop).await;
            have_their_files(&store).await;
            let is_right = is_right(&memory(&store), &log).await;
            assert!(is_right.is_ok(), "{fails}, {stops}: {is_right:?}");
            match said {
                Ok(Replaced::Stopped | Replaced::Compared(_)) => {
                    panic!("{fails}, {stops}: it says that it did not")
                }
                Ok(Replaced::Committed(..)) | Err(_) => {}
            }
            replaced_in_doubt += u64::from(rows(&memory(&store)).await != before);
        }
        assert_eq!(replaced_in_doubt, 36, "each of them has happened");
        // Wherever it is when it is stopped.
        let whole = two_faults(&copy(&store).await, u64::MAX, u64::MAX);
        replace(&lake_on(Arc::new(whole.clone())), &CancellationToken::new()).await.expect("memory");
        for lost in 0..whole.operations() {
            let (store, stop) = (copy(&store).await, CancellationToken::new());
            let (stops, inner) = (stop.clone(), Arc::clone(&store) as Arc<dyn ObjectStore>);
            let plan = move |operation: u64| match operation.checked_sub(lost) {
                Some(0) => Fault::LoseReply,
                Some(2) => Fault::Fail,
                Some(3) => {
                    stops.cancel();
                    Fault::None
                }
                _ => Fault::None,
            };
            let faulty = lake_on(Arc::new(FaultStore::new(inner, Box::new(plan))));
            let said = replace(&faulty, &stop).await;
            have_their_files(&store).await;
            let lake = memory(&store);
            let has_happened = rows(&lake).await != before;
            let is_right = is_right(&lake, &log).await;
            assert_eq!(has_happened, is_right.is_ok(), "{lost}: {is_right:?}");
            match said {
                Ok(Replaced::Stopped | Replaced::Compared(_)) => {
                    assert!(!has_happened, "{lost}: it says that it did not")
                }
                Ok(Replaced::Committed(..)) => assert!(has_happened, "{lost}: it says that it did"),
                Err(_) => {}
            }
        }
    });
}

/// Each put takes longer than a head is followed, and is reported as another's, because the client's own first request
/// made it.
#[test]
fn a_round_whose_puts_are_frozen_deletes_nothing_that_is_live() {
    simulate(async {
        let (store, log) = half_rolled_up().await;
        let twice = FaultStore::repeating(Arc::clone(&store) as Arc<dyn ObjectStore>, |_| true);
        let frozen = |_| Fault::Slow(Duration::from_secs(660));
        round(FaultStore::new(Arc::new(twice), Box::new(frozen))).await;
        have_their_files(&store).await;
        let lake = memory(&store);
        super::are_rolled_up(&lake).await.expect("it is rolled up");
        at_every_commit(&lake, &log).await.expect("no sum has changed");
    });
}

/// Time of a write; a read takes a fraction of it.
const WRITE: Duration = Duration::from_millis(64);

#[test]
fn a_promotion_gets_through_beside_jobs_that_commit_all_the_time() {
    simulate(async {
        let (store, _) = half_rolled_up().await;
        make_staging(&memory(&store), by_country()).await;
        let lake = memory(&store);
        let commits = AtomicU64::new(0);
        let jobs = async {
            let mut log = TableLog::open(&lake, Table::ClicksMinute).await.expect("memory");
            loop {
                sleep(WRITE * 3 / 2).await;
                let committed = log.commit(&Commit::new("test")).await;
                match committed {
                    Ok(Outcome::Committed(_)) => commits.fetch_add(1, Ordering::Relaxed),
                    // It has become another table.
                    _ => return std::future::pending().await,
                };
            }
        };
        let slow = FaultStore::new(Arc::clone(&store) as Arc<dyn ObjectStore>, Box::new(|_| Fault::Slow(WRITE)));
        let slow = lake_on(Arc::new(slow));
        let promoted = timeout(Duration::from_secs(300), promote(&slow, What::Staging(staging())));
        let promoted = tokio::select! {
            promoted = promoted => promoted,
            () = jobs => unreachable!("they go on for ever"),
        };
        let promoted = promoted.unwrap_or_else(|_| panic!("overtaken for ever, by {commits:?} commits"));
        promoted.expect("nothing fails").expect("it was not stopped");
        promote(&lake, What::Before).await.expect("the version before is pinned");
    });
}

/// There are two promotions at once, and one of them is told to stop as soon as the other is done, wherever it is by
/// then.
#[test]
fn a_promotion_that_does_not_happen_leaves_no_pin_and_takes_no_others() {
    simulate(async {
        let (store, _) = half_rolled_up().await;
        make_staging(&memory(&store), Requested::default()).await;
        let (mut stopped, now) = (0, DateTime::UNIX_EPOCH);
        for step in 0..40 {
            let (store, stop) = (copy(&store).await, CancellationToken::new());
            let slow = FaultStore::new(Arc::clone(&store) as Arc<dyn ObjectStore>, Box::new(|_| Fault::Slow(WRITE)));
            let (slow, lake) = (lake_on(Arc::new(slow)), memory(&store));
            let what = What::Staging(staging());
            let late = Promote { lake: &slow, what, now, stop: stop.clone() };
            let first = async {
                sleep(WRITE / 4 * step).await;
                let first = Promote { lake: &lake, what, now, stop: CancellationToken::new() };
                first.run().await.expect("memory").expect("it was not stopped");
                stop.cancel();
            };
            let (late, ()) = tokio::join!(late.run(), first);
            let is_promoted = late.unwrap_or_else(|why| panic!("{step}: {why}")).is_some();
            assert_eq!(pins::all(&lake).await.expect("memory").pins.len(), 1 + usize::from(is_promoted), "{step}");
            let undo = Promote { lake: &lake, what: What::Before, now, stop: CancellationToken::new() };
            undo.run().await.unwrap_or_else(|why| panic!("{step}: {why}")).expect("it was not stopped");
            have_their_files(&store).await;
            stopped += u64::from(!is_promoted);
        }
        assert!(stopped > 0, "none was stopped");
    });
}
