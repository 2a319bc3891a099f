//! Verdicts: how an event is judged when it is counted.

/// Verdict on an event: the first of `Filtered`, `Late` and `Duplicate`, in this order, that applies, else `Counted`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// The event is counted.
    Counted,
    /// The event is a copy of one that was counted before.
    Duplicate,
    /// The event came when its window's lateness was over.
    Late,
    /// The event is of a type that is not counted.
    Filtered,
}

impl Verdict {
    /// All verdicts there are.
    pub const ALL: [Self; 4] = [Self::Counted, Self::Duplicate, Self::Late, Self::Filtered];
}
