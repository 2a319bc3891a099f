//! Exact sums of measures: added up in 128 bits, and stored in columns of 64 bits.
//!
//! A sum that needs more than 64 bits is stored as several rows that add up to it, as all rows of a window do. So too
//! large a sum is an error only where somebody asks for it in one number, and not when it is stored.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, PrimitiveArray, RecordBatch, UInt64Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::{DataType, Decimal128Type, Field, Int64Type, Schema};
use arrow::error::ArrowError;

use crate::measure::{Measure, Merge};

/// Type in which measures are added up: whole numbers of 38 digits, in 128 bits. It takes 10^19 rows of the largest
/// number of 64 bits to exceed it.
pub const SUM_TYPE: DataType = DataType::Decimal128(38, 0);

/// Largest number that every reader of JSON keeps exactly: 2^53 - 1 (RFC 8259, 6). Larger ones are written to JSON as
/// strings.
pub const PLAIN_MAX: u64 = (1 << 53) - 1;

/// Returns the SQL expression that adds up a measure exactly.
pub fn sum_of(measure: Measure) -> String {
    match measure.merge() {
        Merge::Sum => format!("sum({})", exact(measure.column())),
    }
}

/// Returns the SQL expression that casts another one to the type in which measures are added up.
pub fn exact(expression: &str) -> String {
    format!("cast({expression} as decimal(38, 0))")
}

/// Converts rows with exact sums into rows whose measures have 64 bits. A row that does not fit becomes several, one
/// behind the other, which differ only in their measures and add up to it. There are never more rows than were added
/// up.
pub fn rows_of_64_bits(rows: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let mut sums = Vec::new();
    for measure in Measure::ALL {
        let at = rows.schema_ref().index_of(measure.column())?;
        let lacking = || ArrowError::SchemaError(format!("{} is no exact sum", measure.column()));
        sums.push((at, rows.column(at).as_primitive_opt::<Decimal128Type>().ok_or_else(lacking)?));
    }
    let parts_of_row = |row: usize| sums.iter().map(|(_, sums)| parts(sums.value(row))).max().unwrap_or(1);
    // For each row of the result: the row that it comes from, and which part of it this is.
    let places = (0..rows.num_rows()).flat_map(|row| (0..parts_of_row(row)).map(move |part| (row, part)));
    let places: Vec<_> = places.collect();
    let spread = if places.len() == rows.num_rows() {
        rows.clone()
    } else {
        let of_row: UInt64Array = places.iter().map(|(row, _)| Some(*row as u64)).collect();
        take_record_batch(rows, &of_row)?
    };
    let (mut fields, mut columns) = (spread.schema().fields().to_vec(), spread.columns().to_vec());
    for (at, sums) in sums {
        let number = |(row, part): &(usize, u128)| sums.is_valid(*row).then(|| part_of(sums.value(*row), *part));
        columns[at] = Arc::new(places.iter().map(number).collect::<Int64Array>());
        let field = &fields[at];
        fields[at] = Arc::new(Field::new(field.name(), DataType::Int64, field.is_nullable()));
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
}

/// Converts numbers of 64 bits into the type in which they are added up.
pub fn widened(numbers: &PrimitiveArray<Int64Type>) -> ArrayRef {
    let wide: PrimitiveArray<Decimal128Type> = numbers.unary(i128::from);
    Arc::new(wide.with_data_type(SUM_TYPE))
}

/// Returns the number of parts of 64 bits that a sum is split into.
fn parts(sum: i128) -> u128 {
    sum.unsigned_abs().div_ceil(LARGEST).max(1)
}

/// Returns one part of a sum, by its place.
fn part_of(sum: i128, part: u128) -> i64 {
    let left = sum.unsigned_abs().saturating_sub(part.saturating_mul(LARGEST)).min(LARGEST);
    let left = i64::try_from(left).expect("no part is larger than the largest");
    if sum < 0 { -left } else { left }
}

/// Largest part of a sum: the largest number of 64 bits.
const LARGEST: u128 = i64::MAX as u128;

#[cfg(test)]
mod tests {
    use arrow::array::{Decimal128Array, StringArray};

    use super::*;

    fn exact_rows(costs: &[i128]) -> RecordBatch {
        let sums = |sums: Vec<i128>| -> ArrayRef { Arc::new(Decimal128Array::from(sums).with_data_type(SUM_TYPE)) };
        let ads: ArrayRef = Arc::new((0..costs.len()).map(|at| Some(format!("ad-{at}"))).collect::<StringArray>());
        let mut columns = vec![("ad_id", ads)];
        columns.extend(Measure::ALL.map(|measure| match measure.column() {
            "cost_micros" => (measure.column(), sums(costs.to_vec())),
            name => (name, sums(vec![3; costs.len()])),
        }));
        RecordBatch::try_from_iter(columns).expect("rows")
    }

    /// Checks that the rows made of one row are neighbours, add up to it, and are as few as possible.
    #[test]
    fn a_sum_of_any_size_is_rows_that_add_up_to_it() {
        let largest = i128::from(i64::MAX);
        let sums = [0, 7, -7, largest, largest + 1, 2 * largest, 2 * largest + 1, -largest - 1, 5 * largest - 2];
        let narrow = rows_of_64_bits(&exact_rows(&sums)).expect("rows");
        let ads = narrow["ad_id"].as_string::<i32>();
        let number = |name: &str, row: usize| narrow[name].as_primitive::<Int64Type>().value(row);
        for (at, sum) in sums.into_iter().enumerate() {
            let rows: Vec<_> = (0..narrow.num_rows()).filter(|row| ads.value(*row) == format!("ad-{at}")).collect();
            let total = |name: &str| rows.iter().map(|row| i128::from(number(name, *row))).sum::<i128>();
            assert_eq!((total("cost_micros"), total("clicks")), (sum, 3), "{sum}");
            let needed = usize::try_from(sum.unsigned_abs().div_ceil(largest.unsigned_abs())).expect("few").max(1);
            assert_eq!(rows.len(), needed, "{sum}");
            assert!(rows.windows(2).all(|pair| pair[0] + 1 == pair[1]), "{sum}: {rows:?}");
        }
    }

    #[test]
    fn rows_that_fit_stay_as_they_are() {
        let narrow = rows_of_64_bits(&exact_rows(&[1, 2])).expect("rows");
        let costs = narrow["cost_micros"].as_primitive::<Int64Type>();
        assert_eq!((narrow.num_rows(), costs.values().to_vec()), (2, vec![1, 2]));
        assert_eq!(rows_of_64_bits(&exact_rows(&[])).expect("none").num_rows(), 0);
    }
}
