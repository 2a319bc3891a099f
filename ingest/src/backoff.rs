//! Waiting between attempts at what a store did not do: longer after each failure, and said.

use std::error::Error;
use std::time::Duration;

use lake_schemas::Table;
use lake_store::files::UNCOMMITTED_AGE_MAX;
use lake_store::{LakeError, Result};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::warn;

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
        format!("{table}: it took longer than {hours} hours, and clean-up may delete what was written; ask for less");
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
    pub(crate) async fn wait(
        &mut self,
        error: &(dyn Error + Send + Sync + 'static),
        give_up: &CancellationToken,
    ) -> bool {
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
