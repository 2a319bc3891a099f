//! Clean-up: expires old versions of a table, and sweeps files that no version names.
//!
//! Versions expire from the oldest on, and only up to a log checkpoint, so that what is left is whole for every reader
//! of Delta tables. A data file is deleted if it was removed before the first version that is kept, and no kept version
//! names it: other programs may add a path again, as RESTORE does.
//!
//! A file that no version names may be one that a writer is about to commit. It is swept only when it is too old for
//! any writer to commit it still (see [`UNCOMMITTED_AGE_MAX`]), and only if it has a name of clicklake's own making in
//! a folder of the table: manifests, change data, deletion vectors and other formats' metadata belong to other
//! programs.

use std::collections::{HashMap, HashSet};
use std::ops::RangeInclusive;

use chrono::{DateTime, Utc};
use deltalake::kernel::Action;
use deltalake::logstore::LogStoreRef;
use futures::future::BoxFuture;
use futures::{StreamExt, TryStreamExt, stream};
use lake_schemas::{Code, Table};
use object_store::path::Path;
use object_store::{Error as StoreError, ObjectMeta, ObjectStore};
use tracing::warn;

use super::entry::{self, READS_MAX};
use super::log::TableLog;
use super::versions::LogFiles;
use super::{Version, checkpoint, load};
use crate::error::{Context, LakeError, Result};
use crate::files::UNCOMMITTED_AGE_MAX;
use crate::path::{is_own, may_be_data, path_of};

/// Versions whose files are deleted together: the paths that they removed are held in memory.
const VERSIONS_AT_ONCE: usize = 10_000;

/// Number of kept versions up to which clean-up reads them all, however few versions expire.
const VERSIONS_READ_FREELY: Version = if cfg!(test) { 50 } else { 10_000 };

/// Above [`VERSIONS_READ_FREELY`], kept versions are read only if at least one version expires for every this many kept
/// ones. Otherwise a process that cleans up once and ends would read a week of entries to expire a few minutes,
/// each time.
const GIVEN_UP_PART: Version = 10;

/// Result of a clean-up: what it deleted, or would delete.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cleaned {
    /// The first version that can still be read.
    pub from: Version,
    /// Number of data files.
    pub files: usize,
    /// Size of the data files in bytes, as far as the log records it.
    pub bytes: u64,
    /// Number of entries and checkpoints of the log.
    pub log_files: usize,
}

/// Whether a clean-up deletes what it finds, or only reports it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deletes {
    /// Deletes what was found.
    Yes,
    /// Only reports what was found.
    No,
}

