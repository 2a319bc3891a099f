//! Sums by their keys, as they are read of rows.

use arrow::array::{ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Decimal128Type, TimestampMicrosecondType};
use lake_schemas::EventTime;
use lake_schemas::exact::SUM_TYPE;
use lake_schemas::measure::MEASURES;

use crate::error::QueryError;

/// The sums of measures, in the order of [`Measure::ALL`](lake_schemas::Measure::ALL).
pub type MeasureSums = [i128; MEASURES];

/// Key of a sum: a window, and the values of its dimensions.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// Start of the window.
    pub window: EventTime,
    /// Values of the dimensions, in their order.
    pub dimensions: Vec<Option<String>>,
}

impl Key {
    /// Shows the minute, and each dimension with its name.
    pub(super) fn named(&self, dimensions: &[&'static str]) -> String {
        let minute: String = self.window.to_string().chars().take("2026-03-07T12:00".len()).collect();
        let values = dimensions.iter().zip(&self.dimensions);
        let values = values.map(|(name, value)| format!(" {name}={}", value.as_deref().unwrap_or("null")));
        format!("{}Z{}", minute, values.collect::<String>())
    }
}

/// Reads the keys of rows that begin with the window's start and this many dimensions.
pub(super) fn keys_of(batch: &RecordBatch, dimensions: usize) -> Vec<Key> {
    let texts: Vec<_> = batch.columns()[1..=dimensions].iter().map(text).collect();
    let starts = micros(batch.column(0));
    let key = |(row, start): (usize, i64)| Key {
        window: EventTime::from_micros(start),
        dimensions: texts.iter().map(|column| column[row].clone()).collect(),
    };
    starts.into_iter().enumerate().map(key).collect()
}

/// Reads the measures of rows, whose columns come one after the other and may have any type of whole numbers.
pub(super) fn sums_of(columns: &[ArrayRef]) -> Result<Vec<MeasureSums>, QueryError> {
    let wide = columns[..MEASURES].iter().map(|column| cast(column, &SUM_TYPE));
    let wide = wide.collect::<Result<Vec<_>, _>>()?;
    let columns: Vec<_> = wide.iter().map(|column| column.as_primitive::<Decimal128Type>().values()).collect();
    Ok((0..columns[0].len()).map(|row| std::array::from_fn(|measure| columns[measure][row])).collect())
}

/// Reads a column of times, in microseconds.
pub(super) fn micros(column: &ArrayRef) -> Vec<i64> {
    column.as_primitive::<TimestampMicrosecondType>().values().to_vec()
}

/// Reads a column of text, whatever its encoding.
pub(super) fn text(column: &ArrayRef) -> Vec<Option<String>> {
    let column = cast(column, &DataType::Utf8).expect("text has many encodings, and is text in each");
    let column = column.as_string::<i32>();
    column.iter().map(|value| value.map(str::to_owned)).collect()
}
