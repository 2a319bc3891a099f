//! The lake that is served in tests: the clicks and minutes of two campaigns and of none, on a fixed day.
//!
//! Ids of ads of the campaign `spring` are numbers, and those of other ads are not. So an expression such as a cast to
//! a number fails only if it is computed on rows that the key must not see. The lake can also be written with the rows
//! of `spring` alone, to compare answers with those of a lake that has no others.

use std::path::Path;

use lake_schemas::minute::Parameters;
use lake_schemas::{Stand, Table, TopicPartition};
use lake_store::Lake;
use lake_store::commit::TableLog;
use serde_json::json;

use crate::NOON_MS;
use crate::by_hand::{self, Row, TOPIC};
use crate::simulation::{compact, simulate};

/// An ad, its campaign, and its clicks in each minute.
type Ad = (&'static str, Option<&'static str>, i64);

/// Campaign that the key of these tests sees.
pub const SPRING: &str = "spring";

const ADS: [Ad; 6] = [
    ("1", Some(SPRING), 10),
    ("2", Some(SPRING), 20),
    ("secret-a", Some("autumn"), 1_000),
    ("secret-b", Some("Spring"), 2_000),
    ("secret-c", Some("spring "), 3_000),
    ("secret-d", None, 4_000),
];

/// Campaigns whose rows a lake has.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Rows {
    /// Rows of all campaigns, and of none.
    All,
    /// Only rows of `spring`.
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
        let mut minutes = by_hand::minutes(&lake, Table::ClicksMinute, &Parameters::default()).await;
        for minute in [0, 1, 60] {
            append_minute(&mut minutes, rows, minute).await;
        }
        compact(&lake, 1).await.expect("a disk");
        append_minute(&mut minutes, rows, 61).await;
    });
    lake
}

/// Appends rows of all ads in one more minute.
pub fn append(lake: &Lake, minute: i64) {
    simulate(async {
        let mut minutes = TableLog::open(lake, Table::ClicksMinute).await.expect("a table");
        append_minute(&mut minutes, Rows::All, minute).await;
    });
}

/// Appends a click on each ad. A click that is left out leaves its offset unused, so that the others have the same
/// offsets in both lakes.
async fn append_clicks(log: &mut TableLog, rows: Rows) {
    let first = log.stand(&TopicPartition::new(TOPIC, 0)).cut.unwrap_or(0);
    let clicks = rows.ads().map(|(place, (ad, campaign, cost))| {
        let offset = first + place;
        let click =
            json!({ "ad_id": ad, "campaign_id": campaign, "event_time": NOON_MS + offset, "cost_micros": cost });
        (offset, click)
    });
    let next = first + i64::try_from(ADS.len()).expect("few");
    by_hand::append_clicks(log, 0, clicks, next).await;
}

/// Appends a row of each ad in one minute.
async fn append_minute(log: &mut TableLog, rows: Rows, minute: i64) {
    let rows = rows.ads().map(|(_, (ad, campaign, clicks))| {
        let (ad, campaign) = (ad.to_owned(), campaign.map(str::to_owned));
        Row { minute, ad, campaign, clicks, cost_micros: clicks, ..Row::default() }
    });
    let from = log.stand(&TopicPartition::new(TOPIC, 0));
    let to = Stand { cut: Some(from.cut.unwrap_or(0) + 1), ..from };
    by_hand::append(log, &rows.collect::<Vec<_>>(), &[(0, to)].into()).await;
}
