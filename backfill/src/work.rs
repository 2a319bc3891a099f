//! What a backfill reads of a lake, and how.

use std::sync::Arc;

use ingest::replay::Meter;
use lake_schemas::Table;
use lake_store::commit::TableLog;
use lake_store::{Lake, Result};
use tokio_util::sync::CancellationToken;

use crate::range::Range;

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
    pub(crate) async fn raw(&self) -> Result<TableLog> {
        raw(self.lake).await
    }
}

/// The raw table of a lake, to be read.
pub(crate) async fn raw(lake: &Lake) -> Result<TableLog> {
    let raw = TableLog::find_to_read(lake, Table::Clicks).await?.ok_or_else(|| lake.lacks(Table::Clicks))?;
    raw.has_its_stands().await?;
    Ok(raw)
}
