//! Errors of working on a lake, by what the caller does about them.
//!
//! Expected outcomes of a commit (someone else was first, another writer owns a partition) are values, not errors: see
//! [`crate::commit::Outcome`].

use deltalake::DeltaTableError;
use deltalake::kernel::transaction::TransactionError;
use lake_schemas::{Code, Invalid, Refusal};

use crate::advice::advice;

/// A result whose error is a [`LakeError`].
pub type Result<T, E = LakeError> = std::result::Result<T, E>;

/// An error of working on a lake: what went wrong, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum LakeError {
    /// The store did not answer as it should. Try again: the request may have happened all the same.
    #[error("{what}")]
    Store {
        /// Action that failed, with its table.
        what: String,
        /// Error of the store, or of Delta.
        source: Box<dyn std::error::Error + Send + Sync>,
    },

    /// This program cannot work on the lake, or cannot do what was asked of it. Do not try again before something has
    /// changed.
    #[error("{0}")]
    Refused(Refusal),

    /// A table is no longer the one that is known: it has become another one under the same name, or its log was
    /// cleaned up where a commit of ours may have been. Open it again to see what it is.
    #[error("{0}")]
    Altered(String),
}

impl LakeError {
    /// Wraps an error of a store, or of Delta, with what was being done, and with advice where there is some.
    pub fn store(what: impl Into<String>, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        let source = source.into();
        let source = advice(source.as_ref()).map_or(source, Into::into);
        Self::Store { what: what.into(), source }
    }

    /// Returns the code of the refusal; `None` if it is none.
    pub fn code(&self) -> Option<Code> {
        match self {
            Self::Store { .. } => None,
            Self::Refused(refusal) => Some(refusal.code),
            Self::Altered(_) => Some(Code::TableAltered),
        }
    }

    /// Returns whether the same call may succeed later.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Store { .. })
    }
}

impl From<Invalid> for LakeError {
    fn from(Invalid(refusal): Invalid) -> Self {
        Self::Refused(refusal)
    }
}

/// Names what was being done when Delta or its store failed.
pub trait Context<T> {
    /// Turns the error into a [`LakeError::Store`].
    fn while_doing(self, what: impl FnOnce() -> String) -> Result<T>;
}

/// Implements [`Context`] for the errors of Delta and its store. A [`LakeError`] must not have it, because it says
/// already what was being done.
macro_rules! context {
    ($($error:ty),+ $(,)?) => {$(
        impl<T> Context<T> for std::result::Result<T, $error> {
            fn while_doing(self, what: impl FnOnce() -> String) -> Result<T> {
                self.map_err(|source| LakeError::store(what(), source))
            }
        }
    )+};
}

context!(DeltaTableError, TransactionError, deltalake::kernel::Error, object_store::Error, delta_kernel::Error);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_keeps_its_code_and_a_store_that_fails_has_none() {
        let refused = LakeError::from(Invalid(Code::RangeImpossible.because("no window")));
        assert_eq!((refused.code(), refused.to_string().as_str()), (Some(Code::RangeImpossible), "no window"));
        assert_eq!(LakeError::Altered("start again".to_owned()).code(), Some(Code::TableAltered));
        assert_eq!(LakeError::store("reading", "no route").code(), None);
    }
}
