//! Lakes that are written by hand: who has how many clicks in which minute, and where the partitions stand.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use lake_schemas::commit::{Commit, Move, Outcome, TableLog};
use lake_schemas::minute::Parameters;
use lake_schemas::table::{column, timestamp};
use lake_schemas::{Folder, Lake, Stand, Table, TopicPartition, files};

use crate::NOON_MS;

pub const MINUTE_MS: i64 = 60_000;

/// The topic of all of them.
pub const TOPIC: &str = "clicks";

/// The counts of an ad in a minute of the hour after noon.
#[derive(Clone, Debug)]
pub struct Row {
    pub minute: i64,
    pub ad: String,
    pub campaign: Option<String>,
    pub clicks: i64,
}

/// The table of minutes, made if it is not there.
pub async fn minutes(lake: &Lake) -> TableLog {
    let definition = Parameters::default().definition(Table::ClicksMinute);
    TableLog::open_or_make(lake, &definition).await.expect("a table")
}

/// Commits rows, and that partitions stand there from then on.
pub async fn append(log: &mut TableLog, rows: &[Row], stands: &BTreeMap<i32, Stand>) {
    let mut adds = Vec::new();
    if !rows.is_empty() {
        for file in files::encode(Table::ClicksMinute, &[batch(rows)]).await.expect("files") {
            file.put(log.object_store().as_ref()).await.expect("a disk");
            adds.push(file.add);
        }
    }
    let moves = stands.iter().flat_map(|(number, to)| {
        let partition = TopicPartition::new(TOPIC, *number);
        let from = log.stand(&partition).encode(Table::ClicksMinute, &partition);
        let to = to.encode(Table::ClicksMinute, &partition);
        from.into_iter().zip(to).map(|((app_id, from), (_, to))| Move { app_id, from, to })
    });
    let commit = Commit { adds, moves: moves.collect(), ..Commit::new("aggregate") };
    let outcome = log.commit(&commit).await.expect("a disk");
    assert!(matches!(outcome, Outcome::Committed(_)), "{outcome:?}");
}

fn batch(rows: &[Row]) -> RecordBatch {
    let (schema, folder) =
        (Parameters::default().schema(Table::ClicksMinute), Folder::at(Table::ClicksMinute, NOON_MS));
    let times = |after: i64| -> ArrayRef {
        let micros = rows.iter().map(|row| (NOON_MS + row.minute * MINUTE_MS + after) * 1_000);
        Arc::new(TimestampMicrosecondArray::from_iter_values(micros).with_data_type(timestamp()))
    };
    let columns = schema.fields().iter().map(|field| -> ArrayRef {
        if let Some(column) = folder.column(field.name(), rows.len()) {
            return column;
        }
        match field.name().as_str() {
            column::WINDOW_START => times(0),
            column::WINDOW_END => times(MINUTE_MS),
            column::AD_ID => Arc::new(StringArray::from_iter_values(rows.iter().map(|row| &row.ad))),
            column::CAMPAIGN_ID => Arc::new(rows.iter().map(|row| row.campaign.as_deref()).collect::<StringArray>()),
            column::PANE | column::TOPIC => Arc::new(StringArray::from(vec![TOPIC; rows.len()])),
            column::KAFKA_PARTITION => Arc::new(Int32Array::from(vec![0; rows.len()])),
            "clicks" | "cost_micros" => Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.clicks))),
            _ => Arc::new(Int64Array::from(vec![0; rows.len()])),
        }
    });
    RecordBatch::try_new(Arc::clone(&schema), columns.collect()).expect("the table's columns")
}
