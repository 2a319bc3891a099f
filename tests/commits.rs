//! Laws of the commit protocol: who may move a partition, what a lost reply means, and when a file may be removed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures::future::join_all;
use ingest::decode::{BatchBuilder, Message};
use lake_schemas::job::Step;
use lake_schemas::table::TIME_IN_FUTURE_MS;
use lake_schemas::{Code, LogTime, Stand, Table, TopicPartition};
use lake_store::commit::{Commit, Deletes, Outcome, TableLog};
use lake_store::{Lake, LakeError, files};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};

use crate::NOON_MS;
use crate::fault_store::{Fault, FaultStore};
use crate::simulation::{lake_on, named, simulate};

fn memory() -> Arc<dyn ObjectStore> {
    Arc::new(InMemory::new())
}

async fn open(store: &Arc<dyn ObjectStore>) -> TableLog {
    TableLog::open(&lake_on(Arc::clone(store)), Table::Clicks).await.expect("the table opens")
}

fn partition(number: i32) -> TopicPartition {
    named(number)
}

/// Makes a step of a partition from where the log knows it to stand, with one click for each offset.
fn step(log: &TableLog, number: i32, next: i64) -> Step {
    let from = log.stand(&partition(number));
    let first = from.cut.unwrap_or(0);
    let mut batch = BatchBuilder::new(partition(number), first, TIME_IN_FUTURE_MS);
    for offset in first..next {
        let payload = format!("{{\"ad_id\":\"ad\",\"event_time\":{NOON_MS},\"event_id\":\"{number}@{offset}\"}}");
        let log_time = LogTime::from_millis(NOON_MS);
        batch.push(&Message { offset, log_time, key: None, payload: Some(payload.as_bytes()) });
    }
    let to = Stand { cut: Some(next), read: Some(next), ..Stand::default() };
    Step { table: Table::Clicks, partition: partition(number), rows: vec![batch.finish().events], from, to }
}

/// Makes an epoch of these steps, with its files written.
async fn epoch(log: &TableLog, steps: &[Step]) -> Commit {
    let mut adds = Vec::new();
    for step in steps {
        for file in files::encode(step.table, &step.rows).await.expect("the rows can be encoded") {
            file.put(log.object_store().as_ref()).await.expect("the store works");
            adds.push(file.add);
        }
    }
    Commit::epoch("test", steps, adds)
}

async fn advance(log: &mut TableLog, number: i32, next: i64) -> Outcome {
    let steps = [step(log, number, next)];
    let commit = epoch(log, &steps).await;
    log.commit(&commit).await.expect("the store works")
}

async fn count(lake: &Lake) -> i64 {
    use arrow::array::AsArray;
    use arrow::datatypes::Int64Type;

    let answer = query::run(lake, "select count(*) from clicks").await.expect("the lake can be read");
    answer[0].column(0).as_primitive::<Int64Type>().value(0)
}

fn is_fenced(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Fenced { .. })
}

#[test]
fn several_that_make_a_table_at_once_open_the_same_one() {
    simulate(async {
        let store = memory();
        let openers = (1..=4).map(|opener| {
            // All find no table before the first of them has put it.
            let slowly = Fault::Slow(Duration::from_millis(10 * opener));
            let view = FaultStore::new(Arc::clone(&store), Box::new(move |_| slowly));
            async move { open(&(Arc::new(view) as Arc<dyn ObjectStore>)).await }
        });
        let logs = join_all(openers).await;
        for log in &logs {
            assert_eq!((log.version(), log.id()), (0, logs[0].id()));
        }
    });
}

#[test]
fn a_zombie_with_an_old_snapshot_is_fenced_and_its_rows_do_not_appear() {
    simulate(async {
        let store = memory();
        let (mut zombie, mut owner) = (open(&store).await, open(&store).await);
        assert_eq!(advance(&mut owner, 0, 10).await, Outcome::Committed(1));
        assert!(is_fenced(&advance(&mut zombie, 0, 12).await));
        assert_eq!(count(&lake_on(store)).await, 10);
    });
}

