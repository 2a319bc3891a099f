//! The lake that the files of queries ask: small, always the same, written by hand, each version a minute after the one
//! before it.
//!
//! ```text
//!   clicks          1: partition 0, offsets 0 to 2    2: partition 1, offsets 0, 1    3: partition 0, offsets 3, 4
//!   clicks_minute   1: 12:00 ad-a 2, ad-b 1           2: 12:01 ad-a 1, ad-b 1         3: 12:00 ad-a 1, late
//!   clicks_hourly, clicks_daily: rolled up of version 2 of the minutes
//!   by_country      1: 12:00 ad-a DE 2, ad-b none 1    no clicks_rejected
//! ```

use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use ingest::decode::{BatchBuilder, Message};
use lake_schemas::commit::{Commit, Move, Outcome, TableLog};
use lake_schemas::job::Step;
use lake_schemas::minute::{Dimension, Parameters};
use lake_schemas::table::{TIME_IN_FUTURE_MS, column, timestamp};
use lake_schemas::{Folder, Lake, LogTime, Stand, Table, TopicPartition, files};
use serde_json::{Value, json};

use crate::NOON_MS;
use crate::simulation::compact;

const MINUTE_MS: i64 = 60_000;

/// A row of minutes: its minute after noon, ad, country and clicks.
type Row = (i64, &'static str, Option<&'static str>, i64);

/// Writes the lake.
pub async fn write(lake: &Lake, folder: &Path) {
    let mut clicks = TableLog::open(lake, Table::Clicks).await.expect("a table");
    for (partition, next) in [(0, 3), (1, 2), (0, 5)] {
        append_clicks(&mut clicks, partition, next).await;
    }
    let parameters = Parameters::default();
    let mut minutes = minutes(lake, Table::ClicksMinute, &parameters).await;
    append_minutes(&mut minutes, &parameters, 3, &[(0, "ad-a", None, 2), (0, "ad-b", None, 1)]).await;
    append_minutes(&mut minutes, &parameters, 4, &[(1, "ad-a", None, 1), (1, "ad-b", None, 1)]).await;
    compact(lake, 1).await.expect("a disk");
    append_minutes(&mut minutes, &parameters, 5, &[(0, "ad-a", None, 1)]).await;
    let parameters = Parameters { dimensions: vec![Dimension::Country], ..Parameters::default() };
    let shadow = Table::Shadow("by_country".parse().expect("a name"));
    let mut by_country = self::minutes(lake, shadow, &parameters).await;
    append_minutes(&mut by_country, &parameters, 5, &[(0, "ad-a", Some("DE"), 2), (0, "ad-b", None, 1)]).await;
    for table in Table::ALL.into_iter().chain([shadow]) {
        set_times(&folder.join(table.name()).join("_delta_log"));
    }
}

async fn minutes(lake: &Lake, table: Table, parameters: &Parameters) -> TableLog {
    TableLog::open_or_make(lake, &parameters.definition(table)).await.expect("a table")
}

/// A click for each offset up to one, of an ad that the offset names.
async fn append_clicks(log: &mut TableLog, partition: i32, next: i64) {
    let partition = TopicPartition::new("clicks", partition);
    let from = log.stand(&partition);
    let first = from.cut.unwrap_or(0);
    let mut batch = BatchBuilder::new(partition.clone(), first, TIME_IN_FUTURE_MS);
    for offset in first..next {
        let ad = if offset % 2 == 0 { "ad-a" } else { "ad-b" };
        let click =
            json!({ "ad_id": ad, "event_time": NOON_MS, "event_id": format!("{}@{offset}", partition.partition) });
        let (log_time, payload) = (LogTime::from_millis(NOON_MS), click.to_string());
        batch.push(&Message { offset, log_time, key: None, payload: Some(payload.as_bytes()) });
    }
    let to = Stand { cut: Some(next), read: Some(next), ..Stand::default() };
    let step = Step { table: Table::Clicks, partition, rows: vec![batch.finish().events], from, to };
    let adds = put(log, &step.rows).await;
    commit(log, &Commit::epoch("ingest", &[step], adds)).await;
}

