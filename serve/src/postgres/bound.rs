//! Values that are bound to a prepared statement.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{DECIMAL128_MAX_PRECISION, DataType, Date32Type, TimeUnit};
use chrono::{DateTime, FixedOffset, NaiveDate, NaiveDateTime};
use datafusion::common::ParamValues;
use datafusion::scalar::ScalarValue;
use datafusion_postgres::arrow_pg::datatypes::df::deserialize_parameters_with_server_types;
use datafusion_postgres::pgwire::api::Type;
use datafusion_postgres::pgwire::api::portal::{Format, Portal};
use datafusion_postgres::pgwire::api::stmt::StoredStatement;
use datafusion_postgres::pgwire::error::PgWireResult;

use super::arrays::elements;
use super::binary;
use super::errors::Refused;
use super::placed::times;
use super::prepared::{Prepared, wire_type};
use super::sendable;

/// Reads the values that are bound to a statement.
pub(super) fn values(portal: &Portal<Arc<Prepared>>) -> PgWireResult<Vec<ScalarValue>> {
    let (statement, count) = (&portal.statement, portal.parameter_len());
    let known = &statement.statement.parameters;
    if count != known.len() {
        let why = format!("the statement has {} parameters, and {count} are bound", known.len());
        return Err(Refused::protocol(&why).into());
    }
    if let Format::Individual(formats) = &portal.parameter_format
        && formats.len() != count
    {
        let why = "the parameters have a format each, or all one; there is another number of formats";
        return Err(Refused::protocol(why).into());
    }
    let (mut wire, mut kinds, mut own) = (Vec::with_capacity(count), Vec::with_capacity(count), BTreeMap::new());
    for (place, known) in known.iter().enumerate() {
        let theirs = statement.parameter_types.get(place).cloned().flatten();
        let is_time = known.as_ref().is_some_and(DataType::is_temporal);
        let is_taken = match theirs {
            // A parameter that the statement casts is cast from the type that the client gives.
            Some(_) => !statement.statement.says(place),
            // Times are written in more ways than the wire knows: as text, the planner reads them as it does in SQL.
            None => !is_time || portal.parameter_format.is_binary(place),
        };
        let kind = known.as_ref().filter(|_| is_taken);
        let bound = wire_type(kind)?;
        let wire_of = theirs.as_ref().unwrap_or(&bound);
        if let Some(Some(value)) = portal.parameters.get(place) {
            if portal.parameter_format.is_binary(place) {
                binary::check(wire_of, value)?;
            } else if *wire_of == Type::BOOL && value.is_empty() {
                // The library would take an empty text for false.
                return Err(Refused::malformed("a truth value is written 't' or 'f', and is not empty").into());
            }
        }
        let read = own_value(portal, place, wire_of)?;
        let is_own = read.is_some();
        own.extend(read.map(|value| (place, value)));
        wire.push(if is_own { Type::TEXT } else { bound });
        // Numbers are read with all of their digits, see `decimal`.
        kinds.push(kind.filter(|kind| !is_own && !matches!(kind, DataType::Decimal128(..))));
    }
    let rest = (!own.is_empty()).then(|| without(portal, &own));
    let wire: Vec<_> = wire.iter().map(Some).collect();
    let read = deserialize_parameters_with_server_types(rest.as_ref().unwrap_or(portal), &kinds, &wire)?;
    let ParamValues::List(values) = read else {
        return Err(Refused::protocol("parameters have numbers, not names").into());
    };
    let values = values.into_iter().zip(known).enumerate().map(|(place, (value, known))| {
        let value = match own.remove(&place).unwrap_or(value.value) {
            value if *known == Some(DataType::Date32) => day(value),
            ScalarValue::Decimal128(digits, _, scale) => decimal(digits, scale, known.as_ref()),
            value => value,
        };
        is_taken_as_it_is(place, &value, portal.parameters.get(place).is_none_or(Option::is_none)).map(|()| value)
    });
    Ok(values.collect::<Result<Vec<_>, Refused>>()?)
}

/// Refuses a value that was read as another: a null in place of a value that its type does not hold, and texts that
/// clients cut short.
fn is_taken_as_it_is(place: usize, value: &ScalarValue, is_null: bool) -> Result<(), Refused> {
    let name = format!("${}", place + 1);
    if value.is_null() {
        return if is_null { Ok(()) } else { Err(Refused::out_of_range(&format!("{name} is out of range"))) };
    }
    if !sendable::may_be_unsendable(&value.data_type()) {
        return Ok(());
    }
    let column = value.to_array().map_err(|error| Refused::value(&format!("{name}: {error}")))?;
    sendable::check_column(&name, &column)
}

