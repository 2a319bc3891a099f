//! Counts how often the planner writes an expression that a statement has once: it turns `a BETWEEN b AND c` into `a >=
//! b AND a <= c`, so that a chain of them doubles with each.
//!
//! These are DataFusion's rewrites that write an operand more than once. One that is missing here, or comes with its
//! next release, ends the process of a key, and nothing else.

use std::collections::HashMap;

use datafusion::sql::sqlparser::ast::{BinaryOperator, CaseWhen, Expr, Function, Value, ValueWithSpan};

/// Number of conditions up to which the planner writes a CASE with AND and OR, if its values are true and false. With
/// more conditions it does so only where the values are literals.
const WRITTEN_OUT: usize = 2;

/// Functions that the planner writes as a CASE, with their arguments in it twice.
const AS_CASE: [&str; 3] = ["coalesce", "ifnull", "nvl"];

/// Copies of an operand in a CASE with two branches, and in two comparisons.
const TWICE: u64 = 2;

/// Functions whose comparison with a value is a range: the planner turns `floor(a) = 1` into `a >= 1 AND a < 2`.
const OF_A_RANGE: [&str; 3] = ["floor", "date_part", "datepart"];

/// Copies that it writes of their argument: `IS DISTINCT FROM` has one more, for NULL.
const OF_A_RANGE_COPIES: u64 = 3;

/// Operators that match a pattern: the planner turns `a ~ 'b|c'` into `a LIKE '%b%' OR a LIKE '%c%'`.
const MATCHES: [BinaryOperator; 4] = [
    BinaryOperator::PGRegexMatch,
    BinaryOperator::PGRegexIMatch,
    BinaryOperator::PGRegexNotMatch,
    BinaryOperator::PGRegexNotIMatch,
];

/// Function that the planner takes for such an operator.
const MATCHES_FUNCTION: &str = "regexp_like";

/// Maximum number of alternatives of a pattern that the planner writes out like that.
const ALTERNATIVES_MAX: u64 = 4;

/// Copies of an array in a comparison with any of its elements: whether it is null, its least and its greatest element.
/// A subquery in its place is planned as often, at most.
const ANY_COPIES: u64 = 5;

/// Copies of an array in a comparison with all of its elements: as many, and within a CASE of five branches, so that
/// nesting one in another takes the planner more than ten times as long.
const ALL_COPIES: u64 = 10;

/// Tracks how often the planner writes the current expression, while the expressions of a statement are visited.
#[derive(Default)]
pub(super) struct Times {
    /// Number of copies of the content of each enclosing expression.
    around: Vec<u64>,
    /// Expressions to come that are written more often than the rest of their parent, by their address.
    again: HashMap<*const Expr, u64>,
}

impl Times {
    /// Enters an expression; returns how often it is written.
    pub fn enter(&mut self, expr: &Expr) -> u64 {
        let again = self.again.remove(&std::ptr::from_ref(expr)).unwrap_or(1);
        let times = self.now().saturating_mul(again);
        self.again.extend(again_of(expr));
        self.around.push(times.saturating_mul(copies_of(expr)));
        times
    }

    /// Leaves the expression that was entered last.
    pub fn leave(&mut self) {
        self.around.pop();
    }

    /// Returns how often the next expression is written, unless it is written more often than its siblings.
    pub fn now(&self) -> u64 {
        self.around.last().copied().unwrap_or(1)
    }
}

/// Returns how often the planner writes the operands of an expression.
fn copies_of(expr: &Expr) -> u64 {
    match expr {
        Expr::Between { .. } => TWICE,
        Expr::Floor { .. } | Expr::Extract { .. } => OF_A_RANGE_COPIES,
        Expr::Function(function) => copies_of_arguments(function),
        Expr::BinaryOp { op, .. } if MATCHES.contains(op) => ALTERNATIVES_MAX,
        // Membership in an array is checked once.
        Expr::AnyOp { compare_op: BinaryOperator::Eq, right, .. } if !matches!(**right, Expr::Subquery(_)) => 1,
        Expr::AnyOp { .. } => ANY_COPIES,
        Expr::AllOp { .. } => ALL_COPIES,
        _ => 1,
    }
}

fn copies_of_arguments(function: &Function) -> u64 {
    let name = function.name.to_string().replace('"', "");
    let name = name.rsplit('.').next().unwrap_or_default();
    let is_one_of = |names: &[&str]| names.iter().any(|one| name.eq_ignore_ascii_case(one));
    if is_one_of(&AS_CASE) {
        TWICE
    } else if is_one_of(&OF_A_RANGE) {
        OF_A_RANGE_COPIES
    } else if name.eq_ignore_ascii_case(MATCHES_FUNCTION) {
        ALTERNATIVES_MAX
    } else {
        1
    }
}

/// Returns the conditions of a CASE that the planner writes out, and how often it writes each: if `b` is true or false,
/// it turns `CASE WHEN a THEN b WHEN c THEN d ELSE e END` into `(a AND b) OR (c AND NOT a AND d) OR (NOT (a OR c) AND
/// e)`.
fn again_of(expr: &Expr) -> impl Iterator<Item = (*const Expr, u64)> {
    let conditions: &[CaseWhen] = match expr {
        Expr::Case { operand: None, conditions, .. } if is_written_out(conditions) => conditions.as_slice(),
        _ => &[],
    };
    (2..).zip(conditions.iter().rev()).map(|(times, when)| (std::ptr::from_ref(&when.condition), times))
}

fn is_written_out(conditions: &[CaseWhen]) -> bool {
    let is_literal = |when: &CaseWhen| matches!(when.result, Expr::Value(_));
    let is_truth = |when: &CaseWhen| match &when.result {
        Expr::Value(ValueWithSpan { value, .. }) => {
            matches!(value, Value::Boolean(_) | Value::Null | Value::Placeholder(_))
        }
        _ => false,
    };
    // All values of a CASE are of one type.
    let is_no_truth = conditions.first().is_some_and(|when| is_literal(when) && !is_truth(when));
    !is_no_truth && (conditions.len() <= WRITTEN_OUT || conditions.iter().all(is_truth))
}
