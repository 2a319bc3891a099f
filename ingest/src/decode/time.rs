//! Parses the two ways to write an event time: RFC 3339 with a zone, or milliseconds since 1970.

use chrono::DateTime;
use lake_schemas::EventTime;
use serde_json::value::RawValue;

use super::raw_json;

/// Parses a time, kept to the millisecond. The error says what is wrong with the value.
pub(super) fn parse(raw: &RawValue) -> Result<EventTime, String> {
    let millis = match raw.get().as_bytes().first() {
        Some(b'"') => {
            let text = raw_json::string(raw).ok_or("not valid Unicode")?;
            from_text(&text)
        }
        Some(b'-' | b'0'..=b'9') => raw_json::integer(raw),
        _ => return Err(format!("expected RFC 3339 or milliseconds, found {}", raw_json::kind(raw))),
    };
    let millis = millis.ok_or("expected RFC 3339 with a zone, or whole milliseconds since 1970")?;
    EventTime::from_millis(millis)
        .ok_or_else(|| format!("{millis} is beyond the year 9999; times are milliseconds since 1970"))
}

fn from_text(text: &str) -> Option<i64> {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse().ok();
    }
    DateTime::parse_from_rfc3339(text).ok().map(|time| time.timestamp_millis())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn micros(json: &str) -> Option<i64> {
        let raw: &RawValue = serde_json::from_str(json).expect("JSON");
        parse(raw).ok().map(EventTime::micros)
    }

    #[test]
    fn both_ways_to_write_a_time_give_the_same_time() {
        let noon = Some(1_772_884_845_000_000);
        for shape in [
            "\"2026-03-07T12:00:45Z\"",
            "\"2026-03-07T13:00:45+01:00\"",
            "\"2026-03-07T12:00:45.000999Z\"",
            "1772884845000",
            "\"1772884845000\"",
        ] {
            assert_eq!(micros(shape), noon, "{shape}");
        }
    }

    #[test]
    fn a_value_that_is_no_time_is_refused() {
        for bad in [
            "\"\"",
            "\"2026-03-07T12:00:45\"",
            "\"2026-03-07\"",
            "\"2026-02-30T00:00:00Z\"",
            "\"-5\"",
            "1772884845000.5",
            "1.7e12",
            "99999999999999999999999",
            "253402300800000",
            "true",
            "{}",
        ] {
            assert_eq!(micros(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_leap_second_is_the_second_after() {
        assert_eq!(micros("\"2016-12-31T23:59:60Z\""), micros("\"2017-01-01T00:00:00Z\""));
    }
}
