//! Drops a staging table in steps. Whatever step a crash ends it at, the table is whole, marked as dropped, or gone.
//!
//! ```text
//!   mark ──> log checkpoint of the mark ──> delete the log before it ──> wait ──> delete the data, then the log,
//!                                                                                 and the checkpoint last
//! ```
//!
//! The mark is a version like any other, which gives the table a property. Readers take the table for one that is not
//! there from then on. A backfill that is at work finds the version taken, and is refused. If it commits later, it
//! finds that the log which it knew is gone, and the mark. Only shortly after it has seen that log would it put a
//! version without a look; therefore the mark stays until every writer must look again.

use std::path::Path as FilePath;
use std::time::Duration;

use chrono::{DateTime, Utc};
use deltalake::logstore::{LogStoreRef, commit_uri_from_version};
use futures::TryStreamExt;
use futures::future::BoxFuture;
use lake_schemas::Table;
use lake_schemas::table::{PROPERTY_DROPPED, Version};
use object_store::path::Path;
use object_store::{Error as StoreError, ObjectMeta, ObjectStoreExt};

use super::checkpoint::Checkpoint;
use super::clean::delete;
use super::confirmed::AGE_MAX;
use super::load;
use super::log::TableLog;
use super::transaction::{Commit, Outcome};
use super::versions::{FOLDER, LogFiles};
use crate::error::{Context, Result};
use crate::lake::Lake;

/// Name of the job in the log.
const JOB: &str = "drop";

/// Time between [`Dropped::delete_history`] and [`Dropped::delete`], after which no writer puts a version without a
/// look at the table. That is [`AGE_MAX`]; the rest is for a put that was sent within it and takes its time.
pub const WRITERS_LOOK_WITHIN: Duration = AGE_MAX.saturating_mul(3);

impl TableLog {
    /// Marks the table as dropped, on the version that is known. Returns whether that was the newest; if not, nothing
    /// is changed.
    pub fn mark_dropped(&mut self) -> BoxFuture<'_, Result<bool>> {
        Box::pin(async move {
            let mut definition = self.terms.definition().clone();
            definition.properties.push((PROPERTY_DROPPED.to_owned(), "true".to_owned()));
            let commit = Commit { onto: Some(self.version()), definition: Some(definition), ..Commit::new(JOB) };
            match self.commit(&commit).await? {
                Outcome::Committed(_) => Ok(true),
                Outcome::Overtaken { .. } => Ok(false),
                outcome => unreachable!("it moves and removes nothing: {outcome:?}"),
            }
        })
    }

    /// Returns when the store took the newest version known, by its own clock; `None` if the entry was cleaned up.
    pub fn stored_at(&self) -> BoxFuture<'_, Result<Option<DateTime<Utc>>>> {
        Box::pin(async move {
            let path = commit_uri_from_version(Some(self.version()));
            match self.object_store().head(&path).await {
                Ok(entry) => Ok(Some(entry.last_modified)),
                Err(StoreError::NotFound { .. }) => Ok(None),
                Err(error) => Err(error).while_doing(|| format!("{}: looking for {path}", self.table())),
            }
        })
    }
}

/// A table that is marked as dropped, and not deleted yet.
pub struct Dropped {
    lake: Lake,
    table: Table,
    log_store: LogStoreRef,
    /// Delta's unique id of the table.
    id: String,
    /// Version that is marked, the newest.
    version: Version,
}

/// Number and size of the data files that were deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Deleted {
    /// Number of files.
    pub files: usize,
    /// Size of the files in bytes.
    pub bytes: u64,
}

impl Dropped {
    /// Finds a table that is marked; `None` if the lake lacks it, or it is not.
    pub fn find(lake: &Lake, table: Table) -> BoxFuture<'_, Result<Option<Self>>> {
        Box::pin(async move {
            let found = load::find(lake, table).await?.filter(|(_, loaded)| loaded.shape.is_dropped());
            Ok(found.map(|(log_store, loaded)| Self {
                lake: lake.clone(),
                table,
                log_store,
                id: loaded.shape.id().to_owned(),
                version: loaded.head.version(),
            }))
        })
    }

    /// Deletes the log before the mark. A writer finds its own known entry gone, and looks for what there is.
    pub fn delete_history(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            let log = LogFiles::list(self.table, &self.log_store).await?;
            if !log.checkpoints.contains(&self.version) {
                let (table, version, log_store) = (self.table, self.version, LogStoreRef::clone(&self.log_store));
                Checkpoint { table, version, log_store }.write().await?;
            }
            // Listed before this look, so what is deleted is of this table, whoever else drops it and makes another.
            if self.is_there().await? {
                let store = self.log_store.object_store(None);
                delete(store.as_ref(), log.before(self.version)).await.while_doing(|| self.what())?;
            }
            Ok(())
        })
    }

    /// Deletes everything that is left of the table.
    pub fn delete(&self) -> BoxFuture<'_, Result<Deleted>> {
        Box::pin(async move {
            let (store, folder) = (self.log_store.object_store(None), Path::from(FOLDER));
            let all: Vec<ObjectMeta> = store.list(None).try_collect().await.while_doing(|| self.what())?;
            if !self.is_there().await? {
                return Ok(Deleted::default());
            }
            let (log, data): (Vec<_>, Vec<_>) = all.into_iter().partition(|file| file.location.prefix_matches(&folder));
            let deleted = Deleted { files: data.len(), bytes: data.iter().map(|file| file.size).sum() };
            // As long as the checkpoint is there, it tells that the table is dropped.
            let last = folder.join(format!("{:020}.checkpoint.parquet", self.version).as_str());
            let paths = |files: Vec<ObjectMeta>| files.into_iter().map(|file| file.location).collect::<Vec<_>>();
            let mut log = paths(log);
            log.retain(|path| *path != last);
            for paths in [paths(data), log, vec![last]] {
                delete(store.as_ref(), paths).await.while_doing(|| self.what())?;
            }
            if let Some(lake) = self.lake.folder() {
                let folder = lake.join(self.table.name());
                // Empty folders are no table: that one cannot be removed hurts nobody.
                let _ = tokio::task::spawn_blocking(move || remove_empty(&folder)).await;
            }
            Ok(deleted)
        })
    }

    /// Returns whether the table is still there, and no other one under its name.
    async fn is_there(&self) -> Result<bool> {
        let found = load::find(&self.lake, self.table).await?;
        Ok(found.is_some_and(|(_, loaded)| loaded.shape.is_dropped() && loaded.shape.id() == self.id))
    }

    fn what(&self) -> String {
        format!("{}: deleting what is left of it", self.table)
    }
}

/// Removes a folder of this machine, and the folders in it, as far as they are empty.
fn remove_empty(folder: &FilePath) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_empty(&entry.path());
        }
    }
    // One that is not empty stays.
    let _ = std::fs::remove_dir(folder);
}
