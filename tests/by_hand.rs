//! Lakes that are written by hand, a commit at a time: clicks, minutes of ads, and the stands of partitions.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use deltalake::kernel::Add;
use ingest::decode::{BatchBuilder, Message};
use lake_schemas::job::Step;
use lake_schemas::minute::Parameters;
use lake_schemas::table::{TIME_IN_FUTURE_MS, column, timestamp};
use lake_schemas::{Folder, LogTime, Stand, Table, TopicPartition};
use lake_store::commit::{Commit, Move, Outcome, TableLog};
use lake_store::{Lake, files};
use serde_json::Value;

use crate::NOON_MS;

pub const MINUTE_MS: i64 = 60_000;

/// Topic of all these lakes.
pub const TOPIC: &str = "clicks";

/// Counts of an ad in a minute after noon.
#[derive(Clone, Debug, Default)]
pub struct Row {
    pub minute: i64,
    pub ad: String,
    pub campaign: Option<String>,
    pub country: Option<&'static str>,
    pub clicks: i64,
    pub cost_micros: i64,
}

/// Opens a table of minutes, and makes it if it is not there.
pub async fn minutes(lake: &Lake, table: Table, parameters: &Parameters) -> TableLog {
    TableLog::open_or_make(lake, &parameters.definition(table)).await.expect("a table")
}

/// Commits rows of one hour, together with these stands of partitions.
pub async fn append(log: &mut TableLog, rows: &[Row], stands: &BTreeMap<i32, Stand>) {
    let table = log.table();
    let adds = if rows.is_empty() { Vec::new() } else { put(log, &[batch(log, rows)]).await };
    let stands: Vec<_> = stands.iter().map(|(number, to)| (TopicPartition::new(TOPIC, *number), to)).collect();
    let moves = stands.iter().flat_map(|(partition, to)| {
        let from = log.stand(partition).encode(table, partition);
        let to = to.encode(table, partition);
        from.into_iter().zip(to).map(|((app_id, from), (_, to))| Move { app_id, from, to })
    });
    let moves = moves.collect();
    let cut = stands.into_iter().filter_map(|(partition, stand)| Some((partition, stand.cut?))).collect();
    commit(log, &Commit { adds, moves, cut, ..Commit::new("aggregate") }).await;
}

/// Commits clicks of a partition at their offsets, up to one offset.
pub async fn append_clicks(log: &mut TableLog, number: i32, clicks: impl IntoIterator<Item = (i64, Value)>, next: i64) {
    let partition = TopicPartition::new(TOPIC, number);
    let from = log.stand(&partition);
    let mut batch = BatchBuilder::new(partition.clone(), from.cut.unwrap_or(0), TIME_IN_FUTURE_MS);
    for (offset, click) in clicks {
        let (log_time, payload) = (LogTime::from_millis(NOON_MS), click.to_string());
        batch.push(&Message { offset, log_time, key: None, payload: Some(payload.as_bytes()) });
    }
    let to = Stand { cut: Some(next), read: Some(next), ..Stand::default() };
    let step = Step { table: Table::Clicks, partition, rows: vec![batch.finish().events], from, to };
    let adds = put(log, &step.rows).await;
    commit(log, &Commit::epoch("ingest", &[step], adds)).await;
}

fn batch(log: &TableLog, rows: &[Row]) -> RecordBatch {
    let (table, parameters) = (log.table(), log.parameters().expect("its own"));
    let start_ms = |row: &Row| NOON_MS + row.minute * MINUTE_MS;
    let folder = Folder::at(table, start_ms(&rows[0]));
    assert!(rows.iter().all(|row| Folder::at(table, start_ms(row)) == folder), "rows of one hour");
    let text = |of: fn(&Row) -> Option<&str>| -> ArrayRef { Arc::new(rows.iter().map(of).collect::<StringArray>()) };
    let number = |of: fn(&Row) -> i64| -> ArrayRef { Arc::new(Int64Array::from_iter_values(rows.iter().map(of))) };
    let times = |after: i64| -> ArrayRef {
        let micros = rows.iter().map(|row| (start_ms(row) + after) * 1_000);
        Arc::new(TimestampMicrosecondArray::from_iter_values(micros).with_data_type(timestamp()))
    };
    let schema = parameters.schema(table);
    let columns = schema.fields().iter().map(|field| -> ArrayRef {
        if let Some(column) = folder.column(field.name(), rows.len()) {
            return column;
        }
        match field.name().as_str() {
            column::WINDOW_START => times(0),
            column::WINDOW_END => times(MINUTE_MS),
            column::AD_ID => text(|row| Some(&row.ad)),
            column::CAMPAIGN_ID => text(|row| row.campaign.as_deref()),
            column::COUNTRY => text(|row| row.country),
            column::PANE | column::TOPIC => text(|_| Some(TOPIC)),
            column::KAFKA_PARTITION => Arc::new(Int32Array::from(vec![0; rows.len()])),
            "clicks" => number(|row| row.clicks),
            "cost_micros" => number(|row| row.cost_micros),
            _ => number(|_| 0),
        }
    });
    RecordBatch::try_new(Arc::clone(&schema), columns.collect()).expect("the table's columns")
}

async fn put(log: &TableLog, rows: &[RecordBatch]) -> Vec<Add> {
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
