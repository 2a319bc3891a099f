//! Sessions of an audit: DataFusion over the tables that are compared, in bounded memory.

use std::sync::Arc;

use arrow::array::RecordBatch;
use datafusion::execution::memory_pool::FairSpillPool;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::prelude::{SessionConfig, SessionContext};
use lake_schemas::Table;
use lake_store::Lake;
use lake_store::commit::TableView;

use crate::error::QueryError;
use crate::open;
use crate::rows::collect;

/// Makes a session whose statements may take `memory` bytes; beyond that they spill to disk.
pub(super) fn bounded(memory: usize) -> Result<SessionContext, QueryError> {
    let runtime = RuntimeEnvBuilder::new().with_memory_pool(Arc::new(FairSpillPool::new(memory))).build_arc()?;
    Ok(SessionContext::new_with_config_rt(SessionConfig::new(), runtime))
}

/// Makes a session with the raw tables, `clicks` at the version that is audited, and a table of minutes at its own, as
/// `clicks_minute`.
pub(super) async fn session(
    lake: &Lake,
    clicks: &TableView,
    minutes: &TableView,
    memory: usize,
) -> Result<SessionContext, QueryError> {
    let context = bounded(memory)?;
    register_raw(&context, lake, clicks).await?;
    let (table, version) = (minutes.table(), minutes.version());
    open::register(&context, lake, table, Table::ClicksMinute.name(), Some(version)).await?;
    Ok(context)
}

/// Registers the raw tables. Rejected messages are committed first, so their newest version covers any cut of `clicks`.
pub(super) async fn register_raw(context: &SessionContext, lake: &Lake, clicks: &TableView) -> Result<(), QueryError> {
    let table = Table::ClicksRejected;
    open::register(context, lake, table, table.name(), None).await?;
    let (table, version) = (Table::Clicks, clicks.version());
    open::register(context, lake, table, table.name(), Some(version)).await
}

/// Runs one of our statements; returns at least one batch, possibly without rows.
pub(super) async fn run(context: &SessionContext, sql: &str) -> Result<Vec<RecordBatch>, QueryError> {
    collect(context.sql(sql).await?).await
}
