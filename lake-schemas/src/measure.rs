//! Measures: everything that is counted of a window, each defined once.
//!
//! [`Measure::ALL`] is the only place that names them. Schemas, sums, statements, answers and pages are derived from
//! that list, so that a further measure is a further entry of it. Only the statements of the audit are written by hand,
//! because they must share no line with what they check.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array};
use arrow::datatypes::{DataType, Field, Int64Type};

use crate::verdict::Verdict;

/// Number of all measures.
pub const MEASURES: usize = Measure::ALL.len();

/// A measure: which events add to it, what each of them adds, and how the values of two rows become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Measure {
    column: &'static str,
    label: &'static str,
    about: &'static str,
    verdict: Verdict,
    event_type: Option<&'static str>,
    amount: Amount,
    merge: Merge,
}

/// Amount that an event adds to a measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Amount {
    /// The number one: the measure is a number of events.
    One,
    /// The cost of the event, in millionths of the currency; nothing if it has no cost.
    Cost,
}

/// How the values of a measure in two rows become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Merge {
    /// The values are added up.
    Sum,
}

impl Measure {
    /// Number of measures that every table has. Later ones were added since: a table may lack them, and has them at its
    /// end.
    pub const OF_FORMAT_1: usize = 5;

    /// All measures, in the order of their columns. A further one is added at the end.
    pub const ALL: [Self; 5] = [
        Self {
            column: "clicks",
            label: "clicks",
            about: "Clicks, each once.",
            verdict: Verdict::Counted,
            event_type: None,
            amount: Amount::One,
            merge: Merge::Sum,
        },
        Self {
            column: "cost_micros",
            label: "cost",
            about: "Cost of these clicks, in millionths of the currency: 250000 is 0.25.",
            verdict: Verdict::Counted,
            event_type: None,
            amount: Amount::Cost,
            merge: Merge::Sum,
        },
        Self {
            column: "duplicates",
            label: "duplicates",
            about: "Copies of clicks that were counted before; they are not in `clicks`.",
            verdict: Verdict::Duplicate,
            event_type: None,
            amount: Amount::One,
            merge: Merge::Sum,
        },
        Self {
            column: "late",
            label: "late",
            about: "Clicks that came after the allowed lateness of their window; they are not in `clicks`.",
            verdict: Verdict::Late,
            event_type: None,
            amount: Amount::One,
            merge: Merge::Sum,
        },
        Self {
            column: "filtered",
            label: "filtered",
            about: "Events that are no clicks.",
            verdict: Verdict::Filtered,
            event_type: None,
            amount: Amount::One,
            merge: Merge::Sum,
        },
    ];

    /// Returns the measure that counts all events of a verdict.
    pub fn counting(verdict: Verdict) -> Self {
        let counts = |measure: &Self| measure.counts_events() && measure.verdict == verdict;
        Self::ALL.into_iter().find(counts).expect("there is one for each verdict, which a test holds")
    }

    /// Returns the name of the measure's column.
    pub const fn column(self) -> &'static str {
        self.column
    }

    /// Returns the name of the measure for people.
    pub const fn label(self) -> &'static str {
        self.label
    }

    /// Describes the measure in a sentence.
    pub const fn about(self) -> &'static str {
        self.about
    }

    /// Returns the verdict that an event must have to add to the measure.
    pub const fn verdict(self) -> Verdict {
        self.verdict
    }

    /// Returns the event type that an event must have to add to the measure; `None`: any type.
    pub const fn event_type(self) -> Option<&'static str> {
        self.event_type
    }

    /// Returns the amount that an event adds to the measure.
    pub const fn amount(self) -> Amount {
        self.amount
    }

    /// Returns how the values of two rows become one.
    pub const fn merge(self) -> Merge {
        self.merge
    }

    /// Returns whether the measure is the number of all events of its verdict.
    pub fn counts_events(self) -> bool {
        self.amount == Amount::One && self.event_type.is_none()
    }

    /// Returns the value of the measure out of values in the order of [`Self::ALL`].
    pub fn of<T: Copy>(self, values: &[T; MEASURES]) -> T {
        let place = Self::ALL.iter().position(|measure| measure.column == self.column);
        values[place.expect("there are no other measures")]
    }

    /// Returns the column of the measure in a table of counts. The column of an added measure may be null in rows that
    /// are older, which reads as zero.
    pub fn field(self) -> Field {
        Field::new(self.column, self.data_type(), self.is_added())
    }

    /// Returns whether tables of format 1 may lack it.
    pub fn is_added(self) -> bool {
        !Self::ALL[..Self::OF_FORMAT_1].iter().any(|first| first.column == self.column)
    }

    /// Replaces nulls by zero: the file is older than the column, or another program rewrote rows of such a file.
    pub fn filled(self, values: ArrayRef) -> ArrayRef {
        if values.null_count() == 0 {
            return values;
        }
        match self.merge {
            Merge::Sum => {
                let values = values.as_primitive::<Int64Type>().iter();
                Arc::new(values.map(|value| Some(value.unwrap_or(0))).collect::<Int64Array>())
            }
        }
    }

    /// Returns the Arrow type of the measure's values.
    pub fn data_type(self) -> DataType {
        match self.merge {
            Merge::Sum => DataType::Int64,
        }
    }

    /// Returns the values of rows that no event has added to.
    pub fn zeros(self, rows: usize) -> ArrayRef {
        match self.merge {
            Merge::Sum => Arc::new(Int64Array::from_value(0, rows)),
        }
    }
}

