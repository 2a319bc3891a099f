//! A table of the lake in a statement: planned with one version, scanned at the one of the statement's snapshot. SQL
//! never writes it.
//!
//! A view is planned once and queried again and again, so a table is looked up when it is scanned.

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::DFSchemaRef;
use datafusion::datasource::TableType;
use datafusion::error::Result;
use datafusion::logical_expr::dml::{InsertOp, MergeIntoClause};
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown};
use datafusion::physical_plan::ExecutionPlan;
use lake_schemas::{Code, Table};
use lake_store::LakeError;

use super::errors::{external, is_read_only, refused};
use super::snapshot::StatementSnapshot;
use crate::totals::AsOf;

/// A table at its newest or an earlier version.
pub(crate) struct LakeTable {
    pub snapshot: Arc<StatementSnapshot>,
    pub table: Table,
    pub as_of: AsOf,
    /// Table as it was when the statement was planned.
    pub planned: Arc<dyn TableProvider>,
}

impl fmt::Debug for LakeTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {:?}", self.table, self.snapshot)
    }
}

type Plan = Result<Arc<dyn ExecutionPlan>>;

#[async_trait]
impl TableProvider for LakeTable {
    fn schema(&self) -> SchemaRef {
        self.planned.schema()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        self.planned.supports_filters_pushdown(filters)
    }

    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Plan {
        let seen = self.snapshot.table(self.table, self.as_of).await.map_err(external)?;
        let seen = seen.ok_or_else(|| refused(self.snapshot.lake().lacks(self.table)))?.provider;
        if seen.schema() != self.planned.schema() {
            let why = format!("{} has other columns than it had; make the view again", self.table);
            return Err(refused(LakeError::Refused(Code::TableAltered.because(why))));
        }
        seen.scan(session, projection, filters, limit).await
    }

    async fn insert_into(&self, _: &dyn Session, _: Arc<dyn ExecutionPlan>, _: InsertOp) -> Plan {
        Err(is_read_only(self.table.name()))
    }

    async fn delete_from(&self, _: &dyn Session, _: Vec<Expr>) -> Plan {
        Err(is_read_only(self.table.name()))
    }

    async fn update(&self, _: &dyn Session, _: Vec<(String, Expr)>, _: Vec<Expr>) -> Plan {
        Err(is_read_only(self.table.name()))
    }

    async fn truncate(&self, _: &dyn Session) -> Plan {
        Err(is_read_only(self.table.name()))
    }

    async fn merge_into(
        &self,
        _: &dyn Session,
        _: Arc<dyn ExecutionPlan>,
        _: DFSchemaRef,
        _: Expr,
        _: Vec<MergeIntoClause>,
    ) -> Plan {
        Err(is_read_only(self.table.name()))
    }
}
