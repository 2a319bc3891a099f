//! What becomes of old versions: they are given up, with the files that only they had, when they are older than is kept
//! and nobody stands on them.
//!
//! | who stands where | why it holds |
//! |---|---|
//! | a roll-up, on a version of its source | it has yet to see what changed since |
//! | a pin | somebody wants it, or to go back to it |
//! | a restart, on offsets of the raw table | the newest version has all of them: raw rows are never given up |
//! | a backfill, on offsets too | likewise; what it has not committed is younger than is taken for forgotten |

use std::time::Duration;

use chrono::{DateTime, Utc};
use lake_schemas::commit::{Deletes, TableLog, Version};
use lake_schemas::{Lake, pins};
use tokio::time::Instant;

use crate::error::CompactError;
use crate::report::Done;

/// What of history is kept.
#[derive(Clone, Copy, Debug)]
pub struct Keep {
    /// What time it is.
    pub now: DateTime<Utc>,
    /// Versions that are younger are kept.
    pub keep: Duration,
    /// Whether files are looked for, too, that no version names: what died before it could commit has left them.
    pub orphans: bool,
}

impl Keep {
    /// Gives up what of a table's history is not kept; what was done. `stands`: the versions that others stand on.
    pub async fn apply(
        &self,
        lake: &Lake,
        log: &mut TableLog,
        stands: &[Version],
        deletes: Deletes,
    ) -> Result<Vec<Done>, CompactError> {
        let mut done = Vec::new();
        log.refresh().await?;
        let (table, began) = (log.table(), Instant::now());
        if deletes == Deletes::Yes
            && let Some(version) = log.checkpoint_if_missing().await?
        {
            done.push(Done::Checkpointed { table, version, took: began.elapsed() });
        }
        let began = Instant::now();
        let old = log.version_at(self.now - self.keep).await?.unwrap_or(0);
        let wanted = stands.iter().copied().fold(old, Version::min);
        let mut from = log.kept_from(wanted).await?;
        if from > 0 {
            if deletes == Deletes::Yes {
                pins::announce(lake, table, from).await?;
            }
            let pinned = pins::pins(lake).await?.into_iter().filter(|pin| pin.table == table.name());
            if let Some(oldest) = pinned.filter(|pin| pin.holds(self.now)).map(|pin| pin.version).min()
                && oldest < from
            {
                from = log.kept_from(oldest).await?;
            }
            let cleaned = log.give_up_before(from, deletes).await?;
            if cleaned.log_files > 0 {
                done.push(Done::GaveUp { table, cleaned, took: began.elapsed() });
            }
        }
        if self.orphans {
            let began = Instant::now();
            let cleaned = log.delete_orphans(from, self.now, deletes).await?;
            if cleaned.files > 0 {
                done.push(Done::Swept { table, cleaned, took: began.elapsed() });
            }
        }
        Ok(done)
    }
}
