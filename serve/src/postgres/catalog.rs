//! Tables that `pg_catalog` lists: those of the lake as they were last refreshed, and PostgreSQL's own by name.

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{SchemaProvider, TableProvider};
use datafusion::datasource::{TableType, ViewTable, provider_as_source};
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, LogicalPlanBuilder, lit};
use datafusion::scalar::ScalarValue;
use datafusion_postgres::datafusion_pg_catalog::pg_catalog::catalog_info::CatalogInfo;
use datafusion_postgres::datafusion_pg_catalog::pg_catalog::context::{PgCatalogContextProvider, Role};
use datafusion_postgres::datafusion_pg_catalog::pg_catalog::{
    PG_CATALOG_TABLES, PgCatalogSchemaProvider, PgCatalogStaticTables,
};
use lake_schemas::Table;
use query::sql::{CATALOG, SCHEMA, StatementSnapshot};

use super::tables;

/// Schema of PostgreSQL's own tables.
pub(super) const PG_CATALOG: &str = "pg_catalog";

/// Schema of standard SQL's tables about tables.
pub(super) const INFORMATION_SCHEMA: &str = "information_schema";

/// Name that every client has when it asks for its own.
pub(super) const ROLE: &str = "postgres";

/// Name of the table of tables.
const PG_CLASS: &str = "pg_class";

/// Columns that the library's table of tables lacks: no table has grants or options.
const LACKING: [&str; 2] = ["relacl", "reloptions"];

/// Returns whether a name without a schema is one of PostgreSQL's own tables.
pub(super) fn is_catalog_table(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    PG_CATALOG_TABLES.contains(&name.as_str()) || tables::is_there(&name)
}

/// PostgreSQL's own tables: the library's, and those that it lacks.
#[derive(Debug)]
pub(super) struct Catalog {
    library: Arc<dyn SchemaProvider>,
}

impl Catalog {
    /// Creates the catalog that lists these tables.
    pub fn new(listed: Listed, known: Arc<PgCatalogStaticTables>) -> Result<Self> {
        Ok(Self { library: Arc::new(PgCatalogSchemaProvider::try_new(listed, known, OneRole)?) })
    }
}

#[async_trait]
impl SchemaProvider for Catalog {
    fn table_names(&self) -> Vec<String> {
        let mut names = self.library.table_names();
        names.extend(tables::names().map(str::to_owned));
        names.sort();
        names.dedup();
        names
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        if let Some(own) = tables::table(name)? {
            return Ok(Some(own));
        }
        match self.library.table(name).await? {
            Some(table) if name == PG_CLASS => with_all_columns(table).map(Some),
            table => Ok(table),
        }
    }

    fn table_exist(&self, name: &str) -> bool {
        is_catalog_table(name)
    }
}

/// Returns the table of tables with all its columns. The size and the row count of a table are given as unknown, since
/// programs would split their queries by them.
fn with_all_columns(table: Arc<dyn TableProvider>) -> Result<Arc<dyn TableProvider>> {
    let plan = LogicalPlanBuilder::scan(PG_CLASS, provider_as_source(table), None)?;
    let columns = plan.schema().columns().into_iter().map(|column| match column.name.as_str() {
        "relpages" => lit(0_i32).alias("relpages"),
        "reltuples" => lit(-1_f64).alias("reltuples"),
        _ => Expr::Column(column),
    });
    let lacking = LACKING.map(|name| lit(ScalarValue::Utf8(None)).alias(name));
    let columns: Vec<_> = columns.chain(lacking).collect();
    Ok(Arc::new(ViewTable::new(plan.project(columns)?.build()?, None)))
}

/// The only role there is.
#[derive(Clone, Debug)]
pub(super) struct OneRole;

#[async_trait]
impl PgCatalogContextProvider for OneRole {
    async fn roles(&self) -> Vec<String> {
        vec![ROLE.to_owned()]
    }

    async fn role(&self, name: &str) -> Option<Role> {
        (name == ROLE).then(|| Role {
            name: name.to_owned(),
            is_superuser: false,
            can_login: true,
            can_create_db: false,
            can_create_role: false,
            can_create_user: false,
            can_replication: false,
            grants: Vec::new(),
            inherited_roles: Vec::new(),
        })
    }
}

/// Tables that a session lists.
#[derive(Clone)]
pub(super) struct Listed(pub Arc<StatementSnapshot>);

impl Listed {
    /// Returns the tables of the lake as they were last seen, with their columns.
    pub fn tables(&self) -> Vec<(String, SchemaRef)> {
        self.0.seen().into_iter().map(|(table, schema)| (table.name().to_owned(), schema)).collect()
    }

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
        Ok(Some([SCHEMA, PG_CATALOG, INFORMATION_SCHEMA].map(str::to_owned).into()))
    }

    async fn table_names(&self, _: &str, schema: &str) -> Result<Option<Vec<String>>> {
        Ok(match schema {
            SCHEMA => Some(self.tables().into_iter().map(|(name, _)| name).collect()),
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
