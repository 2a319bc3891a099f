//! Exact sums into columns of 64 bits: the last step of every total. A sum that does not fit is an error that names
//! whose it is, and never a number.
//!
//! Whoever sums up ads for a bill must not get a number that is not theirs. That holds for a sum below zero too: no
//! event adds less than nothing, so it comes of a row that an earlier version of this program let wrap around.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array};
use arrow::datatypes::{DataType, Decimal128Type, TimestampMicrosecondType};
use arrow::util::display::array_value_to_string;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility, col,
};
use lake_schemas::EventTime;
use lake_schemas::minute::Measure;
use lake_schemas::table::column;

use super::question::Whom;
use crate::error::Overflow;

/// The function that takes an exact sum, and all that its row is of, and gives the sum as a number of 64 bits.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Fits {
    signature: Signature,
    measure: Measure,
    /// Whose counts are asked for.
    whom: Whom,
    /// The names of what the row is of.
    of: Vec<&'static str>,
}

/// The column of a measure whose exact sums stand under its name, in rows of these columns.
pub(crate) fn fitting(measure: Measure, whom: &Whom, of: &[&'static str]) -> Expr {
    let signature = Signature::any(1 + of.len(), Volatility::Immutable);
    let fits = ScalarUDF::from(Fits { signature, measure, whom: whom.clone(), of: of.to_vec() });
    fits.call([measure.column()].into_iter().chain(of.iter().copied()).map(col).collect())
}

/// A sum of a measure as a number of 64 bits, if it can be one.
pub(crate) fn number(measure: Measure, sum: i128, whose: impl FnOnce() -> String) -> Result<i64, Overflow> {
    let why = match i64::try_from(sum) {
        Ok(number) if number >= 0 => return Ok(number),
        Ok(_) => {
            "and is never below zero: an earlier version of clicklake let a sum wrap around; `clicklake verify` names \
             the minute, `clicklake backfill --replace` mends it"
        }
        Err(_) => "which 64 bits do not hold; ask for less time",
    };
    Err(Overflow(format!("{}: {} adds up to {sum}, {why}", whose(), measure.column())))
}

/// Whose counts are asked for, as an error names them.
pub(crate) fn named(whom: &Whom) -> Option<String> {
    match whom {
        Whom::All => None,
        Whom::Ad(ad) => Some(format!("ad {ad}")),
        Whom::Campaign(campaign) => Some(format!("campaign {campaign}")),
    }
}

impl Fits {
    /// What a row is of.
    fn row(&self, keys: &[ArrayRef], row: usize) -> String {
        let of = self.of.iter().zip(keys).map(|(name, key)| {
            let value = match key.as_primitive_opt::<TimestampMicrosecondType>() {
                Some(times) if *name == column::WINDOW_START => EventTime::from_micros(times.value(row)).to_string(),
                _ if key.is_null(row) => "null".to_owned(),
                _ => array_value_to_string(key, row).unwrap_or_default(),
            };
            format!("{name} {value}")
        });
        let all: Vec<_> = named(&self.whom).into_iter().chain(of).collect();
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
        let (sums, keys) = columns.split_first().expect("the sum is an argument");
        let sums = sums.as_primitive::<Decimal128Type>();
        let numbers = sums.iter().enumerate().map(|(row, sum)| {
            let number = sum.map(|sum| number(self.measure, sum, || self.row(keys, row))).transpose();
            number.map_err(|overflow| DataFusionError::External(Box::new(overflow)))
        });
        Ok(ColumnarValue::Array(Arc::new(numbers.collect::<Result<Int64Array>>()?)))
    }
}
