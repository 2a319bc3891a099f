//! A writer of the lake's tables that is not clicklake. It writes the log entries that Spark writes for common
//! statements. It knows Delta's protocol and nothing of clicklake.
//!
//! | statement | its entry |
//! |---|---|
//! | `SET TBLPROPERTIES`, `ADD COLUMN`, a table feature | `metaData`, `protocol` |
//! | `DELETE`, `UPDATE` | removes files, and adds others with the rows that are left |
//! | `OPTIMIZE` | the same with all rows, which is no `dataChange` |
//! | `RESTORE` | removes what came since a version, and adds what was removed since, under the same paths |
//! | `VACUUM` | deletes files that the newest version does not have |

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, AsArray, BooleanArray, RecordBatch, StringArray};
use arrow::compute::{concat_batches, filter_record_batch, sort_to_indices, take_record_batch};
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use bytes::Bytes;
use lake_schemas::Table;
use lake_store::files;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use rand::Rng;
use rand::seq::{IndexedRandom, IteratorRandom};
use rand_chacha::ChaCha8Rng;
use serde_json::{Map, Value, json};

use super::WorldStore;

/// Column that the foreign writer adds: a text, for rows that it has checked.
pub const FOREIGN_COLUMN: &str = "checked_by";

/// Objects that the foreign writer leaves in a table's folder. None of them is a data file, so clicklake must not
/// delete them.
const LEFT: [&str; 4] = [
    "_symlink_format_manifest/log_date=2026-03-31/manifest",
    "_change_data/cdc-00000.c000.snappy.parquet",
    "deletion_vector_0b1c.bin",
    "metadata/v1.metadata.json",
];

/// Most files that a statement rewrites.
const FILES_MAX: usize = 3;

/// Most versions that `RESTORE` goes back.
const RESTORED_MAX: usize = 12;

/// Time after its removal at which `VACUUM` deletes a file, in simulated time: longer than any read takes.
const VACUUMED_AFTER: Duration = Duration::from_secs(30);

/// Kinds of statements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Does {
    /// Sets properties, a description and table features that clicklake may ignore.
    Alter,
    /// Sets properties that demand of writers what clicklake does not implement, and removes them later.
    Forbid,
    /// Adds a column, or fills it in some rows.
    Fill,
    /// Deletes some rows.
    Delete,
    /// Merges files of one Kafka partition.
    Optimize,
    /// Merges files of any partitions.
    OptimizeAll,
    /// Goes back to an earlier version.
    Restore,
    /// Deletes files that the newest version does not have.
    Vacuum,
}

/// A foreign writer of one table.
pub struct Statements {
    pub store: WorldStore,
    pub table: Table,
}

/// Content of a table's log.
#[derive(Default)]
struct Known {
    /// The `add` actions of the files that were live in each version, by path.
    versions: Vec<BTreeMap<String, Value>>,
    metadata: Value,
    protocol: Value,
}

impl Known {
    fn live(&self) -> &BTreeMap<String, Value> {
        self.versions.last().expect("a table has a version")
    }
}

/// Properties that demand of writers what clicklake does not implement, with their values.
const FORBIDDING: [(&str, &str); 5] = [
    ("delta.enableDeletionVectors", "true"),
    ("delta.columnMapping.mode", "name"),
    ("delta.enableRowTracking", "true"),
    ("delta.constraints.priced", "cost_micros > 0"),
    ("delta.setTransactionRetentionDuration", "interval 1 hour"),
];

impl Statements {
    /// Runs a statement, unless there is nothing to run it on.
    pub async fn act(&self, does: Does, rng: &mut ChaCha8Rng) {
        // If another writer put the next entry first, read the log again and plan anew, as Spark does.
        for _ in 0..20 {
            let Some(known) = self.known().await else { return };
            let planned = match does {
                Does::Alter => Some(("SET TBLPROPERTIES", self.altered(&known, rng).await)),
                Does::Forbid => Some(("SET TBLPROPERTIES", forbidden(&known, rng))),
                Does::Fill => self.filled(&known, rng).await,
                Does::Delete => self.deleted(&known, rng).await.map(|actions| ("DELETE", actions)),
                Does::Optimize | Does::OptimizeAll => {
                    let is_of_one = does == Does::Optimize;
                    self.optimized(&known, is_of_one, rng).await.map(|actions| ("OPTIMIZE", actions))
                }
                Does::Restore => restored(&known, rng).map(|actions| ("RESTORE", actions)),
                Does::Vacuum => return self.vacuum(&known).await,
            };
            let Some((operation, actions)) = planned else { return };
            if self.put(&known, operation, actions).await {
                return;
            }
        }
    }

