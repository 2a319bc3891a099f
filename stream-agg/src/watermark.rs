//! The watermark of a partition: the largest event time so far, less the bound on disorder.
//!
//! A watermark says that few events older than it are still to come. It moves with the events and never back.

use lake_schemas::EventTime;

/// Watermark with bounded out-of-orderness.
#[derive(Clone, Copy, Debug)]
pub struct Watermark {
    out_of_orderness_ms: i64,
    /// Largest event time so far.
    largest_ms: Option<i64>,
}

impl Watermark {
    /// Makes a watermark before the first event.
    pub fn new(out_of_orderness_ms: i64) -> Self {
        Self { out_of_orderness_ms, largest_ms: None }
    }

    /// Advances with an event, and returns the watermark, in milliseconds since 1970.
    pub fn advance(&mut self, time: EventTime) -> i64 {
        let largest_ms = self.largest_ms.map_or(time.millis(), |largest| largest.max(time.millis()));
        self.largest_ms = Some(largest_ms);
        largest_ms - self.out_of_orderness_ms
    }

    /// Moves the watermark up to at least this value.
    pub fn pass(&mut self, watermark_ms: i64) {
        self.largest_ms = self.largest_ms.max(Some(watermark_ms + self.out_of_orderness_ms));
    }

    /// Returns the watermark, in milliseconds since 1970; `None` before the first event.
    pub fn millis(&self) -> Option<i64> {
        self.largest_ms.map(|largest| largest - self.out_of_orderness_ms)
    }
}
