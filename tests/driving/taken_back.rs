//! Law: a job notices what other writers do to its table, however quiet its partitions are.

use std::sync::Arc;
use std::time::Duration;

use backfill::{Made, Promote, Range, Staging, What, Work};
use chrono::DateTime;
use ingest::drive::{CommitPolicy, DriveError};
use lake_schemas::Table;
use lake_schemas::minute::Requested;
use lake_store::commit::TableLog;
use lake_store::{Lake, LakeError};
use object_store::memory::InMemory;
use query::verify::{Question, verify};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::{all_of, minutes};
use crate::simulation::{Computation, Log, START_MS, lake_on, named, simulate};

/// Time from the start of a world until the second half of its log comes.
const SECOND_HALF: Duration = Duration::from_secs(60);

/// Time after which a job has written all that came, and its partitions are idle.
const IDLE: Duration = Duration::from_secs(60);

const MEMORY: usize = 1 << 30;

/// Runs a job until the world ends.
fn run(computation: Computation, lake: &Lake, log: &Arc<Log>) -> JoinHandle<Result<(), DriveError>> {
    let ((source, _), lake) = (all_of(log), lake.clone());
    let (policy, stop) = (CommitPolicy::every(Duration::from_secs(1)), CancellationToken::new());
    tokio::spawn(async move { computation.run(&lake, source, policy, None, stop).await })
}

/// Makes a staging table from all messages that the raw table has by now.
async fn staging(lake: &Lake, requested: Requested) -> What {
    let table = Table::Staging("again".parse().expect("a name"));
    let stop = CancellationToken::new();
    let work = Work { lake, range: Range::All, at_a_time: 2, meter: Arc::default(), stop };
    let made = Staging { work, table, requested }.run().await.expect("it is made");
    assert!(matches!(made, Made::Whole(_)));
    What::Staging(table)
}

async fn promote(lake: &Lake, what: What) {
    let now = DateTime::from_timestamp_millis(START_MS).expect("a time");
    let promoted = Promote { lake, what, now, stop: CancellationToken::new() }.run().await;
    promoted.expect("nothing fails").expect("nobody stops it");
}

/// Makes a log whose second half comes after [`SECOND_HALF`]. Each half of each partition has messages.
fn in_halves() -> Arc<Log> {
    let mut logs = (0..).map(|seed| Log::of_seed(seed, 3, 300));
    let log = logs.find(|log| log.partitions.iter().all(|all| all.len() > 40)).expect("there is no end of seeds");
    let halves: Vec<_> = log.partitions.iter().map(|all| all.len() / 2).collect();
    let after = move |partition: usize, number| if number < halves[partition] { Duration::ZERO } else { SECOND_HALF };
    Arc::new(log.coming(after))
}

/// Returns the cut of each partition in `clicks_minute`.
async fn cuts(lake: &Lake, log: &Log) -> Vec<Option<i64>> {
    let minutes = TableLog::find(lake, Table::ClicksMinute).await.expect("memory").expect("it is there");
    let partitions = 0..log.partitions.len() as i32;
    partitions.map(|partition| minutes.stand(&named(partition)).cut).collect()
}

fn ends(log: &Log) -> Vec<Option<i64>> {
    (0..log.partitions.len() as i32).map(|partition| log.end(partition)).collect()
}

#[test]
fn quiet_partitions_are_counted_again_after_a_promotion_and_after_its_undo() {
    simulate(async {
        let (log, lake) = (in_halves(), lake_on(Arc::new(InMemory::new())));
        let jobs = [run(Computation::Raw, &lake, &log), run(minutes(), &lake, &log)];
        sleep(SECOND_HALF / 2).await;
        let half = staging(&lake, Requested::default()).await;
        sleep(SECOND_HALF / 2 + IDLE).await;
        assert_eq!(cuts(&lake, &log).await, ends(&log));
        for what in [half, What::Before] {
            promote(&lake, what).await;
            sleep(IDLE).await;
            assert_eq!(cuts(&lake, &log).await, ends(&log), "{what:?}: what lies behind it was counted again");
        }
        assert!(jobs.iter().all(|job| !job.is_finished()), "the jobs go on");
        let found = verify(&lake, Question::default(), MEMORY).await.expect("an audit");
        assert!(found.is_equal() && found.cut == log.ends(), "{found}");
    });
}

#[test]
fn an_idle_job_notices_that_its_table_has_other_parameters_now() {
    simulate(async {
        let (log, lake) = (in_halves(), lake_on(Arc::new(InMemory::new())));
        let (_raw, minutes) = (run(Computation::Raw, &lake, &log), run(minutes(), &lake, &log));
        sleep(SECOND_HALF + IDLE).await;
        let other = staging(&lake, Requested { allowed_lateness_ms: Some(0), ..Requested::default() }).await;
        promote(&lake, other).await;
        let done = timeout(Duration::from_secs(15), minutes).await.expect("it looks at its table").expect("no panic");
        assert!(matches!(done, Err(DriveError::Lake(LakeError::Altered(_)))), "{done:?}");
    });
}
