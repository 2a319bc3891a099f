//! `+`, `-` and `*` of whole numbers that never wrap around: a result that its type does not hold is an error.
//!
//! DataFusion computes them modulo their width, so that a price times a count may come out as anything. Arrow has
//! kernels that report the overflow; this rule puts them in the place of the others, once the types of a plan are
//! known. A chain of operations becomes one function, however long it is: a thousand nested ones would overflow the
//! stack.

use std::fmt::Write;
use std::sync::Arc;

use arrow::compute::kernels::numeric::{add, mul, sub};
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::DFSchema;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::error::Result;
use datafusion::logical_expr::Operator::{Minus, Multiply, Plus};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{
    BinaryExpr, ColumnarValue, Expr, ExprSchemable, LogicalPlan, Operator, ReturnFieldArgs, ScalarFunctionArgs,
    ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use datafusion::optimizer::AnalyzerRule;
use datafusion::physical_expr_common::datum::apply;

/// Analyzer rule that checks the arithmetic of plans.
#[derive(Debug)]
pub(crate) struct CheckedArithmetic;

impl AnalyzerRule for CheckedArithmetic {
    fn name(&self) -> &'static str {
        "checked_arithmetic"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        let checked = plan.transform_up_with_subqueries(|plan| {
            let (schema, names) = (merge_schema(&plan.inputs()), NamePreserver::new(&plan));
            let checked = plan.map_expressions(|expr| {
                let name = names.save(&expr);
                let checked = expr.transform_down(|expr| Ok(checked(expr, &schema)))?;
                Ok(checked.update_data(|expr| name.restore(expr)))
            })?;
            if checked.transformed { checked.map_data(LogicalPlan::recompute_schema) } else { Ok(checked) }
        });
        checked.data()
    }
}

/// Replaces the chain of operations at the end of an expression by a checked one, if they are of whole numbers.
fn checked(expr: Expr, schema: &DFSchema) -> Transformed<Expr> {
    let (mut operators, mut operands, mut first) = (Vec::new(), Vec::new(), &expr);
    let mut of = None;
    while let Expr::BinaryExpr(BinaryExpr { left, op: op @ (Plus | Minus | Multiply), right }) = first {
        // All operands have one type by now; a cast to it begins a chain of its own.
        let data_type = right.get_type(schema).ok().filter(DataType::is_integer);
        if data_type.is_none() || of.get_or_insert_with(|| data_type.clone()) != &data_type {
            return Transformed::no(expr);
        }
        operators.push(*op);
        operands.push(right.as_ref().clone());
        first = left;
    }
    if operators.is_empty() || first.get_type(schema).ok() != of.flatten() {
        return Transformed::no(expr);
    }
    operands.push(first.clone());
    operators.reverse();
    operands.reverse();
    let signature = Signature::any(operands.len(), Volatility::Immutable);
    Transformed::yes(ScalarUDF::from(Checked { operators, signature }).call(operands))
}

/// Function that computes a chain of operations, from the left to the right.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Checked {
    operators: Vec<Operator>,
    signature: Signature,
}

impl ScalarUDFImpl for Checked {
    fn name(&self) -> &'static str {
        "checked"
    }

    /// Returns the name that the column would have without this function.
    fn schema_name(&self, operands: &[Expr]) -> Result<String> {
        let mut name = operands[0].schema_name().to_string();
        for (operator, operand) in self.operators.iter().zip(&operands[1..]) {
            write!(name, " {operator} {}", operand.schema_name())?;
        }
        Ok(name)
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        Ok(types[0].clone())
    }

    fn return_field_from_args(&self, arguments: ReturnFieldArgs) -> Result<FieldRef> {
        let fields = arguments.arg_fields;
        let is_nullable = fields.iter().any(|field| field.is_nullable());
        Ok(Arc::new(Field::new(self.name(), fields[0].data_type().clone(), is_nullable)))
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let mut operands = arguments.args.into_iter();
        let mut result = operands.next().expect("a chain has operands");
        for (operator, operand) in self.operators.iter().zip(operands) {
            result = match operator {
                Plus => apply(&result, &operand, add),
                Minus => apply(&result, &operand, sub),
                _ => apply(&result, &operand, mul),
            }?;
        }
        Ok(result)
    }
}

