//! The rows that a table should have where it stands, kept in memory for who compares.

use std::sync::Arc;

use arrow::array::RecordBatch;
use futures::future::BoxFuture;
use ingest::drive::DriveError;
use ingest::replay::{Meter, Needs};
use lake_schemas::job::{Freeze, Job};
use lake_schemas::{Cut, History, Stand, TopicPartition};
use lake_store::{Lake, Result};
use tokio_util::sync::CancellationToken;

use crate::recompute::{Recompute, Sink};
use crate::work;

/// The rows that a partition of a table of minutes should have where it stands, computed from the raw clicks by a job
/// over that part of history.
pub fn replay<'a, J: Job + Sync>(
    lake: &'a Lake,
    job: &'a J,
    needs: Needs,
    partition: &'a TopicPartition,
    stand: Stand,
) -> BoxFuture<'a, Result<Vec<RecordBatch>, DriveError>> {
    Box::pin(async move {
        let raw = work::raw(lake).await?;
        let cut = |next: Option<i64>| -> Cut { next.map(|next| (partition.clone(), next)).into_iter().collect() };
        let needs = Needs { history: History { until: cut(stand.cut), ..needs.history }, ..needs };
        let (stop, meter, mut kept) = (CancellationToken::new(), Arc::new(Meter::default()), Kept::default());
        let drained = cut(stand.drained);
        let end = Freeze::Closed;
        let recompute = Recompute { job, needs, drained, end, at_a_time: 1, meter: &meter, stop: &stop };
        recompute.run(raw, &mut kept).await?;
        Ok(kept.0)
    })
}

/// Keeps rows, by partition.
#[derive(Default)]
struct Kept(Vec<RecordBatch>);

impl Sink for Kept {
    async fn take(&mut self, rows: RecordBatch) -> Result<()> {
        self.0.push(rows);
        Ok(())
    }
}
