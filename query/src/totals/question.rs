//! The question that is asked of totals, and the state of the tables that an answer was taken from.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use chrono::{DateTime, Utc};
use lake_schemas::minute::Parameters;
use lake_schemas::stand::cut_of;
use lake_schemas::table::Version;
use lake_schemas::{Code, Cut, EventTime, Field, Table, TopicPartition, Width, Windows, position};
use lake_store::LakeError;
use lake_store::commit::Partitions;

use super::filter::{Filter, counted_by, names_of, repeated};
use crate::access::RowAccess;
use crate::error::QueryError;

/// A page of the rows with most clicks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// Number of rows that are skipped.
    pub skip: usize,
    /// Most rows that the page has.
    pub most: usize,
}

/// Version of the table that the question is about; for totals, of `clicks_minute`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum AsOf {
    /// The newest version.
    #[default]
    Newest,
    /// The version with this number.
    Version(Version),
    /// The latest version written at or before this time.
    Time(DateTime<Utc>),
}

/// A question. Without any restriction, it asks for one sum over everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Question {
    /// Conditions on the rows that are counted: all of them must hold.
    pub filter: Vec<Filter>,
    /// Dimensions, in this order: each combination of their values that has counts has a row of its own.
    pub group_by: Vec<Field>,
    /// Width of the windows that have rows of their own: minute, hour or day; `None`: one row for all windows.
    pub granularity: Option<Width>,
    /// Lower bound, a whole minute: no window that starts before it.
    pub from: Option<EventTime>,
    /// Upper bound, a whole minute: no window that starts at it or later.
    pub to: Option<EventTime>,
    /// Version that is asked.
    pub as_of: AsOf,
    /// Row-level access of whoever asks: rows that they may not see are not counted.
    pub access: RowAccess,
}

impl Question {
    /// Refuses a question that a lake with these parameters cannot answer.
    pub(crate) fn is_of(&self, parameters: &Parameters) -> Result<(), QueryError> {
        if self.granularity.is_some_and(|width| !Width::OF_WINDOWS.contains(&width)) {
            return Err(QueryError::Unanswerable(
                Code::QuestionImpossible.because("the granularity is minute, hour or day".to_owned()),
            ));
        }
        if let Some(twice) = repeated(&self.group_by) {
            let twice = twice.column();
            return Err(QueryError::Unanswerable(
                Code::QuestionImpossible.because(format!("{twice} is grouped by twice; name it once")),
            ));
        }
        let counted = counted_by(parameters);
        let filtered = self.filter.iter().map(|filter| filter.dimension);
        let lacking = filtered.chain(self.group_by.iter().copied()).find(|dimension| !counted.contains(dimension));
        match lacking {
            None => Ok(()),
            Some(lacking) => Err(QueryError::Unanswerable(Code::DimensionNotCounted.because(format!(
                "this lake does not count by {}; it counts by {}",
                lacking.column(),
                names_of(counted)
            )))),
        }
    }

    /// Returns the stretch of time that is asked for, in words.
    pub(crate) fn time_asked(&self) -> String {
        match (self.from, self.to) {
            (None, None) => "asked for all time".to_owned(),
            (Some(from), None) => format!("asked for from {from} on"),
            (None, Some(to)) => format!("asked for up to {to}"),
            (Some(from), Some(to)) => format!("asked for from {from} to {to}"),
        }
    }
}

/// An answer, with the state of the tables that it was taken from.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Rows in order: at least one batch, possibly without rows.
    pub rows: Vec<RecordBatch>,
    /// State of the tables that they were taken from.
    pub at: StandsAt,
}

impl Answer {
    /// Returns the rows with a further first column: the value of a dimension that all of them have.
    pub fn of_one(&self, dimension: Field, value: &str) -> Result<Vec<RecordBatch>, QueryError> {
        let named = self.rows.iter().map(|sums| {
            let whose: ArrayRef = Arc::new(StringArray::from(vec![value; sums.num_rows()]));
            let schema = sums.schema();
            let names = schema.fields().iter().map(|field| field.name().as_str());
            let columns = names.zip(sums.columns().iter().map(Arc::clone));
            Ok(RecordBatch::try_from_iter(std::iter::once((dimension.column(), whose)).chain(columns))?)
        });
        named.collect()
    }
}

