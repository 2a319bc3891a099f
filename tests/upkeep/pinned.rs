//! Law of pins against clean-up: a pinned version is kept, or the pin is refused, whatever reply is lost and whoever is
//! first.

use std::sync::Arc;
use std::time::Duration;

use lake_schemas::{Code, Table};
use lake_store::commit::{Commit, Outcome, TableLog};
use lake_store::pins::{self, Pin, Pinned};
use lake_store::{Lake, LakeError};
use object_store::ObjectStore;
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use url::Url;

use super::kept::id_of;
use crate::fault_store::{Fault, FaultStore};
use crate::simulation::{lake_on, simulate};

/// Makes a store with a lake whose minutes have 300 versions.
async fn store() -> Arc<dyn ObjectStore> {
    Arc::new(filled().await)
}

async fn filled() -> InMemory {
    let store = Arc::new(InMemory::new());
    fill(&lake_on(Arc::<InMemory>::clone(&store)), 300).await;
    store.fork()
}

async fn fill(lake: &Lake, versions: u64) {
    let mut log = TableLog::open(lake, Table::ClicksMinute).await.expect("the table");
    for version in 1..=versions {
        assert_eq!(log.commit(&Commit::new("test")).await.expect("memory"), Outcome::Committed(version));
        if let Some(checkpoint) = log.take_checkpoint_owed() {
            checkpoint.write().await.expect("memory");
        }
    }
}

fn pin(version: u64) -> Pin {
    let name = "invoice".parse().expect("a name");
    Pin { name, table: Table::ClicksMinute.name().to_owned(), version, expires: None }
}

async fn announce(lake: &Lake, from: u64) {
    pins::announce(lake, Table::ClicksMinute, &id_of(lake).await, from).await.expect("the store works");
}

async fn pinned(lake: &Lake, version: u64) -> Result<Pinned, LakeError> {
    pins::pin(lake, Table::ClicksMinute, &pin(version)).await
}

fn is_refused(pinned: Result<Pinned, LakeError>, first: u64) {
    let error = pinned.expect_err("refused");
    assert_eq!(error.code(), Some(Code::VersionGone), "{error}");
    let said = error.to_string();
    assert!(said.contains(&format!("the first that can be pinned is {first}")), "{said}");
}

#[test]
fn what_is_announced_is_never_taken_back() {
    simulate(async {
        let lake = lake_on(store().await);
        announce(&lake, 300).await;
        announce(&lake, 200).await;
        is_refused(pinned(&lake, 250).await, 300);
        assert_eq!(pins::all(&lake).await.expect("memory").pins, []);
        assert_eq!(pinned(&lake, 300).await.expect("it is kept"), Pinned::Done);
    });
}

#[test]
fn of_several_that_announce_at_once_the_highest_holds() {
    simulate(async {
        for seed in 0..20_u64 {
            let store = store().await;
            let announcers = (0..5).map(|number| {
                let slow = move |operation: u64| Duration::from_millis((operation * 7 + number * 13 + seed * 29) % 97);
                let view = FaultStore::new(Arc::clone(&store), Box::new(move |operation| Fault::Slow(slow(operation))));
                async move { announce(&lake_on(Arc::new(view)), 50 * (number + 1)).await }
            });
            futures::future::join_all(announcers).await;
            is_refused(pinned(&lake_on(store), 249).await, 250);
        }
    });
}

#[tokio::test]
async fn it_is_not_taken_back_in_a_folder_either() {
    for is_durable in [true, false] {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("lake");
        let lake = match is_durable {
            true => Lake::at(path.to_str().expect("UTF-8")).expect("a path"),
            // A store that cannot compare before it puts.
            false => Lake::on(Arc::new(LocalFileSystem::new()), Url::from_directory_path(&path).expect("a path")),
        };
        fill(&lake, 3).await;
        for from in [2, 3, 1] {
            announce(&lake, from).await;
        }
        is_refused(pinned(&lake, 2).await, 3);
    }
}

/// The client of a bucket retries a put whose reply was lost, and meets its own object.
#[test]
fn a_pin_that_is_told_of_itself_is_compared_with_what_is_kept() {
    simulate(async {
        let store = store().await;
        let twice = lake_on(Arc::new(FaultStore::repeating(Arc::clone(&store), |_| true)));
        assert_eq!(pinned(&twice, 150).await.expect("nothing is given up"), Pinned::Done);
        assert!(pins::unpin(&twice, pin(150).name).await.expect("memory"));
        announce(&lake_on(store), 200).await;
        is_refused(pinned(&twice, 150).await, 200);
        assert_eq!(pins::all(&twice).await.expect("memory").pins, []);
    });
}

