//! What others do to the rows of a table while it is followed: noticed at each entry, held until somebody asks.

use futures::future::BoxFuture;
use tracing::warn;

use super::foreign::{self, ForeignChange};
use super::{TableLog, Version};
use crate::error::Result;

/// How many of the newest versions are looked through for changes by others where a table is opened: what happened
/// while nobody followed it is among them, unless others have written ever since.
const FOREIGN_VERSIONS_MAX: Version = 100;

/// Changes by others that are held for whoever asks.
const FOREIGN_MAX: usize = 100;

impl TableLog {
    /// The changes of its rows by other programs, in the order of versions, that were met since this was last asked.
    pub fn take_foreign(&mut self) -> Vec<ForeignChange> {
        std::mem::take(&mut self.foreign)
    }

    /// Looks for such changes in the newest versions, as far as [`FOREIGN_VERSIONS_MAX`] back: what happened while
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

    /// Says once of each such change what it means.
    pub fn warn_of_foreign(&mut self) {
        for change in self.take_foreign() {
            warn!(table = %change.table, version = change.version, "{change}");
        }
    }

    /// Holds a change until somebody asks for it.
    pub(super) fn notice(&mut self, change: Option<ForeignChange>) {
        self.foreign.extend(change);
        // Not everyone asks.
        if self.foreign.len() > FOREIGN_MAX {
            self.foreign.remove(0);
        }
    }
}
