//! Collects the rows of an answer.

use arrow::record_batch::RecordBatch;
use datafusion::prelude::DataFrame;

use crate::error::QueryError;

/// Returns all rows of an answer: at least one batch, possibly without rows, so that its columns are known.
pub(crate) async fn collect(answer: DataFrame) -> Result<Vec<RecordBatch>, QueryError> {
    let schema = answer.schema().inner().clone();
    let mut batches = answer.collect().await?;
    if batches.is_empty() {
        batches.push(RecordBatch::new_empty(schema));
    }
    Ok(batches)
}
