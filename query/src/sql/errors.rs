//! Errors of the lake in statements, as DataFusion carries them.

use datafusion::error::DataFusionError;
use lake_schemas::Code;
use lake_store::LakeError;

use crate::error::QueryError;

/// Builds the error for writing a table of the lake: a row that SQL added would have no cut.
pub(crate) fn is_read_only(name: &str) -> DataFusionError {
    let why = format!("{name} is a table of the lake, which SQL reads and does not write; its rows come from the jobs");
    refused(LakeError::Refused(Code::ReadOnly.because(why)))
}

/// Builds the error for a name of the lake that a session would give to something else.
pub(crate) fn is_the_lakes_own(name: &str) -> DataFusionError {
    refused(LakeError::Refused(
        Code::NameReserved.because(format!("{name} is a name that the lake uses; choose another")),
    ))
}

/// Wraps an error of the lake so that it can pass through DataFusion.
pub(crate) fn refused(error: LakeError) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

/// Converts an error of a query so that it can pass through DataFusion.
pub(crate) fn external(error: QueryError) -> DataFusionError {
    match error {
        QueryError::Lake(error) => refused(error),
        QueryError::Overflow(error) => DataFusionError::External(Box::new(error)),
        QueryError::Sql(error) => error,
        error @ (QueryError::Unanswerable(_) | QueryError::Gone(_)) => DataFusionError::External(Box::new(error)),
    }
}
