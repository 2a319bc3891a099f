//! Laws of a restart: it replays a few partitions at a time, lists the raw table once, and goes over to the live log as
//! soon as that has what comes next, whatever happens to the raw table meanwhile. A process that follows the raw table
//! goes on as that grows, and is never ahead of it.

use std::sync::Arc;
use std::time::Duration;

use ingest::drive::{CommitPolicy, DriveError};
use ingest::follow_source::FollowSource;
use ingest::hybrid::HybridSource;
use ingest::replay::{Growth, Meter, RawTable};
use ingest::source::{Source, Start};
use lake_schemas::job::Job;
use lake_schemas::minute::Parameters;
use lake_schemas::{Cut, Table};
use lake_store::Lake;
use lake_store::commit::TableLog;
use object_store::ObjectStore;
use object_store::memory::InMemory;
use query::verify::{Question, verify};
use stream_agg::job::Aggregate;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::{all_of, minutes};
use crate::fault_store::{Fault, FaultStore};
use crate::simulation::{Computation, Log, START_MS, lake_on, named, simulate};

const PARTITIONS: usize = 20;

/// Number of messages of each partition that are there at first.
const FIRST: usize = 100;

/// Number of messages of each partition that come later.
const LATER: usize = 180;

/// Time of a slow write; a read takes a fraction of it, a tenth of a second.
const SLOW: Duration = Duration::from_millis(6_400);

const MEMORY: usize = 1 << 30;

/// Makes a log of all partitions, each with a message every second once the first ones are there.
fn log() -> Log {
    let times = || (0..FIRST + LATER).map(|number| START_MS + number as i64 * 1_000).map(|ms| (ms, ms)).collect();
    let after = |_, number: usize| Duration::from_secs(number.saturating_sub(FIRST) as u64);
    Log::of_times((0..PARTITIONS).map(|_| times())).coming(after)
}

/// Begins an ingest that commits every second, and moves all partitions each time.
fn ingesting(lake: &Lake, log: &Arc<Log>) -> JoinHandle<Result<(), DriveError>> {
    let (lake, (source, _)) = (lake.clone(), all_of(log));
    tokio::spawn(async move {
        let (policy, stop) = (CommitPolicy::every(Duration::from_secs(1)), CancellationToken::new());
        Computation::Raw.run(&lake, source, policy, None, stop).await
    })
}

/// Returns how far a table has come; nowhere if it is not there yet.
async fn cuts(lake: &Lake, table: Table) -> Cut {
    let Some(log) = TableLog::find(lake, table).await.expect("memory") else { return Cut::new() };
    log.stands().into_iter().filter_map(|(partition, stand)| Some((partition, stand.cut?))).collect()
}

#[test]
fn a_restart_catches_up_though_the_raw_table_goes_on() {
    simulate(async {
        let memory: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let (log, lake) = (Arc::new(log()), lake_on(Arc::clone(&memory)));
        let raw = ingesting(&lake, &log);
        sleep(Duration::from_secs(10)).await;
        let store = FaultStore::by_nature(Arc::clone(&memory), Box::new(|_| Fault::Slow(SLOW)));
        let (slow, (source, group)) = (lake_on(Arc::new(store.clone())), all_of(&log));
        let began = Instant::now();
        let restarted = tokio::spawn(async move {
            let (policy, stop) = (CommitPolicy::every(Duration::from_secs(5)), CancellationToken::new());
            minutes().run(&slow, source, policy, None, stop).await
        });
        sleep(Duration::from_secs(60)).await;
        let live = group.read_by(began + Duration::from_secs(60));
        assert_eq!(live, PARTITIONS, "so many partitions are read live after a minute");
        // Two tables are opened, and one is listed: nothing is listed for each partition.
        let listed = store.lists();
        assert!(listed <= PARTITIONS as u64 / 2, "{listed} listings of a log");
        // Clicks that come from the replay and from Kafka are counted once.
        sleep(Duration::from_secs(LATER as u64)).await;
        assert!(!raw.is_finished() && !restarted.is_finished(), "both go on");
        let found = verify(&lake, Question::default(), MEMORY).await.expect("an audit");
        assert!(found.is_equal() && found.cut == log.ends(), "{found}");
    });
}

