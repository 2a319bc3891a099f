//! How often the planner writes what a statement says once: `a BETWEEN b AND c` is `a >= b AND a <= c` to it, so that a
//! chain of them doubles with each.
//!
//! These are the rewrites of DataFusion that write an operand more than once. One that is missing here, or comes with
//! its next release, ends the process of a key, and nothing else.

use std::collections::HashMap;

use datafusion::sql::sqlparser::ast::{BinaryOperator, CaseWhen, Expr, Function, Value, ValueWithSpan};

/// Conditions of a CASE up to which the planner writes it with AND and OR, if its values are true and false. With more
/// it does so where they are written as such.
const WRITTEN_OUT: usize = 2;

/// Functions that the planner writes as a CASE, with their arguments in it twice.
const AS_CASE: [&str; 3] = ["coalesce", "ifnull", "nvl"];

/// How often what is looked at stands in a CASE of two, and in two comparisons.
const TWICE: u64 = 2;

/// Functions that are equal to a value within a range of what they are of: `floor(a) = 1` is `a >= 1 AND a < 2` to the
/// planner.
const OF_A_RANGE: [&str; 3] = ["floor", "date_part", "datepart"];

/// How often it writes what they are of: `IS DISTINCT FROM` has one more, for NULL.
const OF_A_RANGE_COPIES: u64 = 3;

/// Operators that compare with a pattern: `a ~ 'b|c'` is `a LIKE '%b%' OR a LIKE '%c%'` to the planner.
const MATCHES: [BinaryOperator; 4] = [
    BinaryOperator::PGRegexMatch,
    BinaryOperator::PGRegexIMatch,
    BinaryOperator::PGRegexNotMatch,
    BinaryOperator::PGRegexNotIMatch,
];

/// The function that is such an operator to the planner.
const MATCHES_FUNCTION: &str = "regexp_like";

/// Alternatives of a pattern that the planner writes so.
const ALTERNATIVES_MAX: u64 = 4;

/// How often an array stands in what compares with any of it: whether it is there, its least and its largest value. As
/// often, at most, is a query planned that stands there.
const ANY_COPIES: u64 = 5;

/// How often in what compares with all of it: as often, and within a CASE of five branches, so that one within the
/// other takes the planner more than ten times as long.
const ALL_COPIES: u64 = 10;

/// How often the planner writes what is looked at, of a statement whose expressions are looked at one by one.
#[derive(Default)]
pub(super) struct Times {
    /// How often it writes what stands in each of the expressions around.
    around: Vec<u64>,
    /// Expressions to come that it writes more often than what stands around them, and how often, by where they are.
    again: HashMap<*const Expr, u64>,
}

impl Times {
    /// Comes to an expression; returns how often it is written.
    pub fn enter(&mut self, expr: &Expr) -> u64 {
        let again = self.again.remove(&std::ptr::from_ref(expr)).unwrap_or(1);
        let times = self.now().saturating_mul(again);
        self.again.extend(again_of(expr));
        self.around.push(times.saturating_mul(copies_of(expr)));
        times
    }

    /// Leaves the last expression that it came to.
    pub fn leave(&mut self) {
        self.around.pop();
    }

    /// How often what stands next is written, unless it is written more often than what is beside it.
    pub fn now(&self) -> u64 {
        self.around.last().copied().unwrap_or(1)
    }
}

/// How often the planner writes what an expression is made of.
fn copies_of(expr: &Expr) -> u64 {
    match expr {
        Expr::Between { .. } => TWICE,
        Expr::Floor { .. } | Expr::Extract { .. } => OF_A_RANGE_COPIES,
        Expr::Function(function) => copies_of_arguments(function),
        Expr::BinaryOp { op, .. } if MATCHES.contains(op) => ALTERNATIVES_MAX,
        // It is in the array, which is looked for once.
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

/// The conditions of a CASE that the planner writes out, and how often it writes each: `CASE WHEN a THEN b WHEN c
/// THEN d ELSE e END` is `(a AND b) OR (c AND NOT a AND d) OR (NOT (a OR c) AND e)` to it, if b is true or false.
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
    // All values are of one kind.
    let is_no_truth = conditions.first().is_some_and(|when| is_literal(when) && !is_truth(when));
    !is_no_truth && (conditions.len() <= WRITTEN_OUT || conditions.iter().all(is_truth))
}
