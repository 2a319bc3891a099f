//! Shape of a table by its log: protocol, columns and properties. No I/O.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::error::Error;
use std::sync::Arc;

use arrow::datatypes::{Field, Schema, SchemaRef};
use delta_kernel::engine::arrow_conversion::TryIntoArrow;
use delta_kernel::schema::{StructField, StructType};
use deltalake::kernel::{Action, Metadata, Protocol};
use lake_schemas::live::PROPERTY_LIVE;
use lake_schemas::table::Definition;
use lake_schemas::{Code, Table};
use serde_json::Value;

use crate::error::{LakeError, Result};

/// Prefix of clicklake's own properties.
pub(super) const OWN_PROPERTIES: &str = "clicklake.";

/// A table's protocol and definition at a version.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Shape {
    /// Version of the protocol that readers must know.
    pub reader_version: i64,
    /// Version of the protocol that writers must know.
    pub writer_version: i64,
    /// Features that readers must know, where they are listed.
    pub reader_features: BTreeSet<String>,
    /// Features that writers must know, where they are listed.
    pub writer_features: BTreeSet<String>,
    /// All columns of the table.
    pub columns: StructType,
    /// Action that gives the table its definition.
    pub metadata: Metadata,
}

/// Error for a part of a table's log that another engine wrote and this program cannot understand.
fn unread(table: Table, what: &str, why: &dyn Error) -> LakeError {
    LakeError::Refused(Code::ForeignFeature.because(format!(
        "{table}: its {what} cannot be understood: {why}; restore the table to a version before another engine changed \
         that, or upgrade clicklake"
    )))
}

impl Shape {
    /// Reads the shape from the protocol and metadata actions.
    pub fn of(table: Table, protocol: &Protocol, metadata: &Metadata) -> Result<Self> {
        let protocol = serde_json::to_value(protocol).map_err(|error| unread(table, "protocol", &error))?;
        let version = |name: &str| protocol[name].as_i64().unwrap_or(i64::MAX);
        let features = |name: &str| {
            let listed = protocol[name].as_array().into_iter().flatten();
            listed.filter_map(Value::as_str).map(str::to_owned).collect()
        };
        Ok(Self {
            reader_version: version("minReaderVersion"),
            writer_version: version("minWriterVersion"),
            reader_features: features("readerFeatures"),
            writer_features: features("writerFeatures"),
            columns: metadata.parse_schema().map_err(|error| unread(table, "schema", &error))?,
            metadata: metadata.clone(),
        })
    }

    /// Returns the shape after the actions of the next version; `None` if they leave it as it is.
    pub fn after(&self, table: Table, actions: &[Action]) -> Result<Option<Self>> {
        let mut next = None;
        for action in actions {
            match action {
                Action::Protocol(protocol) => {
                    let metadata = next.as_ref().unwrap_or(self).metadata.clone();
                    next = Some(Self::of(table, protocol, &metadata)?);
                }
                Action::Metadata(metadata) => {
                    let columns = metadata.parse_schema().map_err(|error| unread(table, "schema", &error))?;
                    let before = next.unwrap_or_else(|| self.clone());
                    next = Some(Self { columns, metadata: metadata.clone(), ..before });
                }
                _ => {}
            }
        }
        Ok(next)
    }

    /// Returns Delta's unique id of the table.
    pub fn id(&self) -> &str {
        self.metadata.id()
    }

    /// Returns the table's properties.
    pub fn properties(&self) -> &HashMap<String, String> {
        self.metadata.configuration()
    }

    /// Returns the columns that the table is partitioned by.
    pub fn partition_columns(&self) -> &[String] {
        self.metadata.partition_columns()
    }

    /// Returns whether clicklake's own properties differ, or it is another table under the same name: whoever works on
    /// it must then begin anew. Comments, other engines' properties and further columns do not matter, nor does who
    /// counts the table live: that decides nothing of what is in it.
    pub fn is_another_than(&self, before: &Self) -> bool {
        let is_own = |key: &str| key.starts_with(OWN_PROPERTIES) && key != PROPERTY_LIVE;
        let own = |shape: &Self| -> HashMap<String, String> {
            let properties = shape.properties().iter().filter(|(key, _)| is_own(key));
            properties.map(|(key, value)| (key.clone(), value.clone())).collect()
        };
        self.id() != before.id() || own(self) != own(before)
    }

    /// Returns whether the table has columns of a definition that it lacked before: a newer program, or `clicklake
    /// upgrade`, has added them.
    pub fn has_got_columns(&self, before: &Self, definition: &Definition) -> bool {
        let mut names = definition.schema.fields().iter().map(|field| field.name());
        names.any(|name| self.columns.field(name).is_some() && before.columns.field(name).is_none())
    }

    /// Returns the names of the definition's columns that the table lacks. All of them were added since format 1.
    pub fn lacks(&self, definition: &Definition) -> Vec<String> {
        let names = definition.schema.fields().iter().map(|field| field.name());
        names.filter(|name| self.columns.field(*name).is_none()).cloned().collect()
    }

    /// Returns the columns that are not in a definition: those of other programs.
    pub fn further_columns(&self, definition: &Definition) -> Vec<&StructField> {
        let is_further = |field: &&StructField| definition.schema.field_with_name(field.name()).is_err();
        self.columns.fields().filter(is_further).collect()
    }

    /// Returns the types of the columns that are not in a definition, by name.
    pub fn further_types(&self, definition: &Definition) -> BTreeMap<String, String> {
        let columns = self.further_columns(definition).into_iter();
        columns.map(|column| (column.name().clone(), column.data_type().to_string())).collect()
    }

    /// Returns the columns of a definition, followed by those of other programs: a rewriter must carry them all.
    pub fn whole_schema(&self, definition: &Definition) -> Result<SchemaRef> {
        let further = self.further_columns(definition);
        if further.is_empty() {
            return Ok(Arc::clone(&definition.schema));
        }
        let mut fields: Vec<_> = definition.schema.fields().iter().map(|field| field.as_ref().clone()).collect();
        for column in further {
            let field: Field = column.try_into_arrow().map_err(|error| {
                LakeError::Refused(Code::ForeignFeature.because(format!(
                    "{}: its column {} is of a type that clicklake cannot carry ({error}); {}",
                    definition.table,
                    column.name(),
                    drop_column(definition.table, column.name())
                )))
            })?;
            fields.push(field.with_metadata(HashMap::new()));
        }
        Ok(Arc::new(Schema::new(fields)))
    }
}

/// Returns the statements by which another engine takes a column out of a table.
pub(super) fn drop_column(table: Table, column: &str) -> String {
    format!(
        "take it out: ALTER TABLE {table} SET TBLPROPERTIES ('delta.columnMapping.mode'='name'), DROP COLUMN {column}, \
         and then DROP FEATURE columnMapping"
    )
}
