//! The measures that a table of counts has, and from where on in the log each is counted.
//!
//! A table keeps the measures that it was made with until `clicklake upgrade` adds those of a newer program. Events
//! that the table had taken in before are not counted again for that: an added measure counts from the cut on at which
//! it came in, and events before that add nothing to it. A table that is computed from all of history has no such
//! beginning, and once it is promoted, neither have the lake's own minutes.

use crate::measure::{MEASURES, Measure};
use crate::position::{Cut, TopicPartition};

/// Measures of a table of counts, in the order of their columns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Measures(Vec<Measured>);

/// A measure of a table, with its beginning: by partition, the first offset whose event counts. A partition that is
/// missing there counts from its first event.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Measured {
    measure: Measure,
    since: Cut,
}

impl Default for Measures {
    /// Returns all measures of this program, counted from the start: those of a table that is made now.
    fn default() -> Self {
        Self::from_the_start(&Measure::ALL)
    }
}

impl Measures {
    /// Returns the measures that every table has, counted from the start.
    pub fn of_format_1() -> Self {
        Self::from_the_start(&Measure::ALL[..Measure::OF_FORMAT_1])
    }

    fn from_the_start(measures: &[Measure]) -> Self {
        Self(measures.iter().map(|&measure| Measured { measure, since: Cut::new() }).collect())
    }

    /// Returns these measures, counted from the start; `None` if no table has them: columns are only ever added at the
    /// end, so they must be a beginning of all measures.
    pub fn of(measures: &[Measure]) -> Option<Self> {
        let are_the_first = (Measure::OF_FORMAT_1..=MEASURES).any(|first| *measures == Measure::ALL[..first]);
        are_the_first.then(|| Self::from_the_start(measures))
    }

    /// Sets the beginning of a measure. Returns `false` if it is not among these.
    #[must_use]
    pub fn begin(&mut self, measure: Measure, since: Cut) -> bool {
        let found = self.0.iter_mut().find(|one| one.measure == measure);
        found.is_some_and(|one| {
            one.since = since;
            true
        })
    }

    /// Iterates over the measures.
    pub fn iter(&self) -> impl Iterator<Item = Measure> {
        self.0.iter().map(|one| one.measure)
    }

    /// Iterates over the measures that are not counted from the start, with their beginnings.
    pub fn begun(&self) -> impl Iterator<Item = (Measure, &Cut)> {
        self.0.iter().filter(|one| !one.since.is_empty()).map(|one| (one.measure, &one.since))
    }

    /// Returns how many of them, at the end, were added since format 1.
    pub fn added(&self) -> usize {
        self.0.len() - Measure::OF_FORMAT_1
    }

    /// Returns these measures and those that only `others` have: these are counted from a cut on.
    #[must_use]
    pub fn completed(&self, others: &Self, cut: &Cut) -> Self {
        let lacking = others.iter().skip(self.0.len());
        let lacking = lacking.map(|measure| Measured { measure, since: cut.clone() });
        Self(self.0.iter().cloned().chain(lacking).collect())
    }

    /// Returns the same measures without their beginnings: roll-ups sum up what their source has, whatever that is.
    #[must_use]
    pub fn without_beginnings(&self) -> Self {
        Self::from_the_start(&self.iter().collect::<Vec<_>>())
    }

    /// Returns, for each measure of this program, the first offset of a partition whose event adds to it: the smallest
    /// number if it counts from the start, and the largest if it is not among these.
    pub fn first_offsets(&self, partition: &TopicPartition) -> [i64; MEASURES] {
        std::array::from_fn(|place| match self.0.get(place) {
            Some(one) => one.since.get(partition).copied().unwrap_or(i64::MIN),
            None => i64::MAX,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partition(number: i32) -> TopicPartition {
        TopicPartition::new("clicks", number)
    }

    #[test]
    fn a_table_has_the_first_measures_and_no_others() {
        for many in 0..=MEASURES {
            let measures = Measures::of(&Measure::ALL[..many]);
            assert_eq!(measures.is_some(), many >= Measure::OF_FORMAT_1, "{many}");
            assert!(measures.is_none_or(|measures| measures.added() == many - Measure::OF_FORMAT_1));
        }
        assert_eq!(Measures::of(&[Measure::ALL[1], Measure::ALL[0]]), None);
        assert_eq!(Measures::of(&Measure::ALL), Some(Measures::default()));
        assert_eq!(Measures::of_format_1().added(), 0);
    }

    #[test]
    fn a_measure_that_is_added_is_counted_from_the_cut_of_that_moment_on() {
        let cut: Cut = [(partition(0), 7)].into();
        let (first, all) = (Measures::of_format_1(), Measures::default());
        let completed = first.completed(&all, &cut);
        assert_eq!(completed.iter().collect::<Vec<_>>(), Measure::ALL);
        let added = &Measure::ALL[Measure::OF_FORMAT_1..];
        assert_eq!(completed.begun().map(|(measure, _)| measure).collect::<Vec<_>>(), added);
        assert!(completed.begun().all(|(_, since)| *since == cut));
        assert_eq!(completed.completed(&all, &Cut::new()), completed, "nothing is lacking any more");
        assert_eq!(first.completed(&first, &cut), first, "only what the others have comes in");
        assert_eq!(completed.without_beginnings(), all);
        let expected = |of_added: i64| -> [i64; MEASURES] {
            std::array::from_fn(|place| if place < Measure::OF_FORMAT_1 { i64::MIN } else { of_added })
        };
        assert_eq!(completed.first_offsets(&partition(0)), expected(7));
        assert_eq!(completed.first_offsets(&partition(1)), expected(i64::MIN), "it came later");
        assert_eq!(first.first_offsets(&partition(0)), expected(i64::MAX));
    }

    #[test]
    fn a_measure_begins_only_where_it_is_counted() {
        let (mut measures, cut): (_, Cut) = (Measures::of_format_1(), [(partition(3), 5)].into());
        assert!(measures.begin(Measure::ALL[1], cut.clone()));
        assert_eq!(measures.begun().collect::<Vec<_>>(), [(Measure::ALL[1], &cut)]);
        assert_eq!(measures.first_offsets(&partition(3))[1], 5);
        for added in Measure::ALL.into_iter().skip(Measure::OF_FORMAT_1) {
            assert!(!measures.begin(added, cut.clone()));
        }
    }
}
