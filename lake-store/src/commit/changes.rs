//! Finds the folders of a table that changed between two of its versions.
//!
//! Only actions with `dataChange` count: file compaction puts other files in the place of some without changing a row,
//! and must not make the roll-ups work.

use std::collections::BTreeSet;
use std::sync::Arc;

use deltalake::kernel::Action;
use deltalake::logstore::LogStoreRef;
use futures::{StreamExt, TryStreamExt, stream};
use lake_schemas::{Folder, Table};

use super::Version;
use super::entry::{self, READS_MAX, is_altering, leaves_rows};
use crate::error::Result;

/// Folders of a table that changed between two versions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Changed {
    /// Exactly these folders, each as its start in milliseconds since 1970.
    Folders(BTreeSet<i64>),
    /// Perhaps every folder: an entry of the log is gone or damaged, has an action of unknown effect, or altered the
    /// table's definition.
    Anything,
}

impl Changed {
    /// Returns whether the folder that starts at this time may have changed.
    pub fn has(&self, start_ms: i64) -> bool {
        match self {
            Self::Folders(folders) => folders.contains(&start_ms),
            Self::Anything => true,
        }
    }
}

/// Returns what changed after one version, up to and including another.
pub(super) async fn between(table: Table, log_store: &LogStoreRef, after: Version, until: Version) -> Result<Changed> {
    let entries = (after + 1..=until).map(|version| folders_of(table, Arc::clone(log_store), version));
    let mut entries = stream::iter(entries).buffer_unordered(READS_MAX);
    let mut changed = BTreeSet::new();
    while let Some(folders) = entries.try_next().await? {
        let Some(folders) = folders else { return Ok(Changed::Anything) };
        changed.extend(folders);
    }
    Ok(Changed::Folders(changed))
}

/// Returns the folders that one version changed. `None` if that cannot be told: its entry is gone or damaged, has an
/// action that this program does not know, or alters the table's definition.
async fn folders_of(table: Table, log_store: LogStoreRef, version: Version) -> Result<Option<Vec<i64>>> {
    let Some(lines) = entry::read_if_whole(table, log_store.as_ref(), version).await? else { return Ok(None) };
    let is_altered = lines.actions.iter().any(is_altering) && !lines.actions.iter().any(leaves_rows);
    if !lines.unknown.is_empty() || is_altered {
        return Ok(None);
    }
    let folders = lines.actions.iter().filter_map(|action| match action {
        Action::Add(add) if add.data_change => Some(Folder::named(table, &add.partition_values)),
        Action::Remove(remove) if remove.data_change => {
            Some(remove.partition_values.as_ref().and_then(|values| Folder::named(table, values)))
        }
        _ => None,
    });
    Ok(folders.map(|folder| folder.map(Folder::start_ms)).collect())
}
