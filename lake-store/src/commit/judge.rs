//! Decides whether this program may read or write a table, from what the table's log says of it. No I/O.
//!
//! Other engines may give a table features, properties and columns that oblige whoever reads or writes it. Whatever is
//! not known to be harmless is refused, and the message says how to take it out again: a table that is written against
//! its rules loses rows in silence, or has them twice.
//!
//! | function | decides by |
//! |---|---|
//! | [`may_be_read`] | the protocol as readers must know it, column mapping |
//! | [`may_be_written`] | all of it: protocol, properties, what columns demand of writers, clicklake's own definition |

use std::collections::BTreeSet;

use delta_kernel::schema::{DataType, StructField, StructType};
use deltalake::kernel::{Metadata, Protocol};
use lake_schemas::table::Definition;
use lake_schemas::{Code, Table};

use super::definition::{check, of_known_format, own_property};
use super::shape::{OWN_PROPERTIES, Shape};
use crate::error::{LakeError, Result};

/// Features of reader version 3 that do not change how this program reads files: types of further columns, the form of
/// checkpoints, what vacuum must look at, and column mapping while it is off, which [`MAPPING_MODE`] tells.
const HARMLESS_TO_READERS: [&str; 4] = ["columnMapping", "timestampNtz", "v2Checkpoint", "vacuumProtocolCheck"];

/// Features of writer version 7 that oblige nobody by themselves. Some come into force by a property or by what a
/// column says, and are judged there. So are writer versions below 7, which stand for some of these features.
/// `checkpointProtection` is respected by clean-up.
const HARMLESS_TO_WRITERS: [&str; 13] = [
    "allowColumnDefaults",
    "appendOnly",
    "changeDataFeed",
    "checkConstraints",
    "checkpointProtection",
    "columnMapping",
    "domainMetadata",
    "generatedColumns",
    "identityColumns",
    "inCommitTimestamp",
    "invariants",
    "timestampNtz",
    "vacuumProtocolCheck",
];

/// Newest protocol versions of Delta: with these, features are listed by name.
const READER_VERSION_MAX: i64 = 3;
const WRITER_VERSION_MAX: i64 = 7;

/// The reader version that means column mapping.
const READER_VERSION_MAPPING: i64 = 2;

/// Property that says whether columns have other names in files than in the table.
const MAPPING_MODE: &str = "delta.columnMapping.mode";

/// Property that protects versions from being expired in part: see [`protected_before`].
const PROTECTED_BEFORE: &str = "delta.requireCheckpointProtectionBeforeVersion";

