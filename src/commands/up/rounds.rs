//! The compactor of `clicklake up`: hours and days follow the minutes, a round every few seconds.

use std::error::Error;
use std::time::Duration;

use ::compactor::{CompactError, Compactor, Done, Plan};
use lake_store::Lake;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::commands::now;
use crate::memory;

/// Time between rounds, short enough to watch: for a lake that lives longer, a minute is enough.
const EVERY: Duration = Duration::from_secs(10);

/// Number of files that were merged, and of those that they became.
#[derive(Clone, Copy, Debug, Default)]
pub struct Files {
    pub before: usize,
    pub after: usize,
}

/// Does rounds until it is stopped, and then a last one.
pub async fn run(lake: &Lake, stop: &CancellationToken) -> Result<Files, CompactError> {
    let mut compactor = Compactor::new(lake.clone(), memory::three_quarters());
    let (mut merged, mut every) = (Files::default(), interval(EVERY));
    let mut tell = |done| {
        if let Done::Merged { files, .. } = done {
            merged.before += files.0;
            merged.after += files.1;
        }
    };
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let is_last = tokio::select! {
            _ = every.tick() => false,
            () = stop.cancelled() => true,
        };
        let plan = Plan { now: Some(now()), ..Plan::default() };
        match compactor.round(&plan, &mut tell).await {
            Err(error) if !is_last && !matches!(error, CompactError::Fenced(_)) => {
                warn!(error = &error as &dyn Error, "the next round tries again");
            }
            done => done?,
        }
        if is_last {
            return Ok(merged);
        }
    }
}
