//! Whether a table is still the one that is known: an entry of its log that was seen before is still there, as it was.
//!
//! A job that commits all the time sees its own puts succeed, even if the table was removed meanwhile, or removed and
//! made again: nobody can read what it puts then. Who only reads would go on from the old table to an entry of the new
//! one, and add both up.
//!
//! ```text
//!   loaded ── look at the entry of that version ──▶ mark ── is it there as it was? ── yes ──▶ follow what came
//!                                                            │                                behind it
//!                                                            └── no ──▶ another table: nothing known holds
//! ```
//!
//! Who reads asks that of all entries that are followed at once, after they were read; who writes, each [`AGE_MAX`].

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use deltalake::logstore::commit_uri_from_version;
use futures::future::BoxFuture;
use lake_schemas::Table;
use object_store::path::Path;
use object_store::{Error as StoreError, ObjectMeta, ObjectStore, ObjectStoreExt};

use super::load::Loaded;
use super::looked::Looked;
use super::{TableLog, Version};
use crate::error::{Context, LakeError, Result};

/// How long it may be ago that an entry was seen. Looking for one again costs two small requests.
const AGE_MAX: Duration = Duration::from_secs(10);

/// When the file of a table's log that tells a version was seen, and how it looked.
#[derive(Clone, Debug)]
pub(super) struct Confirmed {
    at: Looked,
    version: Version,
    /// The entry, or the checkpoint of that version, if entries were cleaned up to it before the table was loaded.
    path: Path,
    mark: Mark,
}

/// What tells an object from another under the same name.
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
    /// Sees the file that tells the version that a table was just loaded at; `None` if it is another than was listed
    /// then.
    async fn loaded(table: Table, store: &dyn ObjectStore, loaded: &Loaded) -> Result<Option<Self>> {
        let (at, version, path) = (Looked::now(), loaded.head.version(), loaded.told_by.path.clone());
        let found = mark(table, store, &path).await?.filter(|mark| mark.size == loaded.told_by.bytes);
        Ok(found.map(|mark| Self { at, version, path, mark }))
    }

    /// Whether it was so long ago that it must be seen again.
    pub fn is_old(&self) -> bool {
        self.at.age() > AGE_MAX
    }

    /// Sees the entry again, and from now on goes by that of the head; `None` if one of them is not there, or is
    /// another.
    pub async fn again(&self, table: Table, store: Arc<dyn ObjectStore>, head: Version) -> Result<Option<Self>> {
        let at = Looked::now();
        // Before the one that is known: if that is there afterwards, both are of one table.
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

    /// Whether the entry is there as it was.
    pub async fn is_there(&self, table: Table, store: &dyn ObjectStore) -> Result<bool> {
        Ok(mark(table, store, &self.path).await?.as_ref() == Some(&self.mark))
    }
}

/// What was loaded of a table, once the file that tells its version was seen to be what was listed. If it is not, it
/// was replaced meanwhile, or the store listed what was there before: the table is then loaded `again`, once.
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

impl TableLog {
    /// Whether the table is still the one that was opened, however lately it was looked at. What was read of it before
    /// is then of one table.
    pub fn is_still_there(&self) -> BoxFuture<'_, Result<bool>> {
        Box::pin(async move { self.confirmed.is_there(self.table(), self.object_store().as_ref()).await })
    }
}

/// How a file of a table's log looks; `None` if it is not there.
pub(super) async fn mark(table: Table, store: &dyn ObjectStore, path: &Path) -> Result<Option<Mark>> {
    match store.head(path).await {
        Ok(meta) => Ok(Some(Mark::of(meta))),
        Err(StoreError::NotFound { .. }) => Ok(None),
        Err(error) => Err(error).while_doing(|| format!("{table}: looking for {path}")),
    }
}
