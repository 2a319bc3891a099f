//! `clicklake status`: shows the whole pipeline in a few lines, or as one object: how far each table has come, what is
//! pending, foreign changes, and pins.
//!
//! It reads only logs of tables and the ends of the topic, so it may be called often.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use ::ingest::kafka::ends;
use chrono::{DateTime, SecondsFormat, Utc};
use lake_schemas::stand::rolled_up_from;
use lake_schemas::table::Version;
use lake_schemas::{Cut, Table, TopicPartition};
use lake_store::commit::{Partitions, TableView};
use lake_store::pins::{self, Damaged, Pin, Pins};
use lake_store::{Lake, LakeError};
use query::output::visible;
use serde::Serialize;

use super::pins::all_can_be_read;
use super::{kafka, now};
use crate::arguments::{self, StatusFormat};
use crate::drawing::{age, grouped_of};
use crate::report;

/// Number of the newest versions of each table that are searched for foreign changes: some minutes of commits.
const FOREIGN_VERSIONS: Version = 100;

/// Number of retired topics that are named to people: `up` leaves one behind on each run.
const RETIRED_SHOWN: usize = 5;

/// State of a pipeline.
#[derive(Debug, Serialize)]
struct Status {
    lake: String,
    /// Time at which the lake was looked at.
    at: String,
    tables: Vec<Of>,
    /// Time up to which all minutes are written, of all topics that are waited for.
    complete_until: Option<String>,
    /// Retired topics, in the order of their names.
    retired: Vec<String>,
    pins: Vec<PinOf>,
    /// Whether all topics are retired.
    #[serde(skip)]
    is_over: bool,
    #[serde(skip)]
    now: DateTime<Utc>,
}

/// State of a table.
#[derive(Debug, Default, Serialize)]
struct Of {
    table: String,
    version: Option<Version>,
    /// Time at which this version was written.
    written: Option<String>,
    age_seconds: Option<i64>,
    /// Next offset that the table does not have, by topic and partition.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    cut: BTreeMap<String, BTreeMap<i32, i64>>,
    /// Number of messages of the topic that the table does not have, if Kafka was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    lag: Option<i64>,
    /// Number of messages that `clicks` has and this table does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    behind_clicks: Option<i64>,
    /// For a roll-up, the version of its source that it was made of, and the number of newer versions of the source.
    #[serde(skip_serializing_if = "Option::is_none")]
    made_of: Option<MadeOf>,
    /// Recent foreign changes of the table, newest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    changed_by_others: Vec<Change>,
    /// Reason why the table cannot be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    refused: Option<String>,
}

/// Source of a roll-up.
#[derive(Debug, Serialize)]
struct MadeOf {
    table: String,
    version: Version,
    behind: Version,
}

/// A foreign change of a table.
#[derive(Debug, Serialize)]
struct Change {
    version: Version,
    said: String,
}

/// A pinned version.
#[derive(Debug, Serialize)]
struct PinOf {
    name: String,
    /// Name of the table; for a damaged pin only if that can still be told.
    table: Option<String>,
    /// Version that is kept; `None`: the pin is damaged.
    version: Option<Version>,
    expires: Option<String>,
    /// Whether the pin keeps anything. A damaged pin does: nothing is cleaned up past it.
    holds: bool,
    /// Reason why the pin cannot be read, and what to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    refused: Option<String>,
}

impl PinOf {
    fn known(pin: &Pin, now: DateTime<Utc>) -> Self {
        Self {
            name: pin.name.as_str().to_owned(),
            table: Some(pin.table.clone()),
            version: Some(pin.version),
            expires: pin.expires.map(written),
            holds: pin.holds(now),
            refused: None,
        }
    }

    fn damaged(pin: &Damaged) -> Self {
        Self {
            name: pin.name.as_str().to_owned(),
            table: pin.table.clone(),
            version: None,
            expires: None,
            holds: true,
            refused: Some(pin.refused().to_string()),
        }
    }
}