    /// Removes the properties that keep clicklake from writing, if there are any.
    pub async fn allow(&self) {
        while let Some(known) = self.known().await {
            if !is_forbidding(&known) || self.put(&known, "UNSET TBLPROPERTIES", allowed(&known)).await {
                return;
            }
        }
    }

    /// Returns whether properties demand of writers what clicklake does not implement.
    pub fn forbids(properties: &HashMap<String, String>) -> bool {
        FORBIDDING.iter().any(|(key, _)| properties.contains_key(*key))
    }

    /// Checks that clicklake deleted nothing that the foreign writer left.
    pub async fn has_all_it_left(&self) -> Result<(), String> {
        for left in LEFT {
            let (path, archive) = (self.path(left), self.store.archive());
            if archive.head(&path).await.is_ok() && self.store.head(&path).await.is_err() {
                return Err(format!("{path} is gone"));
            }
        }
        Ok(())
    }

    fn path(&self, path: &str) -> Path {
        Path::from_url_path(format!("lake/{}/{path}", self.table)).expect("a path")
    }

    /// Reads every entry of the log; `None` if there is no log.
    async fn known(&self) -> Option<Known> {
        let (archive, mut known) = (self.store.archive(), Known::default());
        while let Ok(entry) = archive.get(&self.path(&entry_name(known.versions.len()))).await {
            let mut live = known.versions.last().cloned().unwrap_or_default();
            let bytes = entry.bytes().await.expect("memory");
            let text = std::str::from_utf8(&bytes).expect("UTF-8");
            let actions: Vec<Value> =
                text.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect();
            for path in actions.iter().filter_map(|action| action["remove"]["path"].as_str()) {
                live.remove(path);
            }
            for action in actions {
                if let Some(path) = action["add"]["path"].as_str() {
                    live.insert(path.to_owned(), action["add"].clone());
                }
                if action["metaData"].is_object() {
                    known.metadata = action["metaData"].clone();
                }
                if action["protocol"].is_object() {
                    known.protocol = action["protocol"].clone();
                }
            }
            known.versions.push(live);
        }
        (!known.versions.is_empty()).then_some(known)
    }

    /// Puts the next entry. Returns whether no other writer was faster.
    async fn put(&self, known: &Known, operation: &str, actions: Vec<Value>) -> bool {
        let info = json!({"commitInfo": {
            "timestamp": 0,
            "operation": operation,
            "operationParameters": {},
            "readVersion": known.versions.len() - 1,
            "isolationLevel": "Serializable",
            "isBlindAppend": false,
            "engineInfo": "Apache-Spark/4.0.1 Delta-Lake/4.0.0",
        }});
        let lines: Vec<_> = [info].into_iter().chain(actions).map(|action| action.to_string()).collect();
        let path = self.path(&entry_name(known.versions.len()));
        self.store.put_opts(&path, lines.join("\n").into(), PutOptions::from(PutMode::Create)).await.is_ok()
    }

    /// Returns actions that set properties which clicklake may ignore. Also leaves an object in the table's folder.
    async fn altered(&self, known: &Known, rng: &mut ChaCha8Rng) -> Vec<Value> {
        let left = self.path(LEFT.choose(rng).expect("some"));
        self.store.put(&left, "of others".into()).await.expect("memory");
        let mut metadata = known.metadata.clone();
        match rng.random_range(0..3) {
            0 => metadata["configuration"]["delta.logRetentionDuration"] = "interval 90 days".into(),
            1 => metadata["configuration"]["team"] = "billing".into(),
            _ => metadata["description"] = "clicks, for bills".into(),
        }
        if rng.random_ratio(1, 3) {
            let mut protocol = known.protocol.clone();
            protocol["minWriterVersion"] = 7.into();
            protocol["writerFeatures"] = json!(["appendOnly", "invariants"]);
            return vec![json!({ "protocol": protocol }), json!({ "metaData": metadata })];
        }
        vec![json!({ "metaData": metadata })]
    }