/// Values of a property that are harmless.
enum Harmless {
    Always,
    As(&'static str),
}

use Harmless::{Always, As};

/// Delta's properties that are harmless, with the values for which they are.
const PROPERTIES: [(&str, Harmless); 43] = [
    ("delta.appendOnly", As("false")),
    ("delta.autoOptimize", Always),
    ("delta.autoOptimize.autoCompact", Always),
    ("delta.autoOptimize.optimizeWrite", Always),
    ("delta.checkpoint.writeStatsAsJson", As("true")),
    ("delta.checkpoint.writeStatsAsStruct", Always),
    ("delta.checkpointInterval", Always),
    ("delta.checkpointPolicy", As("classic")),
    ("delta.checkpointRetentionDuration", Always),
    ("delta.columnMapping.maxColumnId", Always),
    (MAPPING_MODE, As("none")),
    ("delta.compatibility.symlinkFormatManifest.enabled", As("false")),
    ("delta.dataSkippingNumIndexedCols", Always),
    ("delta.dataSkippingStatsColumns", Always),
    ("delta.deletedFileRetentionDuration", Always),
    ("delta.dropFeatureTruncateHistory.retentionDuration", Always),
    ("delta.enableChangeDataCapture", As("false")),
    ("delta.enableChangeDataFeed", As("false")),
    ("delta.enableDeletionVectors", As("false")),
    ("delta.enableExpiredLogCleanup", Always),
    ("delta.enableFullRetentionRollback", Always),
    ("delta.enableIcebergCompatV1", As("false")),
    ("delta.enableIcebergCompatV2", As("false")),
    ("delta.enableIcebergCompatV3", As("false")),
    ("delta.enableInCommitTimestamps", As("false")),
    ("delta.enableRowTracking", As("false")),
    ("delta.enableTypeWidening", As("false")),
    ("delta.enableVariantShredding", As("false")),
    ("delta.inCommitTimestampEnablementTimestamp", Always),
    ("delta.inCommitTimestampEnablementVersion", Always),
    ("delta.isolationLevel", Always),
    ("delta.logRetentionDuration", Always),
    ("delta.minReaderVersion", Always),
    ("delta.minWriterVersion", Always),
    ("delta.parquet.compression.codec", Always),
    ("delta.parquet.format.version", Always),
    ("delta.randomPrefixLength", Always),
    ("delta.randomizeFilePrefixes", Always),
    (PROTECTED_BEFORE, Always),
    ("delta.rowTrackingSuspended", Always),
    ("delta.sampleRetentionDuration", Always),
    ("delta.targetFileSize", Always),
    ("delta.tuneFileSizesForRewrites", Always),
];

/// Properties that oblige only writers that take rows out, which nobody does with raw tables. File compaction leaves
/// all rows as they are, and the protocol permits it.
const OF_ADDED_ROWS: [&str; 2] = ["delta.appendOnly", "delta.enableChangeDataFeed"];

/// Prefix of the properties that are CHECK constraints.
const CONSTRAINTS: &str = "delta.constraints.";

/// Keys that a column's metadata may have, of all that Delta has names for: ids of a column mapping that is off.
const HARMLESS_TO_COLUMNS: [&str; 3] =
    ["delta.columnMapping.id", "delta.columnMapping.nested.ids", "delta.columnMapping.physicalName"];

/// Key of a column's metadata that gives the default which writers must put where they have no value.
const COLUMN_DEFAULT: &str = "CURRENT_DEFAULT";

/// Refuses a table that would be read wrongly, by what its log says: one whose files may have deletion vectors, or
/// whose columns have other names in its files.
pub fn is_readable(table: Table, protocol: &Protocol, metadata: &Metadata) -> Result<()> {
    may_be_read(table, &Shape::of(table, protocol, metadata)?)
}

/// Refuses a table that this program would read wrongly.
pub(super) fn may_be_read(table: Table, shape: &Shape) -> Result<()> {
    of_known_format(table, shape)?;
    if shape.reader_version > READER_VERSION_MAX {
        return Err(newer_protocol(table, "reader", shape.reader_version));
    }
    let mapping = (shape.reader_version == READER_VERSION_MAPPING).then_some("columnMapping");
    let features = shape.reader_features.iter().map(String::as_str).chain(mapping);
    harmless(table, features, &HARMLESS_TO_READERS)?;
    match shape.properties().get(MAPPING_MODE) {
        Some(mode) => property(table, MAPPING_MODE, mode),
        None => Ok(()),
    }
}

/// Refuses a table that this program would write, or rewrite, wrongly. Returns the bound that the table records for
/// events ahead of their message, in milliseconds.
pub(super) fn may_be_written(definition: &Definition, shape: &Shape) -> Result<i64> {
    let table = definition.table;
    // First, so that a table of another program is said to be one, whatever features it has.
    let time_in_future_ms = check(definition, shape)?;
    may_be_read(table, shape)?;
    if shape.writer_version > WRITER_VERSION_MAX {
        return Err(newer_protocol(table, "writer", shape.writer_version));
    }
    let features = shape.writer_features.iter().map(String::as_str);
    harmless(table, features, &HARMLESS_TO_WRITERS)?;
    let mut properties: Vec<_> = shape.properties().iter().collect();
    properties.sort_unstable();
    for (key, value) in properties {
        property(table, key, value)?;
    }
    columns(definition, shape)?;
    Ok(time_in_future_ms)
}

/// Returns the version that clean-up must expire up to in one go, if it expires any before it: those before it have
/// features that were dropped since.
pub(super) fn protected_before(shape: &Shape) -> Option<u64> {
    let is_protected = shape.writer_features.contains("checkpointProtection");
    // A value that cannot be understood protects every version.
    let version = |value: &String| value.parse().unwrap_or(u64::MAX);
    shape.properties().get(PROTECTED_BEFORE).filter(|_| is_protected).map(version)
}

fn harmless<'a>(table: Table, features: impl Iterator<Item = &'a str>, known: &[&str]) -> Result<()> {
    // All of them are named: whoever drops one wants to know the next.
    let unknown: BTreeSet<_> = features.filter(|feature| !known.contains(feature)).collect();
    let Some(first) = unknown.first() else { return Ok(()) };
    let named = unknown.iter().copied().collect::<Vec<_>>().join(", ");
    let features = if unknown.len() == 1 { "feature" } else { "features" };
    Err(LakeError::Refused(Code::ForeignFeature.because(format!(
        "{table}: another engine gave it the table {features} {named}, which clicklake does not support; take that out \
         there, where the engine can: ALTER TABLE {table} DROP FEATURE {first}"
    ))))
}

