//! `clicklake compact`: rolls up, merges files and cleans up, round by round.

use std::error::Error;
use std::time::Duration;

use ::compactor::{CompactError, Compactor, Done, Keep, Mode, Plan};
use lake_schemas::Table;
use lake_store::commit::TableView;
use lake_store::{Lake, LakeError};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use super::now;
use crate::arguments::Compact;
use crate::metrics::{self, CompactorCollector, Rounds};
use crate::{memory, report};

/// How often old versions expire, where rounds are more frequent: it takes a listing of each table's log.
const HISTORY_EVERY: Duration = Duration::from_secs(3_600);

/// How often a table is searched for files that no version names: it takes a listing of all its files.
const ORPHANS_EVERY: Duration = Duration::from_secs(24 * 3_600);

pub async fn run(lake: &str, command: Compact, stop: CancellationToken) -> anyhow::Result<()> {
    let lake = Lake::at(lake)?;
    if command.once || command.dry_run {
        // A daemon may be started beside the job that makes the tables; what runs once finds them, or has a wrong lake.
        has_tables(&lake).await?;
    }
    if !command.dry_run {
        lake.probe().await?;
    }
    let (progress, seen) = watch::channel(Rounds::default());
    if let Some(address) = command.metrics {
        metrics::serve(address, "compact", Box::new(CompactorCollector(seen))).await?;
    }
    let mut running = Running {
        compactor: Compactor::new(lake, command.memory_limit.unwrap_or_else(memory::three_quarters)),
        unprinted: None,
        keep_history: command.keep_history,
        history: None,
        progress,
    };
    if command.once || command.dry_run {
        let mode = if command.dry_run { Mode::DryRun } else { Mode::Perform };
        let things = tokio::select! {
            done = running.round(mode) => done?,
            () = stop.cancelled() => return Ok(()),
        };
        if things == 0 {
            report::print_text("nothing to do")?;
        }
        // The round is done, but if its report could not be printed, the command has failed.
        return running.unprinted.map_or(Ok(()), Err);
    }
    let mut rounds = interval(command.every);
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        // If it is told to stop, the current work is dropped, and begun anew next time: nothing is left half done.
        let done = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            done = async { rounds.tick().await; running.round(Mode::Perform).await } => done,
        };
        if let Some(error) = running.unprinted.take() {
            warn!(%error, "what was done is not printed; the rounds go on");
        }
        match done {
            Ok(_) => {}
            Err(error @ CompactError::Fenced(_)) => return Err(error.into()),
            Err(error) if error.is_retryable() => {
                warn!(error = &error as &dyn Error, "the next round tries again");
            }
            Err(error) => {
                error!(error = &error as &dyn Error, "left out until it is mended; the rest was done");
            }
        }
    }
}

/// Refuses a lake without any table, before anything is written: the first write would make the lake.
async fn has_tables(lake: &Lake) -> Result<(), LakeError> {
    for table in Table::ALL {
        match TableView::newest(lake, table).await {
            Ok(None) => {}
            // A table that is refused is there: the round names it, and does the rest.
            Ok(Some(_)) | Err(LakeError::Refused(_)) => return Ok(()),
            Err(error) => return Err(error),
        }
    }
    Err(lake.lacks_tables())
}

struct Running {
    compactor: Compactor,
    /// Why the report of what was done could not be printed.
    unprinted: Option<anyhow::Error>,
    keep_history: Duration,
    /// When old versions last expired.
    history: Option<Instant>,
    progress: watch::Sender<Rounds>,
}

impl Running {
    /// Does a round. Returns how many things there were to do.
    async fn round(&mut self, mode: Mode) -> Result<usize, CompactError> {
        let (began, now) = (Instant::now(), now());
        let history = self.history.is_none_or(|last| began - last >= HISTORY_EVERY);
        let keep = history.then_some(Keep { now, keep: self.keep_history, orphans: true });
        let plan = Plan { keep, orphans_every: ORPHANS_EVERY, mode, now: Some(now) };
        let (progress, unprinted, mut things) = (&self.progress, &mut self.unprinted, 0);
        let mut tell = |done: Done| {
            // A change by another program is reported, but is no work of the round.
            things += usize::from(!matches!(done, Done::Foreign(_)));
            progress.send_modify(|rounds| rounds.add(&done));
            if let Err(error) = report::print_text(&done.to_string()) {
                unprinted.get_or_insert(error);
            }
        };
        let done = self.compactor.round(&plan, &mut tell).await;
        self.progress.send_modify(|rounds| {
            rounds.done += u64::from(done.is_ok());
            rounds.failed += u64::from(done.is_err());
            rounds.last_took = began.elapsed();
        });
        // Also after a failure: it is no reason to list all of a bucket every minute.
        self.history = if history { Some(began) } else { self.history };
        done.map(|()| things)
    }
}
