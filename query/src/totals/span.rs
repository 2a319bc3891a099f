//! IntervalSet of time as people ask for them: the last hour, say, in windows of which there are not too many to look at.

use std::time::Duration;

use chrono::{DateTime, Utc};
use lake_schemas::minute::{WINDOW, WINDOW_MS};
use lake_schemas::time::{MILLIS_PER_DAY, MILLIS_PER_HOUR};
use lake_schemas::{EventTime, Width};

/// Longest span that is shown by minute, in milliseconds.
const BY_MINUTE_MAX_MS: i64 = 3 * MILLIS_PER_HOUR;

/// Longest span that is shown by hour, in milliseconds.
const BY_HOUR_MAX_MS: i64 = 7 * MILLIS_PER_DAY;

/// Two bounds: no window that starts before the first, and none that starts at the second or later.
pub type Bounds = (Option<EventTime>, Option<EventTime>);

/// Returns the bounds of the last minutes of this duration, the current minute included.
pub fn last(duration: Duration, now: DateTime<Utc>) -> Bounds {
    let millis = i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
    let minutes = millis.saturating_add(WINDOW_MS - 1) / WINDOW_MS;
    let to_ms = WINDOW.end_ms(WINDOW.start_ms(now.timestamp_millis()));
    let from_ms = to_ms.saturating_sub(minutes.saturating_mul(WINDOW_MS));
    // A time before all that can be expressed means no lower bound.
    (EventTime::from_millis(from_ms), EventTime::from_millis(to_ms))
}

/// Returns a width that gives not too many windows to look at.
pub fn width_for((from, to): Bounds) -> Width {
    match from.zip(to).map(|(from, to)| to.millis() - from.millis()) {
        Some(span_ms) if span_ms <= BY_MINUTE_MAX_MS => Width::Minute,
        Some(span_ms) if span_ms <= BY_HOUR_MAX_MS => Width::Hour,
        _ => Width::Day,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_minutes_end_with_the_one_that_is_not_over() {
        let now = "2026-03-07T12:34:56Z".parse().expect("a time");
        let bounds = |duration: u64| {
            let (from, to) = last(Duration::from_secs(duration), now);
            let text = |time: Option<EventTime>| time.map_or_else(|| "open".to_owned(), |time| time.to_string());
            (text(from), text(to))
        };
        let to = || "2026-03-07T12:35:00.000Z".to_owned();
        assert_eq!(bounds(60), ("2026-03-07T12:34:00.000Z".to_owned(), to()));
        assert_eq!(bounds(61), ("2026-03-07T12:33:00.000Z".to_owned(), to()));
        assert_eq!(bounds(u64::MAX / 1_000), ("open".to_owned(), to()));
    }
}
