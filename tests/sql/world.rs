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

use lake_schemas::minute::{Dimension, Parameters};
use lake_schemas::{Field, Stand, Table, TopicPartition};
use lake_store::Lake;
use lake_store::commit::TableLog;
use serde_json::{Value, json};

use crate::NOON_MS;
use crate::by_hand::{self, MINUTE_MS, Row, TOPIC};
use crate::simulation::compact;

/// A row of minutes: its minute after noon, ad, country and clicks.
type Counted = (i64, &'static str, Option<&'static str>, i64);

/// Writes the lake.
pub async fn write(lake: &Lake, folder: &Path) {
    let mut clicks = TableLog::open(lake, Table::Clicks).await.expect("a table");
    for (partition, next) in [(0, 3), (1, 2), (0, 5)] {
        append_clicks(&mut clicks, partition, next).await;
    }
    let parameters = Parameters::default();
    let mut minutes = by_hand::minutes(lake, Table::ClicksMinute, &parameters).await;
    append_minutes(&mut minutes, 3, &[(0, "ad-a", None, 2), (0, "ad-b", None, 1)]).await;
    append_minutes(&mut minutes, 4, &[(1, "ad-a", None, 1), (1, "ad-b", None, 1)]).await;
    compact(lake, 1).await.expect("a disk");
    append_minutes(&mut minutes, 5, &[(0, "ad-a", None, 1)]).await;
    let parameters = Parameters { dimensions: vec![Dimension::of(Field::Country)], ..Parameters::default() };
    let staging = Table::Staging("by_country".parse().expect("a name"));
    let mut by_country = by_hand::minutes(lake, staging, &parameters).await;
    append_minutes(&mut by_country, 5, &[(0, "ad-a", Some("DE"), 2), (0, "ad-b", None, 1)]).await;
    for table in Table::ALL.into_iter().chain([staging]) {
        set_times(&folder.join(table.name()).join("_delta_log"));
    }
}

/// Appends a click for each offset up to one, of an ad that the offset names.
async fn append_clicks(log: &mut TableLog, partition: i32, next: i64) {
    let first = log.stand(&TopicPartition::new(TOPIC, partition)).cut.unwrap_or(0);
    let clicks = (first..next).map(|offset| {
        let ad = if offset % 2 == 0 { "ad-a" } else { "ad-b" };
        (offset, json!({ "ad_id": ad, "event_time": NOON_MS, "event_id": format!("{partition}@{offset}") }))
    });
    by_hand::append_clicks(log, partition, clicks, next).await;
}

/// Appends minutes of partition 0, with its stand.
async fn append_minutes(log: &mut TableLog, next: i64, rows: &[Counted]) {
    let rows = rows.iter().map(|&(minute, ad, country, clicks)| {
        let (ad, campaign) = (ad.to_owned(), Some("spring".to_owned()));
        Row { minute, ad, campaign, country, clicks, ..Row::default() }
    });
    let to = Stand { cut: Some(next), ..log.stand(&TopicPartition::new(TOPIC, 0)) };
    by_hand::append(log, &rows.collect::<Vec<_>>(), &[(0, to)].into()).await;
}

/// Sets the times of the log's entries, as if each version was written a minute after the one before it, the first at
/// noon.
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
