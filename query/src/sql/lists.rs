//! Refuses `cast(a_text as text[])`: DataFusion makes a list of one element of the text, whatever it holds, where
//! PostgreSQL reads `{a,b}` as two.

use arrow::datatypes::DataType;
use datafusion::common::config::ConfigOptions;
use datafusion::common::plan_err;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::error::Result;
use datafusion::logical_expr::expr::{Cast, TryCast};
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan};
use datafusion::optimizer::AnalyzerRule;

/// Analyzer rule that refuses casts of a text to a list.
#[derive(Debug)]
pub(crate) struct NoListOfText;

impl AnalyzerRule for NoListOfText {
    fn name(&self) -> &'static str {
        "no_list_of_text"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        plan.apply_with_subqueries(|plan| {
            let schema = merge_schema(&plan.inputs());
            let is_text = |expr: &Expr| match expr {
                Expr::Literal(value, _) => value.try_as_str().is_some_and(|text| text.is_some()),
                expr => expr.get_type(&schema).is_ok_and(|kind| kind.is_string()),
            };
            plan.apply_expressions(|expr| {
                expr.apply(|expr| match expr {
                    Expr::Cast(Cast { expr, field }) | Expr::TryCast(TryCast { expr, field })
                        if is_list(field.data_type()) && is_text(expr) =>
                    {
                        plan_err!("a text is no array; write array[...], or take it apart with string_to_array")
                    }
                    _ => Ok(TreeNodeRecursion::Continue),
                })
            })
        })?;
        Ok(plan)
    }
}

fn is_list(kind: &DataType) -> bool {
    matches!(kind, DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(..))
}
