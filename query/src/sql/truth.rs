//! `= 't'`: a text that is compared with a truth value is read as one, as in PostgreSQL. ODBC drivers write such
//! comparisons.

use arrow::datatypes::DataType;
use datafusion::common::DFSchema;
use datafusion::error::Result;
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion::logical_expr::{Expr, ExprSchemable, lit};
use datafusion::sql::sqlparser::ast::BinaryOperator;

/// Words for truth values, in lower case: the whole word, its shortest unambiguous prefix, and the value.
const WORDS: [(&str, &str, bool); 6] = [
    ("true", "t", true),
    ("yes", "y", true),
    ("on", "on", true),
    ("false", "f", false),
    ("no", "n", false),
    ("off", "of", false),
];

/// Planner of comparisons of truth values with texts.
#[derive(Debug)]
pub(crate) struct TruthAsText;

impl ExprPlanner for TruthAsText {
    fn plan_binary_op(&self, expr: RawBinaryExpr, schema: &DFSchema) -> Result<PlannerResult<RawBinaryExpr>> {
        let RawBinaryExpr { op, mut left, mut right } = expr;
        if matches!(op, BinaryOperator::Eq | BinaryOperator::NotEq) {
            write_truth(&mut left, &right, schema);
            write_truth(&mut right, &left, schema);
        }
        Ok(PlannerResult::Original(RawBinaryExpr { op, left, right }))
    }
}

/// Replaces a text that is compared with a truth value by the value that it stands for.
fn write_truth(text: &mut Expr, other: &Expr, schema: &DFSchema) {
    if let Expr::Literal(value, _) = text
        && let Some(Some(said)) = value.try_as_str()
        && let Some(truth) = truth(said)
        && other.get_type(schema).is_ok_and(|kind| kind == DataType::Boolean)
    {
        *text = lit(truth);
    }
}

/// Returns the truth value that a text stands for.
fn truth(said: &str) -> Option<bool> {
    let said = said.trim().to_ascii_lowercase();
    match said.as_str() {
        "1" => Some(true),
        "0" => Some(false),
        said => {
            let is = |(word, shortest, _): &&(&str, &str, bool)| word.starts_with(said) && said.starts_with(shortest);
            WORDS.iter().find(is).map(|(_, _, truth)| *truth)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_that_postgresql_reads_as_true_or_false_are_read_so() {
        for (said, is) in [
            ("t", Some(true)),
            (" TRUE ", Some(true)),
            ("y", Some(true)),
            ("on", Some(true)),
            ("1", Some(true)),
            ("f", Some(false)),
            ("fal", Some(false)),
            ("n", Some(false)),
            ("of", Some(false)),
            ("0", Some(false)),
            ("o", None),
            ("", None),
            ("truest", None),
            ("2", None),
        ] {
            assert_eq!(truth(said), is, "{said:?}");
        }
    }
}
