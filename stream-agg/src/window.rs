//! Windows of event time, as a [`Windowing`] divides it: each event belongs to exactly one window.

use lake_schemas::time::MILLIS_PER_HOUR;
use lake_schemas::{EventTime, Windowing};

/// A window of event time, from its start up to, but without, its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Window {
    start_ms: i64,
}

impl Window {
    /// Returns the window of an event time.
    #[inline]
    pub fn of(time: EventTime, windowing: Windowing) -> Self {
        Self { start_ms: windowing.start_ms(time.millis()) }
    }

    /// Returns the first millisecond of the window.
    pub fn start_ms(self) -> i64 {
        self.start_ms
    }

    /// Returns the first millisecond after the window.
    #[inline]
    pub fn end_ms(self, windowing: Windowing) -> i64 {
        windowing.end_ms(self.start_ms)
    }

    /// Returns the hour that the window lies in, in hours since 1970.
    pub fn hour(self) -> i64 {
        hour_of(self.start_ms)
    }
}

/// Returns the hour that a time lies in, in hours since 1970.
pub fn hour_of(millis: i64) -> i64 {
    millis.div_euclid(MILLIS_PER_HOUR)
}
