//! The error of this crate: data, or a request about them, that this program cannot work on.

/// A result whose error is [`Invalid`].
pub type Result<T, E = Invalid> = std::result::Result<T, E>;

/// Data, or a request, that this program cannot work on. The text says what it is about, why, and what to do. Trying
/// again does not help. A caller that works on a lake turns it into a refusal.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Invalid(pub String);