    /// Returns the statement and the actions that add the foreign column, or fill it in every third row of some files,
    /// by offset.
    async fn filled(&self, known: &Known, rng: &mut ChaCha8Rng) -> Option<(&'static str, Vec<Value>)> {
        let text = known.metadata["schemaString"].as_str().expect("a schema");
        if !text.contains(FOREIGN_COLUMN) {
            let mut schema: Value = serde_json::from_str(text).expect("JSON");
            let column = json!({"name": FOREIGN_COLUMN, "type": "string", "nullable": true, "metadata": {}});
            schema["fields"].as_array_mut().expect("columns").push(column);
            let mut metadata = known.metadata.clone();
            metadata["schemaString"] = schema.to_string().into();
            return Some(("ADD COLUMNS", vec![json!({ "metaData": metadata })]));
        }
        let fill = |rows: RecordBatch| {
            let values = offsets(&rows).into_iter().map(|offset| (offset % 3 == 0).then(|| checked(offset)));
            with_column(&rows, Arc::new(values.collect::<StringArray>()))
        };
        Some(("UPDATE", self.rewritten(known, rng, fill).await?))
    }

    /// Returns actions that delete every fifth row of some files, by offset.
    async fn deleted(&self, known: &Known, rng: &mut ChaCha8Rng) -> Option<Vec<Value>> {
        let rest = rng.random_range(0..5);
        let keep = |rows: RecordBatch| {
            let stays: BooleanArray = offsets(&rows).iter().map(|offset| Some(offset % 5 != rest)).collect();
            filter_record_batch(&rows, &stays).expect("rows")
        };
        self.rewritten(known, rng, keep).await
    }

    /// Returns actions that remove some files, and add others with their changed rows.
    async fn rewritten(
        &self,
        known: &Known,
        rng: &mut ChaCha8Rng,
        change: impl Fn(RecordBatch) -> RecordBatch,
    ) -> Option<Vec<Value>> {
        let count = rng.random_range(1..=FILES_MAX);
        let mut actions = Vec::new();
        for (path, add) in known.live().iter().choose_multiple(rng, count) {
            let rows = change(self.rows(path, add).await);
            actions.push(removed(path, add, true));
            if rows.num_rows() > 0 {
                actions.extend(self.added(&rows, true, rng).await);
            }
        }
        (!actions.is_empty()).then_some(actions)
    }

    /// Returns actions that merge files of one folder, and of one Kafka partition if that is asked for.
    async fn optimized(&self, known: &Known, is_of_one: bool, rng: &mut ChaCha8Rng) -> Option<Vec<Value>> {
        let mut groups: BTreeMap<String, Vec<(&String, &Value)>> = BTreeMap::new();
        for (path, add) in known.live() {
            let statistics: Value = serde_json::from_str(add["stats"].as_str().unwrap_or("{}")).expect("JSON");
            let smallest = |name: &str| statistics["minValues"][name].to_string();
            let of = if is_of_one { smallest("topic") + &smallest("kafka_partition") } else { String::new() };
            groups.entry(add["partitionValues"].to_string() + &of).or_default().push((path, add));
        }
        let group = groups.into_values().filter(|group| group.len() > 1).choose(rng)?;
        let mut rows = Vec::new();
        for (path, add) in &group {
            rows.push(self.rows(path, add).await);
        }
        // Files that were written before a column was added lack it.
        let widest = rows.iter().max_by_key(|rows| rows.num_columns()).expect("some").schema();
        let rows: Vec<_> = rows.iter().map(|rows| as_wide_as(rows, &widest)).collect();
        let rows = concat_batches(&widest, &rows).expect("the same columns");
        let rows = match rows.column_by_name("kafka_offset") {
            Some(offsets) => {
                let order = sort_to_indices(offsets, None, None).expect("numbers");
                take_record_batch(&rows, &order).expect("rows")
            }
            None => rows,
        };
        let removes = group.iter().map(|(path, add)| removed(path, add, false)).collect::<Vec<_>>();
        Some(removes.into_iter().chain(self.added(&rows, false, rng).await).collect())
    }

