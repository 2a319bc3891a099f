//! Laws of tables that other programs write too, by entries that are put into their logs by hand.

mod cleaned;
mod live;
mod replaced;
mod upgraded;

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{
    ArrayRef, Date32Array, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray, new_null_array,
};
use arrow::compute::cast;
use deltalake::kernel::Add;
use futures::TryStreamExt;
use lake_schemas::job::Step;
use lake_schemas::minute::{Dimension, Parameters};
use lake_schemas::table::column;
use lake_schemas::{Code, Field, Stand, Table, TopicPartition};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use serde_json::{Value, json};
use url::Url;

use super::{Changed, Commit, Move, Outcome, TableLog, TableView, Version};
use crate::error::{LakeError, Result};
use crate::files;
use crate::lake::Lake;

/// Time of the clicks: 2026-03-07T12:00:00Z.
const NOON_MICROS: i64 = 1_772_884_800_000_000;

fn lake() -> (Lake, Arc<InMemory>) {
    let store = Arc::new(InMemory::new());
    let url = Url::parse("memory:///lake").expect("an address");
    (Lake::on(Arc::clone(&store) as Arc<dyn ObjectStore>, url), store)
}

async fn open(lake: &Lake) -> TableLog {
    TableLog::open(lake, Table::Clicks).await.expect("the table opens")
}

fn partition(number: i32) -> TopicPartition {
    TopicPartition::new("clicks", number)
}

/// Makes clicks of a partition at these offsets.
fn clicks(number: i32, offsets: Range<i64>) -> RecordBatch {
    let rows = usize::try_from(offsets.end - offsets.start).expect("small");
    let schema = Table::Clicks.schema();
    let columns = schema.fields().iter().map(|field| -> ArrayRef {
        let values: ArrayRef = match field.name().as_str() {
            column::TOPIC => Arc::new(StringArray::from(vec!["clicks"; rows])),
            column::AD_ID => Arc::new(StringArray::from(vec!["ad"; rows])),
            column::KAFKA_PARTITION => Arc::new(Int32Array::from(vec![number; rows])),
            column::KAFKA_OFFSET => Arc::new(Int64Array::from_iter_values(offsets.clone())),
            column::EVENT_TIME => Arc::new(TimestampMicrosecondArray::from(vec![NOON_MICROS; rows])),
            column::LOG_DATE => Arc::new(Date32Array::from(vec![20_519; rows])),
            _ => return new_null_array(field.data_type(), rows),
        };
        cast(&values, field.data_type()).expect("a value of its type")
    });
    RecordBatch::try_new(Arc::clone(&schema), columns.collect()).expect("clicks")
}

/// Commits clicks of a partition, from where it stands up to an offset. Returns the files that hold them.
async fn append(log: &mut TableLog, number: i32, next: i64) -> Vec<Add> {
    let commit = epoch(log, number, next).await;
    assert!(matches!(log.commit(&commit).await, Ok(Outcome::Committed(_))));
    commit.adds
}

async fn epoch(log: &TableLog, number: i32, next: i64) -> Commit {
    let from = log.stand(&partition(number));
    let rows = vec![clicks(number, from.cut.unwrap_or(0)..next)];
    let mut adds = Vec::new();
    for file in files::encode(Table::Clicks, &rows).await.expect("files") {
        file.put(log.object_store().as_ref()).await.expect("memory");
        adds.push(file.add);
    }
    let to = Stand { cut: Some(next), read: Some(next), ..Stand::default() };
    Commit::epoch("ingest", &[Step { table: Table::Clicks, partition: partition(number), rows, from, to }], adds)
}

fn entry_path(table: Table, version: Version) -> Path {
    Path::from(format!("lake/{table}/_delta_log/{version:020}.json"))
}

/// Puts an entry of another program, one action a line.
async fn put(store: &InMemory, table: Table, version: Version, actions: &[Value]) {
    let lines: Vec<_> = actions.iter().map(Value::to_string).collect();
    store.put(&entry_path(table, version), lines.join("\n").into()).await.expect("memory");
}