async fn append_minutes(log: &mut TableLog, parameters: &Parameters, next: i64, rows: &[Row]) {
    let rows = batch(log.table(), parameters, rows);
    let adds = put(log, &[rows]).await;
    let partition = TopicPartition::new("clicks", 0);
    let (table, from) = (log.table(), log.stand(&partition));
    let to = Stand { cut: Some(next), ..from };
    let both = from.encode(table, &partition).into_iter().zip(to.encode(table, &partition));
    let moves = both.map(|((app_id, from), (_, to))| Move { app_id, from, to }).collect();
    let cut = [(partition, next)].into();
    commit(log, &Commit { adds, moves, cut, ..Commit::new("aggregate") }).await;
}

fn batch(table: Table, parameters: &Parameters, rows: &[Row]) -> RecordBatch {
    let (schema, folder) = (parameters.schema(table), Folder::at(table, NOON_MS));
    let text =
        |of: fn(&Row) -> Option<&'static str>| -> ArrayRef { Arc::new(rows.iter().map(of).collect::<StringArray>()) };
    let times = |after: i64| -> ArrayRef {
        let micros = rows.iter().map(|(minute, ..)| (NOON_MS + minute * MINUTE_MS + after) * 1_000);
        Arc::new(TimestampMicrosecondArray::from_iter_values(micros).with_data_type(timestamp()))
    };
    let columns = schema.fields().iter().map(|field| -> ArrayRef {
        if let Some(column) = folder.column(field.name(), rows.len()) {
            return column;
        }
        match field.name().as_str() {
            column::WINDOW_START => times(0),
            column::WINDOW_END => times(MINUTE_MS),
            column::AD_ID => text(|(_, ad, ..)| Some(ad)),
            column::COUNTRY => text(|(_, _, country, _)| *country),
            column::CAMPAIGN_ID => text(|_| Some("spring")),
            column::PANE | column::TOPIC => text(|_| Some("clicks")),
            column::KAFKA_PARTITION => Arc::new(Int32Array::from(vec![0; rows.len()])),
            "clicks" => Arc::new(Int64Array::from_iter_values(rows.iter().map(|(.., clicks)| *clicks))),
            _ => Arc::new(Int64Array::from(vec![0; rows.len()])),
        }
    });
    RecordBatch::try_new(Arc::clone(&schema), columns.collect()).expect("the table's columns")
}

async fn put(log: &TableLog, rows: &[RecordBatch]) -> Vec<deltalake::kernel::Add> {
    let mut adds = Vec::new();
    for file in files::encode(log.table(), rows).await.expect("files") {
        file.put(log.object_store().as_ref()).await.expect("a disk");
        adds.push(file.add);
    }
    adds
}

async fn commit(log: &mut TableLog, commit: &Commit) {
    let outcome = log.commit(commit).await.expect("a disk");
    assert!(matches!(outcome, Outcome::Committed(_)), "{outcome:?}");
}

/// Has each version written a minute after the one before it, the first at noon.
fn set_times(log: &Path) {
    let Ok(entries) = std::fs::read_dir(log) else { return };
    for entry in entries.map(|entry| entry.expect("an entry").path()) {
        let version = entry.file_stem().and_then(|name| name.to_str()?.parse::<i64>().ok());
        let (Some(version), Some("json")) = (version, entry.extension().and_then(|kind| kind.to_str())) else {
            continue;
        };
        let text = std::fs::read_to_string(&entry).expect("a text");
        let lines = text.lines().map(|line| {
            let mut action: Value = serde_json::from_str(line).expect("an action");
            if let Some(info) = action.get_mut("commitInfo") {
                info["timestamp"] = json!(NOON_MS + version * MINUTE_MS);
            }
            action.to_string()
        });
        std::fs::write(&entry, lines.collect::<Vec<_>>().join("\n")).expect("a disk");
    }
}