/// A measure that events of a verdict add to.
#[derive(Clone, Copy, Debug)]
pub struct Addition {
    /// Place of the measure in [`Measure::ALL`].
    pub place: usize,
    /// Amount that an event adds to it.
    pub amount: Amount,
    /// Type that an event must have to add to it; `None`: any type.
    pub event_type: Option<&'static str>,
}

/// Returns the measures that events of a verdict add to. They are found at compile time, because every event asks for
/// them.
#[inline]
pub fn additions(verdict: Verdict) -> &'static [Addition] {
    static COUNTED: Additions = Additions::of(Verdict::Counted);
    static DUPLICATE: Additions = Additions::of(Verdict::Duplicate);
    static LATE: Additions = Additions::of(Verdict::Late);
    static FILTERED: Additions = Additions::of(Verdict::Filtered);
    let Additions { all, len } = match verdict {
        Verdict::Counted => &COUNTED,
        Verdict::Duplicate => &DUPLICATE,
        Verdict::Late => &LATE,
        Verdict::Filtered => &FILTERED,
    };
    &all[..*len]
}

/// The first `len` entries of `all`; the rest is filler.
struct Additions {
    all: [Addition; MEASURES],
    len: usize,
}

impl Additions {
    const fn of(verdict: Verdict) -> Self {
        let mut all = [Addition { place: 0, amount: Amount::One, event_type: None }; MEASURES];
        let (mut len, mut place) = (0, 0);
        while place < MEASURES {
            let Measure { verdict: own, event_type, amount, .. } = Measure::ALL[place];
            if own as u8 == verdict as u8 {
                all[len] = Addition { place, amount, event_type };
                len += 1;
            }
            place += 1;
        }
        Self { all, len }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_verdict_has_one_measure_that_counts_its_events() {
        for verdict in Verdict::ALL {
            let counts = |measure: &Measure| measure.counts_events() && measure.verdict() == verdict;
            let counting: Vec<_> = Measure::ALL.into_iter().filter(counts).collect();
            assert_eq!(counting, [Measure::counting(verdict)], "{verdict:?}");
        }
    }

    #[test]
    fn names_are_told_apart_and_need_no_quotes_in_any_language() {
        let is_plain = |sign: char| sign.is_ascii_lowercase() || sign.is_ascii_digit() || sign == '_';
        let names = Measure::ALL.map(Measure::column);
        assert!(names.iter().all(|name| name.chars().all(is_plain) && name.starts_with(char::is_alphabetic)));
        assert_eq!(BTreeSet::from(names).len(), MEASURES);
        // Labels are put into a page without escaping.
        assert!(Measure::ALL.iter().all(|measure| !measure.label().contains(['<', '>', '&', '"'])));
    }

    #[test]
    fn an_event_adds_to_the_measures_of_its_verdict() {
        for verdict in Verdict::ALL {
            let found: Vec<_> = additions(verdict).iter().map(|one| Measure::ALL[one.place]).collect();
            let expected: Vec<_> = Measure::ALL.into_iter().filter(|one| one.verdict() == verdict).collect();
            assert_eq!(found, expected, "{verdict:?}");
            for (addition, measure) in additions(verdict).iter().zip(expected) {
                assert_eq!((addition.amount, addition.event_type), (measure.amount(), measure.event_type()));
            }
        }
    }

    /// Existing lakes rely on these.
    #[test]
    fn columns_of_existing_lakes_stay_as_they_are() {
        let (first, added) = Measure::ALL.split_at(Measure::OF_FORMAT_1);
        let names: Vec<_> = first.iter().map(|measure| measure.column()).collect();
        assert_eq!(names, ["clicks", "cost_micros", "duplicates", "late", "filtered"]);
        assert!(first.iter().all(|measure| !measure.is_added() && !measure.field().is_nullable()));
        assert!(added.iter().all(|measure| measure.is_added() && measure.field().is_nullable()));
    }

    #[test]
    fn a_null_measure_is_read_as_zero() {
        let values: ArrayRef = Arc::new(Int64Array::from(vec![Some(7), None, Some(0)]));
        let filled = Measure::ALL[0].filled(values);
        assert_eq!(filled.as_primitive::<Int64Type>(), &Int64Array::from(vec![7, 0, 0]));
    }

    #[test]
    fn a_value_is_found_by_its_measure() {
        let values: [usize; MEASURES] = std::array::from_fn(|place| place);
        assert_eq!(Measure::ALL.map(|measure| measure.of(&values)), values);
    }
}
