//! Drives a job until it is done, and begins it anew when another table has become one of its own.

use std::time::Duration;

use lake_schemas::Cut;
use lake_schemas::job::Job;
use lake_store::LakeError;
use lake_store::commit::TableLog;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::backoff::{Backoff, unless_stopped};
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

/// Tries until something is there that was there before; `None` if told to stop first.
async fn until_there<T, F: Future<Output = Result<T, DriveError>>>(
    attempt: impl Fn() -> F,
    stop: &CancellationToken,
) -> Result<Option<T>, DriveError> {
    let mut backoff = Backoff::default();
    loop {
        let Some(attempted) = unless_stopped(attempt(), stop).await else { return Ok(None) };
        match attempted {
            Ok(there) => return Ok(Some(there)),
            Err(error) if error.may_pass() && (backoff.wait(&error, stop).await || stop.is_cancelled()) => {}
            Err(error) => return Err(error),
        }
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

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    fn lost() -> DriveError {
        LakeError::store("opening it", "no answer").into()
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_there_is_waited_for() {
        let (left, stop) = (Cell::new(5), CancellationToken::new());
        let attempt = || async {
            match left.replace(left.get() - 1) {
                0 => Ok("there"),
                1 => Err(SourceError::Failed("no broker answers".to_owned()).into()),
                _ => Err(lost()),
            }
        };
        assert_eq!(until_there(attempt, &stop).await.expect("it comes back"), Some("there"));
    }

    #[tokio::test(start_paused = true)]
    async fn what_does_not_pass_ends_the_wait_and_so_does_a_stop() {
        let stop = CancellationToken::new();
        let refused = || async { Err::<(), _>(LakeError::Refused("other parameters".to_owned()).into()) };
        until_there(refused, &stop).await.expect_err("it would be refused again");
        let attempt = || async {
            stop.cancel();
            Err::<(), _>(lost())
        };
        assert_eq!(until_there(attempt, &stop).await.expect("a clean stop"), None);
    }
}
