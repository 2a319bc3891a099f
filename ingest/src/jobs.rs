//! Assembles the jobs that read a topic: one writes the raw tables from Kafka, one computes `clicks_minute` from the
//! raw table and then Kafka.

use std::num::NonZero;
use std::pin::pin;

use futures::future::BoxFuture;
use lake_schemas::job::Job;
use lake_schemas::minute::Requested;
use lake_schemas::{Cut, Table};
use lake_store::commit::TableLog;
use lake_store::{Lake, LakeError};
use stream_agg::job::Aggregate;

use crate::anew::{Begun, drive_anew};
use crate::append::Append;
use crate::decode::{Columns, Decoding};
use crate::drive::{CommitPolicy, DriveError};
use crate::hybrid::HybridSource;
use crate::kafka::{self, KafkaOptions, KafkaSource};
use crate::replay::{Budget, RawTable};
use crate::run::{Run, Until};

/// Number of characters of the table's id in the name of a default consumer group: enough that two lakes never share a
/// group by accident.
const GROUP_ID_CHARS: usize = 8;

/// Reads a topic into the raw tables of a lake, until the job is stopped, has caught up, or cannot go on. When one of
/// the tables was replaced by another one, the job restarts with that.
pub fn ingest<'a>(lake: &'a Lake, options: &'a KafkaOptions, run: Run) -> BoxFuture<'a, Result<(), DriveError>> {
    let until = run.until;
    let begin = move || async move {
        let mut logs = TableLog::open_all(lake, &Append.tables()).await?;
        look_back(&mut logs).await?;
        let clicks = logs.last().expect("the job has tables, and clicks is the last");
        let source = join(&Append, options, clicks, clicks.time_in_future_ms()).await?;
        let goal = goal(options, until).await?;
        Ok(Begun { job: Append, logs, source, goal })
    };
    let probe = async move { Ok(lake.probe().await?) };
    Box::pin(drive_anew(probe, begin, |source| source, run.policy, run))
}

/// Computes `clicks_minute` of a topic: from the raw table up to its cut, then from Kafka, until the job is stopped,
/// has caught up, or cannot go on. When `clicks_minute` was replaced by another table, the job restarts with the
/// parameters that the new one records.
pub fn compute<'a>(
    lake: &'a Lake,
    options: &'a KafkaOptions,
    requested: &'a Requested,
    run: Run,
) -> BoxFuture<'a, Result<(), DriveError>> {
    Box::pin(async move {
        let Budget { at_once, left } = Budget::of(run.policy.memory_max, cores());
        let policy = CommitPolicy { memory_max: left, ..run.policy };
        let until = run.until;
        let begin = || async {
            let (log, parameters) = TableLog::open_minutes(lake, requested).await?;
            let job = Aggregate::new(parameters);
            let clicks = match TableLog::find_to_read(lake, Table::Clicks).await? {
                Some(clicks) => clicks,
                None => TableLog::open(lake, Table::Clicks).await?,
            };
            clicks.has_its_stands().await?;
            let mut logs = [log, clicks];
            look_back(&mut logs).await?;
            let [log, clicks] = logs;
            let live = join(&job, options, &log, clicks.time_in_future_ms()).await?;
            let goal = goal(options, until).await?;
            let source = HybridSource::new(RawTable::new(clicks).shared(), live, job.reads()).replaying(at_once);
            Ok(Begun { job, logs: vec![log], source, goal })
        };
        let probe = async { Ok(lake.probe().await?) };
        let mut driven = pin!(drive_anew(probe, begin, HybridSource::into_live, policy, run));
        // A broker that gives no answer takes seconds, and the job does not begin later for that.
        tokio::select! {
            done = &mut driven => done,
            () = kafka::warn_of_producers_clocks(options) => driven.await,
        }
    })
}

/// Reports what other writers did to the rows of a job's tables while this job was not running.
async fn look_back(logs: &mut [TableLog]) -> Result<(), LakeError> {
    for log in logs {
        log.look_back().await?;
        log.warn_of_foreign();
    }
    Ok(())
}

/// Returns the number of cores to use.
fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, NonZero::get)
}

/// Joins the consumer group of the options, or else the default one, named after the job and the table that it writes.
async fn join<J: Job>(
    job: &J,
    options: &KafkaOptions,
    target: &TableLog,
    time_in_future_ms: i64,
) -> Result<KafkaSource, DriveError> {
    let group = options.group.clone().unwrap_or_else(|| {
        let id: String = target.id().chars().take(GROUP_ID_CHARS).collect();
        format!("clicklake-{}-{id}", job.name())
    });
    let decoding = Decoding::json(time_in_future_ms).with(Columns::of(&job.reads()));
    Ok(KafkaSource::join(options, &group, decoding).await?)
}

async fn goal(options: &KafkaOptions, until: Until) -> Result<Option<Cut>, DriveError> {
    match until {
        Until::Stopped => Ok(None),
        Until::CaughtUp => Ok(Some(kafka::to_be_read(&kafka::ends(options).await?))),
    }
}
