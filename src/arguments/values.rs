//! Parses values on the command line; the errors say what is expected.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::time::Duration;

use chrono::{DateTime, Utc};
use clap::builder::{BoolishValueParser, PossibleValuesParser, TypedValueParser, ValueParser};
use lake_schemas::{CountedBy, EventTime, Field, Table, Width, Windowing, time};
use query::totals::{self, AsOf, Filter};
use serve::Keys;

/// Number of hexadecimal digits in a hash.
const SHA_256_DIGITS: usize = 64;

const EXPECTED_DURATION: &str = "expected a duration such as 250ms, 5s, 15m, 1h or 30d, up to 1000y";

/// Least memory for queries, in bytes: a sort reserves 10 MiB for each of several threads before it begins, and of a
/// server's memory one third is for HTTP.
const MEMORY_MIN: usize = 64 << 20;

/// Shortest time for which history may be kept: what a job knows of a table is never older than 10 minutes, and no
/// query on an open lake should take longer.
const HISTORY_MIN: Duration = Duration::from_secs(3_600);

/// Parses the value of a switch: yes, y, true, t, on, 1, or their opposites, in any case.
pub fn switch() -> ValueParser {
    BoolishValueParser::new().into()
}

pub fn duration(text: &str) -> Result<Duration, String> {
    let parsed = duration_or_zero(text).ok().filter(|duration| !duration.is_zero());
    parsed.ok_or_else(|| EXPECTED_DURATION.to_owned())
}

pub fn duration_or_zero(text: &str) -> Result<Duration, String> {
    time::duration(text).ok_or_else(|| EXPECTED_DURATION.to_owned())
}

/// Parses how long history is kept: longer than anyone reads a version, or works out the next one from it.
pub fn history(text: &str) -> Result<Duration, String> {
    let kept = duration(text)?;
    Some(kept)
        .filter(|kept| *kept >= HISTORY_MIN)
        .ok_or_else(|| "expected 1h at least: a query or a commit may need a version for as long as that".to_owned())
}

pub fn size(text: &str) -> Result<usize, String> {
    let parsed = text.parse::<bytesize::ByteSize>().ok().and_then(|size| usize::try_from(size.as_u64()).ok());
    parsed.filter(|size| *size > 0).ok_or_else(|| "expected a size such as 512MiB or 4GiB".to_owned())
}

/// Parses the memory for queries.
pub fn memory(text: &str) -> Result<usize, String> {
    let least = || format!("expected {}MiB at least: less is not enough to sort and to sum up", MEMORY_MIN >> 20);
    Some(size(text)?).filter(|size| *size >= MEMORY_MIN).ok_or_else(least)
}

/// Parses an address to listen at.
pub fn address(text: &str) -> Result<SocketAddr, String> {
    let expected = "expected an address and a port, such as 127.0.0.1:8080, or 0.0.0.0:8080 for all of this machine";
    text.parse().map_err(|_| expected.to_owned())
}

/// Parses a number of at least one.
pub fn number(text: &str) -> Result<NonZeroUsize, String> {
    text.parse().map_err(|_| "expected a number, 1 at least".to_owned())
}

/// Parses how many messages are sent in a second.
pub fn rate(text: &str) -> Result<u64, String> {
    let parsed = text.parse::<u64>().ok().filter(|rate| *rate > 0);
    parsed.ok_or_else(|| "expected a number of messages, 1 at least".to_owned())
}

/// Parses the name of an ad or a campaign.
pub fn name(text: &str) -> Result<String, String> {
    if text.is_empty() {
        Err("expected a name; leave the flag out to see all of them".to_owned())
    } else {
        Ok(text.to_owned())
    }
}

/// Parses a dimension to filter or group by.
pub fn dimension(name: &str) -> Result<Field, String> {
    totals::dimension(name)
}

/// Parses a condition: a dimension, and the values that it may have, as in a line of CSV.
pub fn filter(text: &str) -> Result<Filter, String> {
    let (name, values) = text.split_once('=').ok_or("expected DIMENSION=VALUE, such as country=DE,AT")?;
    Ok(Filter { dimension: dimension(name)?, values: totals::values(values)? })
}