/// State of the tables behind an answer, which covers every click below the cut of this version of `clicks_minute`
/// whose window is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StandsAt {
    /// Delta's id of `clicks_minute`.
    pub table_id: String,
    /// Version of `clicks_minute`.
    pub minutes: Version,
    /// Version of `clicks_hourly`, if any of the answer is taken from it.
    pub hourly: Option<Version>,
    /// Version of `clicks_daily`, if any of the answer is taken from it.
    pub daily: Option<Version>,
    /// Partitions that `clicks_minute` knows, with their stands, and whether their topics are over.
    pub partitions: Partitions,
    /// Allowed lateness: how long after its end a window still takes clicks, in milliseconds.
    pub allowed_lateness_ms: i64,
}

impl StandsAt {
    /// Returns the cut of `clicks_minute`.
    pub fn cut(&self) -> Cut {
        cut_of(&self.partitions.stands)
    }

    /// Returns the time up to which the windows of all topics are written: see [`Partitions::complete_until`].
    pub fn complete_until(&self) -> Option<EventTime> {
        self.partitions.complete_until()
    }

    /// Returns the time up to which the windows of each topic are written: see [`Partitions::complete_until_by_topic`].
    pub fn complete_until_by_topic(&self) -> BTreeMap<&str, Option<EventTime>> {
        self.partitions.complete_until_by_topic()
    }

    /// Returns in words whether windows that end at or before a time are final and, if not, of which partitions more
    /// may come.
    pub fn said_of(&self, to: Option<EventTime>) -> String {
        if self.is_final(to) {
            return "final".to_owned();
        }
        let mut topics: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for of in self.pending(to) {
            topics.entry(&of.topic).or_default().push(of.partition.to_string());
        }
        let topics = topics.into_iter().map(|(topic, partitions)| format!("{topic} {}", partitions.join(" ")));
        match topics.collect::<Vec<_>>().join(", ").as_str() {
            "" => "not final: nothing was counted yet".to_owned(),
            topics => format!("not final: more may come of {topics}"),
        }
    }

    /// Returns the partitions from which windows that end at or before a time may still take clicks; for an open end,
    /// all that are waited for. A partition without a message yet is among them: its first one is never late.
    pub fn pending(&self, to: Option<EventTime>) -> impl Iterator<Item = &TopicPartition> {
        let closed_ms = to.map(|to| to.millis().saturating_add(self.allowed_lateness_ms));
        let waited_for = self.partitions.waited_for();
        let pending = waited_for.filter(move |(_, stand)| match closed_ms {
            Some(closed_ms) => stand.watermark_ms < Some(closed_ms),
            None => true,
        });
        pending.map(|(partition, _)| partition)
    }

