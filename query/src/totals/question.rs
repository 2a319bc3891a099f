//! What is asked of totals, and what the answer stands at.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use arrow::datatypes::Field;
use chrono::{DateTime, Utc};
use lake_schemas::commit::Version;
use lake_schemas::stand::cut_of;
use lake_schemas::table::column;
use lake_schemas::{Cut, EventTime, LakeError, Stand, Table, TopicPartition, Windows, position};

use crate::error::QueryError;
use crate::sees::Sees;

/// Whose clicks are asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum Whom {
    /// Everyone's.
    #[default]
    All,
    /// Those of an ad.
    Ad(String),
    /// Those of a campaign.
    Campaign(String),
    /// Those of some ads.
    Ads(Vec<String>),
    /// Those of some campaigns.
    Campaigns(Vec<String>),
}

/// Which of the largest are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// How many are passed over.
    pub skip: usize,
    /// How many are told, of those that come then.
    pub most: usize,
}

/// When the question is asked: of which version of the table; of totals, of `clicks_minute`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum AsOf {
    /// The newest.
    #[default]
    Newest,
    /// This one.
    Version(Version),
    /// The latest one that is not younger than this.
    Time(DateTime<Utc>),
}

/// What has a row of its own in the answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Detail {
    /// Each combination of dimensions that has counts.
    #[default]
    Dimensions,
    /// Each ad.
    Ads,
    /// Each campaign.
    Campaigns,
    /// Nothing: the counts of all that is asked for are one sum.
    Sums,
}

/// What is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Question {
    /// Whose clicks.
    pub whom: Whom,
    /// No window that starts before it, a whole minute.
    pub from: Option<EventTime>,
    /// No window that starts at it or later, a whole minute.
    pub to: Option<EventTime>,
    /// Of which version.
    pub as_of: AsOf,
    /// What has a row of its own.
    pub detail: Detail,
    /// Who asks: what they may not see is not counted.
    pub sees: Sees,
}

impl Question {
    /// The stretch of time that is asked for, in words.
    pub(crate) fn time_asked(&self) -> String {
        match (self.from, self.to) {
            (None, None) => "asked for all time".to_owned(),
            (Some(from), None) => format!("asked for from {from} on"),
            (None, Some(to)) => format!("asked for up to {to}"),
            (Some(from), Some(to)) => format!("asked for from {from} to {to}"),
        }
    }
}

/// An answer, and what it is of.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The rows, in order: at least one batch, possibly without rows.
    pub rows: Vec<RecordBatch>,
    /// What they are of.
    pub at: StandsAt,
}

impl Answer {
    /// Sums, and whose they are.
    pub fn named(&self, whom: &Whom) -> Result<Vec<RecordBatch>, QueryError> {
        let (name, value) = match whom {
            Whom::Ad(ad) => (column::AD_ID, ad),
            Whom::Campaign(campaign) => (column::CAMPAIGN_ID, campaign),
            Whom::All | Whom::Ads(_) | Whom::Campaigns(_) => return Ok(self.rows.clone()),
        };
        let named = self.rows.iter().map(|sums| {
            let whose: ArrayRef = Arc::new(StringArray::from(vec![value.as_str(); sums.num_rows()]));
            let schema = sums.schema();
            let names = schema.fields().iter().map(|field| Field::name(field).as_str());
            let columns = names.zip(sums.columns().iter().map(Arc::clone));
            Ok(RecordBatch::try_from_iter(std::iter::once((name, whose)).chain(columns))?)
        });
        named.collect()
    }
}

/// What an answer is of: every click below the cut of that version of `clicks_minute` whose window it says is out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StandsAt {
    /// The version of `clicks_minute`.
    pub minutes: Version,
    /// The version of `clicks_hourly`, if any of the answer is taken from there.
    pub hourly: Option<Version>,
    /// The version of `clicks_daily`, if any of the answer is taken from there.
    pub daily: Option<Version>,
    /// Where each partition stands in `clicks_minute`.
    pub stands: BTreeMap<TopicPartition, Stand>,
    /// How long after its end a window still takes clicks, in milliseconds.
    pub allowed_lateness_ms: i64,
}

