//! The table functions of SQL: `totals(from, to)` and `series(from, to, 'minute'|'hour'|'day')`.
//!
//! Both are views: conditions of a statement reach down to the files. All calls in a statement see the tables at the
//! same versions.

use std::fmt;
use std::sync::Arc;

use arrow::compute::kernels::cast_utils::string_to_datetime;
use chrono::Utc;
use datafusion::catalog::{TableFunctionArgs, TableFunctionImpl, TableProvider};
use datafusion::datasource::ViewTable;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::Expr;
use datafusion::scalar::ScalarValue;
use lake_schemas::{Code, EventTime, Invalid, Width, time};
use lake_store::LakeError;

use super::columns::columns;
use super::current::{Current, From};
use super::filter::counted_by;
use super::plan::Adding;
use super::question::stretch;
use super::scan::CountsScan;
use crate::access::RowAccess;
use crate::error::QueryError;
use crate::sql::seen_by;

/// Ways to write a time, for messages.
const EXPECTED_TIME: &str = "a time such as '2026-03-07T12:00:00Z', a day such as '2026-03-07', or null";

/// One of the table functions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Function {
    /// The function `totals(from, to)`
    Totals,
    /// The function `series(from, to, width)`
    Series,
}

impl Function {
    /// Both table functions.
    pub const ALL: [Self; 2] = [Self::Totals, Self::Series];

    /// Returns whether one of the two functions has this name.
    pub fn is_named(name: &str) -> bool {
        Self::ALL.iter().any(|function| function.name() == name)
    }

    /// Returns the name of the function in SQL.
    pub fn name(self) -> &'static str {
        match self {
            Self::Totals => "totals",
            Self::Series => "series",
        }
    }

    fn signature(self) -> &'static str {
        match self {
            Self::Totals => "totals(from, to)",
            Self::Series => "series(from, to, 'minute'|'hour'|'day')",
        }
    }
}

/// A table function, with the tables that the current statement is answered from.
pub(crate) struct TotalsFunction {
    pub function: Function,
    pub current: Arc<Current>,
    pub access: RowAccess,
}

impl TotalsFunction {
    fn call(&self, arguments: &[Expr]) -> std::result::Result<ViewTable, QueryError> {
        let granularity = match (self.function, arguments) {
            (Function::Totals, [_, _]) => None,
            (Function::Series, [_, _, width]) => Some(width_of(width)?),
            _ => return Err(odd("wrong number of arguments").into()),
        };
        let from = time_of(&arguments[0]).map_err(|Invalid(why)| Invalid(why.about("from ")))?;
        let to = time_of(&arguments[1]).map_err(|Invalid(why)| Invalid(why.about("to ")))?;
        let asked = stretch(from, to)?;
        let parameters = self.current.parameters().ok_or_else(|| odd("it stands where no statement names it"))?;
        let counts = CountsScan {
            from: From::Current(Arc::clone(&self.current)),
            asked,
            widest: granularity.unwrap_or(Width::Day),
            schema: columns(&parameters),
        };
        let dimensions = counted_by(&parameters);
        let counts = seen_by(&self.access, self.function.name(), Arc::new(counts))?;
        // Row-level access is applied below, so that all rows that are left may be added up here.
        let adding = Adding { filter: &[], access: &RowAccess::All, group_by: &dimensions, granularity };
        let plan = adding.up(counts)?;
        Ok(ViewTable::new(plan, None))
    }
}

impl fmt::Debug for TotalsFunction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.function.signature())
    }
}

impl TableFunctionImpl for TotalsFunction {
    fn call_with_args(&self, arguments: TableFunctionArgs) -> Result<Arc<dyn TableProvider>> {
        let refused = |error: QueryError| {
            let code = error.code().unwrap_or(Code::ArgumentImpossible);
            let why = LakeError::Refused(code.because(format!("{}: {error}", self.function.signature())));
            DataFusionError::External(Box::new(why))
        };
        Ok(Arc::new(self.call(arguments.exprs()).map_err(refused)?))
    }
}

fn odd(why: impl Into<String>) -> Invalid {
    Invalid(Code::ArgumentImpossible.because(why))
}

/// Returns the width that an argument names.
fn width_of(argument: &Expr) -> std::result::Result<Width, Invalid> {
    let name = literal(argument).and_then(ScalarValue::try_as_str).flatten();
    let width = name.and_then(Width::of_windows);
    width.ok_or_else(|| odd(format!("{} is no width; give 'minute', 'hour' or 'day'", shown(argument))))
}

/// Returns the time that an argument gives; `None`: the end is open.
fn time_of(argument: &Expr) -> std::result::Result<Option<EventTime>, Invalid> {
    let unknown = || odd(format!("is {}; give {EXPECTED_TIME}", shown(argument)));
    let value = literal(argument).ok_or_else(unknown)?;
    if value.is_null() {
        return Ok(None);
    }
    if let Some(text) = value.try_as_str().flatten() {
        // The ways in which SQL writes times are accepted, too: drivers send `2026-03-07 12:00:00+00`.
        let of_sql = || string_to_datetime(&Utc, text).ok().filter(|time| !time::is_leap_second(time));
        let time = time::written(text).or_else(of_sql);
        let time = time.and_then(|time| EventTime::from_millis(time.timestamp_millis()));
        return time.map(Some).ok_or_else(unknown);
    }
    let (number, of_a_second) = match *value {
        ScalarValue::Date32(Some(days)) => (i64::from(days) * 86_400, 1),
        ScalarValue::Date64(Some(millis)) => (millis, 1_000),
        ScalarValue::TimestampSecond(Some(seconds), _) => (seconds, 1),
        ScalarValue::TimestampMillisecond(Some(millis), _) => (millis, 1_000),
        ScalarValue::TimestampMicrosecond(Some(micros), _) => (micros, 1_000_000),
        ScalarValue::TimestampNanosecond(Some(nanos), _) => (nanos, 1_000_000_000),
        _ => return Err(unknown()),
    };
    let millis = number.rem_euclid(of_a_second) * 1_000 / of_a_second;
    let millis = number.div_euclid(of_a_second).checked_mul(1_000).and_then(|whole| whole.checked_add(millis));
    let time = millis.and_then(EventTime::from_millis).ok_or_else(unknown)?;
    if number % (60 * of_a_second) != 0 {
        let why = format!("is {time}, no whole minute; windows start with minutes");
        return Err(Invalid(Code::RangeImpossible.because(why)));
    }
    Ok(Some(time))
}

/// Returns an argument as it was written, or nearly so.
fn shown(argument: &Expr) -> String {
    match literal(argument) {
        Some(value) => value.try_as_str().flatten().map_or_else(|| value.to_string(), |text| format!("'{text}'")),
        None => argument.to_string(),
    }
}

/// Returns the value of an argument, if it is a literal.
pub(crate) fn literal(argument: &Expr) -> Option<&ScalarValue> {
    match argument {
        Expr::Literal(value, _) => Some(value),
        _ => None,
    }
}