/// Reads a value that the library does not read as it is: a text, in which it takes two quotes for one, and some texts
/// for lists; a list of times, or of catalog numbers; or a list of texts in text format, in which it takes empty ones,
/// and `"NULL"`, for null.
fn own_value(portal: &Portal<Arc<Prepared>>, place: usize, wire: &Type) -> PgWireResult<Option<ScalarValue>> {
    let bytes = || portal.parameters.get(place).and_then(Option::as_deref);
    let (kind, all): (_, Option<Vec<_>>) = match *wire {
        // For these types, both formats are the text itself.
        Type::TEXT | Type::VARCHAR | Type::BPCHAR | Type::NAME | Type::UNKNOWN => {
            return Ok(Some(ScalarValue::Utf8(text(bytes())?)));
        }
        Type::TIMESTAMPTZ_ARRAY => {
            let all = portal.parameter::<Vec<Option<DateTime<FixedOffset>>>>(place, wire)?;
            let micros = |time: Option<DateTime<FixedOffset>>| time.map(|time| time.timestamp_micros());
            let one = |time| ScalarValue::TimestampMicrosecond(micros(time), Some("UTC".into()));
            (times(), all.map(|all| all.into_iter().map(one).collect()))
        }
        Type::TIMESTAMP_ARRAY => {
            let all = portal.parameter::<Vec<Option<NaiveDateTime>>>(place, wire)?;
            let micros = |time: Option<NaiveDateTime>| time.map(|time| time.and_utc().timestamp_micros());
            let one = |time| ScalarValue::TimestampMicrosecond(micros(time), None);
            let kind = DataType::Timestamp(TimeUnit::Microsecond, None);
            (kind, all.map(|all| all.into_iter().map(one).collect()))
        }
        Type::DATE_ARRAY => {
            let all = portal.parameter::<Vec<Option<NaiveDate>>>(place, wire)?;
            let one = |day: Option<NaiveDate>| ScalarValue::Date32(day.map(Date32Type::from_naive_date));
            (DataType::Date32, all.map(|all| all.into_iter().map(one).collect()))
        }
        Type::TEXT_ARRAY | Type::VARCHAR_ARRAY if !portal.parameter_format.is_binary(place) => {
            let read = |text: String| elements(&text).ok_or_else(|| Refused::malformed("an array is written '{a,b}'"));
            let all = text(bytes())?.map(read).transpose()?;
            (DataType::Utf8, all.map(|all| all.into_iter().map(ScalarValue::Utf8).collect()))
        }
        Type::OID_ARRAY => {
            let all = portal.parameter::<Vec<Option<u32>>>(place, wire)?;
            let one = |number: Option<u32>| ScalarValue::Int64(number.map(i64::from));
            (DataType::Int64, all.map(|all| all.into_iter().map(one).collect()))
        }
        _ => return Ok(None),
    };
    Ok(Some(match all {
        Some(all) => ScalarValue::List(ScalarValue::new_list_nullable(&all, &kind)),
        None => ScalarValue::new_null_list(kind, true, 1),
    }))
}

/// Returns a text as it was sent.
fn text(bytes: Option<&[u8]>) -> Result<Option<String>, Refused> {
    bytes.map(|bytes| std::str::from_utf8(bytes).map(str::to_owned).map_err(|_| Refused::no_text())).transpose()
}

/// Returns a number with all of its digits, with as many behind the point as the value it is compared with has, unless
/// it has more. The library would round it to so many; and it does not count zeros behind the point as digits.
fn decimal(digits: Option<i128>, scale: i8, known: Option<&DataType>) -> ScalarValue {
    let as_it_is = ScalarValue::Decimal128(digits, DECIMAL128_MAX_PRECISION, scale);
    let Some(DataType::Decimal128(most, behind)) = known else { return as_it_is };
    if *behind < scale {
        return as_it_is;
    }
    let times = 10_i128.checked_pow(u32::from(behind.abs_diff(scale)));
    match (digits, times) {
        (None, _) => ScalarValue::Decimal128(None, *most, *behind),
        (Some(digits), Some(times)) => match digits.checked_mul(times) {
            Some(digits) => ScalarValue::Decimal128(Some(digits), *most, *behind),
            None => as_it_is,
        },
        (Some(_), None) => as_it_is,
    }
}

