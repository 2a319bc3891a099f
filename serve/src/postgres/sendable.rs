//! Finds values that PostgreSQL's protocol cannot express: times out of its range, which the library would write as
//! null or as other times, and texts with a zero in them, where clients cut them.

use std::ops::RangeInclusive;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, ArrowPrimitiveType, AsArray};
use arrow::compute::{cast, filter, is_not_null, max, min};
use arrow::datatypes::{
    DataType, Date32Type, Date64Type, DurationMillisecondType, DurationSecondType, Time32MillisecondType,
    Time32SecondType, Time64MicrosecondType, Time64NanosecondType, TimeUnit, TimestampMicrosecondType,
    TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType,
};
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use arrow::temporal_conversions::as_datetime;
use chrono::Datelike;

use super::errors::Refused;

/// Seconds of a day: a time is less than that.
const DAY_SECONDS: i64 = 86_400;

/// Years that are written as in PostgreSQL: the library puts a sign before earlier and later ones.
const YEARS: RangeInclusive<i32> = 1..=9_999;

/// Kind of a value that cannot be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unsendable {
    Time,
    Text,
}

/// Refuses a batch with a value that cannot be sent.
pub(super) fn check(batch: &RecordBatch) -> Result<(), Refused> {
    for (column, field) in batch.columns().iter().zip(batch.schema_ref().fields()) {
        check_column(field.name(), column)?;
    }
    Ok(())
}

/// Refuses a column with a value that cannot be sent.
pub(super) fn check_column(name: &str, column: &ArrayRef) -> Result<(), Refused> {
    match found(column) {
        Ok(None) => Ok(()),
        Ok(Some(Unsendable::Time)) => {
            Err(Refused::no_time(&format!("{name}: a time is out of range; cast it to bigint to see what it is")))
        }
        Ok(Some(Unsendable::Text)) => {
            Err(Refused::zero(&format!("{name}: a text has a zero in it; cast it to bytea to see what it is")))
        }
        Err(error) => Err(Refused::unsupported(&format!("{name}: {error}"))),
    }
}

/// Returns whether a column of such a type may have a value that cannot be sent.
pub(super) fn may_be_unsendable(kind: &DataType) -> bool {
    match kind {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => true,
        DataType::Duration(unit) => matches!(unit, TimeUnit::Second | TimeUnit::Millisecond),
        DataType::List(of) | DataType::LargeList(of) | DataType::FixedSizeList(of, _) => {
            may_be_unsendable(of.data_type())
        }
        DataType::Struct(fields) => fields.iter().any(|field| may_be_unsendable(field.data_type())),
        DataType::Dictionary(_, of) => may_be_unsendable(of),
        kind => kind.is_temporal(),
    }
}