    /// Deletes files that were removed long enough ago.
    async fn vacuum(&self, known: &Known) {
        let (archive, now) = (self.store.archive(), self.store.clock().now());
        for (version, live) in known.versions.iter().enumerate().rev() {
            let entry = self.path(&entry_name(version));
            let Ok(entry) = self.store.head(&entry).await else { break };
            let is_old = (now - entry.last_modified).to_std().is_ok_and(|age| age > VACUUMED_AFTER);
            for path in live.keys().filter(|path| is_old && !known.live().contains_key(*path)) {
                // A file that was live in an old version may have been removed only a moment ago: it stays.
                let after = known.versions.iter().skip(version + 1).position(|later| !later.contains_key(path));
                let taken_out = self.path(&entry_name(version + 1 + after.expect("it is not live")));
                let taken_out = self.store.head(&taken_out).await.map(|entry| entry.last_modified);
                let is_old = taken_out.is_ok_and(|at| (now - at).to_std().is_ok_and(|age| age > VACUUMED_AFTER));
                if is_old && archive.head(&self.path(path)).await.is_ok() {
                    let _ = self.store.delete(&self.path(path)).await;
                }
            }
        }
    }

    /// Returns the rows of a file, with the columns that the table is partitioned by.
    async fn rows(&self, path: &str, add: &Value) -> RecordBatch {
        let file = self.store.archive().get(&self.path(path)).await.expect("it was put");
        let bytes = file.bytes().await.expect("memory");
        let reader = ParquetRecordBatchReaderBuilder::try_new(bytes).expect("Parquet");
        let schema = Arc::clone(reader.schema());
        let batches: Vec<_> = reader.build().expect("a reader").map(|batch| batch.expect("rows")).collect();
        let rows = concat_batches(&schema, &batches).expect("one schema");
        let (mut fields, mut columns) = (schema.fields().to_vec(), rows.columns().to_vec());
        for name in self.table.partition_columns() {
            let field = Arc::new(self.table.schema().field_with_name(name).expect("a column").clone());
            let value = add["partitionValues"][*name].as_str().expect("a value");
            let value: ArrayRef = Arc::new(StringArray::from(vec![value; rows.num_rows()]));
            columns.push(arrow::compute::cast(&value, field.data_type()).expect("a value of its type"));
            fields.push(field);
        }
        RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).expect("the same length")
    }

    /// Puts files of rows under names as Spark gives them, and returns the actions that add them.
    async fn added(&self, rows: &RecordBatch, data_change: bool, rng: &mut ChaCha8Rng) -> Vec<Value> {
        let mut actions = Vec::new();
        for file in files::encode(self.table, std::slice::from_ref(rows)).await.expect("files") {
            let scratch = InMemory::new();
            file.put(&scratch).await.expect("memory");
            let path = Path::from_url_path(&file.add.path).expect("a path");
            let bytes: Bytes = scratch.get(&path).await.expect("it was put").bytes().await.expect("memory");
            let folder = file.add.path.rsplit_once('/').map_or("", |(folder, _)| folder);
            let path = format!("{folder}/part-00000-{:032x}.c000.snappy.parquet", rng.random::<u128>());
            self.store.put(&self.path(&path), bytes.into()).await.expect("memory");
            let values: Map<String, Value> =
                file.add.partition_values.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
            actions.push(json!({"add": {
                "path": path,
                "partitionValues": values,
                "size": file.add.size,
                "modificationTime": file.add.modification_time,
                "dataChange": data_change,
                "stats": file.add.stats,
            }}));
        }
        actions
    }
}

/// Returns the value of the foreign column for a row.
pub fn checked(offset: i64) -> String {
    format!("auditor {}", offset % 7)
}

fn entry_name(version: usize) -> String {
    format!("_delta_log/{version:020}.json")
}

