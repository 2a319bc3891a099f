//! `ALL` and `ANY` over a query: what is compared is told apart from the rows that it is compared with.
//!
//! DataFusion makes of `x >= ALL (SELECT x FROM t)` a query for rows of which `x >= x` is false, with the first `x`
//! from outside. If both stand in tables of one name, it cannot tell them apart any more, and each row is compared
//! with itself. Here the rows of the query get a name that nothing else in the statement has.

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

/// What the names begin with.
const NAME: &str = "__compared_with";

/// Gives the rows that something is compared with a name of their own.
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

/// A comparison with rows that have a name of their own; any other expression as it is.
fn with_a_name(expr: Expr, many: &AtomicUsize) -> Result<Transformed<Expr>> {
    let Expr::SetComparison(SetComparison { expr, subquery, op, quantifier }) = expr else {
        return Ok(Transformed::no(expr));
    };
    let Subquery { subquery, outer_ref_columns, spans } = subquery;
    let name = format!("{NAME}_{}", many.fetch_add(1, Ordering::Relaxed));
    // The column, too: what is compared may have no table to its name.
    let column = Expr::Column(Column::from(subquery.schema().qualified_field(0))).alias(name.clone());
    let named = LogicalPlanBuilder::from(Arc::unwrap_or_clone(subquery)).project([column])?.alias(name)?.build()?;
    let subquery = Subquery { subquery: Arc::new(named), outer_ref_columns, spans };
    Ok(Transformed::yes(Expr::SetComparison(SetComparison::new(expr, subquery, op, quantifier))))
}
