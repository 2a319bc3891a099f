//! Both ends of the log, and the one loop that drives operators and commits.
//!
//! [`kafka`] reads the log live, [`decode`] turns its messages into rows, [`drive`] runs any job over any source, and
//! [`append`] is the job that keeps the log as raw tables. [`ingest`] puts the four together.

pub mod append;
pub mod decode;
pub mod drive;
pub mod kafka;

use std::time::Duration;

use futures::future::BoxFuture;
use lake_schemas::Lake;
use lake_schemas::commit::TableLog;
use lake_schemas::job::Job;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::info;

use self::append::Append;
use self::drive::{DriveError, Progress, drive};
use self::kafka::{KafkaOptions, KafkaSource};

/// Characters of the table's id in a default group: enough that two lakes never share a group by accident.
const GROUP_ID_CHARS: usize = 8;

/// How long leaving the group may take. The group finds out by itself, and nothing in the tables waits for it.
const LEAVE_MAX: Duration = Duration::from_secs(3);

/// When to commit, and when to be done.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// How long a row waits at most before its epoch begins to be committed.
    pub commit_interval: Duration,
    /// Stop when all that the topic had at the start is in the tables, whichever member of the group brought it there.
    pub until_caught_up: bool,
}

/// Brings a topic into the raw tables of a lake, until it is stopped, caught up, or cannot go on.
pub fn ingest<'a>(
    lake: &'a Lake,
    options: &'a KafkaOptions,
    pace: Pace,
    stop: CancellationToken,
    progress: watch::Sender<Progress>,
) -> BoxFuture<'a, Result<(), DriveError>> {
    Box::pin(async move {
        lake.probe().await?;
        let logs = TableLog::open_all(lake, Append::TABLES).await?;
        let clicks = logs.last().expect("the job has tables, and clicks is the last");
        let group = options.group.clone().unwrap_or_else(|| {
            let id: String = clicks.id().chars().take(GROUP_ID_CHARS).collect();
            format!("clicklake-{}-{id}", Append::NAME)
        });
        let mut source = KafkaSource::join(options, &group, clicks.time_in_future_ms()).await?;
        let goal = if pace.until_caught_up { Some(kafka::ends(options).await?) } else { None };
        let done = drive(&Append, &mut source, logs, pace.commit_interval, goal, stop, progress).await;
        if timeout(LEAVE_MAX, source.leave()).await.is_err() {
            info!("left without a word: the group is busy with others");
        }
        done
    })
}
