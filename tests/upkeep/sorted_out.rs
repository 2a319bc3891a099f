//! Law: raw files of another program that cannot be sorted, or whose sorted rows cannot be committed, are reported, and
//! tried again ever more rarely. Other files are sorted meanwhile; and when the cause is gone, so are these.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arrow::array::UInt32Array;
use arrow::compute::{concat_batches, take_record_batch};
use compactor::{Compactor, Done, Plan};
use deltalake::kernel::Add;
use lake_schemas::Table;
use lake_store::commit::{Commit, Outcome, TableLog};
use lake_store::{Lake, files, read};
use object_store::ObjectStoreExt;
use object_store::memory::InMemory;
use tokio::time::sleep;

use super::left_out::{MEMORY, append_clicks, lake, path_of, round, seen, unnamed};
use crate::fault_store::{Does, Fault, Judge, is_entry};
use crate::simulation::simulate;

/// Longest time for which a failed file is left alone.
const WAIT_MAX: Duration = Duration::from_secs(16 * 60);

/// Makes clicks of a day in `files` files, with names as another program gives them.
async fn of_others(store: &InMemory, lake: &Lake, files: usize) -> Vec<Add> {
    let mut log = TableLog::open(lake, Table::Clicks).await.expect("the table");
    for _ in 0..files {
        append_clicks(&mut log, 0, 5, 0).await;
    }
    let removes = log.live_files().await.expect("memory");
    let mut adds = Vec::new();
    for (number, file) in removes.iter().enumerate() {
        let (folder, _) = file.path.rsplit_once('/').expect("a folder");
        let other = Add { path: format!("{folder}/optimized-{number}.parquet"), ..file.clone() };
        store.copy(&path_of(Table::Clicks, file), &path_of(Table::Clicks, &other)).await.expect("memory");
        adds.push(other);
    }
    let commit = Commit { adds: adds.clone(), removes, data_change: false, ..Commit::new("another engine") };
    assert!(matches!(log.commit(&commit).await, Ok(Outcome::Committed(_))));
    adds
}

/// Returns how many files a round has sorted.
fn sorted(told: &[Done]) -> usize {
    let files = told.iter().map(|done| match done {
        Done::SortedOut { table: Table::Clicks, files, .. } => files.0,
        _ => 0,
    });
    files.sum()
}

/// Returns how many of the rounds in two hours end with an error.
async fn failures(compactor: &mut Compactor) -> usize {
    let mut failed = 0;
    for _ in 0..120 {
        sleep(Duration::from_secs(60)).await;
        failed += usize::from(round(compactor, &Plan::default()).await.1.is_err());
    }
    failed
}

#[test]
fn a_file_that_cannot_be_sorted_is_said_and_left_alone_for_longer_each_time() {
    simulate(async {
        let (store, lake) = lake();
        let files = of_others(&store, &lake, 3).await;
        let lost = path_of(Table::Clicks, &files[1]);
        let bytes = store.get(&lost).await.expect("it is there").bytes().await.expect("memory");
        store.delete(&lost).await.expect("memory");
        let mut compactor = Compactor::new(lake.clone(), MEMORY);
        let (told, done) = round(&mut compactor, &Plan::default()).await;
        let error = done.expect_err("it ends with what went wrong");
        let text = error.to_string();
        assert!(error.is_retryable() && text.contains("clicks: reading") && text.contains(&files[1].path), "{text}");
        assert_eq!(sorted(&told), 2, "{told:?}");
        let failed = failures(&mut compactor).await;
        assert!((4..=12).contains(&failed), "tried {failed} times in two hours");
        assert_eq!(unnamed(&lake, &store).await, []);
        store.put(&lost, bytes.into()).await.expect("memory");
        sleep(WAIT_MAX).await;
        let (told, done) = round(&mut compactor, &Plan::default()).await;
        done.expect("all can be read");
        assert_eq!(sorted(&told), 1, "{told:?}");
    });
}

