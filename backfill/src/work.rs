//! Input of a backfill: a part of a lake's history, and how to read it.

use std::sync::Arc;

use ingest::replay::Meter;
use lake_schemas::Table;
use lake_store::commit::TableLog;
use lake_store::{Lake, Result};
use tokio_util::sync::CancellationToken;

use crate::range::Range;

/// Part of history to read, and how.
pub struct Work<'a> {
    /// Lake to read.
    pub lake: &'a Lake,
    /// Part of its history.
    pub range: Range,
    /// Number of partitions that are read at once.
    pub at_a_time: usize,
    /// Meter that counts what is read.
    pub meter: Arc<Meter>,
    /// Token that tells it to stop.
    pub stop: CancellationToken,
}

impl Work<'_> {
    pub(crate) async fn raw(&self) -> Result<TableLog> {
        raw(self.lake).await
    }
}

/// Opens the raw table of a lake for reading.
pub(crate) async fn raw(lake: &Lake) -> Result<TableLog> {
    let raw = TableLog::find_to_read(lake, Table::Clicks).await?.ok_or_else(|| lake.lacks(Table::Clicks))?;
    raw.has_its_stands().await?;
    Ok(raw)
}