/// Whatever fails while one process pins, the next one that asks for the same pin is told right.
#[test]
fn a_pin_that_was_put_and_not_compared_is_compared_by_who_asks_again() {
    simulate(async {
        let store = store().await;
        announce(&lake_on(Arc::clone(&store)), 200).await;
        let whole = FaultStore::new(Arc::clone(&store), Box::new(|_| Fault::None));
        is_refused(pinned(&lake_on(Arc::new(whole.clone())), 150).await, 200);
        for fault in [Fault::Fail, Fault::LoseReply, Fault::DieAfter] {
            for at in 0..whole.operations() {
                let plan = move |operation| if operation == at { fault } else { Fault::None };
                let faulty = FaultStore::new(Arc::clone(&store), Box::new(plan));
                let first = pinned(&lake_on(Arc::new(faulty)), 150).await;
                assert!(first.is_err(), "{fault:?} at {at}: {first:?}");
                let lake = lake_on(Arc::clone(&store));
                is_refused(pinned(&lake, 150).await, 200);
                assert_eq!(pins::all(&lake).await.expect("memory").pins, [], "{fault:?} at {at}");
            }
        }
    });
}

/// Clean-up comes while somebody pins and has stopped before any of its requests, for a while or for good: clean-up
/// heeds the pin, or whoever pins is refused.
#[test]
fn a_pin_that_nobody_has_compared_holds_up_no_clean_up_and_is_never_said_to_hold_past_it() {
    simulate(async {
        let (filled, [mut heeded, mut refused]) = (filled().await, [0; 2]);
        let whole = FaultStore::new(Arc::new(filled.fork()), Box::new(|_| Fault::None));
        assert_eq!(pinned(&lake_on(Arc::new(whole.clone())), 150).await.expect("it is free"), Pinned::Done);
        for at in 0..whole.operations() {
            let store: Arc<dyn ObjectStore> = Arc::new(filled.fork());
            let wait = Duration::from_secs(10);
            let plan = move |operation| if operation == at { Fault::Slow(wait) } else { Fault::None };
            let slow = lake_on(Arc::new(FaultStore::new(Arc::clone(&store), Box::new(plan))));
            let lake = lake_on(store);
            let clean_up = async {
                tokio::time::sleep(wait / 2).await;
                announce(&lake, 200).await;
                pins::heeded(&lake, Table::ClicksMinute, 200).await.expect("memory").pins
            };
            let (pinned, pins) = tokio::join!(pinned(&slow, 150), clean_up);
            match pinned {
                Ok(done) => {
                    assert_eq!((done, pins), (Pinned::Done, vec![pin(150)]), "at {at}");
                    heeded += 1;
                }
                Err(_) => {
                    is_refused(pinned, 200);
                    assert_eq!(pins, [], "at {at}: what does not hold yet holds up nothing");
                    refused += 1;
                }
            }
        }
        assert!(heeded > 0 && refused > 1, "{heeded} heeded, {refused} refused");
    });
}

/// A pin that holds goes on to hold when clean-up has come past it, and is not removed when it is asked for again.
#[test]
fn a_pin_that_holds_stays_when_clean_up_has_come_past_it() {
    simulate(async {
        let lake = lake_on(store().await);
        for _ in 0..2 {
            assert_eq!(pinned(&lake, 150).await.expect("it holds"), Pinned::Done);
            announce(&lake, 300).await;
        }
        assert_eq!(pins::all(&lake).await.expect("memory").pins, [pin(150)]);
    });
}

/// A store may say that another writer has been faster, although there is none.
#[test]
fn what_is_said_to_be_pinned_is_pinned() {
    simulate(async {
        let store = store().await;
        let name = pin(150).name;
        let whole = FaultStore::new(Arc::clone(&store), Box::new(|_| Fault::None));
        assert_eq!(pinned(&lake_on(Arc::new(whole.clone())), 150).await.expect("it is free"), Pinned::Done);
        let mut said = 0;
        for at in 0..whole.operations() {
            let lake = lake_on(Arc::clone(&store));
            pins::unpin(&lake, name).await.expect("memory");
            let plan = move |operation| if operation == at { Fault::Conflict } else { Fault::None };
            let faulty = FaultStore::new(Arc::clone(&store), Box::new(plan));
            if let Ok(Pinned::Done) = pinned(&lake_on(Arc::new(faulty)), 150).await {
                assert_eq!(pins::all(&lake).await.expect("memory").pins, [pin(150)], "at {at}");
                said += 1;
            }
        }
        assert!(said > 0, "it was never said");
    });
}