#[test]
fn one_of_two_writers_that_start_from_an_empty_table_is_fenced() {
    simulate(async {
        let store = memory();
        let (mut one, mut other) = (open(&store).await, open(&store).await);
        let (first, second) = (epoch(&one, &[step(&one, 0, 5)]).await, epoch(&other, &[step(&other, 0, 5)]).await);
        assert_eq!(one.commit(&first).await.expect("works"), Outcome::Committed(1));
        assert!(is_fenced(&other.commit(&second).await.expect("works")));
        assert_eq!(count(&lake_on(store)).await, 5);
    });
}

/// A stand may lack values for long: a partition of minutes that was never drained has no such value.
#[test]
fn one_of_two_writers_that_start_from_a_stand_that_lacks_a_value_is_fenced() {
    simulate(async {
        let lake = lake_on(memory());
        let open = async || TableLog::open(&lake, Table::ClicksMinute).await.expect("the table opens");
        let (mut one, mut other) = (open().await, open().await);
        let at = |cut, drained| Stand {
            cut: Some(cut),
            watermark_ms: Some(0),
            drained,
            restore: Some(0),
            ..Stand::default()
        };
        let step = |from, to| {
            let (table, partition) = (Table::ClicksMinute, partition(0));
            Commit::epoch("test", &[Step { table, partition, rows: Vec::new(), from, to }], Vec::new())
        };
        let first = step(Stand::default(), at(10, None));
        assert_eq!(one.commit(&first).await.expect("works"), Outcome::Committed(1));
        // The one writes out all that it holds; the other holds that too, and has read on.
        let (drains, reads_on) = (step(at(10, None), at(10, Some(10))), step(at(10, None), at(20, None)));
        assert_eq!(one.commit(&drains).await.expect("works"), Outcome::Committed(2));
        assert!(is_fenced(&other.commit(&reads_on).await.expect("works")));
    });
}

#[test]
fn a_partition_that_moved_from_a_to_b_to_a_goes_on_where_b_left_it() {
    simulate(async {
        let store = memory();
        let (mut a, mut b) = (open(&store).await, open(&store).await);
        assert_eq!(advance(&mut a, 0, 10).await, Outcome::Committed(1));
        let stale = epoch(&a, &[step(&a, 0, 15)]).await;
        b.refresh().await.expect("works");
        assert_eq!(advance(&mut b, 0, 20).await, Outcome::Committed(2));
        // A commit that A prepared before it lost the partition is fenced even when A has the partition again.
        assert!(is_fenced(&a.commit(&stale).await.expect("works")));
        assert_eq!(advance(&mut a, 0, 30).await, Outcome::Committed(3));
        assert_eq!(count(&lake_on(store)).await, 30);
    });
}

#[test]
fn an_epoch_of_which_one_partition_was_taken_is_fenced_whole() {
    simulate(async {
        let store = memory();
        let (mut one, mut other) = (open(&store).await, open(&store).await);
        let both = epoch(&one, &[step(&one, 0, 5), step(&one, 1, 5)]).await;
        assert_eq!(advance(&mut other, 1, 3).await, Outcome::Committed(1));
        assert!(is_fenced(&one.commit(&both).await.expect("works")));
        assert_eq!(count(&lake_on(Arc::clone(&store))).await, 3);
        assert_eq!(one.stand(&partition(0)), Stand::default());
        // The partition that was not taken goes on by itself.
        assert_eq!(advance(&mut one, 0, 5).await, Outcome::Committed(2));
    });
}

#[test]
fn writers_of_different_partitions_race_and_both_succeed() {
    simulate(async {
        let store = memory();
        let (mut one, mut other) = (open(&store).await, open(&store).await);
        for round in 1..=20 {
            let (left, right) = tokio::join!(advance(&mut one, 0, round * 3), advance(&mut other, 1, round * 2));
            assert!(matches!((&left, &right), (Outcome::Committed(_), Outcome::Committed(_))), "{left:?} {right:?}");
        }
        assert_eq!(count(&lake_on(store)).await, 20 * 3 + 20 * 2);
    });
}

