//! Opens a table of the lake for DataFusion, at one version. Only its log is read, and its files when it is scanned.

use std::sync::Arc;

use datafusion::catalog::TableProvider;
use datafusion::prelude::SessionContext;
use deltalake::delta_datafusion::TableProviderBuilder;
use lake_schemas::Table;
use lake_schemas::table::{PROPERTY_DROPPED, Version};
use lake_store::Lake;
use lake_store::commit::{is_readable, snapshot};
use lake_store::error::Context;

use crate::complete::complete;
use crate::error::QueryError;

/// A table at a version.
#[derive(Clone)]
pub(crate) struct Opened {
    /// Version of the table.
    pub version: Version,
    /// Table as DataFusion scans it.
    pub provider: Arc<dyn TableProvider>,
}

/// Opens a table at a version, or at its newest; `None` if the lake lacks it, or it is dropped. A table that another
/// reader of this program would read wrongly is refused here, too, so that all of them give the same answer, or none.
pub(crate) async fn open(lake: &Lake, table: Table, version: Option<Version>) -> Result<Option<Opened>, QueryError> {
    let what = || format!("{table}: opening it");
    let log_store = lake.log_store(table.name())?;
    if !log_store.is_delta_table_location().await.while_doing(what)? {
        return Ok(None);
    }
    let snapshot = snapshot(table, log_store.as_ref(), version).await?;
    if snapshot.metadata().configuration().contains_key(PROPERTY_DROPPED) {
        return Ok(None);
    }
    is_readable(table, snapshot.protocol(), snapshot.metadata())?;
    let version = snapshot.version();
    let provider = TableProviderBuilder::default().with_log_store(log_store).with_snapshot(snapshot).build().await?;
    Ok(Some(Opened { version, provider: complete(table, Arc::new(provider)) }))
}

/// Registers a table as `name` in a session, if the lake has it.
pub(crate) async fn register(
    context: &SessionContext,
    lake: &Lake,
    table: Table,
    name: &str,
    version: Option<Version>,
) -> Result<(), QueryError> {
    if let Some(opened) = open(lake, table, version).await? {
        context.register_table(name, opened.provider)?;
    }
    Ok(())
}
