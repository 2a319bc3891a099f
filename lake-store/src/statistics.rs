//! Statistics of a data file: the number of its rows, and the smallest and largest values of some columns.

use deltalake::kernel::Add;
use lake_schemas::EventTime;
use lake_schemas::table::column;
use serde_json::Value;

/// Statistics of one data file.
#[derive(Clone, Debug, Default)]
pub struct Statistics(Value);

impl Statistics {
    /// Returns the statistics that a commit stated for a file; empty ones, if it stated none.
    pub fn of(add: &Add) -> Self {
        add.stats.as_deref().and_then(Self::parse).unwrap_or_default()
    }

    /// Parses statistics as a table's log has them, in JSON.
    pub(crate) fn parse(json: &str) -> Option<Self> {
        serde_json::from_str(json).ok().map(Self)
    }

    /// Returns the number of rows.
    pub fn rows(&self) -> Option<u64> {
        self.0["numRecords"].as_u64()
    }

    /// Returns the smallest value of a column, or null.
    pub fn min(&self, column: &str) -> &Value {
        &self.0["minValues"][column]
    }

    /// Returns the largest value of a column, or null.
    pub fn max(&self, column: &str) -> &Value {
        &self.0["maxValues"][column]
    }

    /// Returns the smallest and the largest value of a column of times; `None` if they are not stated, or in reverse
    /// order.
    pub fn times(&self, column: &str) -> Option<(EventTime, EventTime)> {
        let time = |value: &Value| EventTime::parse(value.as_str()?);
        time(self.min(column)).zip(time(self.max(column))).filter(|(first, last)| first <= last)
    }

    /// Returns the starts of the first and the last window, in milliseconds since 1970.
    pub fn window_starts(&self) -> Option<(i64, i64)> {
        let (first, last) = self.times(column::WINDOW_START)?;
        Some((first.millis(), last.millis()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_that_end_before_they_begin_state_nothing() {
        let stated = |min: &str, max: &str| {
            let text = serde_json::json!({"minValues": {"window_start": min}, "maxValues": {"window_start": max}});
            Statistics::parse(&text.to_string()).expect("JSON").window_starts()
        };
        let (noon, later) = ("2026-03-07T12:00:00.000Z", "2026-03-07T12:01:00.000Z");
        assert_eq!(stated(noon, later), Some((1_772_884_800_000, 1_772_884_860_000)));
        assert_eq!(stated(noon, noon), Some((1_772_884_800_000, 1_772_884_800_000)));
        assert_eq!(stated(later, noon), None);
    }
}
