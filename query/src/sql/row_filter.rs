//! Row-level access: shows only the rows of some campaigns of a table, to callers who may not see everything.
//!
//! Rows of other campaigns are dropped right where they are read, before anything of the statement touches them:
//! ```text
//!   the statement: conditions, casts, limits, order, sums ...
//!   ─────────────────────────────────────────────────────────  nothing passes downwards
//!   RowFilterExec        keeps rows by campaign, then columns
//!   the table's own scan, with the campaigns as a condition, to leave out files
//! ```
//!
//! Columns that tell about others, or about people, are left out entirely: see `crate::access`.
//!
//! An expression that fails on a row of another campaign would reveal it; so does the order of rows that a limit cuts,
//! and so do the statistics of files from which counts are answered. This node therefore lets no condition, limit,
//! order or dynamic filter pass, and reports no number of rows. The only conditions that go below are plain comparisons
//! of a column with a value of its own type, `=`, `<` and the like, or `IN`: they cannot fail, and only leave out what
//! the statement leaves out anyway.

use std::fmt;
use std::sync::Arc;

use arrow::array::{Array, AsArray, BooleanArray};
use arrow::compute::{cast, filter_record_batch};
use arrow::datatypes::{DataType, SchemaRef};
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::datasource::TableType;
use datafusion::error::Result;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{BinaryExpr, Expr, Operator, TableProviderFilterPushDown};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, Partitioning, PlanProperties,
};
use futures::StreamExt;
use lake_schemas::table::column;
use lake_schemas::{Code, Table};
use lake_store::LakeError;

use crate::access::RowAccess;

/// Reason given to a caller with limited access for refusing anything that tells of the rows of all campaigns.
pub const HIDDEN: &str = "tells of the rows of all campaigns, which this key does not see";

/// Columns whose conditions go below the filter, because rows are commonly looked for by them.
const LOOKED_FOR: [&str; 3] = [column::AD_ID, column::CAMPAIGN_ID, column::WINDOW_START];

/// Operators of conditions that may go below the filter: they cannot fail.
const COMPARISONS: [Operator; 5] = [Operator::Eq, Operator::Lt, Operator::LtEq, Operator::Gt, Operator::GtEq];

/// Builds the error for something that tells of the rows of all campaigns.
pub(crate) fn hidden(what: &str) -> LakeError {
    LakeError::Refused(Code::Hidden.because(format!("{what} {HIDDEN}")))
}

/// Returns whether a caller may know that a table exists: staging tables are only for those who see everything.
pub(crate) fn may_be_named(access: &RowAccess, table: Table) -> bool {
    *access == RowAccess::All || Table::ALL.contains(&table)
}

/// Returns the indices of the columns of a table that a caller may see.
pub(crate) fn seen_columns(access: &RowAccess, schema: &SchemaRef) -> Vec<usize> {
    let fields = schema.fields().iter().enumerate();
    fields.filter(|(_, field)| access.has_column(field.name())).map(|(at, _)| at).collect()
}

/// Refuses a table that tells of the rows of all campaigns, whether the lake has it or not.
pub(crate) fn is_for(access: &RowAccess, table: Table) -> std::result::Result<(), LakeError> {
    if table == Table::ClicksRejected && *access != RowAccess::All { Err(hidden(table.name())) } else { Ok(()) }
}

/// Returns whether a caller may see anything of a table with these columns.
pub(crate) fn may_be_seen(access: &RowAccess, schema: &SchemaRef) -> bool {
    *access == RowAccess::All || schema.index_of(column::CAMPAIGN_ID).is_ok()
}

/// Wraps a table so that a caller sees only what its access allows.
pub(crate) fn seen_by(
    access: &RowAccess,
    name: &str,
    table: Arc<dyn TableProvider>,
) -> std::result::Result<Arc<dyn TableProvider>, LakeError> {
    let Some(condition) = access.condition() else { return Ok(table) };
    let all = table.schema();
    let campaign = all.index_of(column::CAMPAIGN_ID).map_err(|_| hidden(name))?;
    let columns = seen_columns(access, &all);
    let schema = Arc::new(all.project(&columns).map_err(|_| hidden(name))?);
    Ok(Arc::new(FilteredTable { table, schema, columns, campaign, access: access.clone(), condition }))
}

/// A table of which a caller sees only the rows of some campaigns, and some columns.
struct FilteredTable {
    table: Arc<dyn TableProvider>,
    schema: SchemaRef,
    /// Indices of the visible columns in the table.
    columns: Vec<usize>,
    /// Index of the campaign's column in the table.
    campaign: usize,
    access: RowAccess,
    condition: Expr,
}

impl fmt::Debug for FilteredTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "some campaigns of {:?}", self.table)
    }
}

