//! Decides which part of a stretch of time is taken from days, which from hours, and which from minutes. No I/O.
//!
//! ```text
//!   asked for         12:34 │             │             │             │             │ 03:07
//!   days                    │█████████████│             │█████████████│             │
//!   hours                 ██│             │████ ████████│             │█████████████│███
//!   minutes            █    │             │    █        │             │             │   █
//!                           │             │    ↑ an hour that changed since it was rolled up
//! ```
//!
//! An hour is clean if nothing changed in it since it was rolled up. A day is clean if none of its hours changed since,
//! neither in minutes nor in hours. Versions decide that, never a clock: a click that comes a month late makes its hour
//! dirty.

use std::ops::Range;

use lake_schemas::Width;
use lake_store::commit::Changed;

use super::interval_set::IntervalSet;

/// Folders that changed since they were rolled up. For a roll-up that is missing, or must not be used: all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Dirty {
    /// Hours of the minutes that changed.
    pub hours: Changed,
    /// Days of the hours that changed.
    pub days: Changed,
}

/// Windows that are taken from each table: together they are all that is asked for, and none is taken twice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Parts {
    /// Windows taken from `clicks_daily`.
    pub days: IntervalSet,
    /// Windows taken from `clicks_hourly`.
    pub hours: IntervalSet,
    /// Windows taken from `clicks_minute`.
    pub minutes: IntervalSet,
}

/// Takes what is asked for from the widest windows that are clean, and from none wider than `widest`.
pub(crate) fn stitch(asked: &Range<i64>, widest: Width, dirty: &Dirty) -> Parts {
    let all = IntervalSet::one(asked.clone());
    let clean = |width: Width| match (&dirty.hours, &dirty.days) {
        (Changed::Folders(hours), _) if width == Width::Hour => {
            IntervalSet::whole(width, asked).without(&IntervalSet::of_width(width, hours.iter().copied()))
        }
        (Changed::Folders(hours), Changed::Folders(days)) if width == Width::Day => {
            let with_dirty_hours = IntervalSet::of_width(width, hours.iter().map(|hour| width.start_ms(*hour)));
            let whole = IntervalSet::whole(width, asked).without(&with_dirty_hours);
            whole.without(&IntervalSet::of_width(width, days.iter().copied()))
        }
        _ => IntervalSet::default(),
    };
    let days = if widest >= Width::Day { clean(Width::Day) } else { IntervalSet::default() };
    let hours = if widest >= Width::Hour { clean(Width::Hour).without(&days) } else { IntervalSet::default() };
    let minutes = all.without(&days).without(&hours);
    Parts { days, hours, minutes }
}

#[cfg(test)]
mod tests {
    use lake_schemas::EventTime;

    use super::*;

    fn ms(text: &str) -> i64 {
        let whole = format!("2026-03-{text}:00Z");
        EventTime::parse(&whole).unwrap_or_else(|| panic!("{whole} is no time")).millis()
    }

    fn range(text: &str) -> Range<i64> {
        let (from, to) = text.split_once(" .. ").expect("two times");
        ms(from)..ms(to)
    }

    fn stretches(texts: &[&str]) -> IntervalSet {
        let all = texts.iter().map(|text| IntervalSet::one(range(text)));
        all.fold(IntervalSet::default(), |so_far, next| {
            let gaps = IntervalSet::one(i64::MIN..i64::MAX).without(&so_far).without(&next);
            IntervalSet::one(i64::MIN..i64::MAX).without(&gaps)
        })
    }

    fn changed(starts: &[&str]) -> Changed {
        Changed::Folders(starts.iter().map(|start| ms(start)).collect())
    }

    fn parts(days: &[&str], hours: &[&str], minutes: &[&str]) -> Parts {
        Parts { days: stretches(days), hours: stretches(hours), minutes: stretches(minutes) }
    }

    #[test]
    fn the_widest_clean_windows_are_taken_and_the_edges_from_below() {
        let dirty = Dirty { hours: changed(&[]), days: changed(&[]) };
        let asked = range("06T22:30 .. 09T01:10");
        let expected = parts(
            &["07T00:00 .. 09T00:00"],
            &["06T23:00 .. 07T00:00", "09T00:00 .. 09T01:00"],
            &["06T22:30 .. 06T23:00", "09T01:00 .. 09T01:10"],
        );
        assert_eq!(stitch(&asked, Width::Day, &dirty), expected);
        let expected = parts(&[], &["06T23:00 .. 09T01:00"], &["06T22:30 .. 06T23:00", "09T01:00 .. 09T01:10"]);
        assert_eq!(stitch(&asked, Width::Hour, &dirty), expected);
        assert_eq!(stitch(&asked, Width::Minute, &dirty), parts(&[], &[], &["06T22:30 .. 09T01:10"]));
    }

