//! Drives a job until it is done, and restarts it when one of its tables has become another one.

use std::time::Duration;

use lake_schemas::Cut;
use lake_schemas::job::Job;
use lake_store::LakeError;
use lake_store::commit::TableLog;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::backoff::{Backoff, unless_stopped};
use crate::drive::{CommitPolicy, DriveError, drive};
use crate::kafka::KafkaSource;
use crate::run::Run;
use crate::source::{Source, SourceError};

/// Longest wait for leaving the consumer group. The group notices a missing member by itself, and no table depends on
/// it.
const LEAVE_MAX: Duration = Duration::from_secs(3);

/// Everything that one run of a job needs: the job, its tables, its source, and the cut at which it ends, if any.
pub(crate) struct Begun<J, S> {
    pub job: J,
    pub logs: Vec<TableLog>,
    pub source: S,
    pub goal: Option<Cut>,
}

/// Drives a job until it is done, and restarts it when one of its tables has become another one. A restart retries
/// errors that may pass, because what it needs existed at the first start. `probe` runs once, before the first start;
/// `live` takes the group member out of the source.
pub(crate) async fn drive_anew<J: Job, S: Source, F: Future<Output = Result<Begun<J, S>, DriveError>>>(
    probe: impl Future<Output = Result<(), DriveError>>,
    begin: impl Fn() -> F,
    live: impl Fn(S) -> KafkaSource,
    policy: CommitPolicy,
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
        let done = drive(&job, &mut source, logs, policy, goal, stop, progress).await;
        leave(live(source)).await;
        let Some(why) = altered(done)? else { return Ok(()) };
        info!(why, "beginning again");
        let Some(again) = until_there(&begin, &run.stop).await? else { return Ok(()) };
        begun = again;
    }
}

/// Retries `attempt` while its error may pass, because what it needs existed before. Returns `None` if told to stop
/// first.
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

/// Returns why a job must restart: one of its tables has become another one. Returns `None` if the job is done.
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

    use lake_schemas::Code;

    use super::*;

    fn lost() -> DriveError {
        LakeError::store("opening it", "no answer").into()
    }

    #[tokio::test(start_paused = true)]
    async fn a_table_that_was_there_before_is_waited_for() {
        let (left, stop) = (Cell::new(5), CancellationToken::new());
        let attempt = || async {
            match left.replace(left.get() - 1) {
                0 => Ok("there"),
                1 => Err(SourceError::failed("topic clicks", "no broker answers").into()),
                _ => Err(lost()),
            }
        };
        assert_eq!(until_there(attempt, &stop).await.expect("it comes back"), Some("there"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_or_a_stop_ends_the_wait_for_the_lake() {
        let stop = CancellationToken::new();
        let refused = || async {
            Err::<(), _>(LakeError::Refused(Code::SettingsDiffer.because("other parameters".to_owned())).into())
        };
        until_there(refused, &stop).await.expect_err("it would be refused again");
        let attempt = || async {
            stop.cancel();
            Err::<(), _>(lost())
        };
        assert_eq!(until_there(attempt, &stop).await.expect("a clean stop"), None);
    }
}
