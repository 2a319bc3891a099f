//! The error of this crate: data, or a request about them, that this program cannot work on.

use std::fmt;

use crate::code::Code;

/// A result whose error is [`Invalid`].
pub type Result<T, E = Invalid> = std::result::Result<T, E>;

/// What to do about a property of a table that another program has changed.
pub const AS_IT_WAS: &str = "set it as it was, or restore the table to a version before it was changed";

/// Something that is refused: its kind, and a text that says what it is about, why, and what to do. Trying again
/// does not help.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct Refusal {
    /// Kind of the refusal.
    pub code: Code,
    /// Sentence that names the thing, and says why and what to do.
    pub why: String,
}

/// Data, or a request, that this program cannot work on. A caller that works on a lake turns it into a refusal.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Invalid(pub Refusal);

impl Code {
    /// Makes a refusal of this kind, with the text that says why.
    pub fn because(self, why: impl Into<String>) -> Refusal {
        Refusal { code: self, why: why.into() }
    }
}

impl Refusal {
    /// Returns this refusal with the name of the thing that it is about put before its text.
    pub fn about(self, what: impl fmt::Display) -> Self {
        Self { why: format!("{what}{}", self.why), ..self }
    }
}
