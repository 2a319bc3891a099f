//! Widths of time: the length of a table's windows, and of the folders that its files lie in. Half-open, in UTC.

use chrono::{DateTime, Datelike, Days, Months};

use crate::time::{MILLIS_PER_DAY, MILLIS_PER_HOUR, MILLIS_PER_MINUTE};

/// A stretch of the calendar. Each but the last is a part of the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Width {
    /// A minute of the clock.
    Minute,
    /// An hour of the clock.
    Hour,
    /// A day in UTC.
    Day,
    /// A month of the calendar.
    Month,
}

impl Width {
    /// Widths that the windows of counts may have.
    pub const OF_WINDOWS: [Self; 3] = [Self::Minute, Self::Hour, Self::Day];

    /// Returns the name of the width, as people and SQL write it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Minute => "minute",
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Month => "month",
        }
    }

    /// Returns the width of windows with this name.
    pub fn of_windows(word: &str) -> Option<Self> {
        Self::OF_WINDOWS.into_iter().find(|width| width.word() == word)
    }

    /// Returns whether a stretch begins at this time, in milliseconds since 1970.
    pub fn begins_at(self, time_ms: i64) -> bool {
        self.start_ms(time_ms) == time_ms
    }

    /// Returns when the stretch begins that contains a time. Both are in milliseconds since 1970.
    pub fn start_ms(self, time_ms: i64) -> i64 {
        match self.fixed_ms() {
            Some(width_ms) => time_ms - time_ms.rem_euclid(width_ms),
            None => {
                let day = DateTime::from_timestamp_millis(time_ms).map(|time| time.date_naive());
                let first = day.and_then(|day| day.checked_sub_days(Days::new(day.day0().into())));
                first.map_or(time_ms, |first| i64::from(first.to_epoch_days()) * MILLIS_PER_DAY)
            }
        }
    }

    /// Returns when the stretch ends that begins at a time. Both are in milliseconds since 1970.
    pub fn end_ms(self, start_ms: i64) -> i64 {
        match self.fixed_ms() {
            Some(width_ms) => start_ms + width_ms,
            None => {
                let next = DateTime::from_timestamp_millis(start_ms)
                    .and_then(|start| start.checked_add_months(Months::new(1)));
                next.map_or(i64::MAX, |next| next.timestamp_millis())
            }
        }
    }

    /// Returns the length of a stretch in milliseconds, if all are equally long.
    pub const fn fixed_ms(self) -> Option<i64> {
        match self {
            Self::Minute => Some(MILLIS_PER_MINUTE),
            Self::Hour => Some(MILLIS_PER_HOUR),
            Self::Day => Some(MILLIS_PER_DAY),
            Self::Month => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::EventTime;

    #[test]
    fn a_time_lies_in_one_stretch_of_each_width() {
        let ms = |text: &str| EventTime::parse(text).expect("a time").millis();
        let time = ms("2028-02-29T13:14:15.016Z");
        let expected = [
            (Width::Minute, "2028-02-29T13:14:00Z", "2028-02-29T13:15:00Z"),
            (Width::Hour, "2028-02-29T13:00:00Z", "2028-02-29T14:00:00Z"),
            (Width::Day, "2028-02-29T00:00:00Z", "2028-03-01T00:00:00Z"),
            (Width::Month, "2028-02-01T00:00:00Z", "2028-03-01T00:00:00Z"),
        ];
        for (width, start, end) in expected {
            assert_eq!((width.start_ms(time), width.end_ms(ms(start))), (ms(start), ms(end)), "{width:?}");
        }
        assert_eq!(Width::Month.start_ms(-1), ms("1969-12-01T00:00:00Z"));
    }

    #[test]
    fn windows_have_a_width_by_its_name() {
        assert_eq!(Width::OF_WINDOWS.map(|width| Width::of_windows(width.word())), Width::OF_WINDOWS.map(Some));
        assert_eq!((Width::of_windows("month"), Width::of_windows("Day")), (None, None));
        let starts = [0, MILLIS_PER_MINUTE, 7, -MILLIS_PER_DAY].map(|time_ms| Width::Minute.begins_at(time_ms));
        assert_eq!(starts, [true, true, false, true]);
    }
}