pub async fn run(lake: &str, command: arguments::Status) -> anyhow::Result<()> {
    let lake = Lake::at(lake)?;
    let (tables, partitions) = tables(&lake, &command).await?;
    if tables.is_empty() {
        return Err(lake.lacks_tables().into());
    }
    let now = now();
    let Pins { pins, damaged } = pins::all(&lake).await?;
    let pins = pins.iter().map(|pin| PinOf::known(pin, now)).chain(damaged.iter().map(PinOf::damaged)).collect();
    let at = written(now);
    let complete_until = partitions.complete_until();
    let complete_until = complete_until.and_then(|until| DateTime::from_timestamp_millis(until.millis())).map(written);
    let (retired, is_over) = retired(&partitions);
    let status = Status { lake: lake.url().to_string(), at, tables, complete_until, retired, pins, is_over, now };
    match command.format {
        StatusFormat::Table => report::print_text(&status.to_string())?,
        StatusFormat::Json => report::print_bytes(format!("{}\n", serde_json::to_string(&status)?).as_bytes())?,
    }
    all_can_be_read(&damaged)
}

/// Returns the retired topics, and whether all topics are retired.
fn retired(known: &Partitions) -> (Vec<String>, bool) {
    let waited_for: BTreeSet<_> = known.waited_for().map(|(of, _)| of.topic.as_str()).collect();
    let topics: BTreeSet<_> = known.retired.iter().map(|of| of.topic.as_str()).collect();
    let retired: Vec<_> = topics.difference(&waited_for).map(|topic| (*topic).to_owned()).collect();
    let is_over = waited_for.is_empty() && !retired.is_empty();
    (retired, is_over)
}

