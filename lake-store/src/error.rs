//! What can go wrong with a lake, by what the caller does about it.
//!
//! Expected outcomes of a commit (someone else was first, another writer owns a partition) are values, not errors:
//! see [`crate::commit::Outcome`].

use deltalake::DeltaTableError;
use deltalake::kernel::transaction::TransactionError;
use lake_schemas::Invalid;

use crate::advice::advice;

/// A result whose error is a [`LakeError`].
pub type Result<T, E = LakeError> = std::result::Result<T, E>;

/// What went wrong, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum LakeError {
    /// The store did not answer as it should: try again. What was asked for may have happened all the same.
    #[error("{what}")]
    Store {
        /// What was being done, and to which table.
        what: String,
        /// What the store, or Delta, said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },

    /// The lake, or what was asked of it, is not what this program can work on: do not try again, change something.
    #[error("{0}")]
    Refused(String),

    /// A table is no longer what is known of it: it has become another one under the same name, or its log was cleaned
    /// up where a commit of ours may have been. Open it again, and see what it is.
    #[error("{0}")]
    Altered(String),
}

impl LakeError {
    /// Wraps what a store, or Delta, reported while something was done; what to do about it, where that is known.
    pub fn store(what: impl Into<String>, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        let source = source.into();
        let source = advice(source.as_ref()).map_or(source, Into::into);
        Self::Store { what: what.into(), source }
    }

    /// Whether the same call may go through later.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Store { .. })
    }
}

impl From<Invalid> for LakeError {
    fn from(Invalid(why): Invalid) -> Self {
        Self::Refused(why)
    }
}

/// Names what was being done when Delta or its store failed.
pub trait Context<T> {
    /// Turns the error into a [`LakeError::Store`].
    fn while_doing(self, what: impl FnOnce() -> String) -> Result<T>;
}

/// For each error of Delta and its store, and for no other: a [`LakeError`] says already what was being done.
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