fn newer_protocol(table: Table, of: &str, version: i64) -> LakeError {
    LakeError::Refused(Code::ForeignFeature.because(format!(
        "{table}: another engine gave it {of} version {version} of the Delta protocol, which clicklake does not know; \
         restore the table to a version before that, or upgrade clicklake"
    )))
}

/// Refuses a property that obliges writers to something, or that is not known.
fn property(table: Table, key: &str, value: &str) -> Result<()> {
    if key.starts_with(OWN_PROPERTIES) {
        return own_property(table, key, value);
    }
    if !key.starts_with("delta.") {
        return Ok(());
    }
    if !table.is_counts() && OF_ADDED_ROWS.iter().any(|of| of.eq_ignore_ascii_case(key)) {
        return Ok(());
    }
    let known = PROPERTIES.iter().find(|(known, _)| known.eq_ignore_ascii_case(key));
    if known.is_some_and(|(_, harmless)| match harmless {
        Always => true,
        As(only) => only.eq_ignore_ascii_case(value),
    }) {
        return Ok(());
    }
    let way_out = match key.strip_prefix(CONSTRAINTS) {
        Some(constraint) => format!("ALTER TABLE {table} DROP CONSTRAINT {constraint}"),
        None if key == MAPPING_MODE => format!("ALTER TABLE {table} DROP FEATURE columnMapping"),
        None => format!("ALTER TABLE {table} UNSET TBLPROPERTIES ('{key}')"),
    };
    Err(LakeError::Refused(Code::ForeignFeature.because(format!(
        "{table}: its property {key} is {value:?}, {}; {way_out}",
        match key {
            "delta.appendOnly" => "so that no count could take the place of another",
            "delta.enableChangeDataFeed" => "but clicklake writes no change data",
            "delta.setTransactionRetentionDuration" =>
                "so that other engines drop the positions that clicklake records in it, and all would be read twice",
            MAPPING_MODE => "so that its columns have other names in its files, which clicklake does not support",
            _ => "which clicklake does not know to be harmless",
        }
    ))))
}

