//! Types of parameters that a statement determines: by a cast, as a number of rows, or by their place in a table
//! function. Drivers ask for the types, and send values of no other. Some drivers write values into the statement
//! instead, even numbers in quotes.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use arrow::datatypes::{DataType, IntervalUnit, TimeUnit};
use datafusion::sql::sqlparser::ast::{
    DataType as SqlType, ExactNumberInfo, Expr, FunctionArg, FunctionArgExpr, LimitClause, Query, Statement,
    TableFactor, TimezoneInfo, Value,
};
use query::sql::visited::{Look, look};

use datafusion_postgres::pgwire::api::Type;

use super::arrays::{element_type, unbracketed};
use super::parameters::place;

/// Returns the types that a statement gives its parameters, which are counted from 1; of several types of one
/// parameter, the first.
pub(super) fn types(statement: &Statement) -> BTreeMap<usize, DataType> {
    let mut placed = Placed(BTreeMap::new());
    let _ = look(statement, &mut placed);
    placed.0
}

/// Returns the type of times with a zone, as columns of the lake have it.
pub(super) fn times() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

struct Placed(BTreeMap<usize, DataType>);

impl Placed {
    /// Records the type of an expression, if it is a parameter.
    fn note(&mut self, expr: &Expr, kind: Option<DataType>) {
        let Expr::Value(value) = unbracketed(expr) else { return };
        let Value::Placeholder(name) = &value.value else { return };
        if let (Some(place), Some(kind)) = (place(name), kind) {
            self.0.entry(place + 1).or_insert(kind);
        }
    }
}

impl Look for Placed {
    fn query(&mut self, query: &Query) -> ControlFlow<()> {
        if let Some(LimitClause::LimitOffset { limit, offset, .. }) = &query.limit_clause {
            let numbers = limit.iter().chain(offset.as_ref().map(|offset| &offset.value));
            numbers.for_each(|number| self.note(number, Some(DataType::Int64)));
        }
        ControlFlow::Continue(())
    }

    fn table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
        let TableFactor::Table { name, args: Some(arguments), .. } = factor else { return ControlFlow::Continue(()) };
        let name = name.to_string().to_ascii_lowercase();
        for (at, argument) in arguments.args.iter().enumerate() {
            if let FunctionArg::Unnamed(FunctionArgExpr::Expr(argument)) = argument {
                self.note(argument, of_argument(&name, at));
            }
        }
        ControlFlow::Continue(())
    }

    fn expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        if let Expr::Cast { expr, data_type, .. } = expr {
            self.note(expr, of_sql(data_type));
        }
        ControlFlow::Continue(())
    }
}

/// Returns casts of parameters, counted from 0, for numbers whose type the client gives and the statement would narrow:
/// without a cast, a fraction would be cut off, and a number be taken for a time.
pub(super) fn casts(theirs: &[Option<Type>], known: &[Option<DataType>]) -> BTreeMap<usize, SqlType> {
    let places = theirs.iter().zip(known).enumerate();
    let cast = |(place, (theirs, known)): (usize, (&Option<Type>, &Option<DataType>))| {
        Some((place, wider(theirs.as_ref()?, known.as_ref()?)?))
    };
    places.filter_map(cast).collect()
}

/// Returns a type that holds the client's values, if the known type does not.
fn wider(theirs: &Type, known: &DataType) -> Option<SqlType> {
    let is_exact = known.is_integer() || known.is_temporal() || matches!(known, DataType::Decimal128(..));
    let bytes = match *theirs {
        Type::INT2 => 2,
        Type::INT4 => 4,
        Type::INT8 => 8,
        _ => 0,
    };
    let is_narrow = known.is_integer() && known.primitive_width().is_some_and(|width| width < bytes);
    match *theirs {
        Type::FLOAT4 | Type::FLOAT8 if is_exact => Some(SqlType::DoublePrecision),
        Type::NUMERIC if is_exact => Some(SqlType::Numeric(ExactNumberInfo::None)),
        _ if is_narrow || (bytes > 0 && known.is_temporal()) => Some(SqlType::BigInt(None)),
        _ => None,
    }
}

/// Writes quoted numbers in `LIMIT` and `OFFSET` as numbers, as PostgreSQL reads them.
pub(super) fn write_rows(query: &mut Query) {
    if let Some(LimitClause::LimitOffset { limit, offset, .. }) = &mut query.limit_clause {
        let numbers = limit.iter_mut().chain(offset.as_mut().map(|offset| &mut offset.value));
        numbers.for_each(write_number);
    }
}

/// Writes quoted numbers in the arguments of a table function as numbers.
pub(super) fn write_arguments(factor: &mut TableFactor) {
    let TableFactor::Table { name, args: Some(arguments), .. } = factor else { return };
    let name = name.to_string().to_ascii_lowercase();
    for (at, argument) in arguments.args.iter_mut().enumerate() {
        if let FunctionArg::Unnamed(FunctionArgExpr::Expr(argument)) = argument
            && of_argument(&name, at) == Some(DataType::Int64)
        {
            write_number(argument);
        }
    }
}

fn write_number(expr: &mut Expr) {
    let number = match unbracketed(expr) {
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text) => text.trim().parse::<i64>().ok(),
            _ => None,
        },
        _ => None,
    };
    if let Some(number) = number {
        *expr = Expr::value(Value::Number(number.to_string(), false));
    }
}