/// Parses the width of windows that have rows of their own.
pub fn granularity() -> impl TypedValueParser<Value = Width> {
    let words = PossibleValuesParser::new(Width::OF_WINDOWS.map(Width::word));
    words.try_map(|word| Width::of_windows(&word).ok_or("expected one of those"))
}

/// Parses a time at which a window may start.
pub fn minute(text: &str) -> Result<EventTime, String> {
    let is_whole = |time: &EventTime| Windowing::default().begins_at(time.millis());
    Some(time(text)?).filter(is_whole).ok_or_else(|| "expected a whole minute: windows start with minutes".to_owned())
}

/// Parses a time: RFC 3339, or a day, which begins at midnight UTC.
pub fn time(text: &str) -> Result<EventTime, String> {
    let time = time::written(text).and_then(|time| EventTime::from_millis(time.timestamp_millis()));
    time.ok_or_else(|| "expected a time such as 2026-03-07T12:00:00Z, or a day such as 2026-03-07".to_owned())
}

/// Parses a time as a date and time of the calendar.
pub fn instant(text: &str) -> Result<DateTime<Utc>, String> {
    let time = DateTime::from_timestamp_millis(time(text)?.millis());
    time.ok_or_else(|| "expected a time that a calendar has".to_owned())
}

/// Parses a version, or a time of the calendar.
pub fn as_of(text: &str) -> Result<AsOf, String> {
    if let Ok(version) = text.parse() {
        return Ok(AsOf::Version(version));
    }
    let known = time::written(text).map(AsOf::Time);
    known.ok_or_else(|| "expected a version such as 412, or a time such as 2026-03-07T12:00:00Z".to_owned())
}

/// Parses the campaigns that a key sees, as its line in the file of keys lists them.
pub fn campaigns(text: &str) -> Result<String, String> {
    if text.trim().is_empty() {
        return Err("expected campaigns by comma, such as spring,campaign-3, or * for everything".to_owned());
    }
    if text != text.trim() {
        return Err("a campaign begins or ends with a blank; write a,b".to_owned());
    }
    if text.contains(['\n', '\r']) {
        return Err("a campaign has no end of a line in it".to_owned());
    }
    // The server's own parser decides, with an arbitrary key.
    match Keys::parse(&format!("{} {text}", "0".repeat(SHA_256_DIGITS))) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(error.to_string().trim_start_matches("line 1 of the keys: ").to_owned()),
    }
}

/// Parses the origin of a page, as browsers write it: no path, and no slash at its end.
pub fn origin(text: &str) -> Result<String, String> {
    let expected = || "expected an origin such as https://dashboard.example, or http://localhost:3000".to_owned();
    serve::origin(text).ok_or_else(expected)
}

/// Parses the name of a table of minutes.
pub fn minutes(name: &str) -> Result<Table, String> {
    if name == Table::ClicksMinute.name() { Ok(Table::ClicksMinute) } else { name.parse().map(Table::Staging) }
}

/// Parses the name of a program that counts tables live.
pub fn counted_by() -> impl TypedValueParser<Value = CountedBy> {
    PossibleValuesParser::new(CountedBy::ALL.map(CountedBy::as_str)).try_map(|name| name.parse::<CountedBy>())
}

/// Parses the name of a table of the lake, or of a staging table.
pub fn table(name: &str) -> Result<Table, String> {
    name.parse()
}

pub fn share(text: &str) -> Result<f64, String> {
    let share = text.parse().ok().filter(|share| (0.0..=1.0).contains(share));
    share.ok_or_else(|| "expected a share between 0 and 1".to_owned())
}

pub fn property(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("expected key=value")?;
    Ok((key.trim().to_owned(), value.trim().to_owned()))
}

/// Parses the name of a topic, by Kafka's own rule.
pub fn topic(text: &str) -> Result<String, String> {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    if (1..=249).contains(&text.len()) && text.bytes().all(legal) && text != "." && text != ".." {
        Ok(text.to_owned())
    } else {
        Err("expected up to 249 letters, digits, '.', '_' or '-'".to_owned())
    }
}