/// Reads an action from the entry of a version.
async fn action(store: &InMemory, table: Table, version: Version, name: &str) -> Value {
    let entry = store.get(&entry_path(table, version)).await.expect("an entry").bytes().await.expect("memory");
    let lines = std::str::from_utf8(&entry).expect("UTF-8").lines();
    let mut actions = lines.map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    actions.find(|action| action.get(name).is_some()).expect("the action")
}

/// Returns the definition of a table, with further properties.
async fn definition(store: &InMemory, table: Table, properties: &[(&str, &str)]) -> Value {
    let mut metadata = action(store, table, 0, "metaData").await;
    for (key, value) in properties {
        metadata["metaData"]["configuration"][*key] = json!(value);
    }
    metadata
}

/// Returns the definition of a table, with a further column.
async fn with_column(store: &InMemory, table: Table, name: &str, nullable: bool) -> Value {
    let mut metadata = definition(store, table, &[]).await;
    let text = metadata["metaData"]["schemaString"].as_str().expect("text").to_owned();
    let mut schema: Value = serde_json::from_str(&text).expect("JSON");
    let column = json!({ "name": name, "type": "string", "nullable": nullable, "metadata": {} });
    schema["fields"].as_array_mut().expect("fields").push(column);
    metadata["metaData"]["schemaString"] = json!(schema.to_string());
    metadata
}

fn vectors() -> Value {
    json!({ "protocol": {
        "minReaderVersion": 3, "minWriterVersion": 7,
        "readerFeatures": ["deletionVectors"], "writerFeatures": ["deletionVectors", "appendOnly", "invariants"]
    } })
}

fn first_protocol() -> Value {
    json!({ "protocol": { "minReaderVersion": 1, "minWriterVersion": 2 } })
}

fn made_by(operation: &str) -> Value {
    json!({ "commitInfo": { "timestamp": 1, "operation": operation, "engineInfo": "Apache-Spark/4.0.1" } })
}

fn add_of(file: &Add) -> Value {
    json!({ "add": {
        "path": file.path, "partitionValues": file.partition_values, "size": file.size, "modificationTime": 1,
        "dataChange": true, "stats": file.stats
    } })
}

fn remove_of(file: &Add) -> Value {
    json!({ "remove": { "path": file.path, "dataChange": true, "size": file.size } })
}

fn refused<T>(asked: Result<T>, code: Code, words: &[&str]) {
    let Err(error) = asked else { panic!("it is not refused") };
    assert!(matches!(error, LakeError::Refused(_)), "{error:?}");
    assert_eq!(error.code(), Some(code), "{error}");
    let why = error.to_string();
    assert!(words.iter().all(|word| why.contains(word)), "{why}");
}

#[tokio::test(start_paused = true)]
async fn a_table_with_deletion_vectors_is_refused_when_it_is_opened_and_while_it_is_open() {
    let (lake, store) = lake();
    let (mut idle, mut busy) = (open(&lake).await, open(&lake).await);
    append(&mut busy, 0, 10).await;
    put(&store, Table::Clicks, 2, &[made_by("SET TBLPROPERTIES"), vectors()]).await;
    let words = ["clicks", "deletionVectors", "ALTER TABLE clicks DROP FEATURE deletionVectors"];
    refused(TableLog::open(&lake, Table::Clicks).await, Code::ForeignFeature, &words);
    refused(TableLog::find(&lake, Table::Clicks).await, Code::ForeignFeature, &words);
    refused(TableLog::find_to_read(&lake, Table::Clicks).await, Code::ForeignFeature, &words);
    refused(TableView::newest(&lake, Table::Clicks).await, Code::ForeignFeature, &words);
    for _ in 0..2 {
        refused(idle.refresh().await, Code::ForeignFeature, &words);
        let commit = epoch(&busy, 0, 20).await;
        refused(busy.commit(&commit).await, Code::ForeignFeature, &words);
    }
    // A log that was not followed for long loads the table afresh.
    let mut sleeper = TableLog::open(&lake, Table::ClicksRejected).await.expect("another table");
    put(&store, Table::ClicksRejected, 1, &[vectors()]).await;
    tokio::time::sleep(Duration::from_secs(601)).await;
    refused(sleeper.refresh().await, Code::ForeignFeature, &["clicks_rejected", "deletionVectors"]);
    // An earlier version is as it was.
    put(&store, Table::Clicks, 3, &[first_protocol()]).await;
    let newest = TableView::newest(&lake, Table::Clicks).await.expect("the feature was dropped").expect("it is there");
    newest.at(1).await.expect("it had none yet");
    refused(newest.at(2).await, Code::ForeignFeature, &words);
}