    #[test]
    fn a_dirty_hour_makes_its_day_dirty_and_no_other_hour() {
        let dirty = Dirty { hours: changed(&["07T05:00"]), days: changed(&[]) };
        let expected = parts(
            &["06T00:00 .. 07T00:00", "08T00:00 .. 09T00:00"],
            &["07T00:00 .. 07T05:00", "07T06:00 .. 08T00:00"],
            &["07T05:00 .. 07T06:00"],
        );
        assert_eq!(stitch(&range("06T00:00 .. 09T00:00"), Width::Day, &dirty), expected);
    }

    #[test]
    fn a_day_whose_hours_were_rolled_up_again_is_taken_from_hours() {
        let dirty = Dirty { hours: changed(&[]), days: changed(&["07T00:00"]) };
        let expected = parts(&["06T00:00 .. 07T00:00"], &["07T00:00 .. 08T00:00"], &[]);
        assert_eq!(stitch(&range("06T00:00 .. 08T00:00"), Width::Day, &dirty), expected);
    }

    #[test]
    fn without_a_roll_up_all_comes_from_below() {
        let asked = range("06T00:00 .. 08T00:00");
        let dirty = Dirty { hours: changed(&[]), days: Changed::Anything };
        assert_eq!(stitch(&asked, Width::Day, &dirty), parts(&[], &["06T00:00 .. 08T00:00"], &[]));
        // Days must not be used for minutes that were never compared with hours.
        let dirty = Dirty { hours: Changed::Anything, days: changed(&[]) };
        assert_eq!(stitch(&asked, Width::Day, &dirty), parts(&[], &[], &["06T00:00 .. 08T00:00"]));
    }

    #[test]
    fn open_ends_are_taken_from_days_too() {
        let dirty = Dirty { hours: changed(&["07T05:00"]), days: changed(&[]) };
        let Parts { days, hours, minutes } = stitch(&(i64::MIN..i64::MAX), Width::Day, &dirty);
        let all = IntervalSet::one(i64::MIN..i64::MAX);
        assert_eq!(days, all.without(&stretches(&["07T00:00 .. 08T00:00"])));
        assert_eq!(hours, stretches(&["07T00:00 .. 07T05:00", "07T06:00 .. 08T00:00"]));
        assert_eq!(minutes, stretches(&["07T05:00 .. 07T06:00"]));
    }

    /// Whatever is dirty, each minute that is asked for is taken from one table.
    #[test]
    fn parts_are_disjoint_and_together_all() {
        let (minute, hour) = (60_000, 3_600_000);
        for seed in 0..500_i64 {
            let pick = |salt: i64, below: i64| (seed * 7_919 + salt * 104_729).rem_euclid(1_000_003) % below;
            let start = pick(1, 3 * 1_440) * minute;
            let asked = start..start + (1 + pick(2, 4 * 1_440)) * minute;
            let hours = (0..pick(3, 6)).map(|at| pick(10 + at, 168) * hour).collect();
            let days = (0..pick(4, 3)).map(|at| pick(20 + at, 7) * 24 * hour).collect();
            let dirty = Dirty { hours: Changed::Folders(hours), days: Changed::Folders(days) };
            for widest in [Width::Minute, Width::Hour, Width::Day] {
                let Parts { days, hours, minutes } = stitch(&asked, widest, &dirty);
                let taken =
                    |at: i64| [&days, &hours, &minutes].iter().filter(|part| part.touch(&(at..at + minute))).count();
                for at in (asked.start - hour..asked.end + hour).step_by(60_000) {
                    assert_eq!(taken(at), usize::from(asked.contains(&at)), "seed {seed}, {widest:?}, {at}");
                }
                let is_whole = |part: &IntervalSet, width: Width| {
                    part.iter().all(|stretch| {
                        width.start_ms(stretch.start) == stretch.start && width.start_ms(stretch.end) == stretch.end
                    })
                };
                assert!(is_whole(&days, Width::Day) && is_whole(&hours, Width::Hour), "seed {seed}, {widest:?}");
            }
        }
    }
}
