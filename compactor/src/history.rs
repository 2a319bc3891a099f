//! Expires old versions of a table, with the files that only they name, once they are older than the retention and
//! nothing depends on them.
//!
//! | dependent | why it is safe |
//! |---|---|
//! | a roll-up, on a version of its source | that version is kept: the roll-up has yet to read what changed since |
//! | a pin, on a version | that version is kept: somebody reads it, or wants to go back to it |
//! | a restart, on offsets of the raw table | the newest version has all of them: raw rows never expire |
//! | a backfill, on offsets too | likewise; its uncommitted files are too young to be taken for orphans |
//!
//! The clock of the store tells how old a version or a file is, because all times in the store are its times. The clock
//! of this machine must agree with it before anything is deleted: a deleted file does not come back.

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

/// Largest difference between the clock of this machine and the store's at which anything is deleted. It covers clocks
/// kept by NTP and slow requests; a clock further off than that may be days off a moment later.
const CLOCKS_APART_MAX: TimeDelta = TimeDelta::minutes(5);

/// Retention of old versions and of orphaned files.
#[derive(Clone, Copy, Debug)]
pub struct Keep {
    /// Time at the beginning of the round. The time that passes from then on is added to it.
    pub now: DateTime<Utc>,
    /// Retention: versions younger than this are kept.
    pub keep: Duration,
    /// Whether to delete orphans, too: files that no version names, left behind by a process that died before it could
    /// commit.
    pub orphans: bool,
}

/// Outcome of applying [`Keep`] to a table.
#[derive(Debug, Default)]
pub struct Expiration {
    /// Reports of what was done.
    pub done: Vec<Done>,
    /// Whether all files of the table were searched for orphans.
    pub has_swept: bool,
}

impl Keep {
    /// Expires versions of a table that are past the retention. `stands` are the versions that its roll-ups depend on.
    pub async fn apply(
        &self,
        lake: &Lake,
        log: &mut TableLog,
        stands: &[Version],
        deletes: Deletes,
    ) -> Result<Expiration, CompactError> {
        let (mut kept, handed_in) = (Expiration::default(), Instant::now());
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
        let mut from = log.retained_from(wanted).await?;
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
                from = log.retained_from(oldest).await?;
            }
            let cleaned = log.expire_before(from, deletes).await?;
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

/// Returns why nothing may be deleted, if the two clocks are too far apart.
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
