//! Counts as one table: the rows of all windows that are asked for, each taken from the widest roll-up that is clean.
//!
//! A row is of a day, an hour or a minute; when rows are added up, it does not matter which. The tables are looked up
//! when the plan is made. Only files that hold what is asked for are read, and of these only the pages that do.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::datasource::TableType;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::union::UnionExec;
use lake_schemas::table::column;
use lake_schemas::{Code, Table, Width};
use lake_store::LakeError;

use super::columns::columns;
use super::current::From;
use super::files::File;
use super::prune::Pruning;
use super::reading::{AccessPath, PlanMaker};
use super::stitch::stitch;
use super::summed;

/// Counts of a stretch of time, as a table.
pub(crate) struct CountsScan {
    /// Tables that they are taken from.
    pub from: From,
    /// Stretch of time, in milliseconds.
    pub asked: Range<i64>,
    /// Widest windows that rows may be of.
    pub widest: Width,
    /// Columns of the rows: see [`columns`].
    pub schema: SchemaRef,
}

impl fmt::Debug for CountsScan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "counts of {:?}, at most a {:?} each", self.asked, self.widest)
    }
}

#[async_trait]
impl TableProvider for CountsScan {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    /// Filters leave out files. The rows of the other files must be filtered again.
    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        _limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let sources = self.from.sources().await.map_err(|error| DataFusionError::External(Box::new(error)))?;
        if columns(&sources.parameters) != self.schema {
            let why = LakeError::Refused(Code::TableAltered.because(format!(
                "{} has other dimensions than when the view was made; make it again",
                Table::ClicksMinute
            )));
            return Err(DataFusionError::External(Box::new(why)));
        }
        let parts = stitch(&self.asked, self.widest, &sources.dirty);
        let all: Vec<_> = (0..self.schema.fields().len()).collect();
        let projection = projection.unwrap_or(&all);
        let is_lookup = filters.iter().any(|filter| names(filter, column::AD_ID));
        let path = if is_lookup { AccessPath::Lookup } else { AccessPath::Scan };
        let reading = PlanMaker::new(session, &self.schema, path)?;
        let condition = conjunction(filters.iter().cloned()).map(|filter| reading.condition(filter)).transpose()?;
        let pruning = Pruning::new(condition, &self.schema);
        let (mut summed, mut whole, mut scans) = (Vec::new(), Vec::new(), Vec::new());
        let start = self.schema.index_of(column::WINDOW_START)?;
        let is_summed = |file: &Arc<File>| !projection.contains(&start) && file.sums().is_some();
        for (level, windows) in sources.taken(&parts) {
            let [all, some] = level.files.holding(windows).map(|files| pruning.keep(files));
            let (sums, all): (Vec<_>, Vec<_>) = all?.into_iter().partition(is_summed);
            summed.extend(sums);
            whole.extend(all);
            scans.extend(reading.windows_of(some?, windows, projection)?);
        }
        scans.extend(reading.all_of(whole, projection)?);
        scans.extend(summed::scan(&summed, &Arc::new(self.schema.project(projection)?), filters)?);
        if scans.is_empty() {
            return Ok(Arc::new(EmptyExec::new(Arc::new(self.schema.project(projection)?))));
        }
        UnionExec::try_new(scans)
    }
}

/// Returns whether a condition refers to a column.
fn names(filter: &Expr, name: &str) -> bool {
    filter.column_refs().iter().any(|column| column.name == name)
}
