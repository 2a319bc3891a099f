//! Laws of clean-up beside other programs: every file of a kept version is there, and other programs' files are left
//! alone.

use std::collections::HashSet;
use std::time::Duration;

use chrono::{DateTime, Utc};
use deltalake::kernel::Add;
use futures::TryStreamExt;
use lake_schemas::Table;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use serde_json::json;

use super::{add_of, append, definition, lake, made_by, open, put, remove_of};
use crate::commit::{Commit, Deletes, Outcome, TableLog, TableView};
use crate::lake::Lake;

/// Makes versions 1 to 10, with a checkpoint at version 8. Version 6 removes what version 1 added.
async fn with_history(lake: &Lake) -> (TableLog, Vec<Add>) {
    let mut log = open(lake).await;
    let mut files = Vec::new();
    for next in 1..=10 {
        if next == 6 {
            let commit = Commit { removes: vec![files.first().cloned().expect("a file")], ..Commit::new("test") };
            assert_eq!(log.commit(&commit).await.expect("memory"), Outcome::Committed(6));
            continue;
        }
        files.extend(append(&mut log, 0, next).await);
        if next == 8 {
            log.checkpoint().write().await.expect("memory");
        }
    }
    (log, files)
}

async fn objects(store: &InMemory) -> HashSet<String> {
    let all: Vec<_> = store.list(Some(&Path::from("lake/clicks"))).try_collect().await.expect("memory");
    let paths = all.into_iter().map(|object| object.location.to_string());
    paths.map(|path| path.trim_start_matches("lake/clicks/").to_owned()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_file_that_was_removed_and_is_live_again_is_kept() {
    for (restored, is_kept) in [(None, false), (Some(7), true), (Some(11), true)] {
        let (lake, store) = lake();
        let (mut log, files) = match restored {
            Some(7) => {
                // Added again before the first version that is kept.
                let mut log = open(&lake).await;
                let mut files = Vec::new();
                for next in 1..=5 {
                    files.extend(append(&mut log, 0, next).await);
                }
                let commit = Commit { removes: vec![files[0].clone()], ..Commit::new("test") };
                assert_eq!(log.commit(&commit).await.expect("memory"), Outcome::Committed(6));
                put(&store, Table::Clicks, 7, &[made_by("RESTORE"), add_of(&files[0])]).await;
                log.refresh().await.expect("memory");
                append(&mut log, 0, 8).await;
                log.checkpoint().write().await.expect("memory");
                (log, files)
            }
            _ => with_history(&lake).await,
        };
        if restored == Some(11) {
            // Added again, and removed again: a version in between has it.
            put(&store, Table::Clicks, 11, &[made_by("RESTORE"), add_of(&files[0])]).await;
            put(&store, Table::Clicks, 12, &[made_by("DELETE"), remove_of(&files[0])]).await;
        }
        let from = log.retained_from(8).await.expect("memory");
        assert_eq!(from, 8);
        let told = log.expire_before(from, Deletes::No).await.expect("memory");
        assert_eq!(told.files, usize::from(!is_kept), "{restored:?}");
        let cleaned = log.expire_before(from, Deletes::Yes).await.expect("memory");
        assert_eq!((cleaned.files, cleaned.log_files), (usize::from(!is_kept), 8), "{restored:?}");
        let there = objects(&store).await;
        assert_eq!(there.contains(&files[0].path), is_kept, "{restored:?}");
        let newest = TableView::newest(&lake, Table::Clicks).await.expect("memory").expect("it is there");
        for version in from..=newest.version() {
            for file in newest.at(version).await.expect("it is kept").live_files().await.expect("memory") {
                assert!(there.contains(&file.path), "version {version} lacks {}", file.path);
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn only_files_of_our_own_making_are_swept() {
    let (lake, store) = lake();
    let (mut log, files) = with_history(&lake).await;
    let orphan = "log_date=2026-03-07/part-00000-8d3a6b1e-6a2b-4f2e-9d0c-2f6f5b1f8f5e-c000.clicklake.zstd.parquet";
    let copy = "log_date=2026-03-07/0123456789abcdef0123456789abcdef.parquet";
    let others = [
        "_symlink_format_manifest/log_date=2026-03-07/manifest",
        "_change_data/log_date=2026-03-07/part-00000-8d3a6b1e-6a2b-4f2e-9d0c-2f6f5b1f8f5e-c000.clicklake.zstd.parquet",
        "_delta_log/part-00000-8d3a6b1e-6a2b-4f2e-9d0c-2f6f5b1f8f5e-c000.clicklake.zstd.parquet",
        ".hoodie/hoodie.properties",
        "metadata/v1.metadata.json",
        "deletion_vector_8d3a6b1e-6a2b-4f2e-9d0c-2f6f5b1f8f5e.bin",
        "log_date=2026-03-07/part-00000-8d3a6b1e-6a2b-4f2e-9d0c-2f6f5b1f8f5e.c000.snappy.parquet",
        "log_date=2026-03-07/notes.parquet",
        "ab/part-00000-8d3a6b1e-6a2b-4f2e-9d0c-2f6f5b1f8f5e-c000.clicklake.zstd.parquet",
    ];
    for path in others.iter().chain(&[orphan, copy]) {
        store.put(&Path::from(format!("lake/clicks/{path}")), "x".into()).await.expect("memory");
    }
    // A file of ours that only an expired version named at first, and that was added again since.
    put(&store, Table::Clicks, 11, &[made_by("RESTORE"), add_of(&files[0])]).await;
    put(&store, Table::Clicks, 12, &[made_by("DELETE"), remove_of(&files[0])]).await;
    let late: DateTime<Utc> = store.head(&Path::from(format!("lake/clicks/{orphan}"))).await.expect("it").last_modified
        + chrono::Duration::days(8);
    log.expire_before(8, Deletes::Yes).await.expect("memory");
    let cleaned = log.delete_orphans(8, late, Deletes::Yes).await.expect("memory");
    assert_eq!(cleaned.files, 2);
    let there = objects(&store).await;
    assert!(!there.contains(orphan) && !there.contains(copy));
    for path in others.iter().copied().chain(files.iter().map(|file| file.path.as_str())) {
        assert!(there.contains(path), "{path}");
    }
}

#[tokio::test(start_paused = true)]
async fn clean_up_deletes_only_data_files_of_the_table() {
    let (lake, store) = lake();
    let mut log = open(&lake).await;
    let others = ["deletion_vector_8d3a6b1e-6a2b-4f2e-9d0c-2f6f5b1f8f5e.bin", "_change_data/a.parquet"];
    for path in others {
        store.put(&Path::from(format!("lake/clicks/{path}")), "x".into()).await.expect("memory");
    }
    store.put(&Path::from("lake/other/a.parquet"), "x".into()).await.expect("memory");
    let remove = |path: &str| json!({ "remove": { "path": path, "dataChange": false } });
    let outside = ["memory:///lake/other/a.parquet", "/lake/other/a.parquet", "../other/a.parquet"];
    let removes: Vec<_> = others.iter().chain(&outside).map(|path| remove(path)).collect();
    put(&store, Table::Clicks, 1, &removes).await;
    append(&mut log, 0, 10).await;
    log.checkpoint().write().await.expect("memory");
    let cleaned = log.expire_before(2, Deletes::Yes).await.expect("memory");
    assert_eq!((cleaned.files, cleaned.log_files), (0, 2));
    assert!(others.iter().all(|path| futures::executor::block_on(objects(&store)).contains(*path)));
    store.head(&Path::from("lake/other/a.parquet")).await.expect("it lies outside of the table");
}

#[tokio::test(start_paused = true)]
async fn versions_with_a_feature_that_was_dropped_are_given_up_all_at_once() {
    let (lake, store) = lake();
    let (mut log, _) = with_history(&lake).await;
    let features = ["checkpointProtection"];
    let protocol = json!({ "protocol": { "minReaderVersion": 1, "minWriterVersion": 7, "writerFeatures": features } });
    let property = ("delta.requireCheckpointProtectionBeforeVersion", "9");
    put(&store, Table::Clicks, 11, &[protocol, definition(&store, Table::Clicks, &[property]).await]).await;
    log.refresh().await.expect("it is harmless");
    assert_eq!(log.retained_from(10).await.expect("memory"), 0, "version 8 would be in the middle");
    for next in 11..=13 {
        append(&mut log, 0, next).await;
    }
    log.checkpoint().write().await.expect("memory");
    let newest = log.version();
    assert_eq!(log.retained_from(newest).await.expect("memory"), newest);
    log.expire_before(newest, Deletes::Yes).await.expect("memory");
    let view = TableView::newest(&lake, Table::Clicks).await.expect("memory").expect("it is there");
    assert_eq!(view.first().await.expect("memory"), newest);
}

#[tokio::test(start_paused = true)]
async fn beside_a_damaged_entry_nothing_is_deleted() {
    let (lake, store) = lake();
    let (mut log, files) = with_history(&lake).await;
    store.put(&super::entry_path(Table::Clicks, 9), "{\"add\":".into()).await.expect("memory");
    let before = objects(&store).await;
    let cleaned = log.expire_before(8, Deletes::Yes).await.expect("memory");
    assert_eq!((cleaned.files, cleaned.log_files), (0, 0));
    let late: DateTime<Utc> = DateTime::from_timestamp(4_000_000_000, 0).expect("a time");
    let orphan = Path::from("lake/clicks/log_date=2026-03-07/0123456789abcdef0123456789abcdef.parquet");
    store.put(&orphan, "x".into()).await.expect("memory");
    assert_eq!(log.delete_orphans(8, late, Deletes::Yes).await.expect("memory").files, 0);
    assert!(before.is_subset(&objects(&store).await) && before.contains(&files[0].path));
}

#[tokio::test(start_paused = true)]
async fn a_file_that_is_named_in_another_way_is_not_deleted_by_its_path() {
    for spelled in ["memory:///lake/clicks/{}", "./{}", "/lake/clicks/{}"] {
        let (lake, store) = lake();
        let mut log = open(&lake).await;
        let files = append(&mut log, 0, 1).await;
        let mut other = add_of(&files[0]);
        other["add"]["path"] = json!(spelled.replace("{}", &files[0].path));
        put(&store, Table::Clicks, 2, &[remove_of(&files[0]), other]).await;
        for next in 2..=4 {
            append(&mut log, 0, next).await;
        }
        log.checkpoint().write().await.expect("memory");
        let newest = log.version();
        let cleaned = log.expire_before(newest, Deletes::Yes).await.expect("memory");
        assert_eq!((cleaned.files, cleaned.log_files), (0, 0), "{spelled}");
        assert!(objects(&store).await.contains(&files[0].path), "{spelled}");
        let late: DateTime<Utc> = DateTime::from_timestamp(4_000_000_000, 0).expect("a time");
        assert_eq!(log.delete_orphans(newest, late, Deletes::Yes).await.expect("memory").files, 0, "{spelled}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_week_of_entries_is_not_read_to_give_up_a_few() {
    let (lake, _) = lake();
    let mut log = open(&lake).await;
    let commits = async |log: &mut TableLog, until: u64| {
        for next in log.version() + 1..=until {
            append(log, 0, next.cast_signed()).await;
        }
    };
    for checkpoint in [4, 40] {
        commits(&mut log, checkpoint).await;
        log.checkpoint().write().await.expect("memory");
    }
    commits(&mut log, 100).await;
    // A log that was just opened would read 96 entries to expire 4.
    let mut begun = open(&lake).await;
    assert_eq!(begun.expire_before(4, Deletes::Yes).await.expect("memory").log_files, 0);
    assert!(begun.expire_before(40, Deletes::Yes).await.expect("memory").log_files >= 40);
}

/// The monotonic clock stands still while a Linux machine is suspended.
#[tokio::test(start_paused = true)]
async fn a_writer_that_was_suspended_for_longer_than_the_log_is_kept_loads_it_afresh() {
    let (lake, _) = lake();
    let (mut sleeper, mut other) = (open(&lake).await, open(&lake).await);
    for version in 1..=100 {
        let committed = other.commit(&Commit::new("test")).await.expect("memory");
        assert_eq!(committed, Outcome::Committed(version));
    }
    other.take_checkpoint_owed().expect("it is due").write().await.expect("memory");
    other.expire_before(100, Deletes::Yes).await.expect("memory");
    sleeper.looked = sleeper.looked.suspended_for(Duration::from_secs(8 * 24 * 3_600));
    let committed = sleeper.commit(&Commit::new("test")).await.expect("memory");
    assert_eq!(committed, Outcome::Committed(101));
}