#[test]
fn a_lost_reply_is_found_out_by_trying_again() {
    simulate(async {
        let store = memory();
        drop(open(&store).await);
        let lies = Arc::new(AtomicBool::new(false));
        let lying = Arc::clone(&lies);
        let plan = move |_| if lying.swap(false, Ordering::Relaxed) { Fault::LoseReply } else { Fault::None };
        let faulty: Arc<dyn ObjectStore> = Arc::new(FaultStore::new(Arc::clone(&store), Box::new(plan)));
        let mut log = open(&faulty).await;
        let commit = epoch(&log, &[step(&log, 0, 7)]).await;
        lies.store(true, Ordering::Relaxed);
        log.commit(&commit).await.expect_err("the reply is lost");
        let mut other = open(&store).await;
        assert_eq!(advance(&mut other, 1, 1).await, Outcome::Committed(2));
        assert_eq!(log.commit(&commit).await.expect("works"), Outcome::Committed(1));
        assert_eq!(advance(&mut log, 0, 8).await, Outcome::Committed(3));
        assert_eq!(count(&lake_on(store)).await, 9);
    });
}

#[test]
fn the_stands_survive_log_checkpoints() {
    simulate(async {
        let store = memory();
        let mut log = open(&store).await;
        for version in 1..=250 {
            assert_eq!(advance(&mut log, version % 3, i64::from(version)).await, Outcome::Committed(version as u64));
            if let Some(checkpoint) = log.take_checkpoint_owed() {
                checkpoint.write().await.expect("the checkpoint is written");
            }
        }
        let reopened = open(&store).await;
        assert_eq!(reopened.version(), 250);
        for number in 0..4 {
            assert_eq!(reopened.stand(&partition(number)), log.stand(&partition(number)), "partition {number}");
        }
        assert_eq!(reopened.stand(&partition(1)).cut, Some(250));
    });
}

/// Makes a commit that replaces one file by another.
fn rewrite(old: &Commit, new: Commit, data_change: bool) -> Commit {
    Commit { adds: new.adds, removes: old.adds.clone(), data_change, ..Commit::new("rewrite") }
}

#[test]
fn the_second_of_two_rewrites_of_one_file_finds_it_gone() {
    simulate(async {
        let store = memory();
        let (mut one, mut other) = (open(&store).await, open(&store).await);
        let original = epoch(&one, &[step(&one, 0, 10)]).await;
        let copies = [epoch(&one, &[step(&one, 0, 10)]).await, epoch(&one, &[step(&one, 0, 10)]).await];
        assert_eq!(one.commit(&original).await.expect("works"), Outcome::Committed(1));
        other.refresh().await.expect("works");
        let [first, second] = copies.map(|copy| rewrite(&original, copy, false));
        assert_eq!(one.commit(&first).await.expect("works"), Outcome::Committed(2));
        let outcome = other.commit(&second).await.expect("works");
        assert_eq!(outcome, Outcome::InputGone { path: original.adds[0].path.clone() });
        assert_eq!(count(&lake_on(store)).await, 10);
    });
}

#[test]
fn an_append_passes_a_remove_that_changes_data() {
    simulate(async {
        let store = memory();
        let (mut live, mut other) = (open(&store).await, open(&store).await);
        let original = epoch(&live, &[step(&live, 0, 10)]).await;
        let replacement = epoch(&live, &[step(&live, 0, 4)]).await;
        assert_eq!(live.commit(&original).await.expect("works"), Outcome::Committed(1));
        let appended = epoch(&live, &[step(&live, 0, 15)]).await;
        other.refresh().await.expect("works");
        let rewritten = rewrite(&original, replacement, true);
        assert_eq!(other.commit(&rewritten).await.expect("works"), Outcome::Committed(2));
        assert_eq!(live.commit(&appended).await.expect("works"), Outcome::Committed(3));
        assert_eq!(count(&lake_on(store)).await, 4 + 5);
    });
}

