//! Verdicts: what an event is taken for when it is counted.

/// What an event is taken for: the first of these that applies, but for the first, which is what is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// It counts.
    Counted,
    /// A copy of an event that was counted before.
    Duplicate,
    /// It came when its window's lateness was over.
    Late,
    /// It is of a type that is not counted.
    Filtered,
}

impl Verdict {
    /// All verdicts.
    pub const ALL: [Self; 4] = [Self::Counted, Self::Duplicate, Self::Late, Self::Filtered];
}
