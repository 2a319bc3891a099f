//! Computes the rows of one partition of a table of minutes again, from the raw clicks and in memory, so that `verify
//! --replay` can compare them with the table.

use std::sync::Arc;

use arrow::array::RecordBatch;
use futures::future::BoxFuture;
use ingest::drive::DriveError;
use ingest::replay::{Meter, Needs};
use ingest::source::SourceError;
use lake_schemas::job::Flush;
use lake_schemas::{Cut, History, Stand, Table, TopicPartition};
use lake_store::{Lake, LakeError, Result};
use stream_agg::job::Aggregate;
use tokio_util::sync::CancellationToken;

use crate::recompute::{Recompute, Sink};
use crate::work;

/// Computes the rows that a partition of a table of minutes should have at the given stand, from the raw clicks.
/// `needs` gives the part of history and the parameters.
pub fn replay<'a>(
    lake: &'a Lake,
    table: Table,
    needs: Needs,
    partition: &'a TopicPartition,
    stand: Stand,
) -> BoxFuture<'a, Result<Vec<RecordBatch>>> {
    Box::pin(async move {
        let mut kept = RowsInMemory::default();
        recompute(lake, table, needs, partition, stand, &mut kept).await.map_err(|error| match error {
            DriveError::Lake(error) | DriveError::Source(SourceError::Lake(error)) => error,
            other => LakeError::store(format!("replaying {partition}"), other),
        })?;
        Ok(kept.0)
    })
}

async fn recompute(
    lake: &Lake,
    table: Table,
    needs: Needs,
    partition: &TopicPartition,
    stand: Stand,
    kept: &mut RowsInMemory,
) -> Result<(), DriveError> {
    let raw = work::raw(lake).await?;
    let cut = |next: Option<i64>| -> Cut { next.map(|next| (partition.clone(), next)).into_iter().collect() };
    let needs = Needs { history: History { until: cut(stand.cut), ..needs.history }, ..needs };
    let job = Aggregate::over(needs.history.clone(), table, needs.parameters.clone());
    let (stop, meter, drained) = (CancellationToken::new(), Arc::new(Meter::default()), cut(stand.drained));
    // The table has the windows that its watermark has closed, and below `drained` the open ones, too.
    let end = Flush::Closed;
    let recompute = Recompute { job: &job, needs, drained, end, at_a_time: 1, meter: &meter, stop: &stop };
    recompute.run(raw, kept).await?;
    Ok(())
}

/// Sink that keeps rows in memory.
#[derive(Default)]
struct RowsInMemory(Vec<RecordBatch>);

impl Sink for RowsInMemory {
    async fn take(&mut self, rows: RecordBatch) -> Result<()> {
        self.0.push(rows);
        Ok(())
    }
}