#[test]
fn a_store_whose_winner_never_hears_of_it_is_not_refused_for_that() {
    simulate(async {
        // The winners of the first rounds only.
        let store = FaultStore::repeating(memory(), |operation| operation < 8);
        lake_on(Arc::new(store)).probe().await.expect("the store can be trusted");
        let store = FaultStore::repeating(memory(), |_| true);
        let error = lake_on(Arc::new(store)).probe().await.expect_err("nobody was told that it won");
        assert!(error.is_retryable(), "{error}");
    });
}

#[test]
fn a_store_that_lets_two_win_is_refused() {
    simulate(async {
        let error = lake_on(Arc::new(FaultStore::careless(memory()))).probe().await.expect_err("two win");
        assert_eq!(error.code(), Some(Code::StoreUnfit), "{error}");
        lake_on(memory()).probe().await.expect("one wins");
    });
}

#[test]
fn a_lake_of_a_newer_format_or_of_others_is_refused() {
    use deltalake::operations::create::CreateBuilder;

    async fn made_with(properties: &[(&str, &str)]) -> LakeError {
        let lake = lake_on(memory());
        let made = CreateBuilder::new()
            .with_log_store(lake.log_store("clicks").expect("a store"))
            .with_column("ad_id", deltalake::kernel::DataType::STRING, false, None)
            .with_configuration(properties.iter().map(|&(key, value)| (key, Some(value))))
            .with_raise_if_key_not_exists(false)
            .await;
        made.expect("the table is made");
        TableLog::open(&lake, Table::Clicks).await.err().expect("refused")
    }

    simulate(async {
        let newer = made_with(&[("clicklake.format", "3")]).await;
        assert_eq!(newer.code(), Some(Code::FormatNewer), "{newer}");
        assert!(newer.to_string().contains("format 3"), "{newer}");
        let foreign = made_with(&[]).await;
        assert_eq!(foreign.code(), Some(Code::TableForeign), "{foreign}");
        let lacking = made_with(&[("clicklake.format", "1")]).await;
        assert_eq!(lacking.code(), Some(Code::ColumnUnfit), "{lacking}");
        assert!(lacking.to_string().contains("topic"), "{lacking}");
    });
}

/// Makes a store on which these faults follow each other once the number beside it is set to 0.
fn faulty_then(store: &Arc<dyn ObjectStore>, faults: &[Fault]) -> (Arc<dyn ObjectStore>, Arc<AtomicUsize>) {
    let (next, faults) = (Arc::new(AtomicUsize::new(faults.len())), faults.to_vec());
    let at = Arc::clone(&next);
    let plan = move |_| {
        let step = |number: usize| (number < faults.len()).then_some(number + 1);
        let number = at.fetch_update(Ordering::Relaxed, Ordering::Relaxed, step);
        number.map_or(Fault::None, |number| faults[number])
    };
    (Arc::new(FaultStore::new(Arc::clone(store), Box::new(plan))), next)
}

/// Faults: the reply to the put is lost, its entry is found, and the read after it fails.
const LOST_THEN_FAILS: &[Fault] = &[Fault::LoseReply, Fault::None, Fault::Fail];

#[test]
fn a_commit_that_was_met_is_remembered_until_its_caller_was_told() {
    simulate(async {
        let store = memory();
        drop(open(&store).await);
        let (faulty, armed) = faulty_then(&store, LOST_THEN_FAILS);
        let mut log = open(&faulty).await;
        let commit = epoch(&log, &[step(&log, 0, 7)]).await;
        armed.store(0, Ordering::Relaxed);
        log.commit(&commit).await.expect_err("the reply is lost");
        log.commit(&commit).await.expect_err("the look fails");
        assert!(log.may_hold(&commit.id));
        log.refresh().await.expect("works");
        let mut other = open(&store).await;
        assert_eq!(advance(&mut other, 1, 1).await, Outcome::Committed(2));
        for _ in 0..2 {
            assert_eq!(log.commit(&commit).await.expect("works"), Outcome::Committed(1));
        }
        assert_eq!(advance(&mut log, 0, 8).await, Outcome::Committed(3));
        assert_eq!(count(&lake_on(store)).await, 9);
    });
}

