//! Sets of windows of event time that are asked for.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::code::Code;
use crate::error::{Invalid, Result};
use crate::time::EventTime;
use crate::windowing::Windowing;

/// Windows that are asked for: those that start at or after `from` and before `to`; perhaps only some of these.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Windows {
    from: Option<EventTime>,
    to: Option<EventTime>,
    /// Starts of the windows that are asked for, in milliseconds; `None`: all between the bounds.
    only: Option<Arc<BTreeSet<i64>>>,
}

impl Windows {
    /// Returns the windows between two times, which must be whole minutes, the second after the first.
    pub fn between(from: Option<EventTime>, to: Option<EventTime>) -> Result<Self> {
        for time in [from, to].into_iter().flatten() {
            if !Windowing::default().begins_at(time.millis()) {
                return Err(Invalid(
                    Code::RangeImpossible.because(format!("{time} is no whole minute; windows start with minutes")),
                ));
            }
        }
        match (from, to) {
            (Some(from), Some(to)) if to == from => Err(Invalid(Code::RangeImpossible.because(format!(
                "no window starts from {from} on and before {to}: the end is not included; give a later one"
            )))),
            (Some(from), Some(to)) if to < from => Err(Invalid(
                Code::RangeImpossible
                    .because(format!("no window starts from {from} on and before {to}; exchange the two")),
            )),
            _ => Ok(Self { from, to, only: None }),
        }
    }

    /// Returns the windows that start at these times, in milliseconds.
    pub fn these(starts_ms: BTreeSet<i64>) -> Self {
        let at = |millis: i64| EventTime::from_millis(millis);
        let from = starts_ms.first().copied().and_then(at);
        let to = starts_ms.last().copied().and_then(|last| at(Windowing::default().end_ms(last)));
        Self { from, to, only: Some(Arc::new(starts_ms)) }
    }

    /// Returns the intersection of both sets.
    pub fn and(&self, other: &Self) -> Self {
        let only = match (&self.only, &other.only) {
            (Some(ours), Some(theirs)) => Some(Arc::new(ours.intersection(theirs).copied().collect())),
            (ours, theirs) => ours.as_ref().or(theirs.as_ref()).cloned(),
        };
        Self {
            from: self.from.into_iter().chain(other.from).max(),
            to: self.to.into_iter().chain(other.to).min(),
            only,
        }
    }

    /// Returns the lower bound: no window that starts before it is asked for.
    pub fn from(&self) -> Option<EventTime> {
        self.from
    }

    /// Returns the upper bound: no window that starts at it or later is asked for.
    pub fn to(&self) -> Option<EventTime> {
        self.to
    }

    /// Returns whether all windows are asked for.
    pub fn are_all(&self) -> bool {
        *self == Self::default()
    }

    /// Returns whether single windows are named, and none of them is left.
    pub fn are_none(&self) -> bool {
        self.only.as_ref().is_some_and(|only| only.is_empty())
    }

    /// Returns whether the window that starts at this time, in milliseconds, is asked for.
    pub fn contain(&self, start_ms: i64) -> bool {
        self.from.is_none_or(|from| from.millis() <= start_ms)
            && self.to.is_none_or(|to| start_ms < to.millis())
            && self.only.as_ref().is_none_or(|only| only.contains(&start_ms))
    }

    /// Returns whether any window may be asked for that starts at or after the first time and before the second, in
    /// milliseconds. An empty or reversed range has none.
    pub fn touch(&self, from_ms: i64, to_ms: i64) -> bool {
        from_ms < to_ms
            && self.from.is_none_or(|from| from.millis() < to_ms)
            && self.to.is_none_or(|to| from_ms < to.millis())
            && self.only.as_ref().is_none_or(|only| only.range(from_ms..to_ms).next().is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::MILLIS_PER_MINUTE as WINDOW_MS;

    fn at(minutes: i64) -> Option<EventTime> {
        EventTime::from_millis(minutes * WINDOW_MS)
    }

    #[test]
    fn a_range_has_its_beginning_and_not_its_end() {
        let windows = Windows::between(at(2), at(4)).expect("a range");
        let contained: Vec<_> = (0..6).filter(|minute| windows.contain(minute * WINDOW_MS)).collect();
        assert_eq!(contained, [2, 3]);
        assert!(
            windows.touch(0, 3 * WINDOW_MS) && !windows.touch(0, 2 * WINDOW_MS) && !windows.touch(4 * WINDOW_MS, 9)
        );
    }

    #[test]
    fn what_is_no_range_is_refused() {
        let said = |from, to| Windows::between(from, to).expect_err("no range").to_string();
        assert!(said(at(4), at(4)).ends_with("the end is not included; give a later one"));
        assert!(said(at(4), at(3)).ends_with("exchange the two"));
        assert!(Windows::between(EventTime::from_millis(1), None).is_err());
        assert!(Windows::between(at(4), None).is_ok_and(|windows| !windows.are_all()));
    }

    #[test]
    fn some_windows_are_those_and_no_others() {
        let windows = Windows::these([WINDOW_MS, 5 * WINDOW_MS].into());
        let contained: Vec<_> = (0..9).filter(|minute| windows.contain(minute * WINDOW_MS)).collect();
        assert_eq!(contained, [1, 5]);
        assert!(!windows.touch(2 * WINDOW_MS, 5 * WINDOW_MS) && windows.touch(2 * WINDOW_MS, 6 * WINDOW_MS));
        assert!(Windows::these(BTreeSet::new()).are_none());
    }

    #[test]
    fn a_stretch_that_ends_before_it_begins_touches_nothing() {
        for windows in [Windows::default(), Windows::these([WINDOW_MS, 5 * WINDOW_MS].into())] {
            assert!(!windows.touch(5 * WINDOW_MS, WINDOW_MS) && !windows.touch(WINDOW_MS, WINDOW_MS));
        }
    }
}