/// Returns the state of each table, and the partitions that `clicks_minute` records.
async fn tables(lake: &Lake, command: &arguments::Status) -> anyhow::Result<(Vec<Of>, Partitions)> {
    let (mut all, mut cuts, mut partitions) = (Vec::new(), BTreeMap::new(), Partitions::default());
    for table in Table::ALL.into_iter().chain(lake.stagings().await?) {
        let view = match TableView::newest(lake, table).await {
            Ok(Some(view)) => view,
            Ok(None) => continue,
            Err(LakeError::Refused(why)) => {
                all.push(Of { table: table.name().to_owned(), refused: Some(why.to_string()), ..Of::default() });
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        if table == Table::ClicksMinute {
            partitions = view.partitions();
        }
        let cut = view.cut();
        let next = of(&view, &cut, all.last()).await?;
        all.push(next);
        cuts.insert(table, cut);
    }
    // Read the tables before the log, so that the log has all that the tables have.
    let ends = match &command.bootstrap_servers {
        Some(servers) => Some(ends(&kafka(servers, &command.topic)?).await?),
        None => None,
    };
    let clicks = cuts.get(&Table::Clicks).cloned().unwrap_or_default();
    for (table, cut) in &cuts {
        let Some(of) = all.iter_mut().find(|of| of.table == table.name()) else { continue };
        let is_read_from_kafka = matches!(table, Table::Clicks | Table::ClicksMinute | Table::Staging(_));
        if let Some(ends) = ends.as_ref().filter(|_| is_read_from_kafka) {
            let lag = ends.iter().map(|(of, log)| lacks(cut, of, log.first, log.next));
            of.lag = Some(lag.sum());
        }
        if matches!(table, Table::ClicksMinute | Table::Staging(_)) {
            of.behind_clicks = Some(clicks.iter().map(|(of, next)| lacks(cut, of, 0, *next)).sum());
        }
    }
    Ok((all, partitions))
}

/// Returns how many offsets of a partition a table lacks, up to the partition's end. If the table has not begun the
/// partition, it lacks all from the first one on.
fn lacks(cut: &Cut, partition: &TopicPartition, first: i64, end: i64) -> i64 {
    (end - cut.get(partition).copied().unwrap_or(first)).max(0)
}

/// Returns the state of a table, by its log; `before` is the table before it, which is its source if it is a roll-up.
async fn of(view: &TableView, cut: &Cut, before: Option<&Of>) -> anyhow::Result<Of> {
    let (table, version) = (view.table(), view.version());
    let newest = view.written(version..=version).await?.pop();
    let time = newest.and_then(|newest| newest.time_ms).and_then(DateTime::from_timestamp_millis);
    let first = version.saturating_sub(FOREIGN_VERSIONS - 1);
    let change =
        |change: lake_store::commit::ForeignChange| Change { version: change.version, said: change.to_string() };
    let mut by_topic: BTreeMap<String, BTreeMap<i32, i64>> = BTreeMap::new();
    for (partition, next) in cut {
        by_topic.entry(partition.topic.clone()).or_default().insert(partition.partition, *next);
    }
    let source = rolled_up_from(table, |app_id| view.txn(app_id));
    let made_of = source.zip(before).map(|(source, before)| {
        let behind = before.version.unwrap_or(source).saturating_sub(source);
        MadeOf { table: before.table.clone(), version: source, behind }
    });
    Ok(Of {
        table: table.name().to_owned(),
        version: Some(version),
        written: time.map(written),
        age_seconds: time.map(|time| (now() - time).num_seconds()),
        cut: by_topic,
        made_of,
        changed_by_others: view.foreign(first..=version).await?.into_iter().map(change).collect(),
        ..Of::default()
    })
}

fn written(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::AutoSi, true)
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<16} {}", "lake", self.lake)?;
        for of in &self.tables {
            write!(f, "\n{:<16} {of}", of.table)?;
        }
        let until = self.complete_until.as_deref().and_then(|time| DateTime::parse_from_rfc3339(time).ok());
        match (&self.complete_until, until) {
            (Some(time), Some(since)) => {
                let ago = age(self.now.timestamp_millis() - since.timestamp_millis());
                let how = if self.is_over { "the end: all topics are retired" } else { ago.as_str() };
                write!(f, "\n{:<16} {time}, {how}", "complete until")?;
            }
            _ => write!(f, "\n{:<16} no minute is yet, of all topics", "complete until")?,
        }
        if !self.retired.is_empty() {
            let shown: Vec<_> = self.retired.iter().take(RETIRED_SHOWN).map(String::as_str).collect();
            let more = self.retired.len() - shown.len();
            let more = if more > 0 { format!(", and {more} more") } else { String::new() };
            write!(f, "\n{:<16} {}{more}", "retired", visible(&shown.join(", ")))?;
        }
        for pin in &self.pins {
            write!(f, "\n{:<16} {pin}", "pin")?;
        }
        let changes = self.tables.iter().flat_map(|of| &of.changed_by_others);
        for change in changes {
            write!(f, "\n{:<16} {}", "by others", visible(&change.said))?;
        }
        Ok(())
    }
}

impl fmt::Display for PinOf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(why) = &self.refused {
            return f.write_str(&visible(why));
        }
        let state = match (&self.expires, self.holds) {
            (_, false) => "expired".to_owned(),
            (Some(time), true) => format!("kept until {time}"),
            (None, true) => "kept".to_owned(),
        };
        let (version, table) = (self.version.unwrap_or_default(), self.table.as_deref().unwrap_or_default());
        write!(f, "{}: version {version} of {table}, {state}", self.name)
    }
}

impl fmt::Display for Of {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(why) = &self.refused {
            return write!(f, "cannot be read: {}", visible(why));
        }
        write!(f, "version {}", self.version.unwrap_or_default())?;
        if let Some(seconds) = self.age_seconds {
            write!(f, ", {}", age(seconds.saturating_mul(1_000)))?;
        }
        let messages = |number: i64| grouped_of(number.unsigned_abs(), "message");
        if let Some(lag) = self.lag {
            write!(f, ", {} behind the topic", messages(lag))?;
        }
        if let Some(behind) = self.behind_clicks {
            write!(f, ", {} behind clicks", messages(behind))?;
        }
        if let Some(MadeOf { table, version, behind }) = &self.made_of {
            write!(f, ", made of version {version} of {table}, whose newest is {}", version + behind)?;
        }
        Ok(())
    }
}
