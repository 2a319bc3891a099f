//! Parameters of prepared statements. DataFusion takes their values only after a statement is planned, but its table
//! functions need their arguments while they are planned. So values for table functions are written into the statement
//! before. The same is done with a list in `= ANY($1)`, which becomes `IN (...)`.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use arrow::array::Array;
use arrow::datatypes::DataType;
use chrono::{DateTime, SecondsFormat};
use datafusion::scalar::ScalarValue;
use datafusion::sql::sqlparser::ast::{
    BinaryOperator, DataType as SqlType, Expr, FunctionArg, FunctionArgExpr, Statement, TableFactor, Value,
};

use super::arrays::{array, element_type, of_type};
use super::errors::Refused;
use super::visited::{Change, change, expressions, expressions_mut};

/// Maximum number of parameters of a statement: drivers send a few, or as many as a list has names.
const PARAMETERS_MAX: usize = 10_000;

/// Returns how many parameters a statement has: the largest number that it names.
pub(super) fn count(statement: &Statement) -> Result<usize, Refused> {
    let (mut most, mut unknown) = (0, None);
    let _ = expressions(statement, &mut |expr| {
        let Expr::Value(value) = expr else { return ControlFlow::Continue(()) };
        let Value::Placeholder(name) = &value.value else { return ControlFlow::Continue(()) };
        match place(name) {
            Some(place) => most = most.max(place + 1),
            None => {
                unknown = Some(name.clone());
                return ControlFlow::Break(());
            }
        }
        ControlFlow::Continue(())
    });
    match unknown {
        Some(name) => Err(Refused::syntax(&format!("{name} is no parameter; write $1, $2 ..."))),
        None => Ok(most),
    }
}

/// Returns the place of a parameter by its name, such as `$1`: the first has place 0.
pub(super) fn place(name: &str) -> Option<usize> {
    let number: usize = name.strip_prefix('$')?.parse().ok()?;
    number.checked_sub(1).filter(|place| *place < PARAMETERS_MAX)
}

/// Returns the statement with these values written into its table functions and lists. Without values, others of the
/// right types are written there, so that the statement can be planned before it is bound.
pub(super) fn filled(mut statement: Statement, values: Option<&[ScalarValue]>) -> Result<Statement, Refused> {
    let mut filling = Filling { values, failed: None };
    let _ = change(&mut statement, &mut filling);
    filling.failed.map_or(Ok(statement), Err)
}

/// Returns the name of a further parameter that stands for the elements of list `$number` while a statement is planned.
/// Elements have another type than the list, and the list may be a parameter as well. No real parameter has such a
/// name: its number is too large.
pub(super) fn elements_of(number: usize) -> String {
    format!("${}", PARAMETERS_MAX + number)
}

/// Casts parameters to these types, by their places.
pub(super) fn cast(statement: &mut Statement, to: &BTreeMap<usize, SqlType>) {
    let _ = expressions_mut(statement, &mut |expr| {
        if let Expr::Value(value) = &*expr
            && let Value::Placeholder(name) = &value.value
            && let Some(kind) = place(name).and_then(|place| to.get(&place))
        {
            *expr = of_type(expr.clone(), Some(kind));
        }
        ControlFlow::Continue(())
    });
}

/// Writes values into the table functions and lists of a statement; without values, others that are planned alike.
struct Filling<'a> {
    values: Option<&'a [ScalarValue]>,
    failed: Option<Refused>,
}

/// Returns which parameters are lists in `= ANY($1)` or `<> ALL($1)`, counted from 1.
pub(super) fn lists(statement: &Statement) -> BTreeSet<usize> {
    let mut lists = BTreeSet::new();
    let _ = expressions(statement, &mut |expr| {
        if let Expr::AnyOp { compare_op: BinaryOperator::Eq, right, .. }
        | Expr::AllOp { compare_op: BinaryOperator::NotEq, right, .. } = expr
        {
            lists.extend(list(right).and_then(|(name, _)| place(name)).map(|place| place + 1));
        }
        ControlFlow::Continue(())
    });
    lists
}

