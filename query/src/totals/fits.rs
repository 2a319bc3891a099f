//! Converts exact sums into columns of 64 bits: the last step of every total. A sum that does not fit is an error that
//! names whose sum it is, and never a wrong number.
//!
//! A sum that contains a row below zero is an error, too, whatever the sum is, because bills are made of sums. No event
//! adds less than nothing: such a row was written by an earlier version of clicklake, in which the sum of a row could
//! wrap around. That is why the least of all rows in a sum is computed beside the sum.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Decimal128Type, Int64Type, TimestampMicrosecondType};
use arrow::util::display::array_value_to_string;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility, col,
};
use lake_schemas::table::column;
use lake_schemas::{EventTime, Field, Measure};

use super::filter::Filter;
use crate::error::Overflow;

/// SQL function that takes an exact sum, the least row in it, and the columns that name the sum. It returns the sum as
/// a number of 64 bits.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Fits {
    signature: Signature,
    measure: Measure,
    /// Name of those whose counts are asked for, as errors give it; empty if the columns in `of` say it.
    whose: String,
    /// Columns that name the sum.
    of: Vec<&'static str>,
}

/// Returns the name of the column that holds the least row in a sum of a measure, beside that sum.
pub(crate) fn least_of(measure: Measure) -> String {
    format!("least_{}", measure.column())
}

/// Returns a measure as a column of 64 bits. Its exact sums are in the column of its name, the least row of each in the
/// column of [`least_of`], and `of` are the columns that name a sum in errors.
pub(crate) fn fitting(measure: Measure, whose: &str, of: &[&'static str]) -> Expr {
    let sums = [col(measure.column()), col(least_of(measure))];
    let all: Vec<_> = sums.into_iter().chain(of.iter().map(|name| col(*name))).collect();
    let signature = Signature::any(all.len(), Volatility::Immutable);
    let fits = ScalarUDF::from(Fits { signature, measure, whose: whose.to_owned(), of: of.to_vec() });
    fits.call(all)
}

/// Converts a sum of a measure into a number of 64 bits, if that is possible. `least` is the least of the rows in it.
pub(crate) fn number(measure: Measure, sum: i128, least: i64, whose: impl FnOnce() -> String) -> Result<i64, Overflow> {
    let why = match i64::try_from(sum) {
        _ if least < 0 => format!(
            "with {least} in it, and no row is below zero: an earlier version of clicklake let one wrap around; \
             `clicklake verify` names the minute, `clicklake backfill --replace` mends it"
        ),
        Ok(number) => return Ok(number),
        Err(_) => "which 64 bits do not hold; ask for less time".to_owned(),
    };
    Err(Overflow(format!("{}: {} adds up to {sum}, {why}", whose(), measure.column())))
}

/// Returns whether any of these sums contains a row below zero.
pub(crate) fn have_rows_below_zero(sums: &RecordBatch) -> bool {
    let is_below_zero = |least: &ArrayRef| least.as_primitive::<Int64Type>().iter().flatten().any(|least| least < 0);
    Measure::ALL.into_iter().filter_map(|measure| sums.column_by_name(&least_of(measure))).any(is_below_zero)
}

/// Returns the name of those whose counts are asked for, as errors give it. A dimension with several values is left out
/// if it is grouped by: the row itself then says which value it is.
pub(crate) fn named(filter: &[Filter], group_by: &[Field]) -> String {
    let names = filter.iter().filter_map(|filter| {
        let name = match filter.dimension {
            Field::AdId => "ad",
            Field::CampaignId => "campaign",
            dimension => dimension.column(),
        };
        match filter.values.as_slice() {
            [one] => Some(format!("{name} {}", one.as_deref().unwrap_or("null"))),
            several => {
                let count = several.len();
                (!group_by.contains(&filter.dimension))
                    .then(|| format!("{count} values of {}", filter.dimension.column()))
            }
        }
    });
    names.collect::<Vec<_>>().join(", ")
}

impl Fits {
    /// Returns the name of a row, as errors give it.
    fn row(&self, keys: &[ArrayRef], row: usize) -> String {
        let of = self.of.iter().zip(keys).map(|(name, key)| {
            let value = match key.as_primitive_opt::<TimestampMicrosecondType>() {
                Some(times) if *name == column::WINDOW_START => EventTime::from_micros(times.value(row)).to_string(),
                _ if key.is_null(row) => "null".to_owned(),
                _ => array_value_to_string(key, row).unwrap_or_default(),
            };
            format!("{name} {value}")
        });
        let whose = Some(self.whose.clone()).filter(|whose| !whose.is_empty());
        let all: Vec<_> = whose.into_iter().chain(of).collect();
        if all.is_empty() { "all ads".to_owned() } else { all.join(", ") }
    }
}

impl ScalarUDFImpl for Fits {
    fn name(&self) -> &'static str {
        "fits"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Int64)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let columns = ColumnarValue::values_to_arrays(&args.args)?;
        let [sums, least, keys @ ..] = columns.as_slice() else { unreachable!("a sum has the least of it beside it") };
        let (sums, least) = (sums.as_primitive::<Decimal128Type>(), least.as_primitive::<Int64Type>());
        // A sum of no rows is null, and so is one over files that are all older than the measure: both count as 0.
        let numbers = sums.iter().zip(least).enumerate().map(|(row, (sum, least))| {
            let Some((sum, least)) = sum.zip(least) else { return Ok(Some(0)) };
            let number = number(self.measure, sum, least, || self.row(keys, row));
            number.map(Some).map_err(|overflow| DataFusionError::External(Box::new(overflow)))
        });
        Ok(ColumnarValue::Array(Arc::new(numbers.collect::<Result<Int64Array>>()?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_is_a_number_if_it_fits_and_no_row_in_it_is_below_zero() {
        let cost = Measure::ALL.into_iter().find(|measure| measure.column() == "cost_micros").expect("a measure");
        let said = |sum, least| {
            let number = number(cost, sum, least, || "ad a".to_owned());
            number.map_err(|overflow| overflow.to_string())
        };
        let largest = i128::from(i64::MAX);
        assert_eq!((said(7, 0), said(largest, 7)), (Ok(7), Ok(i64::MAX)));
        for (sum, least, words) in [
            (89, -11, "ad a: cost_micros adds up to 89, with -11 in it, and no row is below zero"),
            (-11, -11, "adds up to -11, with -11 in it"),
            (largest + 1, -11, "with -11 in it"),
            (largest + 1, 7, "which 64 bits do not hold"),
        ] {
            let error = said(sum, least).expect_err("it is no number");
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn an_error_names_what_is_asked_for() {
        let ad = || Filter::one(Field::AdId, "a");
        let nowhere = Filter { dimension: Field::Country, values: vec![None] };
        let campaigns = Filter::any(Field::CampaignId, ["x", "y"]);
        assert_eq!(named(&[], &[]), "");
        assert_eq!(named(&[ad()], &[Field::AdId]), "ad a");
        let all = [ad(), campaigns, nowhere];
        assert_eq!(named(&all, &[]), "ad a, 2 values of campaign_id, country null");
        assert_eq!(named(&all, &[Field::CampaignId]), "ad a, country null");
    }
}
