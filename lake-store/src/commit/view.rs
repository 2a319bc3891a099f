//! A read-only view of a table at one version: its stands, properties and files. A table that is not there is not made.

use std::collections::{BTreeMap, HashMap};
use std::ops::RangeInclusive;

use chrono::{DateTime, Utc};
use deltalake::kernel::{Action, Add};
use deltalake::logstore::LogStoreRef;
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, TryStreamExt, stream};
use lake_schemas::stand::cut_of;
use lake_schemas::table::Definition;
use lake_schemas::{Code, Cut, Stand, Table, TopicPartition};

use super::entry::READS_MAX;
use super::judge::may_be_read;
use super::load::{self, Loaded};
use super::{Changed, ForeignChange, Version, VersionFiles, Written, changes, entry, foreign, versions, written};
use crate::error::{LakeError, Result};
use crate::lake::Lake;

/// A table at a version.
pub struct TableView {
    table: Table,
    log_store: LogStoreRef,
    pub(super) loaded: Loaded,
}

impl TableView {
    /// Returns the newest version of a table; `None` if the lake lacks it, or it is dropped.
    pub fn newest(lake: &Lake, table: Table) -> BoxFuture<'_, Result<Option<Self>>> {
        Box::pin(async move {
            let found = load::find(lake, table).await?.filter(|(_, loaded)| !loaded.shape.is_dropped());
            found.map(|(log_store, loaded)| Self::of(table, log_store, loaded)).transpose()
        })
    }

    /// Makes the view of a version that was loaded. A version that would be read wrongly is refused.
    fn of(table: Table, log_store: LogStoreRef, loaded: Loaded) -> Result<Self> {
        may_be_read(table, &loaded.shape)?;
        Ok(Self { table, log_store, loaded })
    }

    /// Returns the view of an earlier version. If it is gone, the error says which versions are there.
    pub fn at(&self, version: Version) -> BoxFuture<'_, Result<Self>> {
        Box::pin(async move {
            let log_store = LogStoreRef::clone(&self.log_store);
            let newest = self.version();
            self.has_come_to(version)?;
            match load::load(self.table, log_store.as_ref(), Some(version)).await {
                Ok(loaded) => Self::of(self.table, log_store, loaded),
                Err(error) => Err(versions::gone(self.table, &log_store, version..=newest).await?.unwrap_or(error)),
            }
        })
    }

    /// Returns the first version that is still there.
    pub fn first(&self) -> BoxFuture<'_, Result<Version>> {
        versions::first(self.table, &self.log_store).boxed()
    }

    /// Returns the latest version written at or before a time.
    pub fn version_at(&self, time: DateTime<Utc>) -> BoxFuture<'_, Result<Version>> {
        versions::at(self.table, &self.log_store, self.version(), time).boxed()
    }

    /// Returns the files that are live in this version.
    pub fn live_files(&self) -> BoxFuture<'_, Result<Vec<Add>>> {
        Box::pin(async move {
            let live = load::live_files(self.table, self.log_store.as_ref(), self.version()).await?;
            load::without_deleted_rows(self.table, live.values())?;
            Ok(live.into_values().collect())
        })
    }

    /// Returns the files that a version added and removed; `None` if its entry is gone or damaged, or not there yet.
    pub fn files_of(&self, version: Version) -> BoxFuture<'_, Result<Option<VersionFiles>>> {
        entry::files_of(self.table, &self.log_store, version).boxed()
    }

    /// Returns the value that a version gave to a `txn`; `None` if it gave none, or its entry is gone, damaged or not
    /// there yet.
    pub fn moved<'a>(&'a self, version: Version, app_id: &'a str) -> BoxFuture<'a, Result<Option<i64>>> {
        Box::pin(async move {
            let lines = entry::read_if_whole(self.table, self.log_store.as_ref(), version).await?;
            let value = |action: &Action| match action {
                Action::Txn(txn) if txn.app_id == app_id => Some(txn.version),
                _ => None,
            };
            Ok(lines.and_then(|lines| lines.actions.iter().find_map(value)))
        })
    }

    /// Returns the columns that are not in a definition, those of other programs, with their types.
    pub fn further_columns(&self, definition: &Definition) -> BTreeMap<String, String> {
        self.loaded.shape.further_types(definition)
    }

    /// Returns the foreign changes in these versions, newest first, as far as their entries are there.
    pub fn foreign(&self, versions: RangeInclusive<Version>) -> BoxFuture<'_, Result<Vec<ForeignChange>>> {
        foreign::in_versions(self.table, &self.log_store, versions).boxed()
    }

    /// Refuses a table that has rows, but records no position: see [`super::TableLog::has_its_stands`].
    pub fn has_its_stands(&self) -> BoxFuture<'_, Result<()>> {
        load::has_its_stands(self.table, self.log_store.as_ref(), &self.loaded.head).boxed()
    }

    /// Returns the files whose rows these versions added, each with its version. If one of the versions is gone, the
    /// error says which are there.
    pub fn added(&self, versions: RangeInclusive<Version>) -> BoxFuture<'_, Result<Vec<(Version, Add)>>> {
        Box::pin(async move {
            self.has_come_to(*versions.end())?;
            let entries = stream::iter(versions).map(|version| async move {
                match self.files_of(version).await? {
                    Some(files) => {
                        load::without_deleted_rows(self.table, &files.adds)?;
                        Ok((version, files.adds))
                    }
                    None => Err(versions::gone(self.table, &self.log_store, version..=self.version())
                        .await?
                        .unwrap_or_else(|| no_entry(self.table, version))),
                }
            });
            let entries: Vec<_> = entries.buffered(READS_MAX).try_collect().await?;
            let added = entries.into_iter().flat_map(|(version, adds)| adds.into_iter().map(move |add| (version, add)));
            Ok(added.filter(|(_, add)| add.data_change).collect())
        })
    }

    /// Returns what these versions say of themselves, as far as their entries are there.
    pub fn written(&self, versions: RangeInclusive<Version>) -> BoxFuture<'_, Result<Vec<Written>>> {
        written::written(self.table, &self.log_store, versions).boxed()
    }

    /// Returns what changed after one version, up to and including another: see [`Changed`].
    pub fn changed(&self, after: Version, until: Version) -> BoxFuture<'_, Result<Changed>> {
        changes::between(self.table, &self.log_store, after, until).boxed()
    }

    /// Returns the value of a `txn`.
    pub fn txn(&self, app_id: &str) -> Option<i64> {
        self.loaded.head.txn(app_id)
    }

    /// Returns the cut: the next offset of each partition that the table has seen.
    pub fn cut(&self) -> Cut {
        cut_of(&self.stands())
    }

    fn has_come_to(&self, version: Version) -> Result<()> {
        let (table, newest) = (self.table, self.version());
        if version <= newest {
            return Ok(());
        }
        Err(LakeError::Refused(
            Code::VersionUnknown.because(format!("{table} has no version {version}; its newest is {newest}")),
        ))
    }

    /// Returns the table that is viewed.
    pub fn table(&self) -> Table {
        self.table
    }

    /// Returns Delta's unique id of the table.
    pub fn id(&self) -> &str {
        self.loaded.shape.id()
    }

    /// Returns the version that is viewed.
    pub fn version(&self) -> Version {
        self.loaded.head.version()
    }

    /// Returns the table's properties.
    pub fn properties(&self) -> &HashMap<String, String> {
        self.loaded.shape.properties()
    }

    /// Returns the stand of a partition.
    pub fn stand(&self, partition: &TopicPartition) -> Stand {
        Stand::decode(self.table, partition, |app_id| self.loaded.head.txn(app_id))
    }

    /// Returns the stands of all partitions that the table has seen.
    pub fn stands(&self) -> BTreeMap<TopicPartition, Stand> {
        self.loaded.head.stands(self.table)
    }
}

/// Error for a version that can be read, but whose entry is gone because a checkpoint has taken its place: what it
/// added is no longer known.
fn no_entry(table: Table, version: Version) -> LakeError {
    LakeError::Refused(Code::VersionGone.because(format!(
        "{table}: what version {version} added is no longer recorded, for its log entry was cleaned up; ask what the \
         version holds instead"
    )))
}
