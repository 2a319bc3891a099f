//! The gap: something that a process says does not follow from what it said before.

use super::frame::ChainKey;

/// A break in what a process says. What was known of its chains is void then, and whoever listens connects anew.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Gap {
    /// Another set came than the one that follows.
    #[error("set {found} of the live feed came where {expected} follows; connect to it anew")]
    Number {
        /// Number of the set that follows.
        expected: u64,
        /// Number of the set that came.
        found: u64,
    },
    /// The set is of another incarnation.
    #[error("another process than before says the live feed; connect to it anew")]
    Incarnation,
    /// A frame does not fit its chain.
    #[error("the live feed of {key} {why}; connect to it anew")]
    Frame {
        /// Chain of the frame.
        key: ChainKey,
        /// Predicate that says what is wrong.
        why: &'static str,
    },
}
