//! Why a compactor cannot go on.

use arrow::error::ArrowError;
use datafusion::error::DataFusionError;
use lake_schemas::{LakeError, Table};

/// Why a round ended early. What it had done by then stays done.
#[derive(Debug, thiserror::Error)]
pub enum CompactError {
    /// The lake.
    #[error(transparent)]
    Lake(#[from] LakeError),
    /// A roll-up's query.
    #[error("rolling up: {}", .0.strip_backtrace())]
    Sql(#[from] DataFusionError),
    /// Another compactor.
    #[error("{0}: another compact rolls it up at the same time, and was first; one is enough")]
    Fenced(Table),
}

impl From<ArrowError> for CompactError {
    fn from(error: ArrowError) -> Self {
        Self::Sql(error.into())
    }
}
