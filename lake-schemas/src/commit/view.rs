//! A table at one version, to be looked at: where it stands, and what it records. Nothing is made if it is not there.

use std::collections::{BTreeMap, HashMap};

use deltalake::logstore::LogStoreRef;
use futures::future::BoxFuture;

use super::Version;
use super::load::{self, Loaded};
use crate::error::{Context, Result};
use crate::lake::Lake;
use crate::position::TopicPartition;
use crate::stand::Stand;
use crate::table::Table;

/// A table at a version.
pub struct TableView {
    table: Table,
    log_store: LogStoreRef,
    loaded: Loaded,
}

impl TableView {
    /// The newest version of a table; `None` if the lake lacks it.
    pub fn newest(lake: &Lake, table: Table) -> BoxFuture<'_, Result<Option<Self>>> {
        Box::pin(async move {
            let log_store = lake.log_store(table.name())?;
            let what = || format!("{table}: looking for it in {}", lake.url());
            if !log_store.is_delta_table_location().await.while_doing(what)? {
                return Ok(None);
            }
            let loaded = load::load(table, log_store.as_ref(), None).await?;
            Ok(Some(Self { table, log_store, loaded }))
        })
    }

    /// An earlier version.
    pub fn at(&self, version: Version) -> BoxFuture<'_, Result<Self>> {
        Box::pin(async move {
            let log_store = LogStoreRef::clone(&self.log_store);
            let loaded = load::load(self.table, log_store.as_ref(), Some(version)).await?;
            Ok(Self { table: self.table, log_store, loaded })
        })
    }

    /// Which version it is.
    pub fn version(&self) -> Version {
        self.loaded.head.version()
    }

    /// What the table records.
    pub fn properties(&self) -> &HashMap<String, String> {
        &self.loaded.properties
    }

    /// Where a partition stands.
    pub fn stand(&self, partition: &TopicPartition) -> Stand {
        Stand::decode(self.table, partition, |app_id| self.loaded.head.txn(app_id))
    }

    /// Where all partitions stand that it has seen.
    pub fn stands(&self) -> BTreeMap<TopicPartition, Stand> {
        let partitions = self.loaded.head.app_ids().filter_map(|app_id| Stand::partition_of(self.table, app_id));
        partitions.map(|partition| (partition.clone(), self.stand(&partition))).collect()
    }
}
