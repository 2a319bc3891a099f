//! The definition of a table in its Delta log: writes it when the table is made, changes it later, and checks the
//! definition of an existing table before anything else is written to it.

use std::collections::HashMap;

use delta_kernel::engine::arrow_conversion::TryIntoKernel;
use delta_kernel::schema::{StructField, StructType};
use deltalake::kernel::transaction::{CommitData, TransactionError};
use deltalake::kernel::{Action, Metadata, MetadataExt, Protocol, new_metadata};
use deltalake::logstore::{CommitOrBytes, LogStoreRef};
use deltalake::protocol::{DeltaOperation, SaveMode};
use lake_schemas::error::AS_IT_WAS;
use lake_schemas::history::PROPERTY_BACKFILL;
use lake_schemas::live::{Live, PROPERTY_LIVE};
use lake_schemas::minute::OWN_PROPERTIES as OF_MINUTES;
use lake_schemas::spec::PROPERTY_SPEC;
use lake_schemas::table::{
    Definition, FORMAT, FORMAT_OF_NEW, PROPERTY_FORMAT, PROPERTY_NEEDS, PROPERTY_TIME_IN_FUTURE_MS, TIME_IN_FUTURE_MS,
};
use lake_schemas::{Code, Table};
use serde_json::json;
use uuid::Uuid;

use super::shape::Shape;
use crate::error::{Context, LakeError, Result};

/// Delta protocol versions of new tables: low ones that need no table feature, so that any Delta client can read and
/// write them.
const READER_VERSION: i32 = 1;
const WRITER_VERSION: i32 = 2;

/// Names in [`PROPERTY_NEEDS`] of what writers must implement, as far as this program implements it: none so far.
const UNDERSTOOD: [&str; 0] = [];

/// Makes the table, unless another process is making it: version 0 is put if absent, like every other version.
/// delta-rs's own way would put the definition as version 1 if another process has put it as version 0.
pub(super) async fn create(definition: &Definition, log_store: &LogStoreRef) -> Result<()> {
    let table = definition.table;
    let what = || format!("{table}: creating it");
    let protocol = json!({ "minReaderVersion": READER_VERSION, "minWriterVersion": WRITER_VERSION });
    let protocol: Protocol = serde_json::from_value(protocol).map_err(|error| LakeError::store(what(), error))?;
    let metadata = metadata(definition)?;
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
        // The put may have happened although its reply was lost: what counts is whether the table is there now.
        Err(error) => match log_store.is_delta_table_location().await {
            Ok(true) => Ok(()),
            _ => Err(error).while_doing(what),
        },
    }
}

/// Returns the metadata action of a new table: its columns and properties.
pub(super) fn metadata(definition: &Definition) -> Result<Metadata> {
    let Definition { table, properties, .. } = definition;
    let schema = kernel_schema(definition)?;
    new_metadata(&schema, table.partition_columns(), properties.clone())
        .and_then(|metadata| metadata.with_name(table.name().to_owned()))
        .while_doing(|| format!("{table}: its definition"))
}

/// Converts a table's columns into the types of Delta's library.
pub(super) fn kernel_schema(definition: &Definition) -> Result<StructType> {
    let converted = definition.schema.as_ref().try_into_kernel();
    converted.map_err(|error| LakeError::store(format!("{}: its schema", definition.table), error))
}

impl Shape {
    /// Returns the `metaData` action that gives the table another definition. It keeps everything that other programs
    /// have added: their columns, their properties and the description of the table. It also keeps the format if that
    /// is newer, and who counts the table live unless the definition says that. New columns come last, behind those of
    /// other programs.
    pub(super) fn redefined(&self, before: &Definition, definition: &Definition) -> Result<Metadata> {
        let table = definition.table;
        let all: Vec<StructField> = kernel_schema(definition)?.fields().cloned().collect();
        let (first, added) = all.split_at(definition.first_columns());
        let mut columns: Vec<StructField> = Vec::new();
        for column in first {
            let known = self.columns.field(column.name());
            let metadata = known.map(|known| known.metadata().clone()).unwrap_or_default();
            // A column that another program has made nullable stays nullable.
            let nullable = column.nullable || known.is_some_and(|known| known.nullable);
            columns.push(StructField { metadata, nullable, ..column.clone() });
        }
        // Then the columns that stay, in the order that the table has them.
        let is_in = |columns: &[StructField], name: &String| columns.iter().any(|column| column.name() == name);
        let further = self.further_columns(before);
        let stays = |column: &StructField| is_in(added, column.name()) || further.contains(&column);
        for column in self.columns.fields().filter(|column| stays(column)) {
            if !is_in(&columns, column.name()) {
                columns.push(column.clone());
            }
        }
        // Then those that the table gets now.
        for column in added {
            if !is_in(&columns, column.name()) {
                columns.push(column.clone());
            }
        }
        let format = format_of(table, self)?;
        let definition = definition.clone().in_format(format.max(definition.format()));
        let mut properties: HashMap<String, String> = definition.properties.into_iter().collect();
        let says_live = properties.contains_key(PROPERTY_LIVE);
        let is_redefined = |key: &str| {
            let is_of_spec = key == PROPERTY_FORMAT || key == PROPERTY_SPEC || OF_MINUTES.contains(&key);
            is_of_spec || (says_live && key == PROPERTY_LIVE)
        };
        let stay = self.properties().iter().filter(|(key, _)| !is_redefined(key));
        properties.extend(stay.map(|(key, value)| (key.clone(), value.clone())));
        let wrong = |why: String| {
            LakeError::Refused(Code::Bug.because(format!("{table}: its definition cannot be written: {why}")))
        };
        let mut metadata = serde_json::to_value(&self.metadata).map_err(|error| wrong(error.to_string()))?;
        let schema = StructType::try_new(columns).map_err(|error| wrong(error.to_string()))?;
        metadata["schemaString"] = serde_json::to_string(&schema).map_err(|error| wrong(error.to_string()))?.into();
        metadata["configuration"] = serde_json::to_value(properties).map_err(|error| wrong(error.to_string()))?;
        serde_json::from_value(metadata).map_err(|error| wrong(error.to_string()))
    }
}

