//! The catalog: the lake's tables by name, and those that the session makes for itself. The session cannot take the
//! lake's names.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::catalog::{
    CatalogProvider, MemoryCatalogProvider, MemorySchemaProvider, SchemaProvider, TableProvider,
};
use datafusion::error::{DataFusionError, Result};
use lake_schemas::{Code, Table};
use lake_store::LakeError;

use super::errors::{external, is_read_only, is_the_lakes_own, refused};
use super::names::SCHEMA;
use super::row_filter::{is_for, may_be_named, seen_by};
use super::snapshot::StatementSnapshot;
use super::statements::named;
use super::table::LakeTable;
use crate::totals::AsOf;

/// Catalog with the lake's schema, and whatever schemas the session makes.
#[derive(Debug)]
pub(crate) struct LakeCatalog {
    others: MemoryCatalogProvider,
    lake: Arc<LakeSchema>,
}

impl LakeCatalog {
    pub fn new(snapshot: Arc<StatementSnapshot>) -> Self {
        let lake = Arc::new(LakeSchema { snapshot, own: MemorySchemaProvider::new() });
        Self { others: MemoryCatalogProvider::new(), lake }
    }
}

impl CatalogProvider for LakeCatalog {
    fn schema_names(&self) -> Vec<String> {
        [SCHEMA.to_owned()].into_iter().chain(self.others.schema_names()).collect()
    }

    fn schema(&self, name: &str) -> Option<Arc<dyn SchemaProvider>> {
        if name == SCHEMA { Some(Arc::clone(&self.lake) as _) } else { self.others.schema(name) }
    }

    fn register_schema(&self, name: &str, schema: Arc<dyn SchemaProvider>) -> Result<Option<Arc<dyn SchemaProvider>>> {
        if name == SCHEMA { Err(is_the_lakes_own(name)) } else { self.others.register_schema(name, schema) }
    }

    fn deregister_schema(&self, name: &str, cascade: bool) -> Result<Option<Arc<dyn SchemaProvider>>> {
        if name == SCHEMA { Err(is_the_lakes_own(name)) } else { self.others.deregister_schema(name, cascade) }
    }
}

/// Schema with the tables of the lake, and those that the session makes beside them.
struct LakeSchema {
    snapshot: Arc<StatementSnapshot>,
    own: MemorySchemaProvider,
}

impl LakeSchema {
    /// Returns the table of the lake that a name stands for, whether that exists or not.
    fn reserved(&self, name: &str) -> Option<Table> {
        let table = name.parse().ok()?;
        (Table::ALL.contains(&table) || self.snapshot.seen().contains_key(&table)).then_some(table)
    }
}

impl fmt::Debug for LakeSchema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.snapshot.fmt(f)
    }
}

#[async_trait]
impl SchemaProvider for LakeSchema {
    fn table_names(&self) -> Vec<String> {
        let own = self.own.table_names();
        let lake = self.snapshot.seen().into_keys().map(|table| table.name().to_owned());
        lake.filter(|name| !own.contains(name)).chain(own.clone()).collect()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>, DataFusionError> {
        if let Some(own) = self.own.table(name).await? {
            return Ok(Some(own));
        }
        let (of, as_of) = named(name).unwrap_or((name, AsOf::Newest));
        let Ok(table) = of.parse::<Table>() else { return lacking(of, as_of) };
        is_for(self.snapshot.access(), table).map_err(refused)?;
        if !may_be_named(self.snapshot.access(), table) {
            return lacking(of, as_of);
        }
        let Some(seen) = self.snapshot.table(table, as_of).await.map_err(external)? else {
            if Table::ALL.contains(&table) {
                return Err(refused(self.snapshot.lake().lacks(table)));
            }
            return lacking(of, as_of);
        };
        let snapshot = Arc::clone(&self.snapshot);
        let found = LakeTable { snapshot, table, as_of, planned: seen.provider };
        seen_by(self.snapshot.access(), name, Arc::new(found)).map(Some).map_err(refused)
    }

    fn register_table(&self, name: String, table: Arc<dyn TableProvider>) -> Result<Option<Arc<dyn TableProvider>>> {
        if self.reserved(&name).is_some() || named(&name).is_some() {
            return Err(is_the_lakes_own(&name));
        }
        self.own.register_table(name, table)
    }

    fn deregister_table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        if self.own.table_exist(name) {
            return self.own.deregister_table(name);
        }
        if self.reserved(name).is_some() || named(name).is_some() { Err(is_read_only(name)) } else { Ok(None) }
    }

    fn table_exist(&self, name: &str) -> bool {
        let of = named(name).map_or(name, |(of, _)| of);
        self.own.table_exist(name) || of.parse().is_ok_and(|table| self.snapshot.seen().contains_key(&table))
    }
}

/// Returns "not found", or an error if the name carries a version or a time, which only tables of the lake have.
fn lacking(name: &str, as_of: AsOf) -> Result<Option<Arc<dyn TableProvider>>> {
    if as_of == AsOf::Newest {
        return Ok(None);
    }
    Err(refused(LakeError::Refused(
        Code::StatementUnclear.because(format!("{name} is no table of the lake; only these have versions")),
    )))
}
