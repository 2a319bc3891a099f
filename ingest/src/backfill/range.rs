//! Which part of history is asked for, in the words of the command line, and what that is in offsets and windows.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use arrow::array::AsArray;
use arrow::datatypes::TimestampMicrosecondType;
use chrono::{DateTime, SecondsFormat, Utc};
use lake_schemas::commit::{TableLog, TableView, Version};
use lake_schemas::job::{Room, Signal, Source};
use lake_schemas::minute::WINDOW_MS;
use lake_schemas::table::column;
use lake_schemas::{Cut, EventTime, History, Lake, LakeError, Table, Windows};
use tokio_util::sync::CancellationToken;

use super::end::End;
use crate::drive::DriveError;
use crate::hybrid::HybridSource;
use crate::replay::{Meter, RawTable};

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
    pub(super) async fn in_place(
        &self,
        lake: &Lake,
        at_a_time: usize,
        meter: &Arc<Meter>,
        stop: &CancellationToken,
    ) -> Result<Option<(Windows, Option<Cut>)>, DriveError> {
        Ok(match self {
            Self::All => Some((Windows::default(), None)),
            Self::Windows(windows) => Some((windows.clone(), None)),
            Self::AsOf(_) | Self::AsOfTime(_) => Some((Windows::default(), Some(self.history(lake).await?.until))),
            Self::Versions(..) => {
                let history = self.history(lake).await?;
                touched(lake, history, at_a_time, meter, stop).await?.map(|windows| (windows, None))
            }
        })
    }
}

/// The windows of the events of a part of the log; `None` if that was stopped.
async fn touched(
    lake: &Lake,
    History { since, until, .. }: History,
    at_a_time: usize,
    meter: &Arc<Meter>,
    stop: &CancellationToken,
) -> Result<Option<Windows>, DriveError> {
    let clicks = TableLog::find(lake, Table::Clicks).await?.ok_or_else(|| lake.lacks(Table::Clicks))?;
    let moved: Vec<_> = until.keys().filter(|of| since.get(of) < until.get(of)).cloned().collect();
    let raw = RawTable::until(clicks, until).counted_by(meter);
    let mut source = HybridSource::new(raw, End::of(moved, at_a_time), vec![column::EVENT_TIME.to_owned()]);
    let mut starts_ms = BTreeSet::new();
    loop {
        let signal = tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(None),
            signal = source.next(Room::ForAll) => signal?,
        };
        match signal {
            Signal::Assigned(partitions) => {
                for partition in partitions {
                    let from = since.get(&partition).copied();
                    super::start(&mut source, partition, from, stop).await?;
                }
            }
            Signal::Batch(batch) => {
                let Some(times) = batch.events.column_by_name(column::EVENT_TIME) else { continue };
                let times = times.as_primitive::<TimestampMicrosecondType>().values();
                let millis = times.iter().map(|micros| EventTime::from_micros(*micros).millis());
                starts_ms.extend(millis.map(|millis| millis - millis.rem_euclid(WINDOW_MS)));
            }
            Signal::Ended(partition) => source.release(&[partition]).await?,
            Signal::Finished => return Ok(Some(Windows::these(starts_ms))),
            Signal::Revoked(_) | Signal::CaughtUp(_) | Signal::Ends(_) => {}
        }
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
