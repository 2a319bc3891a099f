//! Sums up rows of minutes, window by window, and compares two sets of rows.
//!
//! Two sets are equal if they agree for each partition and each value of each dimension. Yet only one number a window
//! is kept for that: rows always add, so a sum of measures, each weighted by a hash of its partition, dimensions and
//! measure, is equal exactly if all sums are, but for a chance of one in 2^63. All sums here have 128 bits, which rows
//! of 64 do not fill: a row whose sum once wrapped around therefore differs from the right one.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use arrow::array::{Array, AsArray, RecordBatch, StringArray};
use arrow::datatypes::{Int32Type, Int64Type, TimestampMicrosecondType};
use lake_schemas::measure::{MEASURES, Measure};
use lake_schemas::table::column;
use lake_schemas::time::{MICROS_PER_MILLI, MILLIS_PER_DAY};

/// The sums of measures, in the order of [`Measure::ALL`].
pub type MeasureSums = [i128; MEASURES];

/// Sums and fingerprint of one window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Content {
    sums: MeasureSums,
    fingerprint: u128,
}

/// Contents of rows, by the starts of their windows in milliseconds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Contents(BTreeMap<i64, Content>);

impl Contents {
    /// Adds rows, distinguished by these of their dimensions.
    pub fn add(&mut self, rows: &RecordBatch, dimensions: &[&str]) {
        let texts = dimensions.iter().copied().chain([column::TOPIC]);
        let texts: Vec<&StringArray> = texts.map(|name| rows[name].as_string::<i32>()).collect();
        let partitions = rows[column::KAFKA_PARTITION].as_primitive::<Int32Type>().values();
        let starts = rows[column::WINDOW_START].as_primitive::<TimestampMicrosecondType>().values();
        let measures = Measure::ALL.map(|measure| rows[measure.column()].as_primitive::<Int64Type>().values());
        for row in 0..rows.num_rows() {
            let content = self.0.entry(starts[row].div_euclid(MICROS_PER_MILLI)).or_default();
            let mut of = DefaultHasher::new();
            partitions[row].hash(&mut of);
            texts.iter().for_each(|column| column.is_valid(row).then(|| column.value(row)).hash(&mut of));
            for (at, (sum, measure)) in content.sums.iter_mut().zip(measures).enumerate() {
                let mut of = of.clone();
                at.hash(&mut of);
                let value = i128::from(measure[row]);
                *sum += value;
                // The weight is odd, so multiplying by it loses nothing: no difference can vanish.
                let weight = u128::from(of.finish() | 1);
                content.fingerprint = content.fingerprint.wrapping_add(weight.wrapping_mul(value.cast_unsigned()));
            }
        }
    }

    /// Adds the contents of other rows.
    pub fn merge(&mut self, other: &Self) {
        for (window, added) in &other.0 {
            let content = self.0.entry(*window).or_default();
            content.sums.iter_mut().zip(added.sums).for_each(|(sum, more)| *sum += more);
            content.fingerprint = content.fingerprint.wrapping_add(added.fingerprint);
        }
    }

    /// Compares these contents with those that take their place.
    pub fn changes(&self, after: &Self) -> Changes {
        let mut days: BTreeMap<i32, Day> = BTreeMap::new();
        let windows: BTreeSet<_> = self.0.keys().chain(after.0.keys()).copied().collect();
        for window in windows {
            let of = |contents: &Self| contents.0.get(&window).copied().unwrap_or_default();
            let (before, after) = (of(self), of(after));
            let date = i32::try_from(window.div_euclid(MILLIS_PER_DAY)).expect("event times end with the year 9999");
            let day = days.entry(date).or_default();
            day.windows += 1;
            day.windows_changed += usize::from(before != after);
            for at in 0..MEASURES {
                day.before[at] += before.sums[at];
                day.after[at] += after.sums[at];
            }
        }
        Changes { days }
    }
}

/// Changes that a backfill makes, by the day of the windows, in days since 1970.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    /// All days that the backfill compared.
    pub days: BTreeMap<i32, Day>,
}

/// Changes that a backfill makes on one day.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Day {
    /// Number of windows compared.
    pub windows: usize,
    /// Number of windows in which a sum of any partition or dimension differs.
    pub windows_changed: usize,
    /// Sums of these windows in the table.
    pub before: MeasureSums,
    /// Sums of these windows when recomputed.
    pub after: MeasureSums,
}

impl Changes {
    /// Counts the windows that change.
    pub fn windows_changed(&self) -> usize {
        self.days.values().map(|day| day.windows_changed).sum()
    }

    /// Counts the windows that were compared.
    pub fn windows(&self) -> usize {
        self.days.values().map(|day| day.windows).sum()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int32Array, Int64Array, TimestampMicrosecondArray};

    use super::*;

    /// Rows of one ad in one minute, with these costs.
    fn rows(costs: &[i64]) -> RecordBatch {
        let numbers = |value: i64| -> ArrayRef { Arc::new(Int64Array::from(vec![value; costs.len()])) };
        let texts = |value: &str| -> ArrayRef { Arc::new(StringArray::from(vec![value; costs.len()])) };
        let mut columns: Vec<(&str, ArrayRef)> = vec![
            (column::WINDOW_START, Arc::new(TimestampMicrosecondArray::from(vec![60_000_000; costs.len()]))),
            (column::AD_ID, texts("a")),
            (column::TOPIC, texts("clicks")),
            (column::KAFKA_PARTITION, Arc::new(Int32Array::from(vec![0; costs.len()]))),
        ];
        columns.extend(Measure::ALL.map(|measure| (measure.column(), numbers(0))));
        let cost = columns.iter().position(|(name, _)| *name == "cost_micros").expect("a measure");
        columns[cost].1 = Arc::new(Int64Array::from(costs.to_vec()));
        RecordBatch::try_from_iter(columns).expect("rows")
    }

    fn contents(lots: &[&[i64]]) -> Contents {
        let mut contents = Contents::default();
        for costs in lots {
            let mut lot = Contents::default();
            lot.add(&rows(costs), &[column::AD_ID]);
            contents.merge(&lot);
        }
        contents
    }

    #[test]
    fn a_sum_that_wrapped_around_is_told_from_the_rows_that_it_should_be() {
        let (right, wrapped) = ([i64::MAX, i64::MAX], i64::MAX.wrapping_add(i64::MAX));
        let changes = contents(&[&[wrapped]]).changes(&contents(&[&right]));
        assert_eq!((changes.windows(), changes.windows_changed()), (1, 1));
        let day = changes.days[&0];
        let cost = |sums: &MeasureSums| sums.iter().sum::<i128>();
        assert_eq!((cost(&day.before), cost(&day.after)), (-2, 2 * i128::from(i64::MAX)), "all other sums are 0");
    }

    #[test]
    fn however_rows_are_split_they_are_equal_if_they_add_up_to_the_same() {
        let whole = contents(&[&[i64::MAX, i64::MAX, 5]]);
        assert_eq!(whole.changes(&contents(&[&[5, i64::MAX], &[i64::MAX - 9, 9]])).windows_changed(), 0);
        assert_eq!(whole.changes(&contents(&[&[4, i64::MAX], &[i64::MAX - 9, 9]])).windows_changed(), 1);
    }
}