/// Refuses columns that writers cannot fill as the table demands.
fn columns(definition: &Definition, shape: &Shape) -> Result<()> {
    let table = definition.table;
    for column in shape.further_columns(definition) {
        let name = column.name();
        if !column.is_nullable() {
            return Err(LakeError::Refused(Code::ForeignFeature.because(format!(
                "{table}: its column {name} is not clicklake's, and must not be null: no row could be written; \
                 ALTER TABLE {table} ALTER COLUMN {name} DROP NOT NULL"
            ))));
        }
        if column.metadata().contains_key(COLUMN_DEFAULT) {
            return Err(LakeError::Refused(Code::ForeignFeature.because(format!(
                "{table}: its column {name} has a default, which clicklake does not write; \
                 ALTER TABLE {table} ALTER COLUMN {name} DROP DEFAULT"
            ))));
        }
    }
    for field in definition.schema.fields().iter().filter(|field| field.is_nullable()) {
        if shape.columns.field(field.name()).is_some_and(|column| !column.is_nullable()) {
            let name = field.name();
            return Err(LakeError::Refused(Code::ForeignFeature.because(format!(
                "{table}: its column {name} must not be null, but not every row has a value; \
                 ALTER TABLE {table} ALTER COLUMN {name} DROP NOT NULL"
            ))));
        }
    }
    for (column, inner) in with_inner_fields(&shape.columns) {
        let odd = inner.metadata().keys().filter(|key| key.starts_with("delta."));
        if let Some(key) = odd.filter(|key| !HARMLESS_TO_COLUMNS.contains(&key.as_str())).min() {
            return Err(LakeError::Refused(Code::ForeignFeature.because(format!(
                "{table}: its column {column} has {key}, which clicklake does not support; take that from the column, \
                 or restore the table to a version without"
            ))));
        }
    }
    Ok(())
}