/// Files that were put for a commit that fails stay until the sweep, because the commit may have happened.
#[test]
fn sorted_files_that_cannot_be_committed_are_not_put_again_each_minute() {
    simulate(async {
        let (store, lake) = lake();
        of_others(&store, &lake, 1).await;
        let refuses = Arc::new(AtomicBool::new(true));
        let does = Arc::clone(&refuses);
        let judge: Judge = Box::new(move |asked| {
            let is_it = asked.does == Does::Write && is_entry(asked.path) && asked.path.as_ref().contains("/clicks/");
            if is_it && does.load(Ordering::Relaxed) { Fault::Fail } else { Fault::None }
        });
        let mut compactor = Compactor::new(seen(&store, judge), MEMORY);
        let text = round(&mut compactor, &Plan::default()).await.1.expect_err("it is refused").to_string();
        assert!(text.contains("clicks: committing version"), "{text}");
        let failed = 1 + failures(&mut compactor).await;
        assert!((4..=12).contains(&failed), "tried {failed} times in two hours");
        let left = unnamed(&lake, &store).await;
        assert_eq!(left.len(), failed, "{left:?}");
        refuses.store(false, Ordering::Relaxed);
        sleep(WAIT_MAX).await;
        let (told, done) = round(&mut compactor, &Plan::default()).await;
        done.expect("it is committed");
        assert_eq!(sorted(&told), 1, "{told:?}");
    });
}

#[test]
fn of_many_files_few_are_waited_for_while_the_store_is_down() {
    simulate(async {
        let (store, lake) = lake();
        of_others(&store, &lake, 12).await;
        let (is_down, tried) = (Arc::new(AtomicBool::new(true)), Arc::<Mutex<BTreeSet<String>>>::default());
        let (down, record) = (Arc::clone(&is_down), Arc::clone(&tried));
        let judge: Judge = Box::new(move |asked| {
            let is_it = asked.does == Does::Read && asked.path.as_ref().contains("/log_date=");
            if !is_it || !down.load(Ordering::Relaxed) {
                return Fault::None;
            }
            record.lock().expect("no panic").insert(asked.path.to_string());
            Fault::Fail
        });
        let mut compactor = Compactor::new(seen(&store, judge), MEMORY);
        round(&mut compactor, &Plan::default()).await.1.expect_err("the store is down");
        let tried = tried.lock().expect("no panic").clone();
        assert_eq!(tried.len(), 3, "{tried:?}");
        is_down.store(false, Ordering::Relaxed);
        sleep(WAIT_MAX).await;
        let (told, done) = round(&mut compactor, &Plan::default()).await;
        done.expect("it is back");
        assert_eq!(sorted(&told), 12, "{told:?}");
    });
}

/// Their names are those that delta-rs gives, and that clicklake gave once: the content of such a file decides.
#[test]
fn files_that_may_be_of_an_earlier_clicklake_are_sorted_only_if_they_must_be() {
    simulate(async {
        let (store, lake) = lake();
        let mut log = TableLog::open(&lake, Table::Clicks).await.expect("the table");
        for _ in 0..2 {
            append_clicks(&mut log, 0, 5, 0).await;
        }
        let removes = log.live_files().await.expect("memory");
        let mut adds = Vec::new();
        for (number, file) in removes.iter().enumerate() {
            let rows =
                read::all_rows(log.object_store(), Table::Clicks, log.schema(), file.clone()).await.expect("rows");
            let rows = concat_batches(&log.schema(), &rows).expect("rows");
            let last = u32::try_from(rows.num_rows()).expect("few") - 1;
            // The first is as it was, the second back to front.
            let order: UInt32Array = (0..=last).map(|row| if number == 0 { row } else { last - row }).collect();
            let rows = take_record_batch(&rows, &order).expect("rows");
            let file = files::encode(Table::Clicks, &[rows]).await.expect("a file").remove(0);
            file.put(log.object_store().as_ref()).await.expect("memory");
            let (name, _) = file.add.path.split_once("-c000.").expect("a name");
            let other = Add { path: format!("{name}-c000.zstd.parquet"), ..file.add.clone() };
            store.copy(&path_of(Table::Clicks, &file.add), &path_of(Table::Clicks, &other)).await.expect("memory");
            adds.push(other);
        }
        let commit = Commit { adds: adds.clone(), removes, data_change: false, ..Commit::new("another engine") };
        assert!(matches!(log.commit(&commit).await, Ok(Outcome::Committed(_))));
        let mut compactor = Compactor::new(lake.clone(), MEMORY);
        let (told, done) = round(&mut compactor, &Plan::default()).await;
        done.expect("nothing fails");
        assert_eq!(sorted(&told), 1, "{told:?}");
    });
}
