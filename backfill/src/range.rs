//! Which part of history is asked for, in the words of the command line, and what that is in offsets and windows.

use std::collections::BTreeSet;
use std::fmt;

use arrow::array::AsArray;
use arrow::datatypes::TimestampMicrosecondType;
use chrono::{DateTime, SecondsFormat, Utc};
use ingest::drive::DriveError;
use ingest::replay::RawTable;
use lake_schemas::job::LogBatch;
use lake_schemas::minute::WINDOW_MS;
use lake_schemas::table::{Version, column};
use lake_schemas::{Cut, EventTime, History, Table, TopicPartition, Windows};
use lake_store::commit::TableView;
use lake_store::{Lake, LakeError};

use crate::bounded::{self, Takes};
use crate::work::Work;

/// A part of history.
#[derive(Clone, Debug, Default)]
pub enum Range {
    /// All that the raw table has by now.
    #[default]
    All,
    /// Windows of event time.
    Windows(Windows),
    /// What versions of `clicks` added, the first and the last included.
    Versions(Option<Version>, Option<Version>),
    /// All that a version of `clicks` had.
    AsOf(Version),
    /// All that `clicks` had at a time.
    AsOfTime(DateTime<Utc>),
}

impl Range {
    /// What it is of the log.
    pub async fn history(&self, lake: &Lake) -> Result<History, LakeError> {
        let newest = TableView::newest(lake, Table::Clicks).await?.ok_or_else(|| lake.lacks(Table::Clicks))?;
        let whole = |until: Cut| History { until, ..History::default() };
        Ok(match self {
            Self::All => whole(newest.cut()),
            Self::Windows(windows) => History { windows: windows.clone(), ..whole(newest.cut()) },
            Self::AsOf(version) => whole(newest.at(*version).await?.cut()),
            Self::AsOfTime(time) => whole(newest.at(newest.version_at(*time).await?).await?.cut()),
            Self::Versions(first, last) => {
                let last = last.unwrap_or(newest.version());
                let until = newest.at(last).await?.cut();
                let first = first.unwrap_or(0);
                if last < first {
                    let why = format!("no version is from {first} on and up to {last}; exchange the two");
                    return Err(LakeError::Refused(why));
                }
                let since = match first.checked_sub(1) {
                    Some(before) => newest.at(before).await?.cut(),
                    None => Cut::new(),
                };
                if since == until {
                    return Err(LakeError::Refused(format!("versions {first} to {last} of clicks added nothing")));
                }
                History { since, ..whole(until) }
            }
        })
    }

    /// What it is for a table that is replaced in place: which windows, and, where the raw table is looked at as it
    /// was, its cut then. Versions name the windows that their rows touch, and these are recomputed from all their
    /// clicks.
    pub(crate) async fn in_place(&self, work: &Work<'_>) -> Result<Option<(Windows, Option<Cut>)>, DriveError> {
        Ok(match self {
            Self::All => Some((Windows::default(), None)),
            Self::Windows(windows) => Some((windows.clone(), None)),
            Self::AsOf(_) | Self::AsOfTime(_) => Some((Windows::default(), Some(self.history(work.lake).await?.until))),
            Self::Versions(..) => {
                let history = self.history(work.lake).await?;
                touched(work, history).await?.map(|windows| (windows, None))
            }
        })
    }
}

/// The windows of the events of a part of the log; `None` if that was stopped.
async fn touched(work: &Work<'_>, History { since, until, .. }: History) -> Result<Option<Windows>, DriveError> {
    let moved: Vec<_> = until.keys().filter(|of| since.get(of) < until.get(of)).cloned().collect();
    let raw = RawTable::until(work.raw().await?, until).counted_by(&work.meter).shared();
    let mut touched = Touched { since, starts_ms: BTreeSet::new() };
    let columns = vec![column::EVENT_TIME.to_owned()];
    let is_read = bounded::read(raw, columns, (moved, work.at_a_time), &work.stop, &mut touched).await?;
    Ok(is_read.then(|| Windows::these(touched.starts_ms)))
}

/// Collects windows, by their starts in milliseconds.
struct Touched {
    since: Cut,
    starts_ms: BTreeSet<i64>,
}

impl Takes for Touched {
    fn begin(&mut self, partition: &TopicPartition) -> Option<i64> {
        self.since.get(partition).copied()
    }

    async fn take(&mut self, batch: LogBatch) -> Result<(), DriveError> {
        if let Some(times) = batch.events.column_by_name(column::EVENT_TIME) {
            let times = times.as_primitive::<TimestampMicrosecondType>().values();
            let millis = times.iter().map(|micros| EventTime::from_micros(*micros).millis());
            self.starts_ms.extend(millis.map(|millis| millis - millis.rem_euclid(WINDOW_MS)));
        }
        Ok(())
    }

    async fn end(&mut self, _: &TopicPartition) -> Result<(), DriveError> {
        Ok(())
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut given = Vec::new();
        let mut give = |flag: &str, value: Option<String>| given.extend(value.map(|value| format!("{flag} {value}")));
        match self {
            Self::All => return f.write_str("no range"),
            Self::Windows(windows) => {
                give("--from", windows.from().map(|from| from.to_string()));
                give("--to", windows.to().map(|to| to.to_string()));
            }
            Self::Versions(first, last) => {
                give("--from-version", first.map(|first| first.to_string()));
                give("--to-version", last.map(|last| last.to_string()));
            }
            Self::AsOf(version) => give("--as-of-version", Some(version.to_string())),
            Self::AsOfTime(time) => give("--as-of", Some(time.to_rfc3339_opts(SecondsFormat::Millis, true))),
        }
        f.write_str(&given.join(" "))
    }
}
