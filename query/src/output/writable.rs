//! Refuses values that have no text: times that no calendar has, and numbers that JSON cannot express. Arrow's writers
//! would write `ERROR: …` in their place, or invalid JSON, so an answer with such a value is an error.

use arrow::array::RecordBatch;
use arrow::datatypes::DataType;
use arrow::error::ArrowError;
use arrow::util::display::{ArrayFormatter, FormatOptions};

/// Refuses rows that hold a value which cannot be written.
pub(super) fn check(rows: &RecordBatch, options: &FormatOptions<'_>) -> Result<(), ArrowError> {
    let schema = rows.schema();
    let mut text = String::new();
    // With this, errors inside of lists are reported too.
    let options = options.clone().with_display_error(false);
    for (field, column) in schema.fields().iter().zip(rows.columns()) {
        if !has_part(field.data_type(), &DataType::is_temporal) {
            continue;
        }
        let formatter = ArrayFormatter::try_new(column.as_ref(), &options)?;
        for row in 0..column.len() {
            text.clear();
            // Arrow's error tells no more than that.
            formatter.value(row).write(&mut text).map_err(|_| {
                let name = field.name().escape_debug();
                let why = "cannot be written as a time; cast it to BIGINT, or leave it out";
                ArrowError::CastError(format!("a value of column {name} {why}"))
            })?;
        }
    }
    Ok(())
}

/// Refuses columns of numbers that JSON cannot express: zero in thousands would be `0000`.
pub(super) fn check_json(rows: &RecordBatch) -> Result<(), ArrowError> {
    let is_of_negative_scale = |data_type: &DataType| match data_type {
        DataType::Decimal32(_, scale)
        | DataType::Decimal64(_, scale)
        | DataType::Decimal128(_, scale)
        | DataType::Decimal256(_, scale) => *scale < 0,
        _ => false,
    };
    let schema = rows.schema();
    match schema.fields().iter().find(|field| has_part(field.data_type(), &is_of_negative_scale)) {
        Some(field) => {
            let (name, of) = (field.name().escape_debug(), field.data_type());
            let why = "has no form in JSON; cast it to a DECIMAL whose scale is not below zero, or to DOUBLE";
            Err(ArrowError::JsonError(format!("column {name} is of {of}, which {why}")))
        }
        None => Ok(()),
    }
}

/// Returns whether a type, or a part of it, satisfies a condition.
fn has_part(data_type: &DataType, is_one: &dyn Fn(&DataType) -> bool) -> bool {
    let has = |part: &DataType| has_part(part, is_one);
    match data_type {
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::ListView(item)
        | DataType::LargeListView(item)
        | DataType::FixedSizeList(item, _)
        | DataType::Map(item, _) => has(item.data_type()),
        DataType::Struct(fields) => fields.iter().any(|field| has(field.data_type())),
        DataType::Union(fields, _) => fields.iter().any(|(_, field)| has(field.data_type())),
        DataType::Dictionary(_, values) => has(values),
        DataType::RunEndEncoded(_, values) => has(values.data_type()),
        data_type => is_one(data_type),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{
        Array, ArrayRef, Date32Array, Decimal128Array, ListArray, StructArray, Time64NanosecondArray,
        TimestampSecondArray,
    };
    use arrow::datatypes::{Field, Int32Type};
    use datafusion_cli::print_format::PrintFormat;

    use super::super::{Encoder, table};
    use super::*;

    fn rows(values: ArrayRef) -> RecordBatch {
        RecordBatch::try_from_iter([("when", values)]).expect("rows")
    }

    fn list_of(values: ArrayRef) -> ArrayRef {
        let item = Arc::new(Field::new_list_field(values.data_type().clone(), true));
        let offsets = arrow::buffer::OffsetBuffer::from_lengths([values.len()]);
        Arc::new(ListArray::new(item, offsets, values, None))
    }

    fn struct_of(values: ArrayRef) -> ArrayRef {
        let field = Arc::new(Field::new("a", values.data_type().clone(), true));
        Arc::new(StructArray::from(vec![(field, values)]))
    }

    /// Writes the rows in each of the formats, including a table.
    fn written(rows: &RecordBatch) -> [Result<String, String>; 5] {
        let text = |bytes| String::from_utf8(bytes).expect("text");
        let why = |error: ArrowError| error.to_string();
        let encoded = |format| Encoder::new(format).rows(rows).map(text).map_err(why);
        [
            table(std::slice::from_ref(rows)).map_err(why),
            encoded(PrintFormat::Csv),
            encoded(PrintFormat::Tsv),
            encoded(PrintFormat::Json),
            encoded(PrintFormat::NdJson),
        ]
    }

    #[test]
    fn a_time_that_no_calendar_has_is_an_error_in_each_format() {
        let far: [ArrayRef; 3] = [
            Arc::new(TimestampSecondArray::from(vec![Some(0), None, Some(99_999_999_999_999)])),
            Arc::new(Date32Array::from(vec![i32::MAX])),
            Arc::new(Time64NanosecondArray::from(vec![86_400_000_000_001])),
        ];
        for times in far {
            for values in [Arc::clone(&times), list_of(Arc::clone(&times)), struct_of(times)] {
                let kind = values.data_type().clone();
                for (at, written) in written(&rows(values)).into_iter().enumerate() {
                    // CSV has no lists and structs.
                    if kind.is_nested() && matches!(at, 1 | 2) {
                        continue;
                    }
                    let why = written.expect_err(&kind.to_string());
                    let is_said =
                        ["Failed to convert", "cannot be written as a time"].iter().any(|said| why.contains(said));
                    assert!(is_said && why.lines().count() == 1, "{why}");
                }
            }
        }
    }

    #[test]
    fn times_and_what_is_none_are_written() {
        let times: ArrayRef = Arc::new(TimestampSecondArray::from(vec![Some(0), None]));
        for values in [Arc::clone(&times), list_of(Arc::clone(&times)), struct_of(times)] {
            let is_nested = values.data_type().is_nested();
            for (at, written) in written(&rows(values)).into_iter().enumerate() {
                if !is_nested || !matches!(at, 1 | 2) {
                    assert!(written.expect("text").contains("1970-01-01T00:00:00"));
                }
            }
        }
        let keys = arrow::array::DictionaryArray::<Int32Type>::from_iter(["a", "b"]);
        assert!(written(&rows(Arc::new(keys))).iter().all(Result::is_ok));
    }

    #[test]
    fn what_json_has_no_number_for_is_an_error_there() {
        let of_scale = |scale: i8| -> ArrayRef {
            let numbers = Decimal128Array::from(vec![0, 5]).with_precision_and_scale(38, scale);
            Arc::new(numbers.expect("decimals"))
        };
        for values in [of_scale(-3), list_of(of_scale(-3)), struct_of(of_scale(-3))] {
            let [table, _, _, json, lines] = written(&rows(values));
            assert!(table.is_ok());
            for why in [json, lines] {
                let why = why.expect_err("no JSON");
                assert!(why.contains("column when is of") && why.contains("no form in JSON"), "{why}");
            }
        }
        for written in written(&rows(of_scale(3))) {
            assert!(written.expect("numbers").contains("0.005"));
        }
    }
}