/// Returns the kind of a value in a column that cannot be sent, if there is one.
fn found(column: &ArrayRef) -> Result<Option<Unsendable>, ArrowError> {
    if !may_be_unsendable(column.data_type()) {
        return Ok(None);
    }
    let text = |has_zero: bool| Ok(has_zero.then_some(Unsendable::Text));
    let time = |is_written: bool| Ok((!is_written).then_some(Unsendable::Time));
    match column.data_type() {
        DataType::Utf8 => text(column.as_string::<i32>().iter().flatten().any(has_zero)),
        DataType::LargeUtf8 => text(column.as_string::<i64>().iter().flatten().any(has_zero)),
        DataType::Utf8View => text(column.as_string_view().iter().flatten().any(has_zero)),
        DataType::Date32 => time(is_date::<Date32Type>(column)),
        DataType::Date64 => time(is_date::<Date64Type>(column)),
        DataType::Timestamp(TimeUnit::Second, _) => time(is_date::<TimestampSecondType>(column)),
        DataType::Timestamp(TimeUnit::Millisecond, _) => time(is_date::<TimestampMillisecondType>(column)),
        DataType::Timestamp(TimeUnit::Microsecond, _) => time(is_date::<TimestampMicrosecondType>(column)),
        DataType::Timestamp(TimeUnit::Nanosecond, _) => time(is_date::<TimestampNanosecondType>(column)),
        DataType::Time32(TimeUnit::Second) => time(is_of_day::<Time32SecondType>(column, 1)),
        DataType::Time32(_) => time(is_of_day::<Time32MillisecondType>(column, 1_000)),
        DataType::Time64(TimeUnit::Microsecond) => time(is_of_day::<Time64MicrosecondType>(column, 1_000_000)),
        DataType::Time64(_) => time(is_of_day::<Time64NanosecondType>(column, 1_000_000_000)),
        DataType::Duration(TimeUnit::Second) => time(is_short::<DurationSecondType>(column, 1_000_000)),
        DataType::Duration(TimeUnit::Millisecond) => time(is_short::<DurationMillisecondType>(column, 1_000)),
        DataType::List(_) => first(column.as_list::<i32>().iter()),
        DataType::LargeList(_) => first(column.as_list::<i64>().iter()),
        DataType::FixedSizeList(..) => first(column.as_fixed_size_list().iter()),
        DataType::Struct(_) => {
            // Values below a null do not count.
            let rows =
                if column.null_count() > 0 { filter(column, &is_not_null(column)?)? } else { Arc::clone(column) };
            first(rows.as_struct().columns().iter().cloned().map(Some))
        }
        DataType::Dictionary(_, of) => found(&cast(column, of)?),
        _ => Ok(None),
    }
}

/// Returns the first such value in the columns that are there.
fn first(columns: impl Iterator<Item = Option<ArrayRef>>) -> Result<Option<Unsendable>, ArrowError> {
    for column in columns.flatten() {
        if let Some(unsendable) = found(&column)? {
            return Ok(Some(unsendable));
        }
    }
    Ok(None)
}

fn has_zero(text: &str) -> bool {
    text.contains('\0')
}

/// Returns whether the least and the greatest value of a column are right, and with them all: values that can be
/// written form one range.
fn are_right<T>(column: &ArrayRef, is_right: impl Fn(i64) -> bool) -> bool
where
    T: ArrowPrimitiveType,
    T::Native: Into<i64>,
{
    let all = column.as_primitive::<T>();
    [min(all), max(all)].into_iter().flatten().all(|end| is_right(end.into()))
}

fn is_date<T>(column: &ArrayRef) -> bool
where
    T: ArrowPrimitiveType,
    T::Native: Into<i64>,
{
    are_right::<T>(column, |value| as_datetime::<T>(value).is_some_and(|time| YEARS.contains(&time.year())))
}

/// Returns whether times are within a day, in units of which a second has `parts`.
fn is_of_day<T>(column: &ArrayRef, parts: i64) -> bool
where
    T: ArrowPrimitiveType,
    T::Native: Into<i64>,
{
    are_right::<T>(column, |value| (0..DAY_SECONDS * parts).contains(&value))
}

/// Returns whether durations can be counted in microseconds. Each of their units has `micros`.
fn is_short<T>(column: &ArrayRef, micros: i64) -> bool
where
    T: ArrowPrimitiveType,
    T::Native: Into<i64>,
{
    are_right::<T>(column, |value| value.checked_mul(micros).is_some())
}

#[cfg(test)]
mod tests {
    use arrow::array::{
        Date32Array, Date64Array, DictionaryArray, DurationSecondArray, FixedSizeListArray, Int64Array, ListArray,
        StringArray, StringViewArray, StructArray, Time32SecondArray, Time64NanosecondArray, TimestampMicrosecondArray,
        TimestampMillisecondArray, TimestampNanosecondArray, TimestampSecondArray,
    };
    use arrow::buffer::NullBuffer;
    use arrow::datatypes::{Field, Int32Type};

    use super::*;

