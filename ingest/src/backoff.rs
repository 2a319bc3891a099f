//! Waits between attempts at an operation that the store did not perform: longer after each failure, and logged.

use std::error::Error;
use std::time::Duration;

use lake_schemas::{Code, Table};
use lake_store::files::UNCOMMITTED_AGE_MAX;
use lake_store::{LakeError, Result};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::warn;

/// Longest time for which an operation is retried, and greatest age of a file that is still committed: a quarter of the
/// age at which clean-up takes an uncommitted file for forgotten.
const AGE_MAX: Duration = Duration::from_secs(UNCOMMITTED_AGE_MAX.as_secs() / 4);

/// First wait between two attempts; it doubles up to `BACKOFF_MAX`.
const BACKOFF_FIRST: Duration = Duration::from_millis(200);
const BACKOFF_MAX: Duration = Duration::from_secs(10);

/// Refuses to commit files written since `began` once clean-up may take them for forgotten.
pub fn is_young_enough(began: Instant, table: Table) -> Result<()> {
    if began.elapsed() <= AGE_MAX {
        return Ok(());
    }
    let hours = AGE_MAX.as_secs() / 3_600;
    let why =
        format!("{table}: it took longer than {hours} hours, and clean-up may delete what was written; ask for less");
    Err(LakeError::Refused(Code::Contended.because(why)))
}

/// Attempts at one operation, with the wait before the next.
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
    /// Waits before the next attempt. Returns the error if there should be no other attempt: the error is permanent,
    /// too much time has passed, or `give_up` was cancelled.
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

/// Waits for a future, unless told to stop before: then drops it and returns `None`.
pub async fn unless_stopped<F: Future>(what: F, stop: &CancellationToken) -> Option<F::Output> {
    tokio::select! {
        biased;
        () = stop.cancelled() => None,
        done = what => Some(done),
    }
}