/// Refuses a table whose format is newer than any that this program knows, or none at all.
pub(super) fn of_known_format(table: Table, shape: &Shape) -> Result<()> {
    match format_of(table, shape)? {
        format if format < FORMAT_OF_NEW => Err(LakeError::Refused(Code::PropertyUnreadable.because(format!(
            "{table}: its property {PROPERTY_FORMAT} is {format}, and formats begin with {FORMAT_OF_NEW}; {AS_IT_WAS}"
        )))),
        format if format > FORMAT => Err(LakeError::Refused(Code::FormatNewer.because(format!(
            "{table}: made by a newer clicklake (format {format}, this one knows up to {FORMAT}); upgrade clicklake"
        )))),
        _ => Ok(()),
    }
}

/// Returns the format version of a table. A table of another program has none, and counts as the first.
pub(super) fn format_of(table: Table, shape: &Shape) -> Result<i64> {
    shape.properties().get(PROPERTY_FORMAT).map_or(Ok(FORMAT_OF_NEW), |format| number(table, PROPERTY_FORMAT, format))
}

/// Refuses a property of clicklake's own that this program does not know, or whose value it does not know. What it
/// decides cannot be told: a newer clicklake may count by it.
pub(super) fn own_property(table: Table, key: &str, value: &str) -> Result<()> {
    match key {
        PROPERTY_NEEDS => understood(table, value),
        PROPERTY_FORMAT | PROPERTY_TIME_IN_FUTURE_MS | PROPERTY_BACKFILL => Ok(()),
        PROPERTY_SPEC if table.is_counts() => Ok(()),
        PROPERTY_LIVE if table.is_minutes() => {
            Live::of_property(table, value)?;
            Ok(())
        }
        key if OF_MINUTES.contains(&key) => Ok(()),
        _ => Err(LakeError::Refused(Code::NeedUnknown.because(format!(
            "{table}: this clicklake does not know its property {key}; upgrade clicklake, or, if another program set \
             it, ALTER TABLE {table} UNSET TBLPROPERTIES ('{key}')"
        )))),
    }
}

/// Refuses a table whose writers must understand something that this program does not.
fn understood(table: Table, needs: &str) -> Result<()> {
    let names = needs.split(',').map(str::trim).filter(|name| !name.is_empty());
    let unknown: Vec<_> = names.filter(|name| !UNDERSTOOD.contains(name)).collect();
    if unknown.is_empty() {
        return Ok(());
    }
    Err(LakeError::Refused(Code::NeedUnknown.because(format!(
        "{table}: whoever writes it must understand {}, as its property {PROPERTY_NEEDS} says, and this clicklake does \
         not; upgrade clicklake",
        unknown.join(", ")
    ))))
}

fn number(table: Table, key: &str, value: &str) -> Result<i64> {
    let wrong = |_| {
        LakeError::Refused(
            Code::PropertyUnreadable
                .because(format!("{table}: its property {key} is {value:?}, not a number; {AS_IT_WAS}")),
        )
    };
    value.parse().map_err(wrong)
}

/// Refuses a table that does not fit a definition: one of another program or of a newer clicklake, or one with other
/// columns. The table may lack columns that were added since format 1: they read as null, and a measure as 0. Returns
/// how far after the log time of its message an event may claim to have happened, as the table records it, in
/// milliseconds.
pub(super) fn check(definition: &Definition, shape: &Shape) -> Result<i64> {
    let table = definition.table;
    let property = |key: &str| shape.properties().get(key);
    let number = |key: &str, value: &String| number(table, key, value);
    if property(PROPERTY_FORMAT).is_none() {
        return Err(LakeError::Refused(Code::TableForeign.because(format!(
            "{table}: a Delta table that clicklake did not make (no property {PROPERTY_FORMAT}); use another --lake"
        ))));
    }
    of_known_format(table, shape)?;
    let schema = kernel_schema(definition)?;
    for (at, field) in schema.fields().enumerate() {
        let Some(column) = shape.columns.field(field.name()) else {
            if at >= definition.first_columns() {
                continue;
            }
            let why = format!("{table}: it lacks the column {}; use another --lake", field.name());
            return Err(LakeError::Refused(Code::ColumnUnfit.because(why)));
        };
        if column.data_type() != field.data_type() {
            return Err(LakeError::Refused(Code::ColumnUnfit.because(format!(
                "{table}: its column {} is {}, not {}; use another --lake",
                field.name(),
                column.data_type(),
                field.data_type()
            ))));
        }
    }
    if shape.partition_columns() != table.partition_columns() {
        return Err(LakeError::Refused(Code::ColumnUnfit.because(format!(
            "{table}: it is partitioned by {}, not by {}; restore it to a version before another program changed that",
            if shape.partition_columns().is_empty() { "nothing".into() } else { shape.partition_columns().join(", ") },
            table.partition_columns().join(", ")
        ))));
    }
    property(PROPERTY_TIME_IN_FUTURE_MS)
        .map_or(Ok(TIME_IN_FUTURE_MS), |value| number(PROPERTY_TIME_IN_FUTURE_MS, value))
}
