//! What is wrong with data, or with what was asked about them.

/// A result whose error is [`Invalid`].
pub type Result<T, E = Invalid> = std::result::Result<T, E>;

/// Data, or a request, that this program cannot work on: what it is about, why, and what to do. Trying again does not
/// help. A caller that works on a lake takes it for a refusal.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Invalid(pub String);
