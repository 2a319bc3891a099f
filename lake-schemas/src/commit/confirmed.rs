//! Whether a table is still the one that is known: an entry of its log that was seen before is still there, as it was.
//!
//! A job that commits all the time sees its own puts succeed, even if the table was removed meanwhile, or removed and
//! made again: nobody can read what it puts then.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use deltalake::logstore::commit_uri_from_version;
use object_store::{Error as StoreError, ObjectMeta, ObjectStore, ObjectStoreExt};

use super::Version;
use super::looked::Looked;
use crate::error::{Context, Result};
use crate::table::Table;

/// How long it may be ago that an entry was seen. Looking for one again costs two small requests.
const AGE_MAX: Duration = Duration::from_secs(10);

/// When an entry of a table's log was seen, and how it looked.
#[derive(Clone, Debug)]
pub(super) struct Confirmed {
    at: Looked,
    version: Version,
    /// `None`: it is known by its content only.
    mark: Option<Mark>,
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
    /// The table was loaded at this version.
    pub fn loaded(version: Version) -> Self {
        Self { at: Looked::now(), version, mark: None }
    }

    /// Whether it was so long ago that it must be seen again.
    pub fn is_old(&self) -> bool {
        self.at.age() > AGE_MAX
    }

    /// Sees the entry again, and from now on goes by that of the head; `None` if one of them is not there, or is
    /// another.
    pub async fn again(&self, table: Table, store: Arc<dyn ObjectStore>, head: Version) -> Result<Option<Self>> {
        let at = Looked::now();
        let Some(found) = mark(table, store.as_ref(), self.version).await? else { return Ok(None) };
        if self.mark.as_ref().is_some_and(|mark| *mark != found) {
            return Ok(None);
        }
        let found = if head == self.version { Some(found) } else { mark(table, store.as_ref(), head).await? };
        Ok(found.map(|mark| Self { at, version: head, mark: Some(mark) }))
    }
}

/// How the entry of a version looks; `None` if it is not there.
pub(super) async fn mark(table: Table, store: &dyn ObjectStore, version: Version) -> Result<Option<Mark>> {
    match store.head(&commit_uri_from_version(Some(version))).await {
        Ok(meta) => Ok(Some(Mark::of(meta))),
        Err(StoreError::NotFound { .. }) => Ok(None),
        Err(error) => Err(error).while_doing(|| format!("{table}: looking for version {version}")),
    }
}
