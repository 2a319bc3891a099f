//! Windowing: how events are put into windows by their event times. A table of counts records it in its spec.

use crate::time::MILLIS_PER_MINUTE;

/// How events are put into windows. A time, a start and an end are in milliseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Windowing {
    /// Tumbling windows: each begins where the one before it ends, and one of them begins with 1970.
    Tumbling {
        /// Width of each window, in milliseconds.
        width_ms: i64,
    },
}

impl Default for Windowing {
    /// Returns windows of a minute: those of all tables of minutes, of which hours and days are sums.
    fn default() -> Self {
        Self::Tumbling { width_ms: MILLIS_PER_MINUTE }
    }
}

impl Windowing {
    /// Returns the width of the windows, in milliseconds.
    #[inline]
    pub const fn width_ms(self) -> i64 {
        let Self::Tumbling { width_ms } = self;
        width_ms
    }

    /// Returns when the window starts that contains a time.
    #[inline]
    pub const fn start_ms(self, time_ms: i64) -> i64 {
        // Every event asks, and dividing by a constant is cheaper.
        match self {
            Self::Tumbling { width_ms: MILLIS_PER_MINUTE } => time_ms - time_ms.rem_euclid(MILLIS_PER_MINUTE),
            Self::Tumbling { width_ms } => time_ms - time_ms.rem_euclid(width_ms),
        }
    }

    /// Returns when the window ends that starts at a time.
    #[inline]
    pub const fn end_ms(self, start_ms: i64) -> i64 {
        start_ms + self.width_ms()
    }

    /// Returns whether a window starts at this time.
    pub const fn begins_at(self, time_ms: i64) -> bool {
        self.start_ms(time_ms) == time_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::Table;

    #[test]
    fn a_time_lies_in_one_window_whatever_their_width() {
        for width_ms in [1, 7, 1_000, MILLIS_PER_MINUTE, 61_000] {
            let windowing = Windowing::Tumbling { width_ms };
            for time_ms in [-MILLIS_PER_MINUTE - 1, -1, 0, 1, 6, 59_999, 60_000, 1_772_884_812_345] {
                let start_ms = windowing.start_ms(time_ms);
                assert!((start_ms..windowing.end_ms(start_ms)).contains(&time_ms), "{width_ms}: {time_ms}");
                assert!(windowing.begins_at(start_ms) && start_ms % width_ms == 0, "{width_ms}: {time_ms}");
            }
        }
        let starts = [0, 60_000, 7, -60_000].map(|time_ms| Windowing::default().begins_at(time_ms));
        assert_eq!(starts, [true, true, false, true]);
    }

    /// Roll-ups go by the width that a table's counts have.
    #[test]
    fn windows_of_a_table_of_minutes_are_as_wide_as_it_says() {
        let width_ms = Table::ClicksMinute.window_width().fixed_ms();
        assert_eq!(width_ms, Some(Windowing::default().width_ms()));
    }
}