#[test]
fn a_put_that_takes_longer_than_a_head_is_followed_is_recognised() {
    simulate(async {
        let store: Arc<dyn ObjectStore> = Arc::new(FaultStore::repeating(memory(), |_| true));
        let mut log = open(&store).await;
        let original = epoch(&log, &[step(&log, 0, 10)]).await;
        assert_eq!(log.commit(&original).await.expect("works"), Outcome::Committed(1));
        let copy = epoch(&log, &[step(&log, 1, 10)]).await;
        let rewritten = rewrite(&original, copy, false);
        log.live_files().await.expect("works");
        // The process is frozen while it puts: when it hears that the version is taken, its head is too old to follow.
        let (slow, armed) = faulty_then(&store, &[Fault::Slow(Duration::from_secs(660))]);
        let mut log = open(&slow).await;
        log.live_files().await.expect("works");
        armed.store(0, Ordering::Relaxed);
        assert_eq!(log.commit(&rewritten).await.expect("works"), Outcome::Committed(2));
        files::discard(log.object_store().as_ref(), &rewritten.id, &rewritten.adds).await;
        assert_eq!(count(&lake_on(store)).await, 10);
    });
}

/// Commits up to a version, writes a checkpoint of it, and cleans up everything before.
async fn commit_and_clean_up(store: &Arc<dyn ObjectStore>, versions: i64) {
    let mut log = open(store).await;
    while log.version() < versions.cast_unsigned() {
        let next = log.stand(&partition(9)).cut.unwrap_or(0) + 1;
        assert!(matches!(advance(&mut log, 9, next).await, Outcome::Committed(_)));
        if let Some(checkpoint) = log.take_checkpoint_owed() {
            checkpoint.write().await.expect("works");
        }
    }
    let from = log.retained_from(versions.cast_unsigned()).await.expect("works");
    log.expire_before(from, Deletes::Yes).await.expect("works");
}

/// The monotonic clock, which tells the age of a head, stands still while a machine is suspended.
#[test]
fn a_writer_that_slept_through_a_clean_up_does_not_commit_below_it() {
    simulate(async {
        let store = memory();
        let mut sleeper = open(&store).await;
        assert_eq!(advance(&mut sleeper, 0, 5).await, Outcome::Committed(1));
        let commit = epoch(&sleeper, &[step(&sleeper, 0, 10)]).await;
        commit_and_clean_up(&store, 100).await;
        // So much of it the clock has noticed.
        tokio::time::advance(Duration::from_secs(90)).await;
        assert_eq!(sleeper.commit(&commit).await.expect("works"), Outcome::Committed(101));
        assert_eq!(open(&store).await.stand(&partition(0)).cut, Some(10));
    });
}

#[test]
fn a_writer_that_slept_through_a_clean_up_during_a_put_does_not_report_a_commit() {
    simulate(async {
        let store = memory();
        let (slow, armed) = faulty_then(&store, &[Fault::Slow(Duration::from_secs(90))]);
        let mut sleeper = open(&slow).await;
        assert_eq!(advance(&mut sleeper, 0, 5).await, Outcome::Committed(1));
        let commit = epoch(&sleeper, &[step(&sleeper, 0, 10)]).await;
        armed.store(0, Ordering::Relaxed);
        let (committed, ()) = tokio::join!(sleeper.commit(&commit), commit_and_clean_up(&store, 100));
        assert!(matches!(committed, Err(LakeError::Altered(_))), "{committed:?}");
        assert!(matches!(sleeper.commit(&commit).await, Err(LakeError::Altered(_))), "it is not guessed");
        let mut again = open(&store).await;
        assert_eq!((again.version(), again.stand(&partition(0)).cut), (100, Some(5)));
        assert_eq!(advance(&mut again, 0, 10).await, Outcome::Committed(101));
    });
}