/// Returns the type of an argument of a table function.
fn of_argument(function: &str, place: usize) -> Option<DataType> {
    match (function, place) {
        ("totals" | "series", 0 | 1) => Some(times()),
        ("series", 2) | ("changes" | "history", 0) => Some(DataType::Utf8),
        ("changes", 1 | 2) | ("generate_series" | "range", _) => Some(DataType::Int64),
        _ => None,
    }
}

/// Returns the type as which values of a SQL type are bound. A decimal has none, since its digits are not known before
/// its value is.
fn of_sql(kind: &SqlType) -> Option<DataType> {
    Some(match kind {
        SqlType::Boolean | SqlType::Bool => DataType::Boolean,
        SqlType::SmallInt(_) | SqlType::Int2(_) => DataType::Int16,
        SqlType::Int(_) | SqlType::Integer(_) | SqlType::Int4(_) => DataType::Int32,
        SqlType::BigInt(_) | SqlType::Int8(_) => DataType::Int64,
        SqlType::Real | SqlType::Float4 => DataType::Float32,
        SqlType::DoublePrecision | SqlType::Float8 => DataType::Float64,
        SqlType::Text | SqlType::Varchar(_) | SqlType::CharacterVarying(_) => DataType::Utf8,
        SqlType::Bytea => DataType::Binary,
        SqlType::Date => DataType::Date32,
        SqlType::Timestamp(_, TimezoneInfo::Tz | TimezoneInfo::WithTimeZone) => times(),
        SqlType::Timestamp(..) => DataType::Timestamp(TimeUnit::Microsecond, None),
        SqlType::Interval { .. } => DataType::Interval(IntervalUnit::MonthDayNano),
        // Numbers of the catalog are the only unsigned ones.
        SqlType::Custom(name, _) if name.to_string().eq_ignore_ascii_case("oid") => DataType::UInt32,
        SqlType::Array(of) => DataType::new_list(of_sql(element_type(of)?)?, true),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::super::parsed::parse;
    use super::*;

    #[test]
    fn a_parameter_is_of_the_type_that_is_said_where_it_stands() {
        let said = |text: &str| types(&parse(text).expect("SQL"));
        let of = |all: &[(usize, DataType)]| all.iter().cloned().collect::<BTreeMap<_, _>>();
        for (text, expected) in [
            ("SELECT $1::int + $2, $3 = CAST($4 AS bool)", of(&[(1, DataType::Int32), (4, DataType::Boolean)])),
            ("SELECT 1 LIMIT $1 OFFSET ($2)", of(&[(1, DataType::Int64), (2, DataType::Int64)])),
            ("SELECT * FROM totals($1, $2)", of(&[(1, times()), (2, times())])),
            (
                "SELECT * FROM series(NULL, $2::timestamptz, $1), changes('clicks', $3, 4)",
                of(&[(1, DataType::Utf8), (2, times()), (3, DataType::Int64)]),
            ),
            (
                "SELECT a = ANY($1::bigint[]), b = ANY($2) FROM unnest($3::text[])",
                of(&[(1, DataType::new_list(DataType::Int64, true)), (3, DataType::new_list(DataType::Utf8, true))]),
            ),
            ("SELECT a = ANY($1::oid[])", of(&[(1, DataType::new_list(DataType::UInt32, true))])),
            ("SELECT $1::text, $1::int", of(&[(1, DataType::Utf8)])),
            ("SELECT $1::numeric, $2::json", of(&[])),
        ] {
            assert_eq!(said(text), expected, "{text}");
        }
    }

    #[test]
    fn a_fraction_is_not_cut_off() {
        let (whole, time) = (DataType::Int64, times());
        for (theirs, known, expected) in [
            (Type::FLOAT8, &whole, Some(SqlType::DoublePrecision)),
            (Type::NUMERIC, &whole, Some(SqlType::Numeric(ExactNumberInfo::None))),
            (Type::INT8, &DataType::Int32, Some(SqlType::BigInt(None))),
            (Type::INT4, &time, Some(SqlType::BigInt(None))),
            (Type::INT4, &whole, None),
            (Type::FLOAT8, &DataType::Float64, None),
            (Type::TEXT, &whole, None),
        ] {
            assert_eq!(wider(&theirs, known), expected, "{theirs} {known}");
        }
        let mut statement = parse("SELECT a < $1, b = $2").expect("SQL");
        let casts = casts(&[Some(Type::FLOAT8), None], &[Some(whole), Some(DataType::Utf8)]);
        super::super::parameters::cast(&mut statement, &casts);
        assert_eq!(statement.to_string(), "SELECT a < CAST($1 AS DOUBLE PRECISION), b = $2");
    }

    #[test]
    fn a_number_in_quotes_is_a_number_where_one_stands() {
        let asked = "SELECT '1' FROM changes(('clicks'), ('1'), '2'), totals('2026', NULL) LIMIT ('3') OFFSET '4'";
        let statement = parse(asked).and_then(|statement| super::super::parsed::adapted(statement, asked));
        let expected = "SELECT '1' FROM changes('clicks', 1, 2), totals('2026', NULL) LIMIT 3 OFFSET 4";
        assert_eq!(statement.expect("SQL").to_string(), expected);
    }
}
