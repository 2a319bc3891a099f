//! Tumbling windows of event time: each event belongs to exactly one.

use lake_schemas::EventTime;
use lake_schemas::minute::WINDOW_MS;
use lake_schemas::time::MILLIS_PER_HOUR;

/// A minute of event time, from its start up to, but without, its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Window {
    start_ms: i64,
}

impl Window {
    /// Returns the window of an event time.
    pub fn of(time: EventTime) -> Self {
        Self { start_ms: time.millis().div_euclid(WINDOW_MS) * WINDOW_MS }
    }

    /// Returns its first millisecond.
    pub fn start_ms(self) -> i64 {
        self.start_ms
    }

    /// Returns the first millisecond after it.
    pub fn end_ms(self) -> i64 {
        self.start_ms + WINDOW_MS
    }

    /// Returns the hour that it lies in, in hours since 1970.
    pub fn hour(self) -> i64 {
        hour_of(self.start_ms)
    }
}

/// Returns the hour that a time lies in, in hours since 1970.
pub fn hour_of(millis: i64) -> i64 {
    millis.div_euclid(MILLIS_PER_HOUR)
}
