//! Errors that end a job before it is told to stop.

use lake_schemas::{Code, Invalid};
use lake_store::LakeError;

use crate::source::SourceError;

/// Why a job ended before it was told to.
#[derive(Debug, thiserror::Error)]
pub enum DriveError {
    /// The source failed, or refused.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The lake failed, or refused.
    #[error(transparent)]
    Lake(#[from] LakeError),
    /// Another writer commits the same partitions.
    #[error(
        "{table}: another process commits the same partitions ({app_id} stands at {found:?}, expected {expected:?}); \
         is this job running twice, with different groups?"
    )]
    Fenced {
        /// Table in which the epoch was fenced.
        table: String,
        /// The `txn` that another writer has moved.
        app_id: String,
        /// Value at which this process left it.
        expected: Option<i64>,
        /// Value found in the table.
        found: Option<i64>,
    },
    /// The limit on memory is reached.
    #[error(
        "the memory limit is reached: {partitions} partitions hold {used} bytes of {max}, which is --memory-limit less \
         what restarts need, at most an eighth; start more processes of this group, or raise it; nothing is lost"
    )]
    Memory {
        /// Number of partitions of this process.
        partitions: usize,
        /// Bytes that the partitions held.
        used: usize,
        /// Bytes that they may hold.
        max: usize,
    },
    /// The stop could not wait any longer for the store.
    #[error("stopped before the last epoch was committed; what it held is read again at the next start")]
    StoppedShort,
}

impl From<Invalid> for DriveError {
    fn from(error: Invalid) -> Self {
        Self::Lake(error.into())
    }
}

impl DriveError {
    /// Returns the code of the refusal; `None` if it is none.
    pub fn code(&self) -> Option<Code> {
        match self {
            Self::Source(error) => error.code(),
            Self::Lake(error) => error.code(),
            Self::Fenced { .. } => Some(Code::Fenced),
            Self::Memory { .. } => Some(Code::MemoryLimit),
            Self::StoppedShort => None,
        }
    }

    /// Returns whether the operation may succeed later without any change, if it has succeeded before.
    pub(crate) fn may_pass(&self) -> bool {
        match self {
            Self::Lake(error) | Self::Source(SourceError::Lake(error)) => error.is_retryable(),
            Self::Source(SourceError::Failed { .. }) => true,
            Self::Source(SourceError::Refused(_)) | Self::Fenced { .. } | Self::Memory { .. } | Self::StoppedShort => {
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_keeps_its_code_and_a_failure_its_cause() {
        let refused = SourceError::Refused(Code::TopicAnew.because("the topic was made again"));
        assert_eq!(DriveError::from(refused).code(), Some(Code::TopicAnew));
        assert_eq!(DriveError::from(LakeError::Altered("start again".to_owned())).code(), Some(Code::TableAltered));
        let failed = DriveError::from(SourceError::failed("topic clicks", "no broker answers"));
        assert_eq!((failed.code(), failed.to_string().as_str()), (None, "topic clicks"));
        let cause = std::error::Error::source(&failed).map(ToString::to_string);
        assert_eq!(cause.as_deref(), Some("no broker answers"));
    }

    #[test]
    fn the_limit_on_memory_says_how_it_comes_about() {
        let said = DriveError::Memory { partitions: 3, used: 20, max: 10 }.to_string();
        assert!(
            said.contains("20 bytes of 10, which is --memory-limit less what restarts need, at most an eighth"),
            "{said}"
        );
    }
}
