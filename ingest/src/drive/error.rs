//! What ends a job before it is told to.

use lake_schemas::Invalid;
use lake_store::LakeError;

use crate::source::SourceError;

/// Why a job ended before it was told to.
#[derive(Debug, thiserror::Error)]
pub enum DriveError {
    /// The log.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The lake.
    #[error(transparent)]
    Lake(#[from] LakeError),
    /// Another writer.
    #[error(
        "{table}: another process commits the same partitions ({app_id} stands at {found:?}, expected {expected:?}); \
         is this job running twice, with different groups?"
    )]
    Fenced {
        /// Where.
        table: String,
        /// Which `txn`.
        app_id: String,
        /// Where this process left it.
        expected: Option<i64>,
        /// Where it is.
        found: Option<i64>,
    },
    /// The limit on memory.
    #[error(
        "the memory limit is reached: {partitions} partitions hold {used} bytes of {max}, which is --memory-limit less \
         what restarts need, at most an eighth; start more processes of this group, or raise it; nothing is lost"
    )]
    Memory {
        /// How many partitions this process had.
        partitions: usize,
        /// What they held.
        used: usize,
        /// What they may hold.
        max: usize,
    },
    /// The stop could not wait for the store any longer.
    #[error("stopped before the last epoch was committed; what it held is read again at the next start")]
    StoppedShort,
}

impl From<Invalid> for DriveError {
    fn from(error: Invalid) -> Self {
        Self::Lake(error.into())
    }
}

impl DriveError {
    /// Whether what failed may be there again by itself, if it was there before.
    pub(crate) fn may_pass(&self) -> bool {
        match self {
            Self::Lake(error) | Self::Source(SourceError::Lake(error)) => error.is_retryable(),
            Self::Source(SourceError::Failed(_)) => true,
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
    fn the_limit_on_memory_says_how_it_comes_about() {
        let said = DriveError::Memory { partitions: 3, used: 20, max: 10 }.to_string();
        assert!(
            said.contains("20 bytes of 10, which is --memory-limit less what restarts need, at most an eighth"),
            "{said}"
        );
    }
}
