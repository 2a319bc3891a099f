//! Sets of time: disjoint, half-open intervals, in milliseconds since 1970.
//!
//! A bound of `i64::MIN` or `i64::MAX` means that there is none: neither is a time.

use std::ops::Range;

use lake_schemas::Width;

/// Set of time: intervals in order, none of which touches the next.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct IntervalSet(Vec<Range<i64>>);

impl IntervalSet {
    /// Returns the set of one interval; the empty set, if the interval is empty.
    pub fn one(stretch: Range<i64>) -> Self {
        Self(Some(stretch).filter(|stretch| !stretch.is_empty()).into_iter().collect())
    }

    /// Returns the union of windows of one width, given by their starts in order.
    pub fn of_width(width: Width, starts: impl IntoIterator<Item = i64>) -> Self {
        let mut all: Vec<Range<i64>> = Vec::new();
        for start in starts {
            let end = width.end_ms(start);
            match all.last_mut() {
                Some(last) if start <= last.end => last.end = last.end.max(end),
                _ => all.push(start..end),
            }
        }
        Self(all)
    }

    /// Returns the whole windows of a width that lie in an interval: at most one interval.
    pub fn whole(width: Width, stretch: &Range<i64>) -> Self {
        let floor = |time: i64| if time == i64::MIN || time == i64::MAX { time } else { width.start_ms(time) };
        let first = floor(stretch.start);
        let first = if first == stretch.start { first } else { width.end_ms(first) };
        Self::one(first..floor(stretch.end))
    }

    /// Returns the difference: what is in this set and not in the other.
    pub fn without(&self, others: &Self) -> Self {
        let mut left = Vec::new();
        for stretch in &self.0 {
            let mut from = stretch.start;
            for other in others.from(stretch.start).take_while(|other| other.start < stretch.end) {
                if from < other.start {
                    left.push(from..other.start);
                }
                from = other.end;
            }
            if from < stretch.end {
                left.push(from..stretch.end);
            }
        }
        Self(left)
    }

    /// Returns the intersection: what is in both sets.
    pub fn and(&self, others: &Self) -> Self {
        self.without(&self.without(others))
    }

    /// Returns whether the set has any part of an interval.
    pub fn touch(&self, stretch: &Range<i64>) -> bool {
        self.from(stretch.start).next().is_some_and(|next| next.start < stretch.end)
    }

    /// Returns whether the set has all of an interval.
    pub fn cover(&self, stretch: &Range<i64>) -> bool {
        let next = self.from(stretch.start).next();
        next.is_some_and(|next| next.start <= stretch.start && stretch.end <= next.end)
    }

    /// Returns whether the set is empty.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Iterates over the intervals, in their order.
    pub fn iter(&self) -> impl Iterator<Item = &Range<i64>> {
        self.0.iter()
    }

    /// Returns the interval from the start of the first to the end of the last; `None` if the set is empty.
    pub fn span(&self) -> Option<Range<i64>> {
        Some(self.0.first()?.start..self.0.last()?.end)
    }

    /// Iterates over the intervals that end after a time.
    fn from(&self, time: i64) -> impl Iterator<Item = &Range<i64>> {
        self.0[self.0.partition_point(|stretch| stretch.end <= time)..].iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn these(all: &[Range<i64>]) -> IntervalSet {
        all.iter().fold(IntervalSet::default(), |so_far, stretch| {
            IntervalSet(so_far.0.into_iter().chain([stretch.clone()]).collect())
        })
    }

    #[test]
    fn without_removes_intervals_and_and_intersects_them() {
        let all = IntervalSet::one(i64::MIN..100);
        let some = these(&[0..10, 20..30, 90..200]);
        assert_eq!(all.without(&some), these(&[i64::MIN..0, 10..20, 30..90]));
        assert_eq!(some.without(&all), IntervalSet::one(100..200));
        assert_eq!(some.and(&all), these(&[0..10, 20..30, 90..100]));
        assert_eq!(some.without(&some), IntervalSet::default());
    }

    #[test]
    fn neighbours_are_one() {
        let (hour, hours) = (3_600_000, Width::Hour);
        assert_eq!(IntervalSet::of_width(hours, [0, hour, 3 * hour]), these(&[0..2 * hour, 3 * hour..4 * hour]));
    }

    #[test]
    fn edges_are_half_open() {
        let some = these(&[0..10, 20..30]);
        assert!(some.touch(&(9..20)) && !some.touch(&(10..20)) && some.touch(&(15..21)));
        assert!(some.cover(&(0..10)) && !some.cover(&(0..11)) && !some.cover(&(12..13)) && some.cover(&(21..30)));
    }

    #[test]
    fn whole_windows_lie_inside_and_what_is_open_stays_open() {
        let (hour, minute) = (3_600_000, 60_000);
        let whole = |stretch: Range<i64>| IntervalSet::whole(Width::Hour, &stretch);
        assert_eq!(whole(minute..4 * hour + minute), IntervalSet::one(hour..4 * hour));
        assert_eq!(whole(hour..2 * hour), IntervalSet::one(hour..2 * hour));
        assert_eq!(whole(minute..hour + minute), IntervalSet::default());
        assert_eq!(whole(i64::MIN..minute), IntervalSet::one(i64::MIN..0));
        assert_eq!(whole(-minute..i64::MAX), IntervalSet::one(0..i64::MAX));
    }
}
