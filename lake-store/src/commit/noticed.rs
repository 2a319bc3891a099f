//! Foreign changes of a table that is being followed: noticed as each entry of its log is read, and held until a caller
//! asks for them.

use futures::future::BoxFuture;
use tracing::warn;

use super::foreign::{self, ForeignChange};
use super::{TableLog, Version};
use crate::error::Result;

/// Number of newest versions that are searched for foreign changes when a table is opened. A change made while nobody
/// followed the table is among them, unless many versions have been written since.
const FOREIGN_VERSIONS_MAX: Version = 100;

/// Number of foreign changes that are held for whoever asks.
const FOREIGN_MAX: usize = 100;

impl TableLog {
    /// Takes the foreign changes that were found since the last call, in the order of versions.
    pub fn take_foreign(&mut self) -> Vec<ForeignChange> {
        std::mem::take(&mut self.foreign)
    }

    /// Searches the newest versions, up to [`FOREIGN_VERSIONS_MAX`] of them, for foreign changes that were made while
    /// nobody followed the table.
    pub fn look_back(&mut self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            let newest = self.version();
            let versions = newest.saturating_sub(FOREIGN_VERSIONS_MAX - 1)..=newest;
            let found = foreign::in_versions(self.table(), &self.log_store(), versions).await?;
            self.foreign = found.into_iter().rev().chain(std::mem::take(&mut self.foreign)).collect();
            Ok(())
        })
    }

    /// Logs a warning for each held change, with its consequences, and drops it.
    pub fn warn_of_foreign(&mut self) {
        for change in self.take_foreign() {
            warn!(table = %change.table, version = change.version, "{change}");
        }
    }

    /// Holds a change until somebody asks for it.
    pub(super) fn notice(&mut self, change: Option<ForeignChange>) {
        self.foreign.extend(change);
        // Not every caller asks, so the oldest is dropped.
        if self.foreign.len() > FOREIGN_MAX {
            self.foreign.remove(0);
        }
    }
}
