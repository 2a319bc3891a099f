//! History through the same operators: into a table of its own, or in place of what is there.
//!
//! | | |
//! |---|---|
//! | [`Shadow`] | a table is made, and written like the live job's, by the same loop, from the raw table alone |
//! | [`Replace`] | closed windows of `clicks_minute` are computed again, and replaced in one commit |
//! | [`replay`] | the rows that a table should have where it stands, kept in memory for who compares |
//!
//! [`Range`] says which part of history; `end.rs` makes of the live job's source a bounded one.

mod contents;
mod end;
mod minute_files;
mod range;
mod recompute;
mod replace;
mod scope;
mod shadow;

pub use contents::{Changes, Day, Sums};
pub use range::Range;
pub use replace::{Replace, Replaced, Writes};
pub use shadow::{Made, Shadow};

use std::sync::Arc;

use arrow::array::RecordBatch;
use futures::future::BoxFuture;
use lake_schemas::commit::TableLog;
use lake_schemas::job::{Freeze, Job, Source, SourceError, Start};
use lake_schemas::minute::Parameters;
use lake_schemas::{Cut, History, Lake, Stand, Table, TopicPartition};
use tokio_util::sync::CancellationToken;

use self::recompute::{Kept, Recompute};
use crate::backoff::Backoff;
use crate::drive::DriveError;
use crate::replay::{Meter, Needs};

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
        let raw = TableLog::find(lake, Table::Clicks).await?.ok_or_else(|| lake.lacks(Table::Clicks))?;
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

/// What decides the counts of a shadow for which nothing else is asked: what the lake's own minutes record.
pub(crate) async fn defaults(lake: &Lake) -> Result<Parameters, lake_schemas::LakeError> {
    match TableLog::find(lake, Table::ClicksMinute).await? {
        Some(minutes) => minutes.parameters(),
        None => Ok(Parameters::default()),
    }
}

/// Begins a partition, however often the store has to be asked.
async fn start(
    source: &mut impl Source,
    partition: TopicPartition,
    from: Option<i64>,
    stop: &CancellationToken,
) -> Result<(), DriveError> {
    let mut backoff = Backoff::default();
    loop {
        match source.start(vec![Start { partition: partition.clone(), from, witness: None }]).await {
            Err(SourceError::Lake(error)) => backoff.again(error, stop).await?,
            done => return Ok(done?),
        }
    }
}
