//! A table's definition in its log: made as the contract has it, and checked before anything is written.

use std::sync::Arc;

use delta_kernel::engine::arrow_conversion::TryIntoKernel;
use delta_kernel::schema::StructType;
use deltalake::DeltaTableError;
use deltalake::logstore::LogStoreRef;
use deltalake::operations::create::CreateBuilder;
use deltalake::protocol::SaveMode;

use super::load::Loaded;
use crate::error::{Context, LakeError, Result};
use crate::table::{FORMAT, PROPERTY_FORMAT, PROPERTY_TIME_IN_FUTURE_MS, TIME_IN_FUTURE_MS, Table};

/// Makes the table, unless another process is making it.
pub(super) async fn create(table: Table, log_store: LogStoreRef) -> Result<()> {
    let schema = table.schema();
    let schema: StructType =
        schema.as_ref().try_into_kernel().map_err(|error| LakeError::store(format!("{table}: its schema"), error))?;
    let created = CreateBuilder::new()
        .with_log_store(Arc::clone(&log_store))
        .with_table_name(table.name())
        .with_columns(schema.fields().cloned())
        .with_partition_columns(table.partition_columns().iter().copied())
        .with_configuration(table.properties().into_iter().map(|(key, value)| (key, Some(value))))
        .with_raise_if_key_not_exists(false)
        .with_save_mode(SaveMode::ErrorIfExists)
        .await;
    match created {
        Ok(_) => Ok(()),
        // Another process was first, or this one was, and the reply was lost: what counts is that it is there.
        Err(error) => match log_store.is_delta_table_location().await {
            Ok(true) => Ok(()),
            _ => Err::<(), DeltaTableError>(error).while_doing(|| format!("{table}: creating it")),
        },
    }
}

/// Whether this program can write the table; the bound it records for events ahead of their message.
pub(super) fn check(table: Table, loaded: &Loaded) -> Result<i64> {
    let property = |key: &str| loaded.properties.get(key);
    let number = |key: &str, value: &String| {
        value
            .parse::<i64>()
            .map_err(|_| LakeError::Refused(format!("{table}: its property {key} is {value:?}, not a number")))
    };
    let Some(format) = property(PROPERTY_FORMAT) else {
        return Err(LakeError::Refused(format!(
            "{table}: a Delta table that clicklake did not make (no property {PROPERTY_FORMAT}); use another --lake"
        )));
    };
    let format = number(PROPERTY_FORMAT, format)?;
    if format > FORMAT {
        return Err(LakeError::Refused(format!(
            "{table}: made by a newer clicklake (format {format}, this one knows up to {FORMAT}); upgrade clicklake"
        )));
    }
    let schema: StructType = table
        .schema()
        .as_ref()
        .try_into_kernel()
        .map_err(|error| LakeError::store(format!("{table}: its schema"), error))?;
    for field in schema.fields() {
        match loaded.columns.iter().find(|(name, _)| name == field.name()) {
            Some((_, data_type)) if data_type == field.data_type() => {}
            Some((name, data_type)) => {
                return Err(LakeError::Refused(format!(
                    "{table}: its column {name} is {data_type}, not {}; use another --lake",
                    field.data_type()
                )));
            }
            None => {
                return Err(LakeError::Refused(format!(
                    "{table}: it lacks the column {}; use another --lake",
                    field.name()
                )));
            }
        }
    }
    property(PROPERTY_TIME_IN_FUTURE_MS)
        .map_or(Ok(TIME_IN_FUTURE_MS), |value| number(PROPERTY_TIME_IN_FUTURE_MS, value))
}
