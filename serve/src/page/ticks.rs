//! Finds the marks on the axes of a plot, and their labels: round counts, and round times in UTC. No drawing.

use std::ops::RangeInclusive;

use chrono::{DateTime, Datelike, NaiveDate};
use lake_schemas::Width;
use lake_schemas::time::{MILLIS_PER_DAY as DAY_MS, MILLIS_PER_HOUR as HOUR_MS, MILLIS_PER_MINUTE as MINUTE_MS};

/// Most marks on an axis of counts.
const COUNT_TICKS_MAX: i64 = 4;

/// Largest count of an axis on which counts are written out, with a comma at thousands; a larger axis says 10k.
const WRITTEN_OUT_MAX: i64 = 9_999;

/// Monday, 1970-01-05, in milliseconds since 1970: weeks begin on Mondays.
const FIRST_MONDAY_MS: i64 = 4 * DAY_MS;

/// Steps that divide days and weeks into round parts, in milliseconds.
const STEPS_MS: [i64; 15] = [
    MINUTE_MS,
    2 * MINUTE_MS,
    5 * MINUTE_MS,
    10 * MINUTE_MS,
    15 * MINUTE_MS,
    30 * MINUTE_MS,
    HOUR_MS,
    2 * HOUR_MS,
    3 * HOUR_MS,
    6 * HOUR_MS,
    12 * HOUR_MS,
    DAY_MS,
    2 * DAY_MS,
    7 * DAY_MS,
    14 * DAY_MS,
];

/// Steps that divide years and centuries into round parts, in months.
const STEPS_MONTHS: [i32; 12] = [1, 2, 3, 6, 12, 24, 60, 120, 240, 1_200, 12_000, 120_000];

/// Length of the longest month, in milliseconds.
const MONTH_MS_MAX: i64 = 31 * DAY_MS;

/// A mark on an axis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tick {
    /// Place of the mark: a count, or milliseconds since 1970.
    pub at: i64,
    /// Label of the mark.
    pub label: String,
}

/// Returns the marks from zero to the first one that no count exceeds.
pub(super) fn of_counts(most: i64) -> Vec<Tick> {
    let step = round_up((most.max(1) - 1) / COUNT_TICKS_MAX + 1);
    let top = most.max(1).saturating_add(step - 1) / step * step;
    (0..=top / step).map(|place| place * step).map(|at| Tick { at, label: axis_count(at, top) }).collect()
}

/// Returns the marks for a stretch of time, in milliseconds since 1970: at most `ticks_max`, and none inside of a
/// window.
pub(super) fn of_times(stretch_ms: RangeInclusive<i64>, width: Width, ticks_max: i64) -> Vec<Tick> {
    let (from_ms, to_ms) = stretch_ms.into_inner();
    let fits = |step_ms: i64| (to_ms - from_ms) / step_ms <= ticks_max.max(1);
    let width_ms = width.end_ms(from_ms) - from_ms;
    let even = STEPS_MS.into_iter().find(|step_ms| *step_ms >= width_ms && fits(*step_ms));
    match even {
        Some(step_ms) => even_ticks(from_ms, to_ms, step_ms),
        None => {
            let months = STEPS_MONTHS.into_iter().find(|months| fits(i64::from(*months) * MONTH_MS_MAX));
            month_ticks(from_ms, to_ms, months.unwrap_or(STEPS_MONTHS[STEPS_MONTHS.len() - 1]))
        }
    }
}

/// Returns the label of a mark.
pub(super) fn label(ticks: &[Tick], at: i64) -> String {
    ticks.iter().find(|tick| tick.at == at).map(|tick| tick.label.clone()).unwrap_or_default()
}

