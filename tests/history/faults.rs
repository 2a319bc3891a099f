//! Law: a backfill that fails, gets wrong replies, or dies, at any operation on the store, leaves none or all of its
//! result visible; and run again, it finishes.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use backfill::{Made, Range, Replace, Replaced, Staging, Work, Writes};
use futures::future::join_all;
use ingest::drive::DriveError;
use lake_schemas::minute::{Parameters, Requested};
use lake_schemas::{Code, EventTime, Table, Windows};
use lake_store::commit::{Commit, Outcome, TableLog};
use lake_store::files::UNCOMMITTED_AGE_MAX;
use lake_store::lost::or_lost;
use lake_store::{Lake, read};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use tokio_util::sync::CancellationToken;

use super::live::is_replay;
use crate::audit::lose_the_first_day;
use crate::fault_store::{Asked, Does, Fault, FaultStore};
use crate::simulation::{Computation, Log, Outage, for_each_seed, lake_on, simulate, versions};

/// Faults that an operation on the store may meet.
pub const FAULTS: [Fault; 4] = [Fault::Fail, Fault::LoseReply, Fault::DieBefore, Fault::DieAfter];

fn parameters() -> Parameters {
    Parameters { allowed_lateness_ms: 30_000, dedup_horizon_ms: 60_000, ..Parameters::default() }
}

/// Makes a store with a lake of a log, in which the first day of minutes is lost.
pub async fn damaged() -> (Arc<InMemory>, Arc<Log>) {
    // Long enough that what is lost is of windows that are closed.
    let mut logs = (0..).map(|seed| Log::of_seed(seed, 2, 180));
    let log = logs.find(|log| log.partitions.iter().all(|all| all.len() > 130)).expect("without end");
    let (store, log) = (Arc::new(InMemory::new()), Arc::new(log));
    let lake = lake_on(Arc::clone(&store) as Arc<dyn ObjectStore>);
    Computation::Raw.read_all(&lake, &log).await.expect("ingest ends");
    Computation::Minutes(parameters()).read_all(&lake, &log).await.expect("aggregate ends");
    lose_the_first_day(&lake).await;
    (store, log)
}

/// Makes a store of the same content.
pub async fn copy(store: &InMemory) -> Arc<InMemory> {
    use futures::TryStreamExt;
    let copied = InMemory::new();
    let files: Vec<_> = store.list(None).try_collect().await.expect("memory");
    for file in files {
        let bytes = store.get(&file.location).await.expect("a file").bytes().await.expect("memory");
        copied.put(&file.location, bytes.into()).await.expect("memory");
    }
    Arc::new(copied)
}

/// Returns the work that computes all of history.
pub fn all(lake: &Lake) -> Work<'_> {
    Work { lake, range: Range::All, at_a_time: 2, meter: Arc::default(), stop: CancellationToken::new() }
}

async fn replace(lake: &Lake, writes: Writes) -> Result<Replaced, DriveError> {
    Replace { work: all(lake), writes, wait: Duration::ZERO }.run().await
}

pub fn staging_table() -> Table {
    Table::Staging("again".parse().expect("a name"))
}

pub async fn staging(work: Work<'_>) -> Result<Made, DriveError> {
    let requested = Requested { allowed_lateness_ms: Some(0), ..Requested::default() };
    Staging { work, table: staging_table(), requested }.run().await
}

fn parameters_of_staging() -> Parameters {
    Parameters { allowed_lateness_ms: 0, ..parameters() }
}

/// Returns how many rows the minutes have.
pub async fn rows(lake: &Lake) -> usize {
    let rows = |rows: &[RecordBatch]| rows.iter().map(RecordBatch::num_rows).sum::<usize>();
    let versions = versions(lake, Table::ClicksMinute).await;
    versions.iter().map(|version| rows(&version.rows)).sum::<usize>()
        - versions.iter().map(|version| rows(&version.removed)).sum::<usize>()
}