#[test]
fn the_outcome_of_a_commit_is_not_guessed_when_the_log_was_cleaned_up() {
    simulate(async {
        let store = memory();
        let (faulty, armed) = faulty_then(&store, &[Fault::LoseReply]);
        let mut log = open(&faulty).await;
        let commit = epoch(&log, &[step(&log, 0, 5)]).await;
        armed.store(0, Ordering::Relaxed);
        log.commit(&commit).await.expect_err("the reply is lost");
        commit_and_clean_up(&store, 100).await;
        tokio::time::advance(Duration::from_secs(660)).await;
        for _ in 0..2 {
            let error = log.commit(&commit).await.expect_err("nobody can tell");
            assert_eq!(error.code(), Some(Code::TableAltered), "{error}");
        }
        assert!(log.may_hold(&commit.id));
    });
}

/// The commit is found as long as the log can tell, however long it took and whoever else has committed.
#[test]
fn a_commit_in_doubt_is_found_after_a_long_outage() {
    simulate(async {
        let store = memory();
        let (faulty, armed) = faulty_then(&store, &[Fault::LoseReply]);
        let mut log = open(&faulty).await;
        let commit = epoch(&log, &[step(&log, 0, 5)]).await;
        armed.store(0, Ordering::Relaxed);
        log.commit(&commit).await.expect_err("the reply is lost");
        let mut other = open(&store).await;
        for next in 1..=150 {
            assert!(matches!(advance(&mut other, 1, next).await, Outcome::Committed(_)));
        }
        tokio::time::advance(Duration::from_secs(3_600)).await;
        assert_eq!(log.commit(&commit).await.expect("works"), Outcome::Committed(1));
        assert_eq!(log.version(), 151);
        assert_eq!(advance(&mut log, 0, 6).await, Outcome::Committed(152));
    });
}

#[test]
fn only_files_of_a_commit_that_was_never_put_are_discarded() {
    simulate(async {
        let store = memory();
        let mut log = open(&store).await;
        let (never, put) = (epoch(&log, &[step(&log, 0, 5)]).await, epoch(&log, &[step(&log, 0, 5)]).await);
        assert_eq!(log.commit(&put).await.expect("works"), Outcome::Committed(1));
        assert!(is_fenced(&log.commit(&never).await.expect("works")));
        let files = log.object_store();
        for commit in [&never, &put] {
            files::discard(files.as_ref(), &commit.id, &commit.adds).await;
        }
        let is_there = async |commit: &Commit| files.head(&Path::from(commit.adds[0].path.as_str())).await.is_ok();
        assert!(!is_there(&never).await && is_there(&put).await);
    });
}

#[test]
fn who_reads_looks_once_whether_all_that_has_come_is_of_the_table_that_is_known() {
    simulate(async {
        let store = memory();
        let mut writer = open(&store).await;
        let counted = FaultStore::new(Arc::clone(&store), Box::new(|_| Fault::None));
        let reader = TableLog::find_to_read(&lake_on(Arc::new(counted.clone())), Table::Clicks).await;
        let mut reader = reader.expect("the store works").expect("it is there");
        for next in 1..=20 {
            assert!(matches!(advance(&mut writer, 0, next * 10).await, Outcome::Committed(_)));
        }
        let before = counted.operations();
        reader.refresh().await.expect("the store works");
        assert_eq!(reader.version(), writer.version());
        // An entry each, the one that is not there yet, and looks that do not become more with them.
        let operations = counted.operations() - before;
        assert!(operations < 25, "{operations} operations for 20 entries");
    });
}
