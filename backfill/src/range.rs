//! The part of history that is asked for, in the words of the command line, and its translation into offsets and
//! windows.

use std::fmt;

use chrono::{DateTime, SecondsFormat, Utc};
use lake_schemas::table::Version;
use lake_schemas::{Code, Cut, History, Table, Windows};
use lake_store::commit::TableView;
use lake_store::{Lake, LakeError};

/// Part of history that a backfill covers.
#[derive(Clone, Debug, Default)]
pub enum Range {
    /// All that the raw table has by now.
    #[default]
    All,
    /// Windows of event time.
    Windows(Windows),
    /// Rows that versions of `clicks` added, the first and the last included.
    Versions(Option<Version>, Option<Version>),
    /// All that a version of `clicks` had.
    AsOf(Version),
    /// All that `clicks` had at a time.
    AsOfTime(DateTime<Utc>),
}

impl Range {
    /// Translates the range into offsets and windows of the log.
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
                    return Err(LakeError::Refused(Code::VersionUnknown.because(why)));
                }
                let since = match first.checked_sub(1) {
                    Some(before) => newest.at(before).await?.cut(),
                    None => Cut::new(),
                };
                if since == until {
                    return Err(LakeError::Refused(
                        Code::NothingThere.because(format!("versions {first} to {last} of clicks added nothing")),
                    ));
                }
                History { since, ..whole(until) }
            }
        })
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