impl TableLog {
    /// Returns the latest version that the store had at a time, by the store's clock; `None` if it had none.
    pub fn stored_by(&self, time: DateTime<Utc>) -> BoxFuture<'_, Result<Option<Version>>> {
        Box::pin(async move { Ok(self.log_files().await?.stored_by(time)) })
    }

    /// Returns the first version to keep so that `wanted` can still be read: a checkpoint at or before `wanted`, or the
    /// first version that there is.
    pub fn retained_from(&self, wanted: Version) -> BoxFuture<'_, Result<Version>> {
        Box::pin(async move {
            let log = self.log_files().await?;
            let from = log.retained_from(wanted);
            // Versions that used a feature dropped since must be expired all at once, or not at all: see
            // `judge::protected_before`.
            let is_whole = self.terms.protected_before().is_none_or(|protected| protected <= from);
            Ok(if is_whole { from } else { log.first() })
        })
    }

    /// Expires the versions before one that [`TableLog::retained_from`] has named: deletes the files that only they
    /// had, and then their log entries.
    pub fn expire_before(&mut self, from: Version, deletes: Deletes) -> BoxFuture<'_, Result<Cleaned>> {
        Box::pin(async move {
            self.refresh().await?;
            let (table, log) = (self.table(), self.log_files().await?);
            let first = log.first_file().unwrap_or(from);
            let mut cleaned = Cleaned { from, ..Cleaned::default() };
            let kept = self.version().saturating_sub(from);
            // With much to keep and little to expire, reading the kept entries is not worth it. Once they are read,
            // they are followed from clean-up to clean-up, which costs little.
            let is_little = from.saturating_sub(first) < kept / GIVEN_UP_PART;
            let is_too_little = is_little && kept > VERSIONS_READ_FREELY && self.named.is_empty();
            if first >= from || is_too_little {
                return Ok(cleaned);
            }
            let (store, what) = (self.object_store(), || format!("{table}: cleaning up before version {from}"));
            let mut kept = None;
            for begin in (first..=from).step_by(VERSIONS_AT_ONCE) {
                let end = (begin + VERSIONS_AT_ONCE as Version - 1).min(from);
                let mut removed = removed(table, &self.log_store(), begin..=end).await?;
                if removed.is_empty() {
                    continue;
                }
                if kept.is_none() {
                    kept = match self.kept_since(from).await {
                        Ok(kept) => Some(kept),
                        // A kept entry is damaged, or names a file in another way than by its path. Which files are
                        // kept is then not known, so nothing is deleted.
                        Err(LakeError::Refused(why)) => {
                            warn!(%table, %why, "nothing is given up");
                            return Ok(cleaned);
                        }
                        Err(error) => return Err(error),
                    };
                }
                removed
                    .retain(|path, _| !kept.as_ref().is_some_and(|kept| kept.contains(path)) && !self.named.has(path));
                cleaned.files += removed.len();
                cleaned.bytes += removed.values().sum::<u64>();
                if deletes == Deletes::Yes {
                    let paths = removed.into_keys().filter_map(|path| path_of(&path));
                    delete(store.as_ref(), paths.collect()).await.while_doing(what)?;
                }
            }
            // Entries go after the files that they name: a crash in between leaves entries without files, and the next
            // clean-up goes on with them. The other way round it would leave files that no entry names.
            let mut older = log.before(from);
            cleaned.log_files = older.len();
            if self.terms.protected_before().is_some() {
                // An old checkpoint spares readers the entries before it, which may need a feature that not every
                // reader has. So entries are deleted first, and checkpoints after them.
                older.sort_by_key(|path| !path.as_ref().ends_with(".json"));
            }
            if deletes == Deletes::Yes {
                delete(store.as_ref(), older).await.while_doing(what)?;
            }
            Ok(cleaned)
        })
    }

    /// Sweeps: deletes files of clicklake's own making that no version from `from` on names, if they are too old for
    /// any writer to commit them still.
    pub fn delete_orphans(
        &mut self,
        from: Version,
        now: DateTime<Utc>,
        deletes: Deletes,
    ) -> BoxFuture<'_, Result<Cleaned>> {
        Box::pin(async move {
            let table = self.table();
            let what = || format!("{table}: looking for files that no version names");
            let store = self.object_store();
            // List the files first and refresh afterwards, so that what is committed meanwhile counts as named.
            let is_old = |file: &ObjectMeta| {
                let is_old = (now - file.last_modified).to_std().is_ok_and(|age| age > UNCOMMITTED_AGE_MAX);
                is_old && is_own(table, &file.location)
            };
            let old = store.list(None).try_filter(|file| futures::future::ready(is_old(file)));
            let mut orphans: HashMap<Path, u64> =
                old.map_ok(|file| (file.location, file.size)).try_collect().await.while_doing(what)?;
            self.refresh().await?;
            if !orphans.is_empty() {
                let kept = match self.kept_since(from).await {
                    Ok(kept) => kept,
                    Err(LakeError::Refused(why)) => {
                        warn!(%table, %why, "nothing is swept");
                        return Ok(Cleaned { from, ..Cleaned::default() });
                    }
                    Err(error) => return Err(error),
                };
                orphans.retain(|path, _| !kept.contains(path.as_ref()) && !self.named.has(path.as_ref()));
            }
            let cleaned = Cleaned { from, files: orphans.len(), bytes: orphans.values().sum(), ..Cleaned::default() };
            if deletes == Deletes::Yes {
                delete(store.as_ref(), orphans.into_keys().collect()).await.while_doing(what)?;
            }
            Ok(cleaned)
        })
    }

    /// Returns the paths of files that are live at `from` or in the newest version. The files that the versions in
    /// between name are in `self.named` afterwards.
    async fn kept_since(&mut self, from: Version) -> Result<HashSet<String>> {
        let (table, newest, log_store) = (self.table(), self.version(), self.log_store());
        let mut live = HashSet::new();
        for version in [from, newest] {
            live.extend(load::live_files(table, log_store.as_ref(), version).await?.into_keys());
        }
        self.named.follow(table, &log_store, from + 1..=newest).await?;
        let otherwise = live.iter().find(|path| path_of(path).is_none()).map(String::as_str);
        match otherwise.or_else(|| self.named.otherwise()) {
            None => Ok(live),
            Some(path) => Err(LakeError::Refused(Code::FileForeign.because(format!(
                "{table}: another program has named a file {path}, which is not a path below the table's folder: \
                 whether another path names the same file is not known; write those rows again under new files"
            )))),
        }
    }

    /// Writes a log checkpoint if two in a row are missing. Without checkpoints a table is opened ever more slowly, and
    /// its versions never expire.
    pub fn checkpoint_if_missing(&self) -> BoxFuture<'_, Result<Option<Version>>> {
        Box::pin(async move {
            let newest = self.log_files().await?.checkpoints.last().copied().unwrap_or(0);
            if self.version().saturating_sub(newest) < 2 * checkpoint::VERSIONS_BETWEEN {
                return Ok(None);
            }
            self.checkpoint().write().await?;
            Ok(Some(self.version()))
        })
    }

    async fn log_files(&self) -> Result<LogFiles> {
        LogFiles::list(self.table(), &self.log_store()).await
    }
}

/// Returns the data files that these versions removed, with their sizes in bytes. A damaged entry counts as none, so
/// its files stay.
async fn removed(
    table: Table,
    log_store: &LogStoreRef,
    versions: RangeInclusive<Version>,
) -> Result<HashMap<String, u64>> {
    let entries = versions.map(|version| async move {
        let lines = entry::read_if_whole(table, log_store.as_ref(), version).await?.unwrap_or_default();
        let removes = lines.actions.into_iter().filter_map(|action| match action {
            Action::Remove(remove) if path_of(&remove.path).is_some_and(|path| may_be_data(&path)) => {
                Some((remove.path, remove.size.map_or(0, i64::unsigned_abs)))
            }
            _ => None,
        });
        Ok::<_, LakeError>(removes.collect())
    });
    let entries: Vec<_> = entries.collect();
    let removed: Vec<Vec<_>> = stream::iter(entries).buffer_unordered(READS_MAX).try_collect().await?;
    Ok(removed.into_iter().flatten().collect())
}

/// Deletes objects. An object that is gone already is no error.
pub(super) async fn delete(store: &dyn ObjectStore, paths: Vec<Path>) -> Result<(), StoreError> {
    let mut deleted = store.delete_stream(stream::iter(paths.into_iter().map(Ok)).boxed());
    while let Some(done) = deleted.next().await {
        match done {
            Ok(_) | Err(StoreError::NotFound { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