#[async_trait]
impl TableProvider for FilteredTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        self.table.table_type()
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        let schema = self.schema();
        let support = |filter: &&Expr| match cannot_fail(filter, &schema) {
            true => TableProviderFilterPushDown::Inexact,
            false => TableProviderFilterPushDown::Unsupported,
        };
        Ok(filters.iter().map(support).collect())
    }

    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        _limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let schema = self.schema();
        let mut read = match projection {
            Some(shown) => shown.iter().map(|at| self.columns[*at]).collect(),
            None => self.columns.clone(),
        };
        let shown: Vec<_> = (0..read.len()).collect();
        let campaign = read.iter().position(|index| *index == self.campaign).unwrap_or_else(|| {
            read.push(self.campaign);
            read.len() - 1
        });
        let passed = filters.iter().filter(|filter| cannot_fail(filter, &schema)).cloned();
        let filters: Vec<_> = std::iter::once(self.condition.clone()).chain(passed).collect();
        let rows = self.table.scan(session, Some(&read), &filters, None).await?;
        Ok(Arc::new(RowFilterExec::new(rows, RowFilter { campaign, access: self.access.clone(), shown })?))
    }
}

/// Returns whether a condition compares a column with values of its type, and does nothing else.
fn cannot_fail(filter: &Expr, schema: &SchemaRef) -> bool {
    let column_type = |expr: &Expr| match expr {
        Expr::Column(column) if LOOKED_FOR.contains(&column.name.as_str()) => {
            schema.field_with_name(&column.name).ok().map(|field| field.data_type().clone())
        }
        _ => None,
    };
    let is_of = |expr: &Expr, expected: &DataType| match expr {
        Expr::Literal(value, _) => value.data_type() == *expected,
        _ => false,
    };
    match filter {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) if COMPARISONS.contains(op) => match column_type(left) {
            Some(expected) => is_of(right, &expected),
            None => column_type(right).is_some_and(|expected| is_of(left, &expected)),
        },
        Expr::InList(list) => column_type(&list.expr)
            .is_some_and(|expected| !list.negated && list.list.iter().all(|value| is_of(value, &expected))),
        _ => false,
    }
}

/// Filter of the visible rows, with the projection to the visible columns.
#[derive(Clone, Debug)]
struct RowFilter {
    campaign: usize,
    access: RowAccess,
    shown: Vec<usize>,
}

impl RowFilter {
    fn of(&self, rows: &RecordBatch) -> Result<RecordBatch> {
        let names = rows.column(self.campaign);
        let names =
            if *names.data_type() == DataType::Utf8 { Arc::clone(names) } else { cast(names, &DataType::Utf8)? };
        let kept: BooleanArray =
            names.as_string::<i32>().iter().map(|name| Some(self.access.has_row_of(name))).collect();
        Ok(filter_record_batch(rows, &kept)?.project(&self.shown)?)
    }
}

/// Plan node that keeps the rows of some campaigns, and lets no condition, limit, order or statistics of the statement
/// pass, for the reasons that the head of this file gives.
#[derive(Debug)]
struct RowFilterExec {
    input: Arc<dyn ExecutionPlan>,
    own: RowFilter,
    properties: Arc<PlanProperties>,
}

impl RowFilterExec {
    fn new(input: Arc<dyn ExecutionPlan>, own: RowFilter) -> Result<Self> {
        let schema = Arc::new(input.schema().project(&own.shown)?);
        // Reports no order, and no equal or constant columns: each would tell the optimizer of hidden rows.
        let properties = PlanProperties::new(
            EquivalenceProperties::new(schema),
            Partitioning::UnknownPartitioning(input.output_partitioning().partition_count()),
            input.pipeline_behavior(),
            input.boundedness(),
        );
        Ok(Self { input, own, properties: Arc::new(properties) })
    }
}

impl DisplayAs for RowFilterExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OwnRows")
    }
}

impl ExecutionPlan for RowFilterExec {
    fn name(&self) -> &str {
        "OwnRows"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        let input = children.into_iter().next().unwrap_or_else(|| Arc::clone(&self.input));
        Ok(Arc::new(Self::new(input, self.own.clone())?))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let own = self.own.clone();
        let rows = self.input.execute(partition, context)?.map(move |rows| own.of(&rows?));
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), rows)))
    }
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::{Field, Schema};
    use datafusion::logical_expr::{cast, col, lit};

    use super::*;

    #[test]
    fn only_what_cannot_fail_goes_below() {
        let columns = [column::AD_ID, column::CAMPAIGN_ID, "country"];
        let fields = columns.map(|name| Field::new(name, DataType::Utf8, true));
        let schema: SchemaRef = Arc::new(Schema::new(fields.to_vec()));
        let ad = || col(column::AD_ID);
        for passes in [ad().eq(lit("1")), lit("1").lt_eq(ad()), ad().in_list(vec![lit("1"), lit("2")], false)] {
            assert!(cannot_fail(&passes, &schema), "{passes}");
        }
        for stays in [
            cast(ad(), DataType::Int32).eq(lit(1)),
            ad().eq(lit(1)),
            ad().eq(cast(lit("x"), DataType::Utf8)),
            ad().eq(col(column::CAMPAIGN_ID)),
            ad().not_eq(lit("1")),
            ad().like(lit("%")),
            ad().in_list(vec![lit("1")], true),
            ad().in_list(vec![ad()], false),
            ad().eq(lit("1")).or(cast(ad(), DataType::Int32).eq(lit(1))),
            col("country").eq(lit("DE")),
        ] {
            assert!(!cannot_fail(&stays, &schema), "{stays}");
        }
    }
}
