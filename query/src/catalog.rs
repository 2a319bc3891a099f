//! The tables of a lake, as SQL sees them: each at its newest version when the session begins.

use datafusion::prelude::SessionContext;
use deltalake::DeltaTable;
use lake_schemas::commit::Version;
use lake_schemas::error::Context;
use lake_schemas::{Lake, LakeError, Table};

use crate::sql::QueryError;

/// Makes a table known to a session by a name, at a version or at its newest. Whether the lake has it.
pub(crate) async fn register(
    context: &SessionContext,
    lake: &Lake,
    (table, name): (Table, &str),
    version: Option<Version>,
) -> Result<bool, QueryError> {
    let what = || format!("{table}: opening it");
    let log_store = lake.log_store(table.name())?;
    if !log_store.is_delta_table_location().await.while_doing(what)? {
        return Ok(false);
    }
    let mut delta = DeltaTable::new(log_store);
    match version {
        Some(version) => delta.load_version(version).await.while_doing(what)?,
        None => delta.load().await.while_doing(what)?,
    }
    delta.update_datafusion_session(&context.state()).while_doing(what)?;
    context.register_table(name, delta.table_provider().await?)?;
    Ok(true)
}

/// A session that knows the tables that the lake has.
pub(crate) async fn session(lake: &Lake) -> Result<SessionContext, QueryError> {
    let context = SessionContext::new();
    let mut found = 0;
    let shadows = lake.shadows().await?;
    for table in Table::ALL.into_iter().chain(shadows) {
        found += usize::from(register(&context, lake, (table, table.name()), None).await?);
    }
    if found == 0 {
        let why = format!("lake {} has no tables yet; `clicklake up` or `clicklake ingest` makes them", lake.url());
        return Err(LakeError::Refused(why).into());
    }
    Ok(context)
}
