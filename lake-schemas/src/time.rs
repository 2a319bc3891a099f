//! The two times of a message, as types that cannot be compared.
//!
//! **Event time** is what the event says of itself; **log time** is the timestamp of the Kafka message that carries it.
//! Neither is ever read from a clock here: the content of a table is a function of the log alone.

use std::fmt;
use std::time::Duration;

use chrono::{DateTime, NaiveDate, SecondsFormat, Utc};

/// Microseconds in a millisecond.
pub const MICROS_PER_MILLI: i64 = 1_000;

/// Milliseconds in a minute.
pub const MILLIS_PER_MINUTE: i64 = 60_000;

/// Milliseconds in an hour.
pub const MILLIS_PER_HOUR: i64 = 60 * MILLIS_PER_MINUTE;

/// Milliseconds in a day.
pub const MILLIS_PER_DAY: i64 = HOURS_PER_DAY * MILLIS_PER_HOUR;

/// Hours in a day.
pub const HOURS_PER_DAY: i64 = 24;

const NANOS_PER_SECOND: u32 = 1_000_000_000;

/// Earliest time of an event, 2000-01-01T00:00:00Z, in milliseconds. Nothing that this system bills is older; an
/// earlier time comes from a broken clock.
const EVENT_MILLIS_MIN: i64 = 946_684_800_000;

/// Last millisecond of the year 9999: RFC 3339 can express no later time, and readers of Delta tables differ beyond it.
const MILLIS_MAX: i64 = 253_402_300_799_999;

/// Parses a time as people write it: RFC 3339, or a day, which begins at midnight UTC. A leap second is refused: it
/// would be taken for the second behind it, and so for a whole minute.
pub fn written(text: &str) -> Option<DateTime<Utc>> {
    let day = || Some(text.parse::<NaiveDate>().ok()?.and_hms_opt(0, 0, 0)?.and_utc());
    let time = DateTime::parse_from_rfc3339(text).ok().map(|time| time.to_utc()).or_else(day);
    time.filter(|time| !is_leap_second(time))
}

/// Returns whether a time lies in a leap second. Its nanoseconds are counted on from the second before it.
pub fn is_leap_second(time: &DateTime<Utc>) -> bool {
    time.timestamp_subsec_nanos() >= NANOS_PER_SECOND
}

/// Longest stretch of time that people may write, 1,000 years of 365.25 days: it can be added to the time now.
const DURATION_MAX: Duration = Duration::from_secs(1_000 * 31_557_600);

/// Parses a stretch of time as people write it: `250ms`, `5s`, `15m`, `1h` or `30d`; it may be zero.
pub fn duration(text: &str) -> Option<Duration> {
    humantime::parse_duration(text).ok().filter(|duration| *duration <= DURATION_MAX)
}

/// Returns a stretch of time, given in milliseconds, as flags write it: in the largest unit of which it is a whole
/// number.
pub fn shown_duration(millis: i64) -> String {
    const UNITS: [(i64, &str); 4] =
        [(MILLIS_PER_DAY, "d"), (MILLIS_PER_HOUR, "h"), (MILLIS_PER_MINUTE, "m"), (1_000, "s")];
    let whole = UNITS.into_iter().find(|(unit, _)| millis != 0 && millis % unit == 0);
    whole.map_or_else(|| format!("{millis}ms"), |(unit, name)| format!("{}{name}", millis / unit))
}

/// When an event happened, by its own account: UTC, kept to the millisecond.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventTime {
    millis: i64,
}

impl EventTime {
    /// Returns the time that is `millis` milliseconds after 1970; `None` beyond the year 9999 on either side.
    pub fn from_millis(millis: i64) -> Option<Self> {
        (-MILLIS_MAX..=MILLIS_MAX).contains(&millis).then_some(Self { millis })
    }

    /// Parses a time in RFC 3339.
    pub fn parse(text: &str) -> Option<Self> {
        let time = DateTime::parse_from_rfc3339(text).ok()?;
        Self::from_millis(time.timestamp_millis())
    }

    /// Returns the time that a table holds, given in microseconds since 1970. Only whole milliseconds are kept.
    pub fn from_micros(micros: i64) -> Self {
        Self { millis: micros.div_euclid(MICROS_PER_MILLI) }
    }

    /// Returns milliseconds since 1970.
    pub fn millis(self) -> i64 {
        self.millis
    }

    /// Returns microseconds since 1970, as the tables hold it.
    pub fn micros(self) -> i64 {
        self.millis * MICROS_PER_MILLI
    }

    /// Returns whether the event time is before the year 2000.
    pub fn is_too_old(self) -> bool {
        self.millis < EVENT_MILLIS_MIN
    }

