//! Confirms that a table is still the one that is known: a log entry that was seen before is still there, unchanged.
//!
//! Versions alone do not tell. If the table was removed, or removed and made again, a job that commits all the time
//! still sees its own puts succeed, although nobody can read them behind the gap. A reader would go on from the old
//! table to an entry of the new one, and add both up.
//!
//! ```text
//!   loaded ── look at the entry of that version ──▶ mark ── is it there as it was? ── yes ──▶ follow what came
//!                                                            │                                behind it
//!                                                            └── no ──▶ another table: nothing known holds
//! ```
//!
//! A reader confirms all the entries that it is about to follow with one look after they were read. A writer looks
//! every [`AGE_MAX`].

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use deltalake::logstore::commit_uri_from_version;
use lake_schemas::Table;
use object_store::path::Path;
use object_store::{Error as StoreError, ObjectMeta, ObjectStore, ObjectStoreExt};

use super::Version;
use super::load::Loaded;
use super::looked::Looked;
use crate::error::{Context, LakeError, Result};

/// Age at which a confirmation must be renewed. Renewing it costs two small requests.
pub(super) const AGE_MAX: Duration = Duration::from_secs(10);

/// Time at which the log file of a known version was last seen, with the file's attributes at that time.
#[derive(Clone, Debug)]
pub(super) struct Confirmed {
    at: Looked,
    version: Version,
    /// Path of the version's entry, or of its checkpoint, if entries up to it were cleaned up before the table was
    /// loaded.
    path: Path,
    mark: Mark,
}

/// Features that tell an object from another one under the same name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    e_tag: Option<String>,
    size: u64,
    last_modified: DateTime<Utc>,
}

impl Mark {
    fn of(meta: ObjectMeta) -> Self {
        Self { e_tag: meta.e_tag, size: meta.size, last_modified: meta.last_modified }
    }
}

impl Confirmed {
    /// Looks at the file that a just loaded version was read from. `None` if it is not the file that was listed.
    async fn loaded(table: Table, store: &dyn ObjectStore, loaded: &Loaded) -> Result<Option<Self>> {
        let (at, version, path) = (Looked::now(), loaded.head.version(), loaded.told_by.path.clone());
        let found = mark(table, store, &path).await?.filter(|mark| mark.size == loaded.told_by.bytes);
        Ok(found.map(|mark| Self { at, version, path, mark }))
    }

    /// Returns whether the last look is so long ago that another is needed.
    pub fn is_old(&self) -> bool {
        self.at.age() > AGE_MAX
    }

    /// Looks at the known entry again, and takes the entry of the head as the known one from now on. `None` if either
    /// is missing, or the known one has changed.
    pub async fn again(&self, table: Table, store: Arc<dyn ObjectStore>, head: Version) -> Result<Option<Self>> {
        let at = Looked::now();
        // The entry of the head is looked at before the known one: if the known one is there afterwards, both are of
        // one table.
        let newest = if head == self.version {
            Some(self.clone())
        } else {
            let path = commit_uri_from_version(Some(head));
            let found = mark(table, store.as_ref(), &path).await?;
            found.map(|mark| Self { at, version: head, path, mark })
        };
        let is_there = self.is_there(table, store.as_ref()).await?;
        Ok(newest.filter(|_| is_there).map(|newest| Self { at, ..newest }))
    }

    /// Returns whether the entry is there, unchanged.
    pub async fn is_there(&self, table: Table, store: &dyn ObjectStore) -> Result<bool> {
        Ok(mark(table, store, &self.path).await?.as_ref() == Some(&self.mark))
    }
}

/// Confirms a table that was just loaded. If the file that its version was read from is not the one that was listed,
/// the table was replaced meanwhile, or the store listed an old state: it is then loaded `again`, once.
pub(super) async fn seen(
    table: Table,
    store: &dyn ObjectStore,
    loaded: Loaded,
    again: impl Future<Output = Result<Loaded>>,
) -> Result<(Loaded, Confirmed)> {
    if let Some(confirmed) = Confirmed::loaded(table, store, &loaded).await? {
        return Ok((loaded, confirmed));
    }
    let loaded = again.await?;
    let confirmed = Confirmed::loaded(table, store, &loaded).await?;
    let replaced = || LakeError::store(format!("{table}: reading its log"), "the table was replaced meanwhile");
    Ok((loaded, confirmed.ok_or_else(replaced)?))
}

/// Returns what a file of a table's log looks like; `None` if it is not there.
pub(super) async fn mark(table: Table, store: &dyn ObjectStore, path: &Path) -> Result<Option<Mark>> {
    match store.head(path).await {
        Ok(meta) => Ok(Some(Mark::of(meta))),
        Err(StoreError::NotFound { .. }) => Ok(None),
        Err(error) => Err(error).while_doing(|| format!("{table}: looking for {path}")),
    }
}
