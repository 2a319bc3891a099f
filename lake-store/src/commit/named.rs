//! The files that the newest versions of a table name, whether they add, remove or otherwise mention them: followed
//! from clean-up to clean-up, so that an entry is read once.
//!
//! A path may be added again after it was removed, as RESTORE does. So clean-up deletes no file that a kept version
//! names. Only a hash of each path is held, for there may be millions; if two paths share a hash, both are kept.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::RangeInclusive;
use std::sync::Arc;

use deltalake::kernel::Action;
use deltalake::logstore::LogStoreRef;
use futures::{StreamExt, TryStreamExt, stream};
use lake_schemas::Table;

use super::Version;
use super::entry::{self, READS_MAX};
use crate::error::{LakeError, Result};
use crate::path::path_of;

/// Paths that a range of versions names.
#[derive(Debug, Default)]
pub(super) struct NamedPaths {
    /// Range of versions that were read.
    versions: Option<RangeInclusive<Version>>,
    /// The last of these versions that names a path, by the hash of the path.
    last: HashMap<u64, Version>,
    /// The last of these versions that names a file in another way than by its path below the table's folder, and that
    /// name.
    otherwise: Option<(Version, String)>,
}

impl NamedPaths {
    /// Reads these versions, as far as their entries are there, and forgets those before.
    pub async fn follow(
        &mut self,
        table: Table,
        log_store: &LogStoreRef,
        versions: RangeInclusive<Version>,
    ) -> Result<()> {
        let (first, last) = versions.clone().into_inner();
        let is_known = |known: &RangeInclusive<Version>| *known.start() <= first && first <= known.end() + 1;
        let known = self.versions.take().filter(is_known);
        if known.is_none() {
            self.last.clear();
            self.otherwise = None;
        }
        self.last.retain(|_, version| *version >= first);
        self.otherwise.take_if(|(version, _)| *version < first);
        let unread = known.map_or(first, |known| known.end() + 1)..=last;
        let entries = unread.map(|version| {
            let log_store = Arc::clone(log_store);
            async move { Ok::<_, LakeError>((version, entry::read(table, log_store.as_ref(), version).await?)) }
        });
        let mut entries = stream::iter(entries).buffered(READS_MAX);
        while let Some((version, lines)) = entries.try_next().await? {
            for path in lines.iter().flat_map(|lines| &lines.actions).filter_map(path) {
                self.last.insert(hash_of(path), version);
                if path_of(path).is_none() {
                    self.otherwise = Some((version, path.to_owned()));
                }
            }
        }
        self.versions = Some(versions);
        Ok(())
    }

    /// Returns whether no version was read.
    pub fn is_empty(&self) -> bool {
        self.versions.is_none()
    }

    /// Returns a file that a version names in another way than by its path below the table's folder. Which file it
    /// means is not known here: it may be one that is named by its path elsewhere.
    pub fn otherwise(&self) -> Option<&str> {
        self.otherwise.as_ref().map(|(_, path)| path.as_str())
    }

    /// Returns whether any of the versions names a path.
    pub fn has(&self, path: &str) -> bool {
        self.last.contains_key(&hash_of(path))
    }
}

/// Returns the path of the data file that an action names.
fn path(action: &Action) -> Option<&str> {
    match action {
        Action::Add(add) => Some(&add.path),
        Action::Remove(remove) => Some(&remove.path),
        Action::Cdc(cdc) => Some(&cdc.path),
        _ => None,
    }
}

fn hash_of(path: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    path.hash(&mut hasher);
    hasher.finish()
}