/// Returns the name of the parameter that an expression consists of, and the type of its elements if it is cast to an
/// array; `None` for any other expression.
pub(super) fn list(expr: &Expr) -> Option<(&str, Option<&SqlType>)> {
    match expr {
        Expr::Value(value) => match &value.value {
            Value::Placeholder(name) => Some((name.as_str(), None)),
            _ => None,
        },
        Expr::Nested(inner) => list(inner),
        Expr::Cast { expr, data_type: SqlType::Array(of), .. } => Some((list(expr)?.0, element_type(of))),
        _ => None,
    }
}

impl Filling<'_> {
    /// Rewrites `= ANY($1)` as `IN (...)`, and `<> ALL($1)` as `NOT IN (...)`.
    fn write_list(&self, expr: &mut Expr) -> Result<(), Refused> {
        let (left, right, negated) = match expr {
            Expr::AnyOp { left, compare_op: BinaryOperator::Eq, right, .. } => (left, right, false),
            Expr::AllOp { left, compare_op: BinaryOperator::NotEq, right } => (left, right, true),
            _ => return Ok(()),
        };
        let Some((name, kind)) = list(right) else { return Ok(()) };
        let elements = match self.values {
            // The elements have the type of the value that is compared with them.
            None => {
                let name = place(name).map_or_else(|| name.to_owned(), |place| elements_of(place + 1));
                Some(vec![Expr::value(Value::Placeholder(name))])
            }
            Some(values) => {
                let value = place(name).and_then(|place| values.get(place));
                elements(value.ok_or_else(|| Refused::value(&format!("{name} has no value")))?)?
            }
        };
        let elements = elements.map(|all| all.into_iter().map(|one| of_type(one, kind)).collect::<Vec<_>>());
        *expr = match elements {
            None => Expr::value(Value::Null),
            Some(none) if none.is_empty() => Expr::value(Value::Boolean(negated)),
            Some(list) => Expr::InList { expr: left.clone(), list, negated },
        };
        Ok(())
    }
}

/// Returns the elements of a bound list; `None` if it is null.
fn elements(value: &ScalarValue) -> Result<Option<Vec<Expr>>, Refused> {
    if value.is_null() {
        return Ok(None);
    }
    if let Some(text) = value.try_as_str().flatten() {
        return array(text, None).map(Some);
    }
    let ScalarValue::List(list) = value else {
        return Err(Refused::value("the parameter of = ANY is no array; bind one"));
    };
    let values = list.value(0);
    let one = |at: usize| {
        let value = ScalarValue::try_from_array(values.as_ref(), at);
        written(&value.map_err(|_| Refused::value("the elements of an array are of an unknown type; cast the array"))?)
            .map(Expr::value)
    };
    (0..values.len()).map(one).collect::<Result<_, _>>().map(Some)
}

impl Change for Filling<'_> {
    fn expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        match self.write_list(expr) {
            Ok(()) => ControlFlow::Continue(()),
            Err(why) => {
                self.failed = Some(why);
                ControlFlow::Break(())
            }
        }
    }

    fn table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        let TableFactor::Table { name, args: Some(arguments), .. } = factor else { return ControlFlow::Continue(()) };
        let name = name.to_string().to_ascii_lowercase();
        for (at, argument) in arguments.args.iter_mut().enumerate() {
            let FunctionArg::Unnamed(FunctionArgExpr::Expr(argument)) = argument else { continue };
            let visited = expressions_mut(argument, &mut |expr| {
                let Expr::Value(value) = expr else { return ControlFlow::Continue(()) };
                let Value::Placeholder(parameter) = &value.value else { return ControlFlow::Continue(()) };
                let filled = match self.values {
                    None => Ok(stand_in(&name, at)),
                    Some(values) => match place(parameter).and_then(|place| values.get(place)) {
                        Some(value) => written(value),
                        None => Err(Refused::value(&format!("{parameter} has no value"))),
                    },
                };
                match filled {
                    Ok(filled) => value.value = filled,
                    Err(why) => {
                        self.failed = Some(why);
                        return ControlFlow::Break(());
                    }
                }
                ControlFlow::Continue(())
            });
            if visited.is_break() {
                return ControlFlow::Break(());
            }
        }
        ControlFlow::Continue(())
    }
}

