//! Tumbling windows of event time: each event belongs to exactly one.

use lake_schemas::EventTime;
use lake_schemas::minute::WINDOW_MS;

/// A minute of event time, from its start up to, but without, its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Window {
    start_ms: i64,
}

impl Window {
    /// The window that an event time lies in.
    pub fn of(time: EventTime) -> Self {
        Self { start_ms: time.millis().div_euclid(WINDOW_MS) * WINDOW_MS }
    }

    /// Its first millisecond.
    pub fn start_ms(self) -> i64 {
        self.start_ms
    }

    /// The first millisecond after it.
    pub fn end_ms(self) -> i64 {
        self.start_ms + WINDOW_MS
    }
}