    /// Returns whether no window that ends at or before a time takes clicks any more. Where nothing was counted yet,
    /// nothing is final.
    pub fn is_final(&self, to: Option<EventTime>) -> bool {
        !self.cut().is_empty() && self.pending(to).next().is_none()
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

/// Returns the stretch of time between two bounds, in milliseconds: whole minutes, the second after the first.
pub(crate) fn stretch(from: Option<EventTime>, to: Option<EventTime>) -> Result<Range<i64>, LakeError> {
    let windows = Windows::between(from, to)?;
    let millis = |time: Option<EventTime>, open: i64| time.map_or(open, EventTime::millis);
    Ok(millis(windows.from(), i64::MIN)..millis(windows.to(), i64::MAX))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use lake_schemas::Stand;
    use lake_schemas::minute::Dimension;

    use super::*;

    fn at(stands: impl IntoIterator<Item = (TopicPartition, Stand)>, retired: &[TopicPartition]) -> StandsAt {
        let stands = stands.into_iter().collect();
        let partitions = Partitions { stands, retired: retired.iter().cloned().collect() };
        let (minutes, hourly, daily, allowed_lateness_ms) = (1, None, None, 60_000);
        StandsAt { table_id: String::new(), minutes, hourly, daily, partitions, allowed_lateness_ms }
    }

    fn emitted(topic: &str, number: i32, watermark_ms: Option<i64>) -> (TopicPartition, Stand) {
        (TopicPartition::new(topic, number), Stand { cut: Some(7), watermark_ms, ..Stand::default() })
    }

    fn pending(at: &StandsAt, to: Option<i64>) -> Vec<String> {
        at.pending(to.and_then(EventTime::from_millis)).map(ToString::to_string).collect()
    }

    fn time(ms: i64) -> Option<EventTime> {
        EventTime::from_millis(ms)
    }

    #[test]
    fn what_the_lake_does_not_count_by_is_refused_with_what_it_counts_by() {
        let parameters = Parameters { dimensions: vec![Dimension::of(Field::Country)], ..Parameters::default() };
        let said = |question: Question| question.is_of(&parameters).map_err(|error| error.to_string());
        let question = |filter, group_by| Question { filter, group_by, ..Question::default() };
        let by = |dimension| vec![Filter::one(dimension, "x")];
        assert_eq!(said(question(by(Field::Country), vec![Field::CampaignId, Field::AdId])), Ok(()));
        for lacking in [Field::Device, Field::Ip] {
            for asked in [question(by(lacking), vec![]), question(vec![], vec![Field::AdId, lacking])] {
                let why = said(asked).expect_err("it is not counted by");
                let name = lacking.column();
                assert_eq!(
                    why,
                    format!("this lake does not count by {name}; it counts by ad_id, campaign_id, country")
                );
            }
        }
        let twice = said(question(vec![], vec![Field::Country, Field::Country])).expect_err("twice");
        assert_eq!(twice, "country is grouped by twice; name it once");
        let month = Question { granularity: Some(Width::Month), ..Question::default() };
        assert_eq!(said(month).expect_err("no window"), "the granularity is minute, hour or day");
    }

    #[test]
    fn what_may_still_take_clicks_is_pending() {
        let stands = (0..).zip([None, Some(179_999), Some(180_000)]);
        let at = at(stands.map(|(number, watermark_ms)| emitted("clicks", number, watermark_ms)), &[]);
        assert_eq!(pending(&at, Some(120_000)), ["clicks/0", "clicks/1"]);
        assert_eq!(pending(&at, Some(60_000)), ["clicks/0"]);
        assert_eq!(pending(&at, None).len(), 3);
        assert_eq!((at.complete_until(), at.is_final(time(60_000))), (None, false));
    }

    #[test]
    fn nothing_is_final_where_nothing_was_counted() {
        let nothing = at([], &[]);
        assert!(!nothing.is_final(time(0)) && !nothing.is_final(None) && nothing.complete_until().is_none());
        let announced = at([(TopicPartition::new("clicks", 0), Stand::default())], &[]);
        assert!(!announced.is_final(time(0)) && announced.complete_until().is_none());
    }

    #[test]
    fn a_partition_without_a_message_is_waited_for_and_holds_back_no_minute() {
        let unread = (TopicPartition::new("clicks", 1), Stand::default());
        let at = at([emitted("clicks", 0, Some(600_000)), unread], &[]);
        assert_eq!(pending(&at, Some(60_000)), ["clicks/1"]);
        assert_eq!((at.is_final(time(60_000)), at.complete_until()), (false, time(600_000)));
    }

    #[test]
    fn a_topic_that_is_over_is_not_waited_for() {
        let (old, new) = (emitted("up-1", 0, Some(60_000)), emitted("up-2", 0, Some(600_000)));
        let both = at([old.clone(), new.clone()], &[]);
        assert_eq!(pending(&both, Some(120_000)), ["up-1/0"]);
        assert_eq!(both.complete_until(), time(60_000));
        let over = at([old.clone(), new.clone()], std::slice::from_ref(&old.0));
        assert!(over.is_final(time(120_000)) && !over.is_final(None));
        assert_eq!(over.complete_until_by_topic(), BTreeMap::from([("up-2", time(600_000))]));
        // If all topics are over, everything is final, and complete until where the last one ended.
        let all: BTreeSet<_> = [old.0.clone(), new.0.clone()].into();
        let all = at([old, new], &all.into_iter().collect::<Vec<_>>());
        assert!(all.is_final(None) && all.complete_until() == time(600_000));
    }

    #[test]
    fn what_may_still_change_is_said_by_topic() {
        let stands = [emitted("a", 0, Some(60_000)), emitted("a", 1, None), emitted("b", 7, Some(120_000))];
        let at_two = at(stands, &[]);
        assert_eq!(at_two.said_of(None), "not final: more may come of a 0 1, b 7");
        assert_eq!(at_two.said_of(time(60_000)), "not final: more may come of a 0 1");
        assert_eq!(at([emitted("a", 0, Some(120_000))], &[]).said_of(time(60_000)), "final");
        assert_eq!(at([], &[]).said_of(time(60_000)), "not final: nothing was counted yet");
    }

    #[test]
    fn the_versions_and_cuts_of_an_answer_are_one_line() {
        let stand =
            |topic, number, cut| (TopicPartition::new(topic, number), Stand { cut: Some(cut), ..Stand::default() });
        let stands = [stand("a", 0, 5), stand("a", 1, 7), stand("b", 0, 9)];
        let at_three = StandsAt { minutes: 12, hourly: Some(3), ..at(stands, &[]) };
        assert_eq!(at_three.to_string(), "clicks_minute version 12, clicks_hourly version 3; cut a 0@5 1@7, b 0@9");
        assert_eq!(StandsAt { minutes: 0, ..at([], &[]) }.to_string(), "clicks_minute version 0");
    }
}
