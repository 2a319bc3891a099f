//! Waiting between attempts at what a store did not do: longer after each failure, and said.

use std::error::Error;
use std::time::Duration;

use lake_schemas::files::UNCOMMITTED_AGE_MAX;
use lake_schemas::{LakeError, Result, Table};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::warn;

/// How long the same thing is tried, and how old a file may be that is committed.
const AGE_MAX: Duration = Duration::from_secs(UNCOMMITTED_AGE_MAX.as_secs() / 4);

/// Waits between attempts.
const BACKOFF_FIRST: Duration = Duration::from_millis(200);
const BACKOFF_MAX: Duration = Duration::from_secs(10);

/// Refuses to commit files that are written since a time, once they may be taken for forgotten.
pub(crate) fn is_young_enough(began: Instant, table: Table) -> Result<()> {
    if began.elapsed() <= AGE_MAX {
        return Ok(());
    }
    let hours = AGE_MAX.as_secs() / 3_600;
    let why =
        format!("{table}: it took longer than {hours} hours, and clean-up may take what was written; ask for less");
    Err(LakeError::Refused(why))
}

/// The attempts at one thing.
pub(crate) struct Backoff {
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
        if !error.is_retryable() || self.began.elapsed() > AGE_MAX || give_up.is_cancelled() {
            return Err(error);
        }
        warn!(error = &error as &dyn Error, wait_ms = self.wait.as_millis(), "trying again");
        tokio::select! {
            () = sleep(self.wait) => {}
            () = give_up.cancelled() => return Err(error),
        }
        self.wait = (self.wait * 2).min(BACKOFF_MAX);
        Ok(())
    }
}
