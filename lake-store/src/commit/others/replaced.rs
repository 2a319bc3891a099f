//! Laws of a table that is removed while another one is put in its place: nobody goes on from one to the other, whether
//! it happens a moment after the table was opened or much later.

use std::future::ready;
use std::sync::Arc;
use std::time::Duration;

use deltalake::logstore::commit_uri_from_version;
use futures::TryStreamExt;
use lake_schemas::table::Version;
use lake_schemas::{Code, Table};
use object_store::memory::InMemory;
use object_store::{ObjectStore, ObjectStoreExt};

use super::{append, entry_path, epoch, lake, open};
use crate::commit::load::{Listed, Loaded};
use crate::commit::{TableLog, confirmed, load};
use crate::error::LakeError;
use crate::lake::Lake;

/// Time within which a replaced table is noticed if no further version tells.
const SEEN_WITHIN: Duration = Duration::from_secs(11);

/// Makes another lake, whose table has this version, and as many clicks as any other at that version.
async fn another(version: Version) -> Arc<InMemory> {
    let (lake, store) = lake();
    come_to(&lake, version).await;
    store
}

async fn come_to(lake: &Lake, version: Version) {
    let mut log = open(lake).await;
    for next in 1..=version.cast_signed() {
        append(&mut log, 0, next * 10).await;
    }
}

/// Replaces everything in a store by what is in another.
async fn replace(store: &InMemory, by: &InMemory) {
    let gone: Vec<_> = store.list(None).try_collect().await.expect("memory");
    for object in gone {
        store.delete(&object.location).await.expect("memory");
    }
    let new: Vec<_> = by.list(None).try_collect().await.expect("memory");
    for object in new {
        let bytes = by.get(&object.location).await.expect("it is there").bytes().await.expect("memory");
        store.put(&object.location, bytes.into()).await.expect("memory");
    }
}

/// Opens a table at version 5 for reading.
async fn reader(lake: &Lake) -> TableLog {
    come_to(lake, 5).await;
    TableLog::find_to_read(lake, Table::Clicks).await.expect("memory").expect("it is there")
}