#[test]
fn a_follower_catches_up_with_the_raw_table_and_is_never_ahead_of_it() {
    simulate(async {
        let memory: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let (log, lake) = (Arc::new(log()), lake_on(Arc::clone(&memory)));
        let raw = ingesting(&lake, &log);
        sleep(Duration::from_secs(10)).await;
        let store = FaultStore::by_nature(Arc::clone(&memory), Box::new(|_| Fault::Slow(SLOW)));
        let (slow, (source, group)) = (lake_on(Arc::new(store.clone())), all_of(&log));
        let following = tokio::spawn(async move {
            let (policy, stop) = (CommitPolicy::every(Duration::from_secs(5)), CancellationToken::new());
            minutes().follow(&slow, source, policy, None, stop).await
        });
        for _ in 0..40 {
            sleep(Duration::from_secs(3)).await;
            // The minutes first, because both go on meanwhile.
            let (counted, written) = (cuts(&lake, Table::ClicksMinute).await, cuts(&lake, Table::Clicks).await);
            for (partition, cut) in &counted {
                assert!(written.get(partition) >= Some(cut), "{partition}: {cut} is counted of {written:?}");
            }
        }
        let counted = cuts(&lake, Table::ClicksMinute).await;
        let caught_up = counted.values().filter(|cut| **cut >= FIRST as i64).count();
        assert_eq!(caught_up, PARTITIONS, "so many partitions have caught up: {counted:?}");
        let listed = store.lists();
        assert!(listed <= PARTITIONS as u64 / 2, "{listed} listings of a log");
        sleep(Duration::from_secs(LATER as u64)).await;
        assert!(!raw.is_finished() && !following.is_finished(), "both go on");
        let found = verify(&lake, Question::default(), MEMORY).await.expect("an audit");
        assert!(found.is_equal() && found.cut == log.ends(), "{found}");
        assert_eq!(group.read_by(Instant::now()), 0, "so many partitions were read live");
    });
}

/// Makes a raw table in which each partition of a log is one file, and which counts what is read into a meter.
async fn in_one_file_each(lake: &Lake, log: &Arc<Log>, meter: &Arc<Meter>) -> RawTable {
    let (rarely, stop) = (CommitPolicy::every(Duration::from_secs(3_600)), CancellationToken::new());
    let ingested = Computation::Raw.run(lake, all_of(log).0, rarely, Some(log.ends()), stop).await;
    ingested.expect("ingest ends");
    RawTable::new(TableLog::open(lake, Table::Clicks).await.expect("memory")).counted_by(meter)
}

/// Begins all partitions, and checks that few of them are read while nobody takes what was read.
async fn are_read_few_at_a_time(mut source: impl Source, meter: &Meter) {
    let partitions = (0..PARTITIONS as i32).map(named);
    let starts = partitions.map(|partition| Start { partition, from: None, fingerprint: None }).collect();
    source.start(starts).await.expect("memory");
    // Nobody takes what is replayed, so what is under way stays so.
    sleep(Duration::from_secs(60)).await;
    let (rows, all) = (meter.rows().0, PARTITIONS * FIRST);
    assert!(rows > 0 && rows <= all as u64 / 2, "{rows} of {all} rows were read ahead");
}

#[test]
fn a_restart_replays_few_partitions_at_a_time() {
    simulate(async {
        let (lake, log) = (lake_on(Arc::new(InMemory::new())), Arc::new(log().earlier(|_, _| FIRST)));
        let (job, meter) = (Aggregate::new(Parameters::default()), Arc::new(Meter::default()));
        let raw = in_one_file_each(&lake, &log, &meter).await.shared();
        let source = HybridSource::new(raw, all_of(&log).0, job.reads()).replaying(2);
        are_read_few_at_a_time(source, &meter).await;
    });
}

#[test]
fn a_follower_replays_few_partitions_at_a_time() {
    simulate(async {
        let (lake, log) = (lake_on(Arc::new(InMemory::new())), Arc::new(log().earlier(|_, _| FIRST)));
        let (job, meter) = (Aggregate::new(Parameters::default()), Arc::new(Meter::default()));
        let raw = in_one_file_each(&lake, &log, &meter).await.shared();
        let source = FollowSource::new(raw, all_of(&log).0, job.reads(), Growth::none()).replaying(2);
        are_read_few_at_a_time(source, &meter).await;
    });
}