fn removed(path: &str, add: &Value, data_change: bool) -> Value {
    json!({"remove": {
        "path": path,
        "deletionTimestamp": 0,
        "dataChange": data_change,
        "extendedFileMetadata": true,
        "partitionValues": add["partitionValues"],
        "size": add["size"],
    }})
}

/// Returns actions that restore one of the last versions.
fn restored(known: &Known, rng: &mut ChaCha8Rng) -> Option<Vec<Value>> {
    let newest = known.versions.len() - 1;
    let (before, now) = (&known.versions[rng.random_range(newest.saturating_sub(RESTORED_MAX)..=newest)], known.live());
    let gone = now.iter().filter(|(path, _)| !before.contains_key(*path)).map(|(path, add)| removed(path, add, true));
    let back = before.iter().filter(|(path, _)| !now.contains_key(*path));
    let back = back.map(|(_, add)| {
        let mut add = add.clone();
        add["dataChange"] = true.into();
        json!({ "add": add })
    });
    let actions: Vec<_> = gone.chain(back).collect();
    (!actions.is_empty()).then_some(actions)
}

fn is_forbidding(known: &Known) -> bool {
    let configuration = &known.metadata["configuration"];
    FORBIDDING.iter().any(|(key, _)| !configuration[*key].is_null())
}

/// Returns actions that set a property which clicklake does not implement, or remove it if it is set.
fn forbidden(known: &Known, rng: &mut ChaCha8Rng) -> Vec<Value> {
    if is_forbidding(known) {
        return allowed(known);
    }
    let (key, value) = FORBIDDING.choose(rng).expect("some");
    let mut metadata = known.metadata.clone();
    metadata["configuration"][*key] = (*value).into();
    let protocol = match *key {
        "delta.enableDeletionVectors" => json!({
            "minReaderVersion": 3,
            "minWriterVersion": 7,
            "readerFeatures": ["deletionVectors"],
            "writerFeatures": ["deletionVectors", "appendOnly", "invariants"],
        }),
        "delta.columnMapping.mode" => json!({ "minReaderVersion": 2, "minWriterVersion": 5 }),
        "delta.constraints.priced" => json!({ "minReaderVersion": 1, "minWriterVersion": 3 }),
        _ => return vec![json!({ "metaData": metadata })],
    };
    vec![json!({ "protocol": protocol }), json!({ "metaData": metadata })]
}

fn allowed(known: &Known) -> Vec<Value> {
    let mut metadata = known.metadata.clone();
    let configuration = metadata["configuration"].as_object_mut().expect("properties");
    FORBIDDING.iter().for_each(|(key, _)| drop(configuration.remove(*key)));
    let protocol = json!({ "minReaderVersion": 1, "minWriterVersion": 2 });
    vec![json!({ "protocol": protocol }), json!({ "metaData": metadata })]
}

/// Returns the offsets of rows of clicks, or the first offsets of rows of counts.
fn offsets(rows: &RecordBatch) -> Vec<i64> {
    let offsets = rows.column_by_name("kafka_offset").unwrap_or_else(|| &rows["offset_first"]);
    offsets.as_primitive::<Int64Type>().values().to_vec()
}

fn with_column(rows: &RecordBatch, values: ArrayRef) -> RecordBatch {
    let mut fields = rows.schema().fields().to_vec();
    let mut columns = rows.columns().to_vec();
    match rows.schema().index_of(FOREIGN_COLUMN) {
        Ok(at) => columns[at] = values,
        Err(_) => {
            fields.push(Arc::new(Field::new(FOREIGN_COLUMN, DataType::Utf8, true)));
            columns.push(values);
        }
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).expect("the same length")
}

/// Returns rows with all columns of a schema; those that they lack are null.
fn as_wide_as(rows: &RecordBatch, schema: &Arc<Schema>) -> RecordBatch {
    let columns = schema.fields().iter().map(|field| {
        let found = rows.column_by_name(field.name()).cloned();
        found.unwrap_or_else(|| arrow::array::new_null_array(field.data_type(), rows.num_rows()))
    });
    RecordBatch::try_new(Arc::clone(schema), columns.collect()).expect("the same length")
}
