//! Waiting between attempts at what a store did not do: longer after each failure, and said.

use std::error::Error;
use std::time::Duration;

use lake_schemas::Table;
use lake_store::files::UNCOMMITTED_AGE_MAX;
use lake_store::{LakeError, Result};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::drive::DriveError;

/// How long the same thing is tried, and how old a file may be that is committed.
const AGE_MAX: Duration = Duration::from_secs(UNCOMMITTED_AGE_MAX.as_secs() / 4);

/// Waits between attempts.
const BACKOFF_FIRST: Duration = Duration::from_millis(200);
const BACKOFF_MAX: Duration = Duration::from_secs(10);

/// Refuses to commit files that are written since a time, once they may be taken for forgotten.
pub fn is_young_enough(began: Instant, table: Table) -> Result<()> {
    if began.elapsed() <= AGE_MAX {
        return Ok(());
    }
    let hours = AGE_MAX.as_secs() / 3_600;
    let why =
        format!("{table}: it took longer than {hours} hours, and clean-up may take what was written; ask for less");
    Err(LakeError::Refused(why))
}

/// The attempts at one thing.
pub struct Backoff {
    began: Instant,
    wait: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { began: Instant::now(), wait: BACKOFF_FIRST }
    }
}

impl Backoff {
    /// Waits before the next attempt; returns the error if there should be none: it would fail again, too much time has
    /// passed, or `give_up` was told.
    pub async fn again(&mut self, error: LakeError, give_up: &CancellationToken) -> Result<()> {
        if error.is_retryable() && self.wait(&error, give_up).await { Ok(()) } else { Err(error) }
    }

    /// Waits before the next attempt; returns whether there should be one.
    async fn wait(&mut self, error: &(dyn Error + Send + Sync + 'static), give_up: &CancellationToken) -> bool {
        if self.began.elapsed() > AGE_MAX || give_up.is_cancelled() {
            return false;
        }
        warn!(error, wait_ms = self.wait.as_millis(), "trying again");
        let wait = self.wait;
        self.wait = (wait * 2).min(BACKOFF_MAX);
        tokio::select! {
            () = sleep(wait) => true,
            () = give_up.cancelled() => false,
        }
    }
}

/// Waits for something, unless told to stop before: then it is dropped, and `None`.
pub async fn unless_stopped<F: Future>(what: F, stop: &CancellationToken) -> Option<F::Output> {
    tokio::select! {
        biased;
        () = stop.cancelled() => None,
        done = what => Some(done),
    }
}

/// Tries until something is there that was there before; `None` if told to stop first.
pub(crate) async fn until_there<T, F: Future<Output = Result<T, DriveError>>>(
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

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::source::SourceError;

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
