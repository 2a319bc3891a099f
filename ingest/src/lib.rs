//! Both ends of the log, and the one loop that drives operators and commits.
//!
//! A [`source`] is one end of the log, as the loop sees it. [`kafka`] reads the log live, [`decode`] turns its messages
//! into rows, and [`append`] is the job that keeps them as raw tables. [`replay`] reads it from there, [`hybrid`] joins
//! both ends. [`drive`] runs any job over any source. [`ingest`] and [`compute`] put them together. [`backoff`] is how
//! all of them wait for a store.

pub mod append;
pub mod backoff;
pub mod decode;
pub mod drive;
pub mod hybrid;
pub mod kafka;
pub mod replay;
pub mod source;

use std::num::NonZero;
use std::time::Duration;

use futures::future::BoxFuture;
use lake_schemas::job::Job;
use lake_schemas::minute::Requested;
use lake_schemas::{Cut, Table};
use lake_store::commit::TableLog;
use lake_store::{Lake, LakeError};
use stream_agg::job::Aggregate;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::info;

use self::append::Append;
use self::backoff::{unless_stopped, until_there};
use self::decode::Columns;
use self::drive::{DriveError, Pace, Progress, drive};
use self::hybrid::HybridSource;
use self::kafka::{KafkaOptions, KafkaSource};
use self::replay::{Budget, RawTable};
use self::source::{Source, SourceError};

/// Characters of the table's id in a default group: enough that two lakes never share a group by accident.
const GROUP_ID_CHARS: usize = 8;

/// How long leaving the group may take. The group finds out by itself, and nothing in the tables waits for it.
const LEAVE_MAX: Duration = Duration::from_secs(3);

/// When a job is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// When it is told to stop.
    Stopped,
    /// When all that the topic had at the start is in the tables, whichever member of the group brought it there.
    CaughtUp,
}

/// How a job runs, and who is told.
pub struct Run {
    /// When it commits.
    pub pace: Pace,
    /// When it is done.
    pub until: Until,
    /// Tells it to stop.
    pub stop: CancellationToken,
    /// Is told what it has done.
    pub progress: watch::Sender<Progress>,
}

/// Brings a topic into the raw tables of a lake, until it is stopped, caught up, or cannot go on. When another table
/// has become one of them, it begins anew with that.
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
    Box::pin(drive_anew(probe, begin, |source| source, run.pace, run))
}

/// Computes `clicks_minute` of a topic: from the raw table as far as that has come, then from Kafka, until it is
/// stopped, caught up, or cannot go on. When another table has become `clicks_minute`, it goes on with the parameters
/// that this one records.
pub fn compute<'a>(
    lake: &'a Lake,
    options: &'a KafkaOptions,
    requested: &'a Requested,
    run: Run,
) -> BoxFuture<'a, Result<(), DriveError>> {
    Box::pin(async move {
        let Budget { at_once, left } = Budget::of(run.pace.memory_max, cores());
        let pace = Pace { memory_max: left, ..run.pace };
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
        let probe = async {
            lake.probe().await?;
            kafka::warn_of_producers_clocks(options).await;
            Ok(())
        };
        drive_anew(probe, begin, HybridSource::into_live, pace, run).await
    })
}

/// A job, the tables that it writes, where it reads from, and how far.
struct Begun<J, S> {
    job: J,
    logs: Vec<TableLog>,
    source: S,
    goal: Option<Cut>,
}

/// Drives a job until it is done. When another table has become one of those that it works on, it begins again; what
/// was there at the first start is waited for then, as it would have been without the change. `probe` is what to look
/// at before the first start, `live` takes the member of the group out of the source.
async fn drive_anew<J: Job, S: Source, F: Future<Output = Result<Begun<J, S>, DriveError>>>(
    probe: impl Future<Output = Result<(), DriveError>>,
    begin: impl Fn() -> F,
    live: impl Fn(S) -> KafkaSource,
    pace: Pace,
    run: Run,
) -> Result<(), DriveError> {
    let first = async {
        probe.await?;
        begin().await
    };
    let Some(first) = unless_stopped(first, &run.stop).await else { return Ok(()) };
    let mut begun = first?;
    loop {
        let Begun { job, logs, mut source, goal } = begun;
        let (stop, progress) = (run.stop.clone(), run.progress.clone());
        let done = drive(&job, &mut source, logs, pace, goal, stop, progress).await;
        leave(live(source)).await;
        let Some(why) = altered(done)? else { return Ok(()) };
        info!(why, "beginning again");
        let Some(again) = until_there(&begin, &run.stop).await? else { return Ok(()) };
        begun = again;
    }
}

/// Says what others have done to the rows of a job's tables while nobody looked.
async fn look_back(logs: &mut [TableLog]) -> Result<(), LakeError> {
    for log in logs {
        log.look_back().await?;
        log.warn_of_foreign();
    }
    Ok(())
}

/// Why a job must begin anew: another table has become one of those that it works on. `None` if it is done.
fn altered(done: Result<(), DriveError>) -> Result<Option<String>, DriveError> {
    match done {
        Err(
            DriveError::Lake(LakeError::Altered(why)) | DriveError::Source(SourceError::Lake(LakeError::Altered(why))),
        ) => Ok(Some(why)),
        done => done.map(|()| None),
    }
}

/// How many cores there are to use.
fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, NonZero::get)
}

/// Joins the group: the one that is named, or one of the job and the table that it writes.
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
    Ok(KafkaSource::join(options, &group, time_in_future_ms, Columns::of(&job.reads())).await?)
}

async fn goal(options: &KafkaOptions, until: Until) -> Result<Option<Cut>, DriveError> {
    match until {
        Until::Stopped => Ok(None),
        Until::CaughtUp => Ok(Some(kafka::to_be_read(&kafka::ends(options).await?))),
    }
}

async fn leave(source: KafkaSource) {
    if timeout(LEAVE_MAX, source.leave()).await.is_err() {
        info!("left without a word: the group is busy with others");
    }
}
