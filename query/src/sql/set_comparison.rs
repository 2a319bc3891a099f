//! `ALL` and `ANY` over a query: keeps the compared value apart from the rows that it is compared with.
//!
//! DataFusion turns `x >= ALL (SELECT x FROM t)` into a query for rows of which `x >= x` is false, where the first `x`
//! is from outside. If both are in tables of one name, it cannot tell them apart any more, and compares each row with
//! itself. Here the rows of the query get a name that nothing else in the statement has.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use datafusion::common::Column;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::error::Result;
use datafusion::logical_expr::expr::SetComparison;
use datafusion::logical_expr::logical_plan::Subquery;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder};
use datafusion::optimizer::AnalyzerRule;

/// Prefix of the names.
const NAME: &str = "__compared_with";

/// Analyzer rule that gives the rows of such a query a name of their own.
#[derive(Debug)]
pub(crate) struct AloneInItsQuery;

impl AnalyzerRule for AloneInItsQuery {
    fn name(&self) -> &'static str {
        "set_comparison"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        let many = AtomicUsize::new(0);
        let named = plan.transform_up_with_subqueries(|plan| {
            plan.map_expressions(|expr| expr.transform_up(|expr| with_a_name(expr, &many)))
        });
        named.data()
    }
}

/// Gives the rows of a comparison a name of their own; leaves any other expression as it is.
fn with_a_name(expr: Expr, many: &AtomicUsize) -> Result<Transformed<Expr>> {
    let Expr::SetComparison(SetComparison { expr, subquery, op, quantifier }) = expr else {
        return Ok(Transformed::no(expr));
    };
    let Subquery { subquery, outer_ref_columns, spans } = subquery;
    let name = format!("{NAME}_{}", many.fetch_add(1, Ordering::Relaxed));
    // The column is renamed too, because the compared value may have no table in its name.
    let column = Expr::Column(Column::from(subquery.schema().qualified_field(0))).alias(name.clone());
    let named = LogicalPlanBuilder::from(Arc::unwrap_or_clone(subquery)).project([column])?.alias(name)?.build()?;
    let subquery = Subquery { subquery: Arc::new(named), outer_ref_columns, spans };
    Ok(Transformed::yes(Expr::SetComparison(SetComparison::new(expr, subquery, op, quantifier))))
}
