//! Drops a staging table that nobody needs. What may still be needed is refused before anything is changed; from then
//! on the steps are those of [`Dropped`], and a run that was interrupted is finished by the next one.

use std::time::Duration;

use futures::future::BoxFuture;
use lake_schemas::history::PROPERTY_BACKFILL;
use lake_schemas::{Code, History, Live, Table};
use lake_store::commit::{Deleted, Dropped, TableLog, WRITERS_LOOK_WITHIN};
use lake_store::pins::{self, Pins};
use lake_store::{Lake, LakeError, Result};
use tokio::time::sleep;

use crate::complete::has_all_below;

/// Age of its newest version up to which a backfill may be at work on a table that is not complete. It commits every
/// minute, but may have to wait for its store, or be started again.
const QUIET_MIN: Duration = Duration::from_secs(300);

/// How often in a row a backfill may commit to the table first.
const TRIES_MAX: usize = 10;

/// A staging table to drop.
pub struct Dropping<'a> {
    /// Lake of the table.
    pub lake: &'a Lake,
    /// Table to drop.
    pub table: Table,
    /// Whether to drop it although a backfill may be at work on it, which is then refused.
    pub is_forced: bool,
}

impl Dropping<'_> {
    /// Marks the table, unless an interrupted run has: from then on it is dropped for everybody.
    pub fn begin(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            for _ in 0..TRIES_MAX {
                if Dropped::find(self.lake, self.table).await?.is_some() {
                    return self.is_not_pinned().await;
                }
                let found = TableLog::find(self.lake, self.table).await?;
                let mut log = found.ok_or_else(|| self.lake.lacks(self.table))?;
                self.is_not_pinned().await?;
                self.is_not_live(&log)?;
                self.is_at_rest(&log).await?;
                if log.mark_dropped().await? {
                    return Ok(());
                }
            }
            let table = self.table;
            let why = format!("{table} was not dropped: other commits were first, {TRIES_MAX} times; try again");
            Err(LakeError::Refused(Code::Contended.because(why)))
        })
    }

    /// Deletes the marked table. That takes half a minute at least: nobody may be about to write it any more.
    pub fn finish(&self) -> BoxFuture<'_, Result<Deleted>> {
        Box::pin(async move {
            // Another run may have finished it.
            let Some(dropped) = Dropped::find(self.lake, self.table).await? else { return Ok(Deleted::default()) };
            dropped.delete_history().await?;
            sleep(WRITERS_LOOK_WITHIN).await;
            dropped.delete().await
        })
    }

    /// Refuses a table of which a pin keeps a version.
    async fn is_not_pinned(&self) -> Result<()> {
        let Pins { pins, damaged } = pins::all(self.lake).await?;
        let now = self.lake.time().await?;
        if let Some(damaged) = damaged.iter().find(|damaged| damaged.may_be_of(self.table)) {
            return Err(damaged.refused());
        }
        let Some(pin) = pins.iter().find(|pin| pin.table == self.table.name() && pin.holds(now)) else { return Ok(()) };
        let (name, version, table) = (pin.name.as_str(), pin.version, self.table);
        let why = format!("the pin {name} keeps version {version} of {table}; `clicklake unpin {name}` first");
        Err(LakeError::Refused(Code::StagingNeeded.because(why)))
    }

    /// Refuses a table that says that it is counted live.
    fn is_not_live(&self, log: &TableLog) -> Result<()> {
        let table = self.table;
        let Live::By(program) = Live::recorded(table, log.properties())? else { return Ok(()) };
        let why = format!("{table} is counted live, by `clicklake {program}`; `clicklake live {table} --stop` first");
        Err(LakeError::Refused(Code::StagingNeeded.because(why)))
    }

    /// Refuses a table on which a backfill may be at work, and one that no backfill has made.
    async fn is_at_rest(&self, log: &TableLog) -> Result<()> {
        let table = self.table;
        let recorded = log.properties().get(PROPERTY_BACKFILL).ok_or_else(|| {
            LakeError::Refused(Code::TableForeign.because(format!(
                "{table}: it has no property {PROPERTY_BACKFILL}, so no `clicklake backfill --into` has made it; if \
                 nobody needs it, remove its folder"
            )))
        })?;
        let (_, history) = History::of_property(table.name(), recorded)?;
        // No backfill goes on with a table that is complete.
        let is_complete = history.until.iter().all(|(of, next)| has_all_below(log.stand(of), *next));
        if is_complete || self.is_forced {
            return Ok(());
        }
        let Some(stored) = log.stored_at().await? else { return Ok(()) };
        // A store whose clock goes back makes nothing old.
        let age = (self.lake.time().await? - stored).to_std().unwrap_or_default();
        if age > QUIET_MIN {
            return Ok(());
        }
        Err(LakeError::Refused(Code::StagingNeeded.because(format!(
            "{table} is not complete, and was written {} s ago: a backfill may be at work on it; stop that, then drop \
             {table} with --force, or wait for {} s",
            age.as_secs(),
            (QUIET_MIN - age).as_secs()
        ))))
    }
}
