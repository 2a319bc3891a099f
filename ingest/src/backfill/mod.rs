//! History through the same operators: into a table of its own, or in place of what is there.
//!
//! | | |
//! |---|---|
//! | [`Shadow`] | a table is made, and written like the live job's, by the same loop, from the raw table alone |
//! | [`Replace`] | closed windows of `clicks_minute` are computed again, and replaced in one commit |
//! | [`replay`] | the rows that a table should have where it stands, kept in memory for who compares |
//! | [`Promote`] | such a table of all history becomes `clicks_minute`, in one commit |
//! | [`provenance`], [`Feed`] | the events behind one count, for who explains |
//!
//! [`Range`] says which part of history; `end.rs` makes of the live job's source a bounded one, which
//! `bounded.rs` reads.

mod bounded;
mod contents;
mod end;
mod feed;
mod minute_files;
mod newest;
mod promote;
mod provenance;
mod range;
mod recompute;
mod replace;
mod scope;
mod shadow;

pub use contents::{Changes, Day, Sums};
pub use feed::Feed;
pub use promote::{Promote, Promoted, What};
pub use provenance::{Row, provenance};
pub use range::Range;
pub use replace::{Replace, Replaced, Writes};
pub use shadow::{Made, Shadow};

use std::sync::Arc;

use arrow::array::RecordBatch;
use futures::future::BoxFuture;
use lake_schemas::job::{Freeze, Job};
use lake_schemas::minute::Parameters;
use lake_schemas::{Cut, History, Stand, Table, TopicPartition};
use lake_store::Lake;
use lake_store::commit::TableLog;
use tokio_util::sync::CancellationToken;

use self::recompute::{Kept, Recompute};
use crate::drive::DriveError;
use crate::replay::{Meter, Needs};

/// What of history is read, and how.
pub struct Work<'a> {
    /// Where.
    pub lake: &'a Lake,
    /// What of history.
    pub range: Range,
    /// How many partitions are under way at once.
    pub at_a_time: usize,
    /// Counts what is read.
    pub meter: Arc<Meter>,
    /// Tells it to stop.
    pub stop: CancellationToken,
}

impl Work<'_> {
    async fn raw(&self) -> lake_store::Result<TableLog> {
        raw(self.lake).await
    }
}

/// The raw table of a lake, to be read.
async fn raw(lake: &Lake) -> lake_store::Result<TableLog> {
    let raw = TableLog::find_to_read(lake, Table::Clicks).await?.ok_or_else(|| lake.lacks(Table::Clicks))?;
    raw.has_its_stands().await?;
    Ok(raw)
}

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
        let raw = raw(lake).await?;
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
async fn defaults(lake: &Lake) -> Result<Parameters, lake_store::LakeError> {
    match TableLog::find_to_read(lake, Table::ClicksMinute).await? {
        Some(minutes) => minutes.parameters(),
        None => Ok(Parameters::default()),
    }
}
