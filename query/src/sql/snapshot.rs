//! Statement snapshot: each table is opened when a statement first asks for it, and stays at that version until the
//! statement is over, however often the statement names it.
//!
//! Roll-ups are opened before their sources, so that a source is found as it was then, or newer; and clicks are opened
//! before the rejected messages that are committed ahead of them. `totals` and `series` of a statement read the same
//! versions.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex};

use arrow::datatypes::SchemaRef;
use lake_schemas::Table;
use lake_schemas::table::Version;
use lake_store::commit::TableView;
use lake_store::locked::lock;
use lake_store::{Lake, LakeError};
use tokio::sync::Mutex as AsyncMutex;

use super::errors::is_read_only;
use super::referenced::ReferencedNames;
use super::row_filter::{may_be_named, may_be_seen, seen_columns};
use crate::access::RowAccess;
use crate::error::QueryError;
use crate::open::{Opened, open};
use crate::totals::{AsOf, Current, Function};

/// Order in which a statement opens the tables that every lake has.
const LOOKED_AT: [Table; 5] =
    [Table::ClicksDaily, Table::ClicksHourly, Table::ClicksMinute, Table::Clicks, Table::ClicksRejected];

/// Snapshot of the tables for the current statement.
pub struct StatementSnapshot {
    lake: Lake,
    totals: Arc<Current>,
    access: RowAccess,
    opened: Mutex<BTreeMap<(Table, AsOf), Opened>>,
    /// Lock that keeps a table from being opened twice.
    opening: AsyncMutex<()>,
    /// Tables that the lake was last seen to have, with their columns.
    there: Mutex<BTreeMap<Table, SchemaRef>>,
}

impl StatementSnapshot {
    pub(crate) fn new(lake: Lake, totals: Arc<Current>, access: RowAccess) -> Self {
        Self { lake, totals, access, opened: Mutex::default(), opening: AsyncMutex::default(), there: Mutex::default() }
    }

    pub(crate) fn lake(&self) -> &Lake {
        &self.lake
    }

    /// Returns the row-level access of the statement.
    pub(crate) fn access(&self) -> &RowAccess {
        &self.access
    }

    /// Begins the next statement: forgets the tables of the one before, and opens those that this one names.
    pub(crate) async fn begin_statement(&self, asked: &ReferencedNames) -> Result<(), QueryError> {
        lock(&self.opened).clear();
        self.totals.forget();
        let own = asked.tables.iter().filter_map(|name| name.parse().ok()).filter(|table| LOOKED_AT.contains(table));
        let has_views = own.clone().count() < asked.tables.len() && self.totals.may_be_in_views();
        if has_views || asked.functions.iter().any(|(name, _)| Function::is_named(name)) {
            self.totals.sources().await?;
        }
        // A table function is planned without waiting, so its table must be open by then.
        let of_functions = asked.functions.iter().filter_map(|(_, first)| first.as_deref()?.parse().ok());
        let wanted: BTreeSet<Table> = own.chain(of_functions).collect();
        let stagings = wanted.iter().copied().filter(|table| !LOOKED_AT.contains(table));
        for table in LOOKED_AT.into_iter().filter(|table| wanted.contains(table)).chain(stagings) {
            self.table(table, AsOf::Newest).await?;
        }
        if asked.lists {
            self.look_around().await?;
        }
        for table in asked.renamed.iter().filter_map(|name| name.parse().ok()) {
            if self.table(table, AsOf::Newest).await?.is_some() {
                return Err(is_read_only(table.name()).into());
            }
        }
        Ok(())
    }

    /// Lists the tables that the lake has, and their columns.
    pub(crate) async fn look_around(&self) -> Result<(), QueryError> {
        let mut found = BTreeMap::new();
        for table in LOOKED_AT.into_iter().chain(self.lake.stagings().await?) {
            if let Some(opened) = self.table(table, AsOf::Newest).await? {
                found.insert(table, opened.provider.schema());
            }
        }
        *lock(&self.there) = found;
        Ok(())
    }

    /// Returns the tables that the lake was last seen to have, with their columns, as far as the statement may see
    /// them.
    pub fn seen(&self) -> BTreeMap<Table, SchemaRef> {
        let mut there = lock(&self.there).clone();
        there.retain(|table, schema| may_be_named(&self.access, *table) && may_be_seen(&self.access, schema));
        let all = there.into_iter().map(|(table, schema)| {
            let columns = seen_columns(&self.access, &schema);
            let seen = if columns.len() == schema.fields().len() { None } else { schema.project(&columns).ok() };
            (table, seen.map_or(schema, Arc::new))
        });
        all.collect()
    }

    /// Opens a table at its newest or an earlier version; `None` if the lake lacks it.
    pub(crate) async fn table(&self, table: Table, as_of: AsOf) -> Result<Option<Opened>, QueryError> {
        let _opening = self.opening.lock().await;
        let known = self.opened(table, as_of);
        if known.is_some() {
            return Ok(known);
        }
        let version = match as_of {
            AsOf::Newest => self.totals.version_of(table),
            AsOf::Version(version) => Some(version),
            AsOf::Time(time) => match TableView::newest(&self.lake, table).await? {
                Some(newest) => Some(newest.version_at(time).await?),
                None => return Ok(None),
            },
        };
        let found = match open(&self.lake, table, version).await {
            Ok(found) => found,
            Err(error) => return Err(self.is_not_there(table, version).await?.map_or(error, QueryError::Lake)),
        };
        if let Some(found) = &found {
            lock(&self.opened).insert((table, as_of), found.clone());
            lock(&self.there).insert(table, found.provider.schema());
        }
        Ok(found)
    }

    /// Returns a table that is open already.
    pub(crate) fn opened(&self, table: Table, as_of: AsOf) -> Option<Opened> {
        lock(&self.opened).get(&(table, as_of)).cloned()
    }

    /// Returns the log of a table at the version that the statement sees.
    pub(crate) async fn view(&self, table: Table) -> Result<TableView, QueryError> {
        let lacks = || self.lake.lacks(table);
        let seen = self.table(table, AsOf::Newest).await?.ok_or_else(lacks)?;
        let newest = TableView::newest(&self.lake, table).await?.ok_or_else(lacks)?;
        Ok(if newest.version() == seen.version { newest } else { newest.at(seen.version).await? })
    }

    /// Returns the error that a version does not exist, if that is why it cannot be opened.
    async fn is_not_there(&self, table: Table, version: Option<Version>) -> Result<Option<LakeError>, LakeError> {
        match (version, TableView::newest(&self.lake, table).await?) {
            (Some(version), Some(newest)) => Ok(newest.at(version).await.err()),
            _ => Ok(None),
        }
    }
}

impl fmt::Debug for StatementSnapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the tables of {}", self.lake.url())
    }
}
