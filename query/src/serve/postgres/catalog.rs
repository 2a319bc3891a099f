//! What `pg_catalog` lists: the tables of the lake as they were last looked at, and its own by name.

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::datasource::TableType;
use datafusion::error::Result;
use datafusion_postgres::datafusion_pg_catalog::pg_catalog::PG_CATALOG_TABLES;
use datafusion_postgres::datafusion_pg_catalog::pg_catalog::catalog_info::CatalogInfo;
use lake_schemas::Table;

use crate::sql::{CATALOG, SCHEMA, Sight};

/// The schema of PostgreSQL's own tables.
pub(super) const PG_CATALOG: &str = "pg_catalog";

/// The tables of a session.
#[derive(Clone)]
pub(super) struct Listed(pub Arc<Sight>);

impl Listed {
    fn columns(&self, (catalog, schema, table): (&str, &str, &str)) -> Option<SchemaRef> {
        let table: Table = table.parse().ok().filter(|_| catalog == CATALOG && schema == SCHEMA)?;
        self.0.seen().remove(&table)
    }
}

impl fmt::Debug for Listed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[async_trait]
impl CatalogInfo for Listed {
    async fn catalog_names(&self) -> Result<Vec<String>> {
        Ok(vec![CATALOG.to_owned()])
    }

    async fn schema_names(&self, _: &str) -> Result<Option<Vec<String>>> {
        Ok(Some([SCHEMA, PG_CATALOG, "information_schema"].map(str::to_owned).into()))
    }

    async fn table_names(&self, _: &str, schema: &str) -> Result<Option<Vec<String>>> {
        Ok(match schema {
            SCHEMA => Some(self.0.seen().into_keys().map(|table| table.name().to_owned()).collect()),
            PG_CATALOG => Some(PG_CATALOG_TABLES.iter().map(|name| (*name).to_owned()).collect()),
            _ => None,
        })
    }

    async fn table_schema(&self, catalog: &str, schema: &str, table: &str) -> Result<Option<SchemaRef>> {
        Ok(self.columns((catalog, schema, table)))
    }

    async fn table_type(&self, catalog: &str, schema: &str, table: &str) -> Result<Option<TableType>> {
        Ok(self.columns((catalog, schema, table)).map(|_| TableType::Base))
    }
}