impl StandsAt {
    /// The cut of `clicks_minute`.
    pub fn cut(&self) -> Cut {
        cut_of(&self.stands)
    }

    /// Until when every partition's windows are written; `None` if there is one of which none is.
    pub fn complete_until(&self) -> Option<EventTime> {
        let earliest = self.stands.values().map(|stand| stand.emitted_ms).min().flatten();
        earliest.and_then(EventTime::from_millis)
    }

    /// The partitions of which windows that end at a time, or before it, may still take clicks; for an open end, all.
    pub fn pending(&self, to: Option<EventTime>) -> impl Iterator<Item = &TopicPartition> {
        let closed_ms = to.map(|to| to.millis().saturating_add(self.allowed_lateness_ms));
        let is_pending = move |stand: &Stand| closed_ms.is_none_or(|closed_ms| stand.emitted_ms < Some(closed_ms));
        self.stands.iter().filter(move |(_, stand)| is_pending(stand)).map(|(partition, _)| partition)
    }
}

impl fmt::Display for StandsAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} version {}", Table::ClicksMinute, self.minutes)?;
        let roll_ups = [(Table::ClicksHourly, self.hourly), (Table::ClicksDaily, self.daily)];
        for (table, version) in roll_ups.into_iter().filter_map(|(table, version)| Some((table, version?))) {
            write!(f, ", {table} version {version}")?;
        }
        let cut = self.cut();
        if cut.is_empty() { Ok(()) } else { write!(f, "; cut {}", position::shown(&cut)) }
    }
}

/// The stretch of time between two bounds, in milliseconds: whole minutes, the second after the first.
pub(crate) fn stretch(from: Option<EventTime>, to: Option<EventTime>) -> Result<Range<i64>, LakeError> {
    let windows = Windows::between(from, to)?;
    let millis = |time: Option<EventTime>, open: i64| time.map_or(open, EventTime::millis);
    Ok(millis(windows.from(), i64::MIN)..millis(windows.to(), i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_still_take_clicks_is_pending() {
        let stand = |emitted_ms| Stand { emitted_ms, ..Stand::default() };
        let stands = [None, Some(179_999), Some(180_000)].map(stand).into_iter();
        let stands = (0..).zip(stands).map(|(number, stand)| (TopicPartition::new("clicks", number), stand)).collect();
        let at = StandsAt { minutes: 1, hourly: None, daily: None, stands, allowed_lateness_ms: 60_000 };
        let pending = |to: Option<i64>| {
            let to = to.and_then(EventTime::from_millis);
            at.pending(to).map(|partition| partition.partition).collect::<Vec<_>>()
        };
        assert_eq!(
            (pending(Some(120_000)), pending(Some(60_000)), pending(None)),
            (vec![0, 1], vec![0], vec![0, 1, 2])
        );
        assert_eq!(at.complete_until(), None);
    }

    #[test]
    fn where_an_answer_stands_is_one_line() {
        let stand = |cut| Stand { cut: Some(cut), ..Stand::default() };
        let partition = |topic, number| TopicPartition::new(topic, number);
        let stands = [(partition("a", 0), stand(5)), (partition("a", 1), stand(7)), (partition("b", 0), stand(9))];
        let at = StandsAt { minutes: 12, hourly: Some(3), daily: None, stands: stands.into(), allowed_lateness_ms: 0 };
        assert_eq!(at.to_string(), "clicks_minute version 12, clicks_hourly version 3; cut a 0@5 1@7, b 0@9");
        let at = StandsAt { minutes: 0, hourly: None, daily: None, stands: BTreeMap::new(), allowed_lateness_ms: 0 };
        assert_eq!(at.to_string(), "clicks_minute version 0");
    }
}
