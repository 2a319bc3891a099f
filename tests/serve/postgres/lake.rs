//! The lake that is served in tests: the clicks and minutes of two campaigns and of none, on a day that is the same.
//!
//! Ads of the campaign `spring` are numbers, those of others are not: an expression that is fine with one's own rows
//! fails on theirs. It can be written with the rows of `spring` alone, as if there were no others.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use ingest::decode::{BatchBuilder, Message};
use lake_schemas::commit::{Commit, Move, Outcome, TableLog};
use lake_schemas::job::Step;
use lake_schemas::minute::Parameters;
use lake_schemas::table::{TIME_IN_FUTURE_MS, column, timestamp};
use lake_schemas::{Folder, Lake, LogTime, Stand, Table, TopicPartition, files};
use serde_json::json;

use crate::NOON_MS;
use crate::simulation::{compact, simulate};

const MINUTE_MS: i64 = 60_000;

/// Whose ad, and how often it is clicked on a minute.
type Ad = (&'static str, Option<&'static str>, i64);

/// The campaign that a key sees in tests.
pub const SPRING: &str = "spring";

const ADS: [Ad; 6] = [
    ("1", Some(SPRING), 10),
    ("2", Some(SPRING), 20),
    ("secret-a", Some("autumn"), 1_000),
    ("secret-b", Some("Spring"), 2_000),
    ("secret-c", Some("spring "), 3_000),
    ("secret-d", None, 4_000),
];

/// Whose rows a lake has.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Rows {
    /// Everyone's.
    All,
    /// Those of `spring`.
    OfSpring,
}

impl Rows {
    fn ads(self) -> impl Iterator<Item = (i64, Ad)> {
        let has = move |(_, campaign, _): &Ad| self == Self::All || *campaign == Some(SPRING);
        (0..).zip(ADS).filter(move |(_, ad)| has(ad))
    }
}

/// Writes a lake into a folder.
pub fn write(folder: &Path, rows: Rows) -> Lake {
    let lake = Lake::at(folder.join("lake").to_str().expect("UTF-8")).expect("a lake");
    simulate(async {
        let mut clicks = TableLog::open(&lake, Table::Clicks).await.expect("a table");
        for _ in 0..3 {
            append_clicks(&mut clicks, rows).await;
        }
        let minutes = Parameters::default().definition(Table::ClicksMinute);
        let mut minutes = TableLog::open_or_make(&lake, &minutes).await.expect("a table");
        for minute in [0, 1, 60] {
            append_minute(&mut minutes, rows, minute).await;
        }
        compact(&lake, 1).await.expect("a disk");
        append_minute(&mut minutes, rows, 61).await;
    });
    lake
}

/// One more minute.
pub fn append(lake: &Lake, minute: i64) {
    simulate(async {
        let mut minutes = TableLog::open(lake, Table::ClicksMinute).await.expect("a table");
        append_minute(&mut minutes, Rows::All, minute).await;
    });
}

/// A click on each ad.
async fn append_clicks(log: &mut TableLog, rows: Rows) {
    let partition = TopicPartition::new("clicks", 0);
    let from = log.stand(&partition);
    let first = from.cut.unwrap_or(0);
    let mut batch = BatchBuilder::new(partition.clone(), first, TIME_IN_FUTURE_MS);
    for (place, (ad, campaign, cost)) in rows.ads() {
        let offset = first + place;
        let click =
            json!({ "ad_id": ad, "campaign_id": campaign, "event_time": NOON_MS + offset, "cost_micros": cost });
        let (log_time, payload) = (LogTime::from_millis(NOON_MS), click.to_string());
        batch.push(&Message { offset, log_time, key: None, payload: Some(payload.as_bytes()) });
    }
    let next = first + i64::try_from(ADS.len()).expect("few");
    let to = Stand { cut: Some(next), read: Some(next), ..Stand::default() };
    let step = Step { table: Table::Clicks, partition, rows: vec![batch.finish().events], from, to };
    let adds = put(log, &step.rows).await;
    commit(log, &Commit::epoch("ingest", &[step], adds)).await;
}

async fn append_minute(log: &mut TableLog, rows: Rows, minute: i64) {
    let adds = put(log, &[batch(rows, NOON_MS + minute * MINUTE_MS)]).await;
    let partition = TopicPartition::new("clicks", 0);
    let (table, from) = (log.table(), log.stand(&partition));
    let to = Stand { cut: Some(from.cut.unwrap_or(0) + 1), ..from };
    let both = from.encode(table, &partition).into_iter().zip(to.encode(table, &partition));
    let moves = both.map(|((app_id, from), (_, to))| Move { app_id, from, to }).collect();
    commit(log, &Commit { adds, moves, ..Commit::new("aggregate") }).await;
}

/// A row of each ad in one minute.
fn batch(rows: Rows, start_ms: i64) -> RecordBatch {
    let (schema, ads) = (Parameters::default().schema(Table::ClicksMinute), rows.ads().map(|(_, ad)| ad));
    let (folder, ads) = (Folder::at(Table::ClicksMinute, start_ms), ads.collect::<Vec<_>>());
    let times = |millis: i64| -> ArrayRef {
        let micros = ads.iter().map(|_| millis * 1_000);
        Arc::new(TimestampMicrosecondArray::from_iter_values(micros).with_data_type(timestamp()))
    };
    let columns = schema.fields().iter().map(|field| -> ArrayRef {
        if let Some(column) = folder.column(field.name(), ads.len()) {
            return column;
        }
        match field.name().as_str() {
            column::WINDOW_START => times(start_ms),
            column::WINDOW_END => times(start_ms + MINUTE_MS),
            column::AD_ID => Arc::new(ads.iter().map(|(ad, ..)| Some(*ad)).collect::<StringArray>()),
            column::CAMPAIGN_ID => Arc::new(ads.iter().map(|(_, campaign, _)| *campaign).collect::<StringArray>()),
            column::PANE | column::TOPIC => Arc::new(StringArray::from(vec!["clicks"; ads.len()])),
            column::KAFKA_PARTITION => Arc::new(Int32Array::from(vec![0; ads.len()])),
            "clicks" | "cost_micros" => Arc::new(Int64Array::from_iter_values(ads.iter().map(|(.., clicks)| *clicks))),
            _ => Arc::new(Int64Array::from(vec![0; ads.len()])),
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