/// Returns a stand-in for a parameter: a value that the function accepts in that place, whatever the parameter will be.
fn stand_in(function: &str, place: usize) -> Value {
    match (function, place) {
        ("series", 2) => Value::SingleQuotedString("day".to_owned()),
        ("changes", 1 | 2) | ("generate_series" | "range", _) => Value::Number("0".to_owned(), false),
        ("changes" | "history", 0) => Value::SingleQuotedString("clicks".to_owned()),
        _ => Value::Null,
    }
}

/// Returns a value as a literal of SQL.
fn written(value: &ScalarValue) -> Result<Value, Refused> {
    if value.is_null() {
        return Ok(Value::Null);
    }
    if let Some(text) = value.try_as_str().flatten() {
        return Ok(Value::SingleQuotedString(text.to_owned()));
    }
    let shown = || value.to_string();
    match value.data_type() {
        kind if kind.is_integer() => Ok(Value::Number(shown(), false)),
        DataType::Float32 | DataType::Float64 => Ok(Value::Number(shown(), false)),
        DataType::Boolean => Ok(Value::Boolean(*value == ScalarValue::Boolean(Some(true)))),
        DataType::Date32 => Ok(Value::SingleQuotedString(shown())),
        DataType::Timestamp(..) => {
            let time = micros(value).and_then(DateTime::from_timestamp_micros);
            let time =
                time.ok_or_else(|| Refused::value("a parameter is no valid time; write it as 2026-03-07T12:00:00Z"))?;
            Ok(Value::SingleQuotedString(time.to_rfc3339_opts(SecondsFormat::AutoSi, true)))
        }
        kind => Err(Refused::value(&format!("a table function takes no parameter of type {kind}; cast it"))),
    }
}

fn micros(value: &ScalarValue) -> Option<i64> {
    match *value {
        ScalarValue::TimestampSecond(value, _) => value?.checked_mul(1_000_000),
        ScalarValue::TimestampMillisecond(value, _) => value?.checked_mul(1_000),
        ScalarValue::TimestampMicrosecond(value, _) => value,
        ScalarValue::TimestampNanosecond(value, _) => value.map(|nanos| nanos.div_euclid(1_000)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::parsed::parse;
    use super::*;

    #[test]
    fn a_list_may_be_used_as_a_value_too() {
        let statement = parse("SELECT $1 IS NULL OR a = ANY($1)").expect("SQL");
        assert_eq!((count(&statement), lists(&statement)), (Ok(1), BTreeSet::from([1])));
        let planned = filled(statement.clone(), None).expect("it is planned").to_string();
        assert_eq!(planned, "SELECT $1 IS NULL OR a IN ($10001)");
        let list = ScalarValue::List(ScalarValue::new_list_nullable(&[ScalarValue::from("x")], &DataType::Utf8));
        let bound = filled(statement, Some(&[list])).expect("values").to_string();
        assert_eq!(bound, "SELECT $1 IS NULL OR a IN ('x')");
    }

    #[test]
    fn lists_in_any_and_all_become_in_and_not_in() {
        let text = "SELECT a = ANY($1), b <> ALL($2::INT[]), c = $3";
        let statement = parse(text).expect("SQL");
        assert_eq!(lists(&statement), BTreeSet::from([1, 2]));
        let planned = filled(statement.clone(), None).expect("it is planned").to_string();
        assert_eq!(planned, "SELECT a IN ($10001), b NOT IN (CAST($10002 AS INT)), c = $3");
        let texts = ["x", "it's"].map(|text| ScalarValue::Utf8(Some(text.to_owned())));
        let list = ScalarValue::List(ScalarValue::new_list_nullable(&texts, &DataType::Utf8));
        let numbers = ScalarValue::Utf8(Some("{1,2}".to_owned()));
        let bound = filled(statement.clone(), Some(&[list, numbers, ScalarValue::Null])).expect("values").to_string();
        let expected = "SELECT a IN ('x', 'it''s'), b NOT IN (CAST('1' AS INT), CAST('2' AS INT)), c = $3";
        assert_eq!(bound, expected);
        let none = ScalarValue::List(ScalarValue::new_list_nullable(&[], &DataType::Utf8));
        let bound = filled(statement, Some(&[none.clone(), ScalarValue::Null, none])).expect("values").to_string();
        assert_eq!(bound, "SELECT false, NULL, c = $3");
    }
}