/// Checks that the newest minutes are what a replay makes of the raw clicks.
pub async fn is_right(lake: &Lake, log: &Log) -> Result<(), String> {
    let versions = versions(lake, Table::ClicksMinute).await;
    is_replay(lake, log, &parameters(), &versions, |at| at + 1 == versions.len()).await
}

/// Runs a work on a copy of a store, with a fault at one operation. Returns the copy, and how many operations there
/// were.
pub async fn one_fault<T>(
    store: &InMemory,
    work: impl AsyncFn(&Lake) -> T,
    fault: Fault,
    at: u64,
) -> (Arc<dyn ObjectStore>, u64) {
    let copied: Arc<dyn ObjectStore> = copy(store).await;
    let plan = move |operation| if operation == at { fault } else { Fault::None };
    let faulty = FaultStore::new(Arc::clone(&copied), Box::new(plan));
    let (dead, lake) = (faulty.dead(), lake_on(Arc::new(faulty.clone())));
    tokio::select! {
        biased;
        () = dead.cancelled() => {}
        _ = work(&lake) => {}
    }
    dead.cancel();
    (copied, faulty.operations())
}

#[test]
fn in_place_it_is_all_or_nothing() {
    simulate(async {
        let (store, log) = damaged().await;
        let replaces = async |lake: &Lake| drop(replace(lake, Writes::Changes).await);
        let before = rows(&lake_on(copy(&store).await)).await;
        let (_, operations) = one_fault(&store, replaces, Fault::None, 0).await;
        assert!(operations > 30, "{operations} operations are too few to be a backfill's");
        for fault in FAULTS {
            for at in 0..operations {
                let lake = lake_on(one_fault(&store, replaces, fault, at).await.0);
                let (is_untouched, is_right) = (rows(&lake).await == before, is_right(&lake, &log).await);
                assert!(is_untouched != is_right.is_ok(), "{fault:?} at {at}: {is_right:?}");
                let again = replace(&lake, Writes::Changes).await.expect("nothing fails any more");
                assert_eq!(matches!(again, Replaced::Committed(..)), is_untouched, "{fault:?} at {at}: {again:?}");
                self::is_right(&lake, &log).await.unwrap_or_else(|why| panic!("{fault:?} at {at}: {why}"));
            }
        }
    });
}

#[test]
fn into_a_table_nothing_is_written_twice() {
    simulate(async {
        let (store, log) = damaged().await;
        let makes = async |lake: &Lake| drop(staging(all(lake)).await);
        let (_, operations) = one_fault(&store, makes, Fault::None, 0).await;
        assert!(operations > 30, "{operations} operations are too few to be a backfill's");
        for fault in FAULTS {
            for at in 0..operations {
                let lake = lake_on(one_fault(&store, makes, fault, at).await.0);
                match staging(all(&lake)).await {
                    Ok(Made::Whole(_)) => {}
                    Err(error) if error.code() == Some(Code::StagingExists) => {}
                    other => panic!("{fault:?} at {at}: {other:?}"),
                }
                let (of, versions) = (parameters_of_staging(), versions(&lake, staging_table()).await);
                let last = versions.len() - 1;
                let found = is_replay(&lake, &log, &of, &versions, |at| at == last).await;
                assert_eq!(found, Ok(()), "{fault:?} at {at}");
                for (partition, end) in log.ends() {
                    assert_eq!(versions[last].stand(&partition).drained, Some(end), "{fault:?} at {at}");
                }
            }
        }
    });
}

/// A store that is slow, at first for one writer and then for the other.
const SLOW: Outage = Outage { slow: 400, ..Outage::NONE };

