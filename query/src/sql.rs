//! One statement over the lake.

use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use datafusion::error::DataFusionError;
use datafusion::execution::context::SQLOptions;
use datafusion::prelude::DataFrame;
use futures::future::BoxFuture;
use lake_schemas::{Lake, LakeError};

use crate::catalog;

/// Why a statement has no answer.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// The lake.
    #[error(transparent)]
    Lake(#[from] LakeError),
    /// The statement, or its execution.
    #[error("{}", .0.strip_backtrace())]
    Sql(DataFusionError),
}

impl From<ArrowError> for QueryError {
    fn from(error: ArrowError) -> Self {
        Self::Sql(error.into())
    }
}

impl From<DataFusionError> for QueryError {
    fn from(error: DataFusionError) -> Self {
        // What the lake said on the way is said as it is.
        lake_error(error).map_or_else(Self::Sql, Self::Lake)
    }
}

/// What the lake said that made a statement fail; else the error itself.
fn lake_error(error: DataFusionError) -> Result<LakeError, DataFusionError> {
    match error {
        DataFusionError::External(error) => error.downcast().map(|error| *error).map_err(DataFusionError::External),
        DataFusionError::Context(what, error) => {
            lake_error(*error).map_err(|error| DataFusionError::Context(what, Box::new(error)))
        }
        DataFusionError::Diagnostic(what, error) => {
            lake_error(*error).map_err(|error| DataFusionError::Diagnostic(what, Box::new(error)))
        }
        error => Err(error),
    }
}

/// Answers one statement, which may read and must not write.
pub fn run<'a>(lake: &'a Lake, sql: &'a str) -> BoxFuture<'a, Result<Vec<RecordBatch>, QueryError>> {
    Box::pin(async move {
        let session = catalog::session(lake).await?;
        // The tables are written by the jobs alone: a row that came in by SQL would have no cut.
        let read_only = SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
        let answer = session.sql_with_options(sql, read_only).await?;
        collect(answer).await
    })
}

/// All rows of an answer: at least one batch, possibly without rows, so that its columns are known.
pub(crate) async fn collect(answer: DataFrame) -> Result<Vec<RecordBatch>, QueryError> {
    let schema = answer.schema().inner().clone();
    let mut batches = answer.collect().await?;
    if batches.is_empty() {
        batches.push(RecordBatch::new_empty(schema));
    }
    Ok(batches)
}
