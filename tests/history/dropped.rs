//! Law: a staging table that is dropped is whole, or there for nobody, wherever that fails or dies; run again, it
//! finishes; and no writer beside it brings a part of the table back.

use std::sync::Arc;
use std::time::Duration;

use backfill::{Dropping, Made, Work};
use chrono::DateTime;
use futures::TryStreamExt;
use lake_schemas::Code;
use lake_store::commit::{Commit, TableLog, TableView, WRITERS_LOOK_WITHIN};
use lake_store::path::path_of;
use lake_store::pins::{self, Pin, Pinned};
use lake_store::{Lake, Result};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::faults::{FAULTS, all, copy, damaged, one_fault, staging, staging_table};
use crate::clock_store::ClockStore;
use crate::fault_store::Fault;
use crate::simulation::{lake_on, simulate};

fn dropping(lake: &Lake) -> Dropping<'_> {
    Dropping { lake, table: staging_table(), is_forced: false }
}

async fn dropped(dropping: Dropping<'_>) -> Result<()> {
    dropping.begin().await?;
    dropping.finish().await.map(|_| ())
}

/// Makes a store with a lake that has a complete staging table.
async fn made() -> Arc<InMemory> {
    let store = damaged().await.0;
    let lake = lake_on(Arc::clone(&store) as Arc<dyn ObjectStore>);
    assert!(matches!(staging(all(&lake)).await, Ok(Made::Whole(_))));
    store
}

/// Returns what is left of the staging table in a store.
async fn left(store: &dyn ObjectStore) -> Vec<Path> {
    let folder = Path::from("lake").join(staging_table().name());
    store.list(Some(&folder)).map_ok(|file| file.location).try_collect().await.expect("memory")
}

/// Returns whether readers have the table, which then has all of its files.
async fn is_whole(lake: &Lake) -> bool {
    let newest = TableView::newest(lake, staging_table()).await.expect("it can be told");
    let Some(view) = newest else { return false };
    let store = lake.log_store(staging_table().name()).expect("an address").object_store(None);
    for file in view.live_files().await.expect("memory") {
        store.head(&path_of(&file.path).expect("a path")).await.expect("the file is there");
    }
    true
}

#[test]
fn wherever_it_fails_or_dies_the_table_is_whole_or_there_for_nobody() {
    simulate(async {
        let store = made().await;
        assert!(is_whole(&lake_on(Arc::clone(&store) as Arc<dyn ObjectStore>)).await);
        let drops = async |lake: &Lake| drop(dropped(dropping(lake)).await);
        let (gone, operations) = one_fault(&store, drops, Fault::None, 0).await;
        assert!(operations > 20, "{operations} operations are too few to drop a table");
        assert_eq!(left(gone.as_ref()).await, Vec::new());
        for fault in FAULTS {
            for at in 0..operations {
                let store = one_fault(&store, drops, fault, at).await.0;
                let lake = lake_on(Arc::clone(&store));
                let is_whole = is_whole(&lake).await;
                match dropped(dropping(&lake)).await {
                    Ok(()) => {}
                    Err(error) if error.code() == Some(Code::TableMissing) && !is_whole => {}
                    Err(error) => panic!("{fault:?} at {at}: {error}"),
                }
                assert_eq!(left(store.as_ref()).await, Vec::new(), "{fault:?} at {at}");
            }
        }
        let again = staging(all(&lake_on(gone))).await;
        assert!(matches!(again, Ok(Made::Whole(_))), "the name is free: {again:?}");
    });
}

#[test]
fn a_writer_beside_it_is_refused_and_brings_nothing_back() {
    simulate(async {
        let made = made().await;
        let (second, minute) = (Duration::from_secs(1), Duration::from_secs(60));
        for after in [Duration::ZERO, second, WRITERS_LOOK_WITHIN / 2, WRITERS_LOOK_WITHIN * 2, minute * 20] {
            let store: Arc<dyn ObjectStore> = copy(&made).await;
            let lake = lake_on(Arc::clone(&store));
            let found = TableLog::find(&lake, staging_table()).await.expect("memory");
            let mut writer = found.expect("it is there");
            let dropping = dropping(&lake);
            dropping.begin().await.expect("nobody needs it");
            let error = staging(all(&lake)).await.expect_err("it is not deleted yet");
            assert_eq!(error.code(), Some(Code::StagingDropped), "{error}");
            query::run(&lake, "select * from again").await.expect_err("it is there for nobody");
            let commits = async {
                sleep(after).await;
                writer.commit(&Commit::new("test")).await.expect_err("it is dropped")
            };
            let (deleted, refused) = tokio::join!(dropping.finish(), commits);
            assert!(deleted.expect("nothing fails").files > 0);
            assert!(!refused.is_retryable(), "{after:?}: {refused}");
            assert_eq!(left(store.as_ref()).await, Vec::new(), "{after:?}");
        }
    });
}

#[test]
fn a_table_that_may_still_be_needed_is_refused() {
    simulate(async {
        let store = damaged().await.0;
        let lake = lake_on(Arc::clone(&store) as Arc<dyn ObjectStore>);
        let stop = CancellationToken::new();
        stop.cancel();
        assert!(matches!(staging(Work { stop, ..all(&lake) }).await, Ok(Made::InPart)));
        let error = dropped(dropping(&lake)).await.expect_err("a backfill may be at work");
        assert_eq!(error.code(), Some(Code::StagingNeeded), "{error}");
        assert!(error.to_string().contains("--force"), "{error}");
        // Neither by force nor later is a table dropped that is pinned.
        let century = DateTime::from_timestamp(4_102_444_800, 0).expect("a time");
        let (name, table) = ("keep".parse().expect("a name"), staging_table());
        let pin = Pin { name, table: table.to_string(), version: 0, expires: None };
        for is_pinned in [true, false] {
            if is_pinned {
                assert_eq!(pins::pin(&lake, table, &pin).await.expect("memory"), Pinned::Done);
            } else {
                assert!(pins::unpin(&lake, name).await.expect("memory"));
            }
            let forced: Arc<dyn ObjectStore> = copy(&store).await;
            let later: Arc<dyn ObjectStore> = Arc::new(ClockStore::new(copy(&store).await, century));
            for (store, is_forced) in [(forced, true), (later, false)] {
                let lake = lake_on(Arc::clone(&store));
                let done = dropped(Dropping { is_forced, ..dropping(&lake) }).await;
                let code = done.err().and_then(|error| error.code());
                assert_eq!(code, is_pinned.then_some(Code::StagingNeeded), "forced: {is_forced}");
                assert_eq!(left(store.as_ref()).await.is_empty(), !is_pinned, "forced: {is_forced}");
            }
        }
    });
}
