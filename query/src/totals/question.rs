//! What is asked of totals, and what the answer stands at.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

use arrow::array::RecordBatch;
use chrono::{DateTime, Utc};
use lake_schemas::commit::Version;
use lake_schemas::stand::cut_of;
use lake_schemas::{Cut, EventTime, LakeError, Stand, Table, TopicPartition, Windows, position};

/// Whose clicks are asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Whom {
    /// Everyone's.
    #[default]
    All,
    /// Those of an ad.
    Ad(String),
    /// Those of a campaign.
    Campaign(String),
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
}

/// An answer, and what it is of.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The rows, in order: at least one batch, possibly without rows.
    pub rows: Vec<RecordBatch>,
    /// What they are of.
    pub at: StandsAt,
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
}

impl StandsAt {
    /// The cut of `clicks_minute`.
    pub fn cut(&self) -> Cut {
        cut_of(&self.stands)
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
    fn where_an_answer_stands_is_one_line() {
        let stand = |cut| Stand { cut: Some(cut), ..Stand::default() };
        let partition = |topic, number| TopicPartition::new(topic, number);
        let stands = [(partition("a", 0), stand(5)), (partition("a", 1), stand(7)), (partition("b", 0), stand(9))];
        let at = StandsAt { minutes: 12, hourly: Some(3), daily: None, stands: stands.into() };
        assert_eq!(at.to_string(), "clicks_minute version 12, clicks_hourly version 3; cut a 0@5 1@7, b 0@9");
        let at = StandsAt { minutes: 0, hourly: None, daily: None, stands: BTreeMap::new() };
        assert_eq!(at.to_string(), "clicks_minute version 0");
    }
}