/// Returns a portal without these values and their types.
fn without(portal: &Portal<Arc<Prepared>>, own: &BTreeMap<usize, ScalarValue>) -> Portal<Arc<Prepared>> {
    let statement = &portal.statement;
    let types = statement.parameter_types.iter().enumerate();
    let types = types.map(|(place, kind)| kind.clone().filter(|_| !own.contains_key(&place))).collect();
    let stored = StoredStatement::new(statement.id.clone(), Arc::clone(&statement.statement), types);
    let mut without = Portal::new_cursor(portal.name.clone(), Arc::new(stored));
    without.parameter_format = portal.parameter_format.clone();
    let values = portal.parameters.iter().enumerate();
    without.parameters = values.map(|(place, value)| value.clone().filter(|_| !own.contains_key(&place))).collect();
    without
}

/// Returns a day without the time zone that the Java driver puts behind it.
fn day(value: ScalarValue) -> ScalarValue {
    let written = match &value {
        ScalarValue::Utf8(Some(text)) => text.split_once(' '),
        _ => None,
    };
    let day = written.filter(|(_, zone)| zone.starts_with(['+', '-'])).map(|(day, _)| day.to_owned());
    day.map_or(value, |day| ScalarValue::Utf8(Some(day)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_that_was_read_as_another_is_refused() {
        let text = |text: &str| ScalarValue::Utf8(Some(text.to_owned()));
        let taken = |value: &ScalarValue, is_null| is_taken_as_it_is(0, value, is_null);
        assert_eq!(taken(&text("a"), false), Ok(()));
        assert_eq!(taken(&ScalarValue::Utf8(None), true), Ok(()));
        assert_eq!(taken(&ScalarValue::Int64(None), false), Err(Refused::out_of_range("$1 is out of range")));
        let list = ScalarValue::List(ScalarValue::new_list_nullable(&[text("a\0b")], &DataType::Utf8));
        for value in [text("a\0b"), list] {
            let why = taken(&value, false).expect_err("it has a zero in it").to_string();
            assert!(why.starts_with("$1: a text has a zero in it"), "{why}");
        }
    }

    #[test]
    fn a_text_is_what_was_sent() {
        for sent in ["", "it''s", "{a,b}", "\\'"] {
            assert_eq!(text(Some(sent.as_bytes())), Ok(Some(sent.to_owned())), "{sent}");
        }
        assert_eq!(text(None), Ok(None));
        assert_eq!(text(Some(&b"\xff"[..])), Err(Refused::no_text()));
    }

    #[test]
    fn a_number_keeps_its_digits() {
        let (cents, whole) = (DataType::Decimal128(10, 2), DataType::Decimal128(38, 0));
        let number = |digits, most, scale| ScalarValue::Decimal128(Some(digits), most, scale);
        assert_eq!(decimal(Some(5), 3, Some(&cents)), number(5, 38, 3), "0.005");
        assert_eq!(decimal(Some(105), 1, Some(&whole)), number(105, 38, 1), "10.5");
        assert_eq!(decimal(Some(105), 1, Some(&cents)), number(1_050, 10, 2));
        assert_eq!(decimal(Some(5), 2, None), number(5, 38, 2));
        assert_eq!(decimal(Some(5), 2, Some(&DataType::Int64)), number(5, 38, 2));
        assert_eq!(decimal(None, 0, Some(&cents)), ScalarValue::Decimal128(None, 10, 2));
        let (long, many) = (i128::MAX / 2, DataType::Decimal128(38, 20));
        assert_eq!(decimal(Some(long), 0, Some(&many)), number(long, 38, 0));
    }

    #[test]
    fn a_day_has_no_time_zone() {
        let text = |text: &str| ScalarValue::Utf8(Some(text.to_owned()));
        assert_eq!(day(text("2026-03-07 +00")), text("2026-03-07"));
        assert_eq!(day(text("2026-03-07")), text("2026-03-07"));
        assert_eq!(day(text("2026-03-07 12:00:00")), text("2026-03-07 12:00:00"));
        assert_eq!(day(ScalarValue::Date32(Some(1))), ScalarValue::Date32(Some(1)));
    }
}
