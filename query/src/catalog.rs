//! The tables of a lake, as SQL sees them: each at its newest version when the session begins.

use datafusion::prelude::SessionContext;
use deltalake::{DeltaTable, DeltaTableError};
use lake_schemas::{Lake, LakeError, Table};

use crate::sql::QueryError;

/// A session that knows the tables that the lake has.
pub(crate) async fn session(lake: &Lake) -> Result<SessionContext, QueryError> {
    let context = SessionContext::new();
    let mut found = 0;
    for table in Table::ALL {
        let mut delta = DeltaTable::new(lake.log_store(table.name())?);
        match delta.load().await {
            Ok(()) => {}
            Err(DeltaTableError::NotATable(_)) => continue,
            Err(error) => return Err(LakeError::store(format!("{table}: opening it"), error).into()),
        }
        delta.update_datafusion_session(&context.state()).map_err(|error| LakeError::store(table.name(), error))?;
        context.register_table(table.name(), delta.table_provider().await?)?;
        found += 1;
    }
    if found == 0 {
        let why = format!("lake {} has no tables yet; `clicklake up` or `clicklake ingest` makes them", lake.url());
        return Err(LakeError::Refused(why).into());
    }
    Ok(context)
}