#[tokio::test(start_paused = true)]
async fn a_reader_follows_no_entry_of_another_table() {
    for after in [0, 1, 9, 11, 300].map(Duration::from_secs) {
        let (lake, store) = lake();
        let mut log = reader(&lake).await;
        tokio::time::sleep(after).await;
        log.refresh().await.expect("nothing has come");
        replace(&store, &*another(7).await).await;
        for _ in 0..2 {
            let seen = log.refresh().await;
            assert!(matches!(seen, Err(LakeError::Altered(_))), "after {after:?}: {seen:?}");
            assert_eq!(log.version(), 5, "after {after:?}");
        }
        assert!(!log.is_still_there().await.expect("memory"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_reader_soon_notices_a_replacement_that_has_no_more_versions() {
    for version in [2, 5] {
        let (lake, store) = lake();
        let mut log = reader(&lake).await;
        replace(&store, &*another(version).await).await;
        tokio::time::sleep(SEEN_WITHIN).await;
        let seen = log.refresh().await;
        assert!(matches!(seen, Err(LakeError::Altered(_))), "version {version}: {seen:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_reader_follows_the_commits_of_the_table_that_it_opened() {
    let (lake, _) = lake();
    let mut log = reader(&lake).await;
    let mut writer = open(&lake).await;
    for next in 6..=30 {
        append(&mut writer, 0, next * 10).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        log.refresh().await.expect("it is the same table");
        assert_eq!((log.version(), log.stands()), (writer.version(), writer.stands()));
    }
    assert!(log.is_still_there().await.expect("memory"));
}

/// The other table is at the same version and positions: each commit fits.
#[tokio::test(start_paused = true)]
async fn a_writer_soon_notices_that_a_table_was_replaced_just_after_it_was_opened() {
    let (lake, store) = lake();
    come_to(&lake, 5).await;
    let mut log = open(&lake).await;
    replace(&store, &*another(5).await).await;
    for next in 6..=6 + SEEN_WITHIN.as_secs().cast_signed() {
        let commit = epoch(&log, 0, next * 10).await;
        if matches!(log.commit(&commit).await, Err(LakeError::Altered(_))) {
            return;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    panic!("it goes on in another table");
}

#[tokio::test(start_paused = true)]
async fn a_table_that_is_replaced_while_it_is_loaded_is_loaded_again() {
    let (lake, _) = lake();
    come_to(&lake, 5).await;
    let log = open(&lake).await;
    let (store, log_store) = (log.object_store(), log.log_store());
    let load = async || load::load(Table::Clicks, log_store.as_ref(), None).await;
    let seen = async |loaded: Loaded, again: Loaded| {
        confirmed::seen(Table::Clicks, store.as_ref(), loaded, ready(Ok(again))).await
    };
    let fresh = load().await.expect("memory").told_by;
    let longer = Listed { bytes: fresh.bytes + 1, ..fresh.clone() };
    let gone = Listed { path: commit_uri_from_version(Some(6)), ..fresh.clone() };
    for listed in [fresh.clone(), longer.clone(), gone.clone()] {
        let loaded = Loaded { told_by: listed, ..load().await.expect("memory") };
        let (loaded, _) =
            seen(loaded, load().await.expect("memory")).await.expect("the second time, it is what was listed");
        assert_eq!(loaded.told_by, fresh);
    }
    for listed in [longer, gone] {
        let [first, second] = [load().await, load().await].map(|loaded| loaded.expect("memory"));
        let [first, second] = [first, second].map(|loaded| Loaded { told_by: listed.clone(), ..loaded });
        let error = seen(first, second).await.err().expect("it is another one each time");
        assert!(error.is_retryable(), "{error}");
    }
}

/// Entries may be cleaned up to the newest version, if that has a checkpoint.
#[tokio::test(start_paused = true)]
async fn a_reader_opens_a_version_by_its_checkpoint_if_its_entry_is_gone() {
    let (lake, store) = lake();
    come_to(&lake, 5).await;
    open(&lake).await.checkpoint().write().await.expect("memory");
    for version in 0..=5 {
        store.delete(&entry_path(Table::Clicks, version)).await.expect("memory");
    }
    let mut log = TableLog::find_to_read(&lake, Table::Clicks).await.expect("it can be read").expect("it is there");
    assert_eq!((log.version(), log.live_files().await.expect("memory").len()), (5, 5));
    let mut writer = open(&lake).await;
    for next in 6..=8 {
        assert!(log.is_still_there().await.expect("memory"));
        tokio::time::sleep(SEEN_WITHIN).await;
        log.refresh().await.expect("nothing has come");
        append(&mut writer, 0, next * 10).await;
        log.refresh().await.expect("it is the same table");
        assert_eq!((log.version(), log.stands()), (writer.version(), writer.stands()));
    }
    replace(&store, &*another(9).await).await;
    assert!(matches!(log.refresh().await, Err(LakeError::Altered(_))));
}

#[tokio::test(start_paused = true)]
async fn a_reader_follows_the_log_up_to_a_damaged_entry() {
    let (lake, store) = lake();
    let mut log = reader(&lake).await;
    let mut writer = open(&lake).await;
    for next in 6..=9 {
        append(&mut writer, 0, next * 10).await;
    }
    let whole = store.get(&entry_path(Table::Clicks, 8)).await.expect("an entry").bytes().await.expect("memory");
    store.put(&entry_path(Table::Clicks, 8), "{\"add\":".into()).await.expect("memory");
    for _ in 0..2 {
        let seen = log.refresh().await;
        assert_eq!(seen.expect_err("an entry is damaged").code(), Some(Code::FileDamaged));
        assert_eq!(log.version(), 7);
    }
    store.put(&entry_path(Table::Clicks, 8), whole.into()).await.expect("memory");
    log.refresh().await.expect("it is whole again");
    assert_eq!((log.version(), log.stands()), (9, writer.stands()));
}
