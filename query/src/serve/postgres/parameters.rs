//! Parameters of prepared statements. DataFusion knows their values only when a plan is made, and those of its
//! functions that are tables must know their arguments before; so into these the values are written.

use std::ops::ControlFlow;

use arrow::datatypes::DataType;
use chrono::{DateTime, SecondsFormat};
use datafusion::scalar::ScalarValue;
use datafusion::sql::sqlparser::ast::{Expr, FunctionArg, FunctionArgExpr, Statement, TableFactor, Value};

use super::errors::Refused;
use crate::sql::visited::{Change, change, expressions, expressions_mut};

/// Parameters of a statement: drivers send a few, or as many as there are names in a list.
const PARAMETERS_MAX: usize = 10_000;

/// How many parameters a statement has.
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

/// Which parameter a name is, from 0.
fn place(name: &str) -> Option<usize> {
    let number: usize = name.strip_prefix('$')?.parse().ok()?;
    number.checked_sub(1).filter(|place| *place < PARAMETERS_MAX)
}

/// The statement, with these values in the functions that are tables; without values, it is one that is planned alike.
pub(super) fn filled(mut statement: Statement, values: Option<&[ScalarValue]>) -> Result<Statement, Refused> {
    let mut filling = Filling { values, failed: None };
    let _ = change(&mut statement, &mut filling);
    filling.failed.map_or(Ok(statement), Err)
}

struct Filling<'a> {
    values: Option<&'a [ScalarValue]>,
    failed: Option<Refused>,
}

impl Change for Filling<'_> {
    fn table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        let TableFactor::Table { name, args: Some(arguments), .. } = factor else { return ControlFlow::Continue(()) };
        let name = name.to_string().to_ascii_lowercase();
        for (at, argument) in arguments.args.iter_mut().enumerate() {
            let FunctionArg::Unnamed(FunctionArgExpr::Expr(argument)) = argument else { continue };
            let visited = expressions_mut(argument, &mut |expr| {
                let Expr::Value(value) = expr else { return ControlFlow::Continue(()) };
                let Value::Placeholder(parameter) = &value.value else { return ControlFlow::Continue(()) };
                let filled = match self.values {
                    None => Ok(alike(&name, at)),
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

/// A value that a function takes in that place, whatever it will be.
fn alike(function: &str, place: usize) -> Value {
    match (function, place) {
        ("series", 2) => Value::SingleQuotedString("day".to_owned()),
        ("changes", 1 | 2) | ("generate_series" | "range", _) => Value::Number("0".to_owned(), false),
        ("changes" | "history", 0) => Value::SingleQuotedString("clicks".to_owned()),
        _ => Value::Null,
    }
}

/// A value as it would be written in SQL.
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
        DataType::Date32 => Ok(Value::SingleQuotedString(shown())),
        DataType::Timestamp(..) => {
            let time = micros(value).and_then(DateTime::from_timestamp_micros);
            let time = time.ok_or_else(|| Refused::value("a parameter is no time"))?;
            Ok(Value::SingleQuotedString(time.to_rfc3339_opts(SecondsFormat::AutoSi, true)))
        }
        kind => Err(Refused::value(&format!("a function that is a table takes no parameter of type {kind}"))),
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
