//! What becomes of old versions: they are given up, with the files that only they had, when they are older than is kept
//! and nobody stands on them.
//!
//! | who stands where | why it holds |
//! |---|---|
//! | a roll-up, on a version of its source | it has yet to see what changed since |
//! | a pin | somebody wants it, or to go back to it |
//! | a restart, on offsets of the raw table | the newest version has all of them: raw rows are never given up |
//! | a backfill, on offsets too | likewise; what it has not committed is younger than is taken for forgotten |
//!
//! Whether a version or a file is old is told by the clock of the store, which all that is in it is compared with. The
//! clock of this machine must agree with it: nothing that is deleted comes back.

use std::error::Error;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use lake_schemas::table::Version;
use lake_store::Lake;
use lake_store::commit::{Deletes, TableLog};
use lake_store::pins::{self, Pins};
use tokio::time::Instant;
use tracing::warn;

use crate::error::CompactError;
use crate::report::Done;

/// How far the clock of this machine and that of the store may differ for anything to be deleted: what clocks do that
/// are kept by NTP, and requests that are slow. One that is further away may be days away a moment later.
const CLOCKS_APART_MAX: TimeDelta = TimeDelta::minutes(5);

/// What of history is kept.
#[derive(Clone, Copy, Debug)]
pub struct Keep {
    /// What time it is when it is handed in: at the beginning of a round. What passes since is added.
    pub now: DateTime<Utc>,
    /// Versions that are younger are kept.
    pub keep: Duration,
    /// Whether files are looked for, too, that no version names: what died before it could commit has left them.
    pub orphans: bool,
}

/// What became of a table's history.
#[derive(Debug, Default)]
pub struct Kept {
    /// What was done.
    pub done: Vec<Done>,
    /// Whether all files were looked through for those that no version names.
    pub has_swept: bool,
}

impl Keep {
    /// Gives up what of a table's history is not kept. `stands`: the versions that others stand on.
    pub async fn apply(
        &self,
        lake: &Lake,
        log: &mut TableLog,
        stands: &[Version],
        deletes: Deletes,
    ) -> Result<Kept, CompactError> {
        let (mut kept, handed_in) = (Kept::default(), Instant::now());
        let now = || self.now + handed_in.elapsed();
        log.refresh().await?;
        let (table, began) = (log.table(), Instant::now());
        if deletes == Deletes::Yes
            && let Some(version) = log.checkpoint_if_missing().await?
        {
            kept.done.push(Done::Checkpointed { table, version, took: began.elapsed() });
        }
        if deletes == Deletes::Yes {
            let store = lake.time().await?;
            if let Some(why) = clocks_apart(now(), store) {
                warn!(%table, why, "nothing is given up");
                return Ok(kept);
            }
        }
        let began = Instant::now();
        let old = log.stored_by(now() - self.keep).await?.unwrap_or(0);
        let wanted = stands.iter().copied().fold(old, Version::min);
        let mut from = log.kept_from(wanted).await?;
        if from > 0 {
            let Pins { pins, damaged } = match deletes {
                Deletes::Yes => {
                    pins::announce(lake, table, log.id(), from).await?;
                    pins::heeded(lake, table, from).await?
                }
                Deletes::No => pins::all(lake).await?,
            };
            if let Some(damaged) = damaged.iter().find(|damaged| damaged.may_be_of(table)) {
                let why = damaged.refused();
                warn!(%table, error = &why as &dyn Error, "nothing is given up");
                return Ok(kept);
            }
            let pinned = pins.into_iter().filter(|pin| pin.table == table.name());
            if let Some(oldest) = pinned.filter(|pin| pin.holds(now())).map(|pin| pin.version).min()
                && oldest < from
            {
                from = log.kept_from(oldest).await?;
            }
            let cleaned = log.give_up_before(from, deletes).await?;
            if cleaned.log_files > 0 {
                kept.done.push(Done::GaveUp { table, cleaned, took: began.elapsed() });
            }
        }
        if self.orphans {
            let began = Instant::now();
            let cleaned = log.delete_orphans(from, now(), deletes).await?;
            if cleaned.files > 0 {
                kept.done.push(Done::Swept { table, cleaned, took: began.elapsed() });
            }
            kept.has_swept = true;
        }
        Ok(kept)
    }
}

/// Why nothing may be deleted when it is so late here and there, if so.
fn clocks_apart(here: DateTime<Utc>, store: DateTime<Utc>) -> Option<String> {
    ((here - store).abs() > CLOCKS_APART_MAX).then(|| {
        let minutes = CLOCKS_APART_MAX.num_minutes();
        format!("the clock here says {here}, that of the store {store}; set them to within {minutes} minutes")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_that_differ_by_more_than_minutes_delete_nothing() {
        let now = DateTime::from_timestamp(1_772_884_800, 0).expect("a time");
        for seconds in [0, 299, -299] {
            assert_eq!(clocks_apart(now, now + TimeDelta::seconds(seconds)), None);
        }
        for seconds in [301, -301, 8 * 86_400] {
            let why = clocks_apart(now, now + TimeDelta::seconds(seconds)).expect("too far");
            assert!(why.contains("within 5 minutes"), "{why}");
        }
    }
}