    /// Returns whether the event time lies more than `bound_ms` milliseconds after the log time of its message.
    pub fn is_ahead_of(self, log_time: LogTime, bound_ms: i64) -> bool {
        self.millis - log_time.millis > bound_ms
    }
}

impl fmt::Display for EventTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        rfc3339(self.millis, f)
    }
}

/// Timestamp of a Kafka message: set by its producer, or by the broker on topics that append their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogTime {
    millis: i64,
}

impl LogTime {
    /// Returns the time that is `millis` milliseconds after 1970. `None` for Kafka's -1 ("no timestamp"), and for
    /// numbers that are no date.
    pub fn from_millis(millis: i64) -> Option<Self> {
        (0..=MILLIS_MAX).contains(&millis).then_some(Self { millis })
    }

    /// Returns the time that a table holds, given in microseconds since 1970.
    pub fn from_micros(micros: i64) -> Option<Self> {
        Self::from_millis(micros.div_euclid(MICROS_PER_MILLI))
    }

    /// Returns microseconds since 1970, as the tables hold it.
    pub fn micros(self) -> i64 {
        self.millis * MICROS_PER_MILLI
    }
}

impl fmt::Display for LogTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        rfc3339(self.millis, f)
    }
}

/// The UTC day of a message's log time, by which the raw tables are partitioned: such a day ends, whatever event times
/// say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogDate {
    days: i32,
}

impl LogDate {
    /// Returns the day of a message; 1970-01-01 for one without a timestamp.
    pub fn of(log_time: Option<LogTime>) -> Self {
        let millis = log_time.map_or(0, |time| time.millis);
        let days = i32::try_from(millis.div_euclid(MILLIS_PER_DAY))
            .expect("log times end with the year 9999, 2.9 million days after 1970");
        Self { days }
    }

    /// Returns days since 1970, as Arrow's Date32 and Delta's date count them.
    pub fn days(self) -> i32 {
        self.days
    }

    /// Returns the day that is `days` days after 1970-01-01.
    pub fn from_days(days: i32) -> Self {
        Self { days }
    }
}

impl fmt::Display for LogDate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match NaiveDate::from_epoch_days(self.days) {
            Some(date) => write!(f, "{date}"),
            None => write!(f, "day {}", self.days),
        }
    }
}

fn rfc3339(millis: i64, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match DateTime::from_timestamp_millis(millis) {
        Some(time) => f.write_str(&time.to_rfc3339_opts(SecondsFormat::Millis, true)),
        None => write!(f, "{millis} ms"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_without_a_timestamp_belongs_to_the_first_day() {
        assert_eq!(LogTime::from_millis(-1), None);
        assert_eq!(LogDate::of(None).to_string(), "1970-01-01");
    }

    #[test]
    fn a_day_begins_at_midnight_utc() {
        let day = |millis| LogDate::of(LogTime::from_millis(millis)).to_string();
        assert_eq!(day(1_772_841_599_999), "2026-03-06");
        assert_eq!(day(1_772_841_600_000), "2026-03-07");
    }

    #[test]
    fn a_leap_second_is_no_time_that_people_write() {
        for text in
            ["2016-12-31T23:59:60Z", "2016-12-31T23:59:60.5Z", "2017-01-01T00:59:60+01:00", "2026-03-07T06:00:60Z"]
        {
            assert_eq!(written(text), None, "{text}");
        }
        for text in ["2016-12-31T23:59:59.999999999Z", "2017-01-01T00:00:00Z", "2017-01-01"] {
            assert!(written(text).is_some(), "{text}");
        }
    }

    #[test]
    fn a_duration_can_be_added_to_any_time_that_a_clock_reads() {
        assert_eq!(duration("1000y").map(|duration| duration.as_secs() / 31_557_600), Some(1_000));
        for text in ["1001y", "500000000000y", "18446744073709551615s", "-5s", ""] {
            assert_eq!(duration(text), None, "{text}");
        }
    }

    #[test]
    fn a_duration_is_shown_as_it_may_be_written() {
        for text in ["0ms", "250ms", "5s", "15m", "1h", "90m", "30d", "49d"] {
            let millis = duration(text).and_then(|duration| i64::try_from(duration.as_millis()).ok());
            assert_eq!(millis.map(shown_duration).as_deref(), Some(text));
        }
    }

    #[test]
    fn the_future_is_measured_from_the_message() {
        let message = LogTime::from_millis(1_000_000).expect("in range");
        let event = |millis| EventTime::from_millis(millis).expect("in range");
        assert!(!event(1_300_000).is_ahead_of(message, 300_000));
        assert!(event(1_300_001).is_ahead_of(message, 300_000));
    }
}
