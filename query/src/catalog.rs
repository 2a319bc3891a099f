//! The tables of a lake, as SQL sees them: each at its newest version when the session begins, and the functions over
//! them.

use std::sync::Arc;

use datafusion::prelude::SessionContext;
use deltalake::DeltaTable;
use lake_schemas::commit::Version;
use lake_schemas::error::Context;
use lake_schemas::minute::Parameters;
use lake_schemas::{Lake, LakeError, Table};

use crate::sql::QueryError;
use crate::totals::{Function, InSession, Tables, TotalsFunction, Versions, store_url};

/// The tables that a lake has by itself, in the order in which a session looks at them: roll-ups before what they are
/// made of, so that this is found as it was then, or newer; rows before those that were committed ahead of them.
const LOOKED_AT: [Table; 5] =
    [Table::ClicksDaily, Table::ClicksHourly, Table::ClicksMinute, Table::Clicks, Table::ClicksRejected];

/// Makes a table known to a session by a name, at a version or at its newest; the table, if the lake has it.
pub(crate) async fn register(
    context: &SessionContext,
    lake: &Lake,
    (table, name): (Table, &str),
    version: Option<Version>,
) -> Result<Option<DeltaTable>, QueryError> {
    let what = || format!("{table}: opening it");
    let log_store = lake.log_store(table.name())?;
    if !log_store.is_delta_table_location().await.while_doing(what)? {
        return Ok(None);
    }
    let mut delta = DeltaTable::new(log_store);
    match version {
        Some(version) => delta.load_version(version).await.while_doing(what)?,
        None => delta.load().await.while_doing(what)?,
    }
    delta.update_datafusion_session(&context.state()).while_doing(what)?;
    context.register_table(name, delta.table_provider().await?)?;
    Ok(Some(delta))
}

/// A session that knows the tables that the lake has.
pub(crate) async fn session(lake: &Lake) -> Result<SessionContext, QueryError> {
    let context = SessionContext::new();
    let (mut minutes, mut hourly, mut daily, mut found) = (None, None, None, 0);
    let shadows = lake.shadows().await?;
    for table in LOOKED_AT.into_iter().chain(shadows) {
        let Some(delta) = register(&context, lake, (table, table.name()), None).await? else { continue };
        found += 1;
        match table {
            Table::ClicksMinute => minutes = Some(delta),
            Table::ClicksHourly => hourly = delta.version(),
            Table::ClicksDaily => daily = delta.version(),
            _ => {}
        }
    }
    if found == 0 {
        let why = format!("lake {} has no tables yet; `clicklake up` or `clicklake ingest` makes them", lake.url());
        return Err(LakeError::Refused(why).into());
    }
    context.runtime_env().register_object_store(store_url().as_ref(), lake.object_store()?);
    let tables = tables(lake, minutes, (hourly, daily)).map_err(|error| error.to_string());
    let tables: Tables = Arc::new(tables);
    for function in Function::ALL {
        let over = TotalsFunction::new(function, Arc::clone(&tables));
        context.register_udtf(function.name(), Arc::new(over));
    }
    Ok(context)
}

/// The tables that totals are taken from.
fn tables(
    lake: &Lake,
    minutes: Option<DeltaTable>,
    (hourly, daily): (Option<Version>, Option<Version>),
) -> Result<(Parameters, Arc<InSession>), LakeError> {
    let table = Table::ClicksMinute;
    let minutes = minutes.ok_or_else(|| lake.lacks(table))?;
    let minutes = minutes.snapshot().while_doing(|| format!("{table}: looking at it"))?;
    let parameters = Parameters::recorded(table, minutes.metadata().configuration())?;
    let versions = Versions { minutes: minutes.version(), hourly, daily };
    Ok((parameters, Arc::new(InSession::new(lake.clone(), versions))))
}