#[test]
fn two_at_once_do_not_do_it_twice() {
    for_each_seed(0..40, |seed| {
        simulate(async {
            let (store, log) = damaged().await;
            let store: Arc<dyn ObjectStore> = copy(&store).await;
            let replaces = [0, 1].map(|one| {
                let faulty = FaultStore::new(Arc::clone(&store), SLOW.plan(seed * 2 + one));
                // Nothing is there that the one could miss when the other has been faster.
                let range =
                    Range::Windows(Windows::between(None, EventTime::parse("2026-04-01T00:00:00Z")).expect("a day"));
                async move {
                    let lake = lake_on(Arc::new(faulty));
                    let work = Work { range, ..all(&lake) };
                    Replace { work, writes: Writes::Changes, wait: Duration::ZERO }.run().await
                }
            });
            for replaced in join_all(replaces).await {
                replaced.expect("nothing fails");
            }
            is_right(&lake_on(store), &log).await.unwrap_or_else(|why| panic!("seed {seed}: {why}"));
        });
    });
}

#[test]
fn a_file_is_lost_only_if_the_newest_version_names_it() {
    simulate(async {
        let (store, _) = damaged().await;
        let lake = lake_on(store);
        let mut minutes = TableLog::find_to_read(&lake, Table::ClicksMinute).await.expect("memory").expect("the table");
        let live = minutes.live_files().await.expect("memory");
        let of_the_first_day = live.into_iter().min_by_key(|file| file.partition_values["date"].clone());
        let file = of_the_first_day.expect("a file");
        let files = minutes.object_store();
        files.delete(&Path::from(file.path.as_str())).await.expect("memory");
        let (table, schema) = (minutes.table(), minutes.schema());
        let read = || read::all_rows(Arc::clone(&files), table, Arc::clone(&schema), file.clone());
        let unread = read().await.expect_err("it is gone");
        assert!(unread.is_retryable(), "{unread}");
        let why = or_lost(&mut minutes, unread).await;
        assert!(!why.is_retryable() && why.to_string().contains(&file.path), "{why}");
        let mut writer = TableLog::open(&lake, Table::ClicksMinute).await.expect("the table opens");
        let commit = Commit { removes: vec![file.clone()], ..Commit::new("tampering") };
        assert!(matches!(writer.commit(&commit).await, Ok(Outcome::Committed(_))));
        let unread = read().await.expect_err("it is gone");
        let why = or_lost(&mut minutes, unread).await;
        assert!(why.is_retryable(), "a newer version does without it: {why}");
    });
}

/// Returns what a store has, with the sizes.
async fn files(store: &dyn ObjectStore) -> Vec<(Path, u64)> {
    use futures::TryStreamExt;
    store.list(None).map_ok(|file| (file.location, file.size)).try_collect().await.expect("memory")
}

#[test]
fn what_was_written_before_it_ends_with_an_error_is_deleted() {
    simulate(async {
        let store: Arc<dyn ObjectStore> = damaged().await.0;
        let before = files(store.as_ref()).await;
        // When its files are there, clean-up may take them for forgotten.
        let judge = |asked: Asked<'_>| match asked.does {
            Does::Write if asked.path.as_ref().ends_with(".parquet") => Fault::Slow(UNCOMMITTED_AGE_MAX),
            _ => Fault::None,
        };
        let lake = lake_on(Arc::new(FaultStore::judged(Arc::clone(&store), Box::new(judge))));
        let error = replace(&lake, Writes::Changes).await.expect_err("it took too long");
        assert_eq!(error.code(), Some(Code::Contended), "{error}");
        assert_eq!(files(store.as_ref()).await, before);
    });
}

#[test]
fn a_look_writes_nothing() {
    simulate(async {
        let (store, _) = damaged().await;
        let store: Arc<dyn ObjectStore> = copy(&store).await;
        let lake = lake_on(Arc::clone(&store));
        let before = files(store.as_ref()).await;
        let Ok(Replaced::Compared(changes)) = replace(&lake, Writes::Nothing).await else { panic!("it compares") };
        assert!(changes.windows_changed() > 0, "{changes:?}");
        assert_eq!(files(store.as_ref()).await, before);
    });
}
