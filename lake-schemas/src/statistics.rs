//! What a data file states of its rows: how many there are, and the smallest and largest values of some columns.

use deltalake::kernel::Add;
use serde_json::Value;

use crate::table::column;
use crate::time::EventTime;

/// The statistics of a data file.
#[derive(Clone, Debug, Default)]
pub struct Statistics(Value);

impl Statistics {
    /// Those that a commit stated; none, if it stated none.
    pub fn of(add: &Add) -> Self {
        add.stats.as_deref().and_then(Self::parse).unwrap_or_default()
    }

    /// Those that stand in a table's log.
    pub(crate) fn parse(json: &str) -> Option<Self> {
        serde_json::from_str(json).ok().map(Self)
    }

    /// How many rows.
    pub fn rows(&self) -> Option<u64> {
        self.0["numRecords"].as_u64()
    }

    /// The smallest value of a column, or null.
    pub fn min(&self, column: &str) -> &Value {
        &self.0["minValues"][column]
    }

    /// The largest value of a column, or null.
    pub fn max(&self, column: &str) -> &Value {
        &self.0["maxValues"][column]
    }

    /// The smallest and the largest value of a column of times.
    pub fn times(&self, column: &str) -> Option<(EventTime, EventTime)> {
        let time = |value: &Value| EventTime::parse(value.as_str()?);
        time(self.min(column)).zip(time(self.max(column)))
    }

    /// The starts of the first and the last window, in milliseconds since 1970.
    pub fn window_starts(&self) -> Option<(i64, i64)> {
        let (first, last) = self.times(column::WINDOW_START)?;
        Some((first.millis(), last.millis()))
    }
}
