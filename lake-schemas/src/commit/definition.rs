//! A table's definition in its log: made as the contract has it, and checked before anything is written.

use std::collections::HashMap;

use delta_kernel::engine::arrow_conversion::TryIntoKernel;
use delta_kernel::schema::StructType;
use deltalake::kernel::transaction::{CommitData, TransactionError};
use deltalake::kernel::{Action, Metadata, MetadataExt, Protocol, new_metadata};
use deltalake::logstore::{CommitOrBytes, LogStoreRef};
use deltalake::protocol::{DeltaOperation, SaveMode};
use serde_json::json;
use uuid::Uuid;

use super::load::Loaded;
use crate::error::{Context, LakeError, Result};
use crate::table::{Definition, FORMAT, PROPERTY_FORMAT, PROPERTY_TIME_IN_FUTURE_MS, TIME_IN_FUTURE_MS};

/// What readers and writers of a table must know: no feature beyond Delta's first.
const READER_VERSION: i32 = 1;
const WRITER_VERSION: i32 = 2;

/// Makes the table, unless another process is making it: version 0 is put if absent, like every other. delta-rs's own
/// way puts the definition as version 1 where another has put it as version 0.
pub(super) async fn create(definition: &Definition, log_store: &LogStoreRef) -> Result<()> {
    let table = definition.table;
    let what = || format!("{table}: creating it");
    let protocol = json!({ "minReaderVersion": READER_VERSION, "minWriterVersion": WRITER_VERSION });
    let protocol: Protocol = serde_json::from_value(protocol).map_err(|error| LakeError::store(what(), error))?;
    let metadata = metadata(definition, None)?;
    let operation = DeltaOperation::Create {
        mode: SaveMode::ErrorIfExists,
        location: log_store.root_url().clone(),
        protocol: protocol.clone(),
        metadata: metadata.clone(),
    };
    let actions = vec![Action::Protocol(protocol), Action::Metadata(metadata)];
    let bytes = CommitData::new(actions, operation, HashMap::new(), Vec::new()).get_bytes().while_doing(what)?;
    match log_store.write_commit_entry(0, CommitOrBytes::LogBytes(bytes), Uuid::nil()).await {
        Ok(()) | Err(TransactionError::VersionAlreadyExists(_)) => Ok(()),
        // The reply may be all that was lost: what counts is that the table is there.
        Err(error) => match log_store.is_delta_table_location().await {
            Ok(true) => Ok(()),
            _ => Err(error).while_doing(what),
        },
    }
}

/// What a table's log says of its columns and properties; of a table that is there, under its id.
pub(super) fn metadata(definition: &Definition, id: Option<&str>) -> Result<Metadata> {
    let Definition { table, properties, .. } = definition;
    let schema = kernel_schema(definition)?;
    new_metadata(&schema, table.partition_columns(), properties.clone())
        .and_then(|metadata| metadata.with_name(table.name().to_owned()))
        .and_then(|metadata| match id {
            Some(id) => metadata.with_table_id(id.to_owned()),
            None => Ok(metadata),
        })
        .while_doing(|| format!("{table}: its definition"))
}

/// A table's columns, as Delta's library has them.
fn kernel_schema(definition: &Definition) -> Result<StructType> {
    let converted = definition.schema.as_ref().try_into_kernel();
    converted.map_err(|error| LakeError::store(format!("{}: its schema", definition.table), error))
}

/// Whether this program can write the table; the bound it records for events ahead of their message.
pub(super) fn check(definition: &Definition, loaded: &Loaded) -> Result<i64> {
    let table = definition.table;
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
    let schema = kernel_schema(definition)?;
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