/// Returns all fields, nested ones too, each with the name of the column that it is in.
fn with_inner_fields(columns: &StructType) -> Vec<(&str, &StructField)> {
    let mut found = Vec::new();
    let mut left: Vec<(&str, &StructField)> = columns.fields().map(|field| (field.name().as_str(), field)).collect();
    while let Some((column, field)) = left.pop() {
        found.push((column, field));
        let mut types = vec![field.data_type()];
        while let Some(data_type) = types.pop() {
            match data_type {
                DataType::Struct(inner) => left.extend(inner.fields().map(|field| (column, field))),
                DataType::Array(array) => types.push(&array.element_type),
                DataType::Map(map) => types.extend([&map.key_type, &map.value_type]),
                DataType::Primitive(_) | DataType::Variant(_) => {}
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use lake_schemas::minute::Parameters;
    use serde_json::{Value, json};

    use super::*;
    use crate::commit::definition::metadata;

    /// A table as clicklake made it, with another engine's protocol, properties and columns.
    fn altered(table: Table, protocol: Value, properties: &[(&str, &str)], columns: &[Value]) -> (Definition, Shape) {
        let definition = if table.is_counts() { Parameters::default().definition(table) } else { table.definition() };
        let mut action = serde_json::to_value(metadata(&definition).expect("a definition")).expect("JSON");
        for (key, value) in properties {
            action["configuration"][*key] = json!(value);
        }
        let mut schema: Value = serde_json::from_str(action["schemaString"].as_str().expect("text")).expect("JSON");
        let fields = schema["fields"].as_array_mut().expect("fields");
        for column in columns {
            fields.retain(|field| field["name"] != column["name"]);
            fields.push(column.clone());
        }
        action["schemaString"] = json!(schema.to_string());
        let (protocol, metadata) = (serde_json::from_value(protocol), serde_json::from_value(action));
        let shape = Shape::of(table, &protocol.expect("a protocol"), &metadata.expect("a definition"));
        (definition, shape.expect("a shape"))
    }

    fn first() -> Value {
        json!({ "minReaderVersion": 1, "minWriterVersion": 2 })
    }

    fn with_features(readers: &[&str], writers: &[&str]) -> Value {
        if readers.is_empty() {
            return json!({ "minReaderVersion": 1, "minWriterVersion": 7, "writerFeatures": writers });
        }
        let writers = [readers, writers].concat();
        json!({ "minReaderVersion": 3, "minWriterVersion": 7, "readerFeatures": readers, "writerFeatures": writers })
    }

    fn column(name: &str, nullable: bool, metadata: Value) -> Value {
        json!({ "name": name, "type": "string", "nullable": nullable, "metadata": metadata })
    }

    fn writes((definition, shape): &(Definition, Shape)) -> Result<()> {
        may_be_written(definition, shape).map(|_| ())
    }

    /// Code of what other programs turn on.
    const FEATURE: Code = Code::ForeignFeature;

    /// Checks that the refusal has this code, and names the table, what is wrong, and the way out.
    fn refused(asked: Result<()>, code: Code, words: &[&str]) {
        let LakeError::Refused(refusal) = asked.expect_err("it is refused") else { panic!("it is no refusal") };
        assert_eq!(refusal.code, code, "{refusal}");
        assert!(refusal.why.starts_with("clicks") && words.iter().all(|word| refusal.why.contains(word)), "{refusal}");
    }

    #[test]
    fn tables_as_clicklake_makes_them_may_be_read_and_written() {
        for table in Table::ALL {
            let made = altered(table, first(), &[], &[]);
            writes(&made).expect("its own");
            may_be_read(table, &made.1).expect("its own");
        }
    }

    #[test]
    fn features_that_are_not_known_to_be_harmless_are_refused_by_name() {
        for feature in ["deletionVectors", "typeWidening", "variantType", "catalogManaged", "of-tomorrow"] {
            let table = altered(Table::Clicks, with_features(&[feature], &["appendOnly"]), &[], &[]);
            let words = [feature, "ALTER TABLE clicks DROP FEATURE"];
            refused(may_be_read(Table::Clicks, &table.1), FEATURE, &words);
            refused(writes(&table), FEATURE, &words);
        }
        for feature in ["rowTracking", "clustering", "icebergCompatV2", "of-tomorrow"] {
            let table = altered(Table::Clicks, with_features(&[], &[feature]), &[], &[]);
            may_be_read(Table::Clicks, &table.1).expect("readers need not know it");
            refused(writes(&table), FEATURE, &[feature, "DROP FEATURE"]);
        }
        let two = altered(Table::Clicks, with_features(&["deletionVectors"], &["rowTracking"]), &[], &[]);
        refused(writes(&two), FEATURE, &["deletionVectors"]);
    }

    #[test]
    fn features_that_are_not_in_force_oblige_nobody() {
        let table = altered(
            Table::ClicksMinute,
            with_features(&["columnMapping", "timestampNtz", "vacuumProtocolCheck"], &HARMLESS_TO_WRITERS[..5]),
            &[(MAPPING_MODE, "none"), ("delta.enableChangeDataFeed", "FALSE")],
            &[],
        );
        writes(&table).expect("none of them is in force");
        for version in 1..=6 {
            let readers = if version == 5 { 2 } else { 1 };
            let protocol = json!({ "minReaderVersion": readers, "minWriterVersion": version });
            writes(&altered(Table::Clicks, protocol, &[], &[])).expect("nothing of it is in force");
        }
    }

    #[test]
    fn a_protocol_of_tomorrow_is_refused() {
        let shape = altered(Table::Clicks, first(), &[], &[]);
        let of = |reader_version, writer_version| Shape { reader_version, writer_version, ..shape.1.clone() };
        refused(may_be_read(Table::Clicks, &of(4, 7)), FEATURE, &["reader version 4", "upgrade clicklake"]);
        refused(writes(&(shape.0.clone(), of(1, 8))), FEATURE, &["writer version 8", "upgrade clicklake"]);
    }

    #[test]
    fn properties_that_oblige_or_that_nobody_knows_are_refused_by_name() {
        let unset = "UNSET TBLPROPERTIES";
        for (key, value, way_out) in [
            ("delta.enableDeletionVectors", "true", unset),
            ("delta.setTransactionRetentionDuration", "interval 1 days", unset),
            ("delta.enableInCommitTimestamps", "true", unset),
            ("delta.enableRowTracking", "true", unset),
            ("delta.checkpointPolicy", "v2", unset),
            ("delta.ofTomorrow", "1", unset),
            ("delta.constraints.positive", "cost_micros > 0", "DROP CONSTRAINT positive"),
            ("clicklake.needs", "sessions", "upgrade clicklake"),
            ("clicklake.needs", "caps, sessions", "understand caps, sessions"),
            ("clicklake.spec", "{}", "upgrade clicklake"),
            ("clicklake.live", "run", "upgrade clicklake"),
        ] {
            let table = altered(Table::Clicks, first(), &[(key, value)], &[]);
            let code = if key.starts_with(OWN_PROPERTIES) { Code::NeedUnknown } else { FEATURE };
            refused(writes(&table), code, &[key, way_out]);
            may_be_read(Table::Clicks, &table.1).expect("readers are not concerned");
        }
        for (key, value) in [("delta.enableChangeDataFeed", "true"), ("delta.appendOnly", "True")] {
            writes(&altered(Table::Clicks, first(), &[(key, value)], &[])).expect("no row is taken out of it");
            for table in [Table::ClicksMinute, Table::ClicksDaily] {
                refused(writes(&altered(table, first(), &[(key, value)], &[])), FEATURE, &[table.name(), key, unset]);
            }
        }
        for mode in ["name", "id"] {
            let protocol = json!({ "minReaderVersion": 2, "minWriterVersion": 5 });
            let table = altered(Table::Clicks, protocol, &[(MAPPING_MODE, mode)], &[]);
            refused(may_be_read(Table::Clicks, &table.1), FEATURE, &[MAPPING_MODE, mode, "DROP FEATURE columnMapping"]);
        }
    }

    #[test]
    fn properties_that_oblige_to_nothing_are_left_alone() {
        let properties = [
            ("delta.logRetentionDuration", "interval 60 days"),
            ("delta.enableDeletionVectors", "false"),
            ("delta.appendOnly", "false"),
            ("clicklake.needs", ""),
            ("owner", "billing"),
            ("comment", "of others"),
        ];
        writes(&altered(Table::Clicks, first(), &properties, &[])).expect("all of them are harmless");
    }

    #[test]
    fn what_columns_demand_of_writers_is_refused_by_name() {
        let with = |column: Value| writes(&altered(Table::Clicks, first(), &[], &[column]));
        with(column("note", true, json!({ "comment": "of others" }))).expect("it may be null");
        refused(with(column("note", false, json!({}))), FEATURE, &["note", "DROP NOT NULL"]);
        refused(with(column("country", false, json!({}))), FEATURE, &["country", "DROP NOT NULL"]);
        refused(with(column("note", true, json!({ "CURRENT_DEFAULT": "'x'" }))), FEATURE, &["note", "DROP DEFAULT"]);
        for key in ["delta.invariants", "delta.generationExpression", "delta.identity.start", "delta.ofTomorrow"] {
            refused(with(column("note", true, json!({ key: "1" }))), FEATURE, &["note", key]);
            refused(with(column("ad_id", false, json!({ key: "1" }))), FEATURE, &["ad_id", key]);
        }
        let inner = column("inner", true, json!({ "delta.invariants": "1" }));
        let outer = json!({
            "name": "note", "nullable": true, "metadata": {},
            "type": { "type": "array", "containsNull": true, "elementType": { "type": "struct", "fields": [inner] } }
        });
        refused(with(outer), FEATURE, &["note", "delta.invariants"]);
    }

    #[test]
    fn a_table_that_is_partitioned_otherwise_is_refused() {
        let (definition, shape) = altered(Table::Clicks, first(), &[], &[]);
        let mut action = serde_json::to_value(&shape.metadata).expect("JSON");
        action["partitionColumns"] = json!(["topic"]);
        let (protocol, metadata) = (serde_json::from_value(first()), serde_json::from_value(action));
        let shape = Shape::of(Table::Clicks, &protocol.expect("a protocol"), &metadata.expect("a definition"));
        let table = (definition, shape.expect("a shape"));
        refused(writes(&table), Code::ColumnUnfit, &["partitioned by topic", "log_date"]);
    }

    #[test]
    fn versions_that_are_protected_go_all_at_once() {
        let protocol = with_features(&[], &["checkpointProtection"]);
        let of = |protocol: Value, value: &str| {
            protected_before(&altered(Table::Clicks, protocol, &[(PROTECTED_BEFORE, value)], &[]).1)
        };
        assert_eq!(of(protocol.clone(), "17"), Some(17));
        assert_eq!(of(protocol, "soon"), Some(u64::MAX));
        assert_eq!(of(first(), "17"), None);
    }
}
