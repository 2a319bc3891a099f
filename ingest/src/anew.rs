//! Drives a job until it is done, and begins it anew when another table has become one of its own.

use std::time::Duration;

use lake_schemas::Cut;
use lake_schemas::job::Job;
use lake_store::LakeError;
use lake_store::commit::TableLog;
use tokio::time::timeout;
use tracing::info;

use crate::backoff::{unless_stopped, until_there};
use crate::drive::{DriveError, Pace, drive};
use crate::kafka::KafkaSource;
use crate::run::Run;
use crate::source::{Source, SourceError};

/// How long leaving the group may take. The group finds out by itself, and nothing in the tables waits for it.
const LEAVE_MAX: Duration = Duration::from_secs(3);

/// A job, the tables that it writes, where it reads from, and how far.
pub(crate) struct Begun<J, S> {
    pub job: J,
    pub logs: Vec<TableLog>,
    pub source: S,
    pub goal: Option<Cut>,
}

/// Drives a job until it is done. When another table has become one of those that it works on, it begins again; what
/// was there at the first start is waited for then, as it would have been without the change. `probe` is what to look
/// at before the first start, `live` takes the member of the group out of the source.
pub(crate) async fn drive_anew<J: Job, S: Source, F: Future<Output = Result<Begun<J, S>, DriveError>>>(
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

/// Why a job must begin anew: another table has become one of those that it works on. `None` if it is done.
fn altered(done: Result<(), DriveError>) -> Result<Option<String>, DriveError> {
    match done {
        Err(
            DriveError::Lake(LakeError::Altered(why)) | DriveError::Source(SourceError::Lake(LakeError::Altered(why))),
        ) => Ok(Some(why)),
        done => done.map(|()| None),
    }
}

async fn leave(source: KafkaSource) {
    if timeout(LEAVE_MAX, source.leave()).await.is_err() {
        info!("left without a word: the group is busy with others");
    }
}