    fn is_sent(column: impl Array + 'static) -> bool {
        check_column("a", &(Arc::new(column) as ArrayRef)).is_ok()
    }

    #[test]
    fn times_that_are_not_written_are_not_null() {
        let day = 86_400_000_000_000;
        assert!(is_sent(TimestampSecondArray::from(vec![Some(0), None, Some(253_402_300_799)])));
        assert!(is_sent(TimestampNanosecondArray::from(vec![i64::MIN + 1, i64::MAX])));
        assert!(is_sent(Time64NanosecondArray::from(vec![0, day - 1])));
        assert!(is_sent(Int64Array::from(vec![i64::MIN, i64::MAX])));
        assert!(is_sent(DurationSecondArray::from(vec![i64::MAX / 1_000_000])));
        assert!(is_sent(TimestampSecondArray::from(vec![-62_135_596_800])), "the first second of the first year");
        assert!(!is_sent(TimestampSecondArray::from(vec![-62_135_596_801])), "it would be written with a sign");
        assert!(!is_sent(TimestampSecondArray::from(vec![253_402_300_800])), "so would that");
        assert!(!is_sent(TimestampSecondArray::from(vec![Some(0), None, Some(99_999_999_999_999)])));
        assert!(!is_sent(TimestampMillisecondArray::from(vec![i64::MAX])));
        assert!(!is_sent(TimestampMicrosecondArray::from(vec![i64::MAX]).with_timezone("UTC")));
        assert!(!is_sent(TimestampMicrosecondArray::from(vec![i64::MIN])));
        assert!(!is_sent(Date32Array::from(vec![0, i32::MAX])));
        assert!(!is_sent(Date64Array::from(vec![i64::MAX])));
        assert!(!is_sent(Time32SecondArray::from(vec![86_400])));
        assert!(!is_sent(Time32SecondArray::from(vec![-1])));
        assert!(!is_sent(Time64NanosecondArray::from(vec![day + 1])));
        assert!(!is_sent(DurationSecondArray::from(vec![i64::MAX])));
    }

    #[test]
    fn texts_with_a_zero_in_them_are_not_cut() {
        assert!(is_sent(StringArray::from(vec![Some("a"), None, Some("")])));
        assert!(!is_sent(StringArray::from(vec!["a", "a\0b"])));
        assert!(!is_sent(StringViewArray::from(vec!["\0"])));
        let keyed = |text: &str| DictionaryArray::<Int32Type>::from_iter([Some(text), None]);
        assert!(is_sent(keyed("a")) && !is_sent(keyed("a\0")));
    }

    #[test]
    fn they_are_found_wherever_they_stand() {
        let dates = |day: i32| ListArray::from_iter_primitive::<Date32Type, _, _>([None, Some([Some(0), Some(day)])]);
        assert!(is_sent(dates(1)) && !is_sent(dates(i32::MAX)));
        assert!(is_sent(dates(i32::MAX).slice(0, 1)), "what is cut off is not sent");
        let fixed = FixedSizeListArray::from_iter_primitive::<Date32Type, _, _>([Some([Some(i32::MAX)])], 1);
        assert!(!is_sent(fixed));
        let structs = |nulls: Option<NullBuffer>| {
            let field = Arc::new(Field::new("d", dates(0).data_type().clone(), true));
            StructArray::new(vec![field].into(), vec![Arc::new(dates(i32::MAX))], nulls)
        };
        assert!(!is_sent(structs(None)));
        assert!(is_sent(structs(Some(vec![true, false].into()))), "what stands below a null is not sent");
    }

    #[test]
    fn an_error_about_a_value_names_its_column() {
        let times: ArrayRef = Arc::new(TimestampSecondArray::from(vec![i64::MAX]));
        let why = check_column("at", &times).expect_err("it is out of range").to_string();
        assert!(why.starts_with("at: a time is out of range;"), "{why}");
    }
}