/// Returns a count as people read it: `1,042`.
pub(super) fn count(count: i64) -> String {
    let digits = count.unsigned_abs().to_string();
    let mut text = String::from(if count < 0 { "-" } else { "" });
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Returns a window as people say it: `2026-03-07 12:03–12:04 UTC`, or `2026-03-07 UTC`.
pub(super) fn window(start_ms: i64, width: Width) -> String {
    let end = shown(width.end_ms(start_ms), "%H:%M");
    match width {
        Width::Minute | Width::Hour => format!("{}–{end} UTC", shown(start_ms, "%Y-%m-%d %H:%M")),
        Width::Day => format!("{} UTC", shown(start_ms, "%Y-%m-%d")),
        Width::Month => shown(start_ms, "%Y-%m"),
    }
}

/// Returns the smallest of 1, 2, 5, 10, 20, 50 … that is not below a count.
fn round_up(least: i64) -> i64 {
    let mut power = 1_i64;
    loop {
        for digit in [1, 2, 5] {
            match power.checked_mul(digit) {
                Some(round) if round < least => {}
                Some(round) => return round,
                None => return i64::MAX,
            }
        }
        power = power.saturating_mul(10);
    }
}

/// Returns the label for a count on an axis. All marks are multiples of 1, 2 or 5 of a power of ten, so one decimal is
/// enough.
fn axis_count(at: i64, top: i64) -> String {
    let units = [(1_000_000_000_000, "T"), (1_000_000_000, "B"), (1_000_000, "M"), (1_000, "k")];
    let unit = units.into_iter().find(|(unit, _)| at >= *unit && top > WRITTEN_OUT_MAX);
    unit.map_or_else(
        || count(at),
        |(unit, name)| match at % unit / (unit / 10) {
            0 => format!("{}{name}", count(at / unit)),
            tenths => format!("{}.{tenths}{name}", count(at / unit)),
        },
    )
}

fn even_ticks(from_ms: i64, to_ms: i64, step_ms: i64) -> Vec<Tick> {
    let origin_ms = if step_ms % (7 * DAY_MS) == 0 { FIRST_MONDAY_MS } else { 0 };
    let first_ms = from_ms + (origin_ms - from_ms).rem_euclid(step_ms);
    let label = |at: i64| shown(at, if at.rem_euclid(DAY_MS) == 0 { "%b %-d" } else { "%H:%M" });
    (0..)
        .map(|place| first_ms + place * step_ms)
        .take_while(|at| *at <= to_ms)
        .map(|at| Tick { at, label: label(at) })
        .collect()
}

fn month_ticks(from_ms: i64, to_ms: i64, step_months: i32) -> Vec<Tick> {
    let Some(from) = DateTime::from_timestamp_millis(from_ms) else { return Vec::new() };
    let first = (from.year() * 12 + from.month0().cast_signed()).div_euclid(step_months) * step_months;
    let starts = (0..).map_while(|place| month_start_ms(first + place * step_months));
    let label = |at: i64| {
        let january = DateTime::from_timestamp_millis(at).is_some_and(|time| time.month0() == 0);
        shown(at, if january { "%Y" } else { "%b" })
    };
    starts.take_while(|at| *at <= to_ms).filter(|at| *at >= from_ms).map(|at| Tick { at, label: label(at) }).collect()
}

/// Returns when a month begins, counted from the year 0.
fn month_start_ms(months: i32) -> Option<i64> {
    let month = months.rem_euclid(12).cast_unsigned() + 1;
    let first = NaiveDate::from_ymd_opt(months.div_euclid(12), month, 1)?;
    Some(i64::from(first.to_epoch_days()) * DAY_MS)
}

fn shown(time_ms: i64, pattern: &str) -> String {
    DateTime::from_timestamp_millis(time_ms).map(|time| time.format(pattern).to_string()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use lake_schemas::EventTime;

    use super::*;

    fn ms(text: &str) -> i64 {
        EventTime::parse(text).expect("a time").millis()
    }

    fn labels(ticks: &[Tick]) -> String {
        ticks.iter().map(|tick| tick.label.as_str()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn counts_are_marked_at_round_numbers_up_to_the_most() {
        let cases = [
            (0, "0 1"),
            (1, "0 1"),
            (3, "0 1 2 3"),
            (5, "0 2 4 6"),
            (1_042, "0 500 1,000 1,500"),
            (9_500, "0 5k 10k"),
            (48_000, "0 20k 40k 60k"),
            (1_800_000, "0 500k 1M 1.5M 2M"),
            (9_000_000_000_000_000, "0 5,000T 10,000T"),
        ];
        for (most, expected) in cases {
            let ticks = of_counts(most);
            let top = ticks.last().map_or(0, |tick| tick.at);
            assert!(top >= most.max(1) && ticks.len() <= 5, "{most}: {ticks:?}");
            assert_eq!(labels(&ticks), expected, "{most}");
        }
        assert!(!of_counts(i64::MAX).is_empty());
    }

    #[test]
    fn times_are_marked_at_round_minutes_hours_days_months_and_years() {
        let cases = [
            (Width::Minute, "2026-03-07T12:00:00Z", "2026-03-07T12:01:00Z", "12:00 12:01"),
            (Width::Minute, "2026-03-07T11:48:00Z", "2026-03-07T12:03:00Z", "11:50 11:55 12:00"),
            (Width::Minute, "2026-03-07T23:10:00Z", "2026-03-08T02:10:00Z", "Mar 8 01:00 02:00"),
            (Width::Hour, "2026-03-06T13:00:00Z", "2026-03-07T13:00:00Z", "18:00 Mar 7 06:00 12:00"),
            (Width::Day, "2026-03-06T00:00:00Z", "2026-03-08T00:00:00Z", "Mar 6 Mar 7 Mar 8"),
            (Width::Day, "2026-02-20T00:00:00Z", "2026-03-20T00:00:00Z", "Feb 23 Mar 2 Mar 9 Mar 16"),
            (Width::Day, "2025-11-20T00:00:00Z", "2026-03-20T00:00:00Z", "Dec 2026 Feb Mar"),
            (Width::Day, "2016-05-01T00:00:00Z", "2026-05-01T00:00:00Z", "2018 2020 2022 2024 2026"),
        ];
        for (width, from, to, expected) in cases {
            assert_eq!(labels(&of_times(ms(from)..=ms(to), width, 4)), expected, "{from} to {to}");
        }
        let all = of_times(ms("0001-01-01T00:00:00Z")..=ms("9999-01-01T00:00:00Z"), Width::Day, 1);
        assert!(all.len() <= 2, "{all:?}");
    }

    #[test]
    fn counts_and_windows_are_said_in_full() {
        let counts = [0, 7, 999, 1_000, 1_234_567, -1_000].map(count);
        assert_eq!(counts.join(" "), "0 7 999 1,000 1,234,567 -1,000");
        let start_ms = ms("2026-03-07T23:00:00Z");
        assert_eq!(window(start_ms, Width::Minute), "2026-03-07 23:00–23:01 UTC");
        assert_eq!(window(start_ms, Width::Hour), "2026-03-07 23:00–00:00 UTC");
        assert_eq!(window(ms("2026-03-07T00:00:00Z"), Width::Day), "2026-03-07 UTC");
    }
}