#[cfg(test)]
mod tests {
    use arrow::util::pretty::pretty_format_batches;
    use datafusion::prelude::SessionContext;

    use super::*;

    async fn answer(sql: &str) -> Result<String> {
        let context = SessionContext::new();
        context.add_analyzer_rule(Arc::new(CheckedArithmetic));
        context.sql("create table t as values (1, 10), (2, 20), (2, null)").await?.collect().await?;
        let rows = context.sql(sql).await?.collect().await?;
        let cells = pretty_format_batches(&rows)?.to_string();
        let cells = cells.lines().filter(|line| line.starts_with('|'));
        let cells = cells.map(|line| line.trim_matches('|').split('|').map(str::trim).collect::<Vec<_>>().join(" "));
        Ok(cells.collect::<Vec<_>>().join("; "))
    }

    #[tokio::test]
    async fn arithmetic_that_fits_has_the_results_and_names_of_datafusion() {
        for (sql, expected) in [
            ("select column1 + column2 * 2 from t order by column2", "t.column1 + t.column2 * Int64(2); 21; 42; "),
            ("select column1 * 2 as a from t group by column1 * 2 order by 1", "a; 2; 4"),
            (
                "select column1 * 2, sum(column2 - 1) as s from t group by column1 * 2 order by 1",
                "t.column1 * Int64(2) s; 2 9; 4 19",
            ),
            ("select column1 + 1 as a from t where column2 - 5 > 10 limit 1 + 1", "a; 3"),
            ("select a.column2 as c from t a join t b on a.column1 + 1 = b.column1 order by 1", "c; 10; 10"),
            (
                "select column1 as a, (select max(b.column2) from t b where b.column1 = t.column1 + 1) as m from t \
                 order by 1 limit 1",
                "a m; 1 20",
            ),
            (
                "with w as (select column1 + 1 as x from t) select max(x + 1) as m from w having max(x + 1) > 2 + 1",
                "m; 4",
            ),
            (
                "select column1, sum(column1 + 1) over (order by column1 + 0) as w from t order by 1",
                "column1 w; 1 2; 2 8; 2 8",
            ),
            (
                "select 1.5 + column1 as f, date '2026-03-07' + interval '1 day' as d from t where column1 = 1",
                "f d; 2.5 2026-03-08",
            ),
            (
                "select case when column2 is null then 0 else column2 * 9223372036854775807 / column2 end as z from t \
                 where column2 is null",
                "z; 0",
            ),
            ("select 2 - 3 * 4 - (5 - 6) * 2 - -1 as n", "n; -7"),
            ("select cast(1 as int) + cast(2 as int) + 3 as n", "n; 6"),
            ("select arrow_cast(250, 'UInt8') + arrow_cast(5, 'UInt8') as u", "u; 255"),
        ] {
            assert_eq!(answer(sql).await.map_err(|error| error.to_string()).as_deref(), Ok(expected), "{sql}");
        }
    }

    /// Runs in a thread with a stack of the usual size.
    #[test]
    fn a_chain_may_be_long() {
        let sql = format!("select 1{} as n", " + 1".repeat(990));
        let answer = tokio::runtime::Runtime::new().expect("a runtime");
        assert_eq!(
            answer
                .block_on(async { tokio::spawn(async move { super::tests::answer(&sql).await }).await })
                .expect("it ends")
                .expect("rows"),
            "n; 991"
        );
    }

    #[tokio::test]
    async fn arithmetic_that_overflows_is_an_error() {
        for sql in [
            "select 9223372036854775807 + 1",
            "select column1 + 9223372036854775807 from t",
            "select -9223372036854775807 - column1 from t",
            "select column1 from t where column2 * 4611686018427387904 > 0",
            "select count(*) from t group by column2 * 4611686018427387904",
            "select column1 from t order by column2 * 4611686018427387904",
            "select sum(column2 * 4611686018427387904) from t",
            "select sum(column1) over (order by column2 * 4611686018427387904) from t",
            "select (select max(b.column2) * 4611686018427387904 from t b)",
            "select arrow_cast(250, 'UInt8') + arrow_cast(6, 'UInt8')",
            "select 1 + 9223372036854775807 - 1",
        ] {
            let error = answer(sql).await.expect_err(sql).to_string();
            assert!(error.contains("verflow"), "{sql}: {error}");
        }
    }
}