#[tokio::test(start_paused = true)]
async fn an_alteration_that_was_taken_back_stops_no_writer() {
    let (lake, store) = lake();
    let mut log = open(&lake).await;
    put(&store, Table::Clicks, 1, &[vectors()]).await;
    put(&store, Table::Clicks, 2, &[first_protocol()]).await;
    append(&mut log, 0, 10).await;
    assert_eq!(log.version(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_file_with_deleted_rows_is_never_read() {
    let (lake, store) = lake();
    let mut log = open(&lake).await;
    let file = append(&mut log, 0, 10).await.remove(0);
    let mut add = add_of(&file);
    add["add"]["deletionVector"] = json!({
        "storageType": "i", "pathOrInlineDv": "wi5b=000010000siXQKl0rr91000f55c8Xg0@@D72lkbi5=-{L", "sizeInBytes": 40,
        "cardinality": 6
    });
    // The program that wrote it did not announce that in the protocol.
    put(&store, Table::Clicks, 2, &[made_by("DELETE"), remove_of(&file), add]).await;
    let words = ["clicks", file.path.as_str(), "deletion vector"];
    let mut log = open(&lake).await;
    refused(log.live_files().await, Code::ForeignFeature, &words);
    refused(log.raw_files().await, Code::ForeignFeature, &words);
    let view = TableView::newest(&lake, Table::Clicks).await.expect("memory").expect("it is there");
    refused(view.live_files().await, Code::ForeignFeature, &words);
    refused(view.added(2..=2).await, Code::ForeignFeature, &words);
}

#[tokio::test(start_paused = true)]
async fn foreign_changes_that_demand_nothing_of_writers_are_followed() {
    let (lake, store) = lake();
    let mut log = open(&lake).await;
    append(&mut log, 0, 10).await;
    put(&store, Table::Clicks, 2, &[definition(&store, Table::Clicks, &[("owner", "billing")]).await]).await;
    put(&store, Table::Clicks, 3, &[with_column(&store, Table::Clicks, "note", true).await]).await;
    put(&store, Table::Clicks, 4, &[json!({ "future": { "of": [1] } })]).await;
    log.refresh().await.expect("it is followed");
    append(&mut log, 0, 20).await;
    assert_eq!(log.version(), 5);
    assert_eq!(log.further_columns().into_keys().collect::<Vec<_>>(), ["note"]);
    assert_eq!(log.take_foreign(), [], "no rows were changed");
    put(&store, Table::Clicks, 6, &[with_column(&store, Table::Clicks, "duty", false).await]).await;
    refused(log.refresh().await, Code::ForeignFeature, &["clicks", "duty", "DROP NOT NULL"]);
}

#[tokio::test(start_paused = true)]
async fn another_table_under_the_same_name_is_begun_anew() {
    let (lake, store) = lake();
    let mut log = open(&lake).await;
    let mut metadata = definition(&store, Table::Clicks, &[]).await;
    metadata["metaData"]["id"] = json!("another");
    put(&store, Table::Clicks, 1, &[metadata]).await;
    assert!(matches!(log.refresh().await, Err(LakeError::Altered(_))));
    assert!(matches!(log.refresh().await, Err(LakeError::Altered(_))), "until it is opened again");
}

#[tokio::test(start_paused = true)]
async fn a_table_that_was_removed_and_made_again_gets_no_entry_of_the_old_one() {
    let (lake, store) = lake();
    let mut log = open(&lake).await;
    for next in 1..=5 {
        append(&mut log, 0, next * 10).await;
    }
    let all: Vec<_> = store.list(Some(&Path::from("lake/clicks"))).try_collect().await.expect("memory");
    for object in all {
        store.delete(&object.location).await.expect("memory");
    }
    open(&lake).await;
    tokio::time::sleep(Duration::from_secs(61)).await;
    let commit = epoch(&log, 0, 60).await;
    assert!(matches!(log.commit(&commit).await, Err(LakeError::Altered(_))));
    assert!(store.head(&entry_path(Table::Clicks, 6)).await.is_err(), "beyond a gap, nobody could read it");
}

#[tokio::test(start_paused = true)]
async fn a_job_that_commits_all_the_time_finds_its_table_gone() {
    let (lake, store) = lake();
    let mut log = open(&lake).await;
    for next in 1..=15 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        append(&mut log, 0, next * 10).await;
    }
    let all: Vec<_> = store.list(Some(&Path::from("lake/clicks"))).try_collect().await.expect("memory");
    for object in all {
        store.delete(&object.location).await.expect("memory");
    }
    open(&lake).await;
    for next in 16..40 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let commit = epoch(&log, 0, next * 10).await;
        // The entry that landed behind the gap makes the new table unreadable.
        if matches!(log.commit(&commit).await, Err(LakeError::Altered(_) | LakeError::Refused(_))) {
            assert!(next <= 27, "after {next} commits");
            return;
        }
    }
    panic!("it went on beyond a gap, where nobody can read");
}

#[tokio::test(start_paused = true)]
async fn a_definition_that_nobody_understands_is_refused_until_it_is_taken_back() {
    let (lake, store) = lake();
    let mut log = open(&lake).await;
    let right = definition(&store, Table::Clicks, &[]).await;
    let mut wrong = right.clone();
    wrong["metaData"]["schemaString"] = json!("{\"type\":\"struct\",\"fields\":[{}]}");
    put(&store, Table::Clicks, 1, &[wrong]).await;
    refused(log.refresh().await, Code::ForeignFeature, &["clicks", "schema", "restore the table"]);
    put(&store, Table::Clicks, 2, &[first_protocol()]).await;
    refused(log.refresh().await, Code::ForeignFeature, &["clicks", "schema"]);
    put(&store, Table::Clicks, 3, &[right]).await;
    log.refresh().await.expect("it is as it was");
    append(&mut log, 0, 10).await;
    assert_eq!(log.version(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_table_of_others_under_our_name_is_said_to_be_one() {
    for table in [Table::Clicks, Table::ClicksMinute, Table::ClicksDaily] {
        let (lake, store) = lake();
        TableLog::open(&lake, table).await.expect("a table");
        let mut metadata = definition(&store, table, &[]).await;
        metadata["metaData"]["configuration"] = json!({});
        put(&store, table, 1, &[metadata]).await;
        refused(TableLog::find(&lake, table).await, Code::TableForeign, &[table.name(), "clicklake did not make"]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_damaged_entry_is_refused_by_name_and_roll_ups_go_on_behind_it() {
    let (lake, store) = lake();
    let mut log = open(&lake).await;
    append(&mut log, 0, 10).await;
    let mut behind = open(&lake).await;
    append(&mut log, 0, 20).await;
    let whole = store.get(&entry_path(Table::Clicks, 2)).await.expect("it").bytes().await.expect("memory");
    store.put(&entry_path(Table::Clicks, 2), whole.slice(..whole.len() - 3).into()).await.expect("memory");
    refused(behind.refresh().await, Code::FileDamaged, &["clicks", "version 2", "damaged", "line"]);
    let error = behind.refresh().await.expect_err("it stays so");
    assert_eq!(error.code(), Some(Code::FileDamaged));
    // An attempt to open it reports the same, and is not retried.
    refused(TableLog::open(&lake, Table::Clicks).await, Code::FileDamaged, &["clicks", "damaged"]);
    append(&mut log, 0, 30).await;
    assert_eq!(log.changed(1, 3).await.expect("what changed is not told"), Changed::Anything);
    let changed = log.changed(2, 3).await.expect("what changed is told");
    assert!(matches!(changed, Changed::Folders(folders) if folders.len() == 1));
}

#[tokio::test(start_paused = true)]
async fn an_action_that_nobody_knows_may_have_changed_anything() {
    let (lake, store) = lake();
    let mut log = open(&lake).await;
    put(&store, Table::Clicks, 1, &[json!({ "future": {} })]).await;
    append(&mut log, 0, 10).await;
    assert_eq!(log.changed(0, 2).await.expect("memory"), Changed::Anything);
}

#[tokio::test(start_paused = true)]
async fn changes_by_others_are_noticed_as_what_they_are() {
    let (lake, store) = lake();
    let mut log = open(&lake).await;
    let file = append(&mut log, 0, 10).await.remove(0);
    put(&store, Table::Clicks, 2, &[made_by("DELETE"), remove_of(&file)]).await;
    put(&store, Table::Clicks, 3, &[made_by("RESTORE"), add_of(&file)]).await;
    put(&store, Table::Clicks, 4, &[made_by("VACUUM END")]).await;
    append(&mut log, 0, 20).await;
    let noticed = log.take_foreign();
    let told: Vec<_> =
        noticed.iter().map(|one| (one.version, one.operation.as_str(), one.added, one.removed)).collect();
    assert_eq!(told, [(2, "DELETE", 0, 1), (3, "RESTORE", 1, 0)]);
    assert_eq!(log.take_foreign(), [], "each is told once");
    // A log that is opened later looks back.
    let mut late = open(&lake).await;
    late.look_back().await.expect("memory");
    assert_eq!(late.take_foreign(), noticed);
    let view = TableView::newest(&lake, Table::Clicks).await.expect("memory").expect("it is there");
    let found = view.foreign(0..=view.version()).await.expect("memory");
    assert_eq!(found, noticed.into_iter().rev().collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn a_table_with_rows_and_without_positions_is_not_read_from_the_start_again() {
    let (lake, store) = lake();
    let mut log = open(&lake).await;
    TableLog::open_all(&lake, &Table::RAW).await.expect("a new table has neither");
    append(&mut log, 0, 10).await;
    TableLog::open_all(&lake, &Table::RAW).await.expect("it has both");
    forget_positions(&store, 1).await;
    refused(
        TableLog::open_all(&lake, &Table::RAW).await.map(|_| ()),
        Code::ForeignLoss,
        &["clicks", "records no position"],
    );
    let view = TableView::newest(&lake, Table::Clicks).await.expect("memory").expect("it is there");
    refused(view.has_its_stands().await, Code::ForeignLoss, &["clicks", "records no position"]);
    // A job that knew the positions does not begin anew either.
    tokio::time::sleep(Duration::from_secs(601)).await;
    refused(log.refresh().await, Code::ForeignLoss, &["clicks", "does not record clicklake/clicks/clicks/0 any more"]);
}

/// Removes the positions from a version of `clicks`, as another engine's checkpoint does.
async fn forget_positions(store: &InMemory, version: Version) {
    let path = entry_path(Table::Clicks, version);
    let entry = store.get(&path).await.expect("an entry").bytes().await.expect("memory");
    let lines = std::str::from_utf8(&entry).expect("UTF-8").lines().filter(|line| !line.starts_with("{\"txn\""));
    store.put(&path, lines.collect::<Vec<_>>().join("\n").into()).await.expect("memory");
}

#[tokio::test(start_paused = true)]
#[should_panic(expected = "twice")]
async fn a_commit_that_moves_a_position_twice_is_a_bug() {
    let (lake, _) = lake();
    let mut log = open(&lake).await;
    let step = Move { app_id: "a".to_owned(), from: None, to: Some(1) };
    let _ = log.commit(&Commit { moves: vec![step.clone(), step], ..Commit::new("test") }).await;
}

#[tokio::test(start_paused = true)]
#[should_panic(expected = "twice")]
async fn a_commit_that_takes_out_a_file_twice_is_a_bug() {
    let (lake, _) = lake();
    let mut log = open(&lake).await;
    let file = append(&mut log, 0, 10).await.remove(0);
    let _ = log.commit(&Commit { removes: vec![file.clone(), file], ..Commit::new("test") }).await;
}

#[tokio::test(start_paused = true)]
async fn a_definition_keeps_what_others_have_added() {
    let (lake, store) = lake();
    let table = Table::ClicksMinute;
    let mut log = TableLog::open(&lake, table).await.expect("the table");
    let mut metadata = with_column(&store, table, "note", true).await;
    metadata["metaData"]["description"] = json!("of others");
    metadata["metaData"]["configuration"]["owner"] = json!("billing");
    metadata["metaData"]["configuration"]["delta.logRetentionDuration"] = json!("interval 60 days");
    put(&store, table, 1, &[metadata]).await;
    log.refresh().await.expect("it is followed");
    let parameters = Parameters { dimensions: vec![Dimension::of(Field::Country)], ..Parameters::default() };
    let commit = Commit { definition: Some(parameters.definition(table)), ..Commit::new("promote") };
    assert_eq!(log.commit(&commit).await.expect("memory"), Outcome::Committed(2));
    assert_eq!(log.parameters().expect("its own"), parameters);
    log.refresh().await.expect("its own definition is no other table");
    let written = action(&store, table, 2, "metaData").await["metaData"].clone();
    assert_eq!(written["id"], action(&store, table, 0, "metaData").await["metaData"]["id"]);
    assert_eq!(written["description"], "of others");
    assert_eq!(written["configuration"]["owner"], "billing");
    assert_eq!(written["configuration"]["delta.logRetentionDuration"], "interval 60 days");
    assert_eq!(written["configuration"]["clicklake.dimensions"], "country");
    let schema = log.whole_schema().expect("it can be carried");
    assert!(schema.field_with_name("note").is_ok_and(arrow::datatypes::Field::is_nullable));
    let again = TableLog::open(&lake, table).await.expect("the table");
    assert_eq!(again.whole_schema().expect("it can be carried"), schema);
    // Back to fewer dimensions: clicklake's own column is not kept as if it were another program's.
    let commit = Commit { definition: Some(Parameters::default().definition(table)), ..Commit::new("promote") };
    assert_eq!(log.commit(&commit).await.expect("memory"), Outcome::Committed(3));
    assert_eq!(log.further_columns().into_keys().collect::<Vec<_>>(), ["note"]);
}

#[tokio::test(start_paused = true)]
async fn a_log_that_is_damaged_is_refused_in_one_line_with_what_to_do() {
    let (lake, store) = lake();
    let mut log = open(&lake).await;
    for next in 1..=3 {
        append(&mut log, 0, next * 10).await;
    }
    log.checkpoint().write().await.expect("memory");
    append(&mut log, 0, 40).await;
    let at = |name: &str| Path::from(format!("lake/clicks/_delta_log/{name}"));
    let checkpoint = at("00000000000000000003.checkpoint.parquet");
    let whole = store.get(&checkpoint).await.expect("it").bytes().await.expect("memory");
    let refuses = async |words: &[&str]| {
        let error = TableLog::open(&lake, Table::Clicks).await.map(drop).expect_err("it is damaged");
        let said = error.to_string();
        assert_eq!(error.code(), Some(Code::FileDamaged), "{said}");
        assert!(said.lines().count() == 1, "{said}");
        assert!(words.iter().all(|word| said.contains(word)), "{said}");
    };
    store.put(&checkpoint, whole.slice(..whole.len() / 2).into()).await.expect("memory");
    refuses(&["clicks", "checkpoint", "_last_checkpoint"]).await;
    store.delete(&checkpoint).await.expect("memory");
    refuses(&["clicks", "checkpoint", "_last_checkpoint"]).await;
    // The advice in the message helps.
    store.delete(&at("_last_checkpoint")).await.expect("memory");
    open(&lake).await;
    store.delete(&entry_path(Table::Clicks, 2)).await.expect("memory");
    refuses(&["clicks", "an entry is missing", "_delta_log"]).await;
}
