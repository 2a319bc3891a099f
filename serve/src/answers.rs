//! What an answer looks like: the rows, and of which clicks they are.

use std::collections::BTreeMap;
use std::fmt;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Field, Int64Type, TimestampMicrosecondType};
use lake_schemas::measure::{MEASURES, Measure};
use lake_schemas::schema::column_as;
use lake_schemas::table::{Version, column, timestamp};
use lake_schemas::{EventTime, Table, Verdict};
use query::totals::{Answer, Detail, Question, StandsAt, Whom};
use query::{QueryError, Sees};
use serde::{Serialize, Serializer};
use sha2::{Digest, Sha256};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, RefBuilder, Schema};
use utoipa::{PartialSchema, ToSchema};

/// Bytes of a hash that a topic is called by: a lake has some topics, and no two of them are called the same.
const TOPIC_BYTES: usize = 4;

/// An answer.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Told<R> {
    /// The rows.
    pub rows: Vec<R>,
    #[serde(flatten)]
    pub of: Of,
}

/// Whole number. Beyond 2^53 it is a text, because programs that read numbers as floating-point would lose digits.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(untagged)]
pub(super) enum Number {
    /// A number within 2^53.
    Plain(i64),
    /// The digits of a larger one.
    Long(String),
}

/// The largest number that every reader of JSON keeps exactly: 2^53 - 1 (RFC 8259, 6).
const PLAIN_MAX: u64 = (1 << 53) - 1;

impl From<i64> for Number {
    fn from(number: i64) -> Self {
        if number.unsigned_abs() <= PLAIN_MAX { Self::Plain(number) } else { Self::Long(number.to_string()) }
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plain(number) => number.fmt(f),
            Self::Long(digits) => f.write_str(digits),
        }
    }
}

/// End of the log that is counted.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
enum Cut {
    /// Next offset that is not counted yet, by topic and partition.
    Positions(BTreeMap<String, BTreeMap<String, i64>>),
    /// Text in its place for keys with campaigns, because offsets tell how much others have: the table and its version.
    /// Answers with the same text count the same clicks.
    Named(String),
}

/// Clicks that an answer counts: all below the cut whose windows are written.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Of {
    /// End of the log that is counted: the next offset of each topic and partition. Keys with campaigns get a text in
    /// its place, such as `clicks_minute@412`: answers with the same text count the same clicks.
    cut: Cut,
    /// Version of `clicks_minute` that was asked. `as_of` with this number gets the same numbers again.
    version: Version,
    /// Whether `clicks`, `cost_micros` and `duplicates` are settled: only computing history again changes them. `late`
    /// and `filtered` may still grow, by events that come later. False while nothing has been counted, and without an
    /// end (`to` or `last`) unless all topics are retired.
    #[serde(rename = "final")]
    is_final: bool,
    /// Partitions, by topic, that may still bring clicks into these windows. One that has had no message yet is among
    /// them, because its first click is never late; those of retired topics are not. Keys with campaigns get a made-up
    /// name for each topic, always the same one.
    #[schema(example = json!({ "clicks": [0, 3] }))]
    pending: BTreeMap<String, Vec<i32>>,
    /// Time up to which all minutes are written, of all topics that are not retired; null if there is none.
    #[schema(example = "2026-03-07T12:00:00Z")]
    complete_until: Option<String>,
    /// Time up to which the minutes of each topic are written, by its name as in `pending`.
    #[schema(example = json!({ "clicks": "2026-03-07T12:00:00Z" }))]
    complete_until_by_topic: BTreeMap<String, Option<String>>,
}

/// Counts of a row: a number of each measure, in their order.
#[derive(Debug)]
pub(super) struct Counts([Number; MEASURES]);

impl Counts {
    /// In the order of measures.
    pub fn numbers(&self) -> &[Number; MEASURES] {
        &self.0
    }

    fn none() -> Self {
        Self::of([0; MEASURES])
    }

    fn of(numbers: [i64; MEASURES]) -> Self {
        Self(numbers.map(Number::from))
    }
}

impl Serialize for Counts {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(Measure::ALL.map(Measure::column).into_iter().zip(&self.0))
    }
}

impl PartialSchema for Counts {
    fn schema() -> RefOr<Schema> {
        let counts = ObjectBuilder::new().description(Some("Counts of a row."));
        let counts = Measure::ALL.into_iter().fold(counts, |counts, measure| {
            let number = RefBuilder::new().ref_location_from_schema_name(Number::name());
            let name = measure.column();
            counts.property(name, number.description(Some(measure.about()))).required(name)
        });
        counts.into()
    }
}

impl ToSchema for Counts {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        schemas.push((Number::name().into_owned(), Number::schema()));
        Number::schemas(schemas);
    }
}

/// A row, as it stands in a table of text.
pub(super) trait Row: Serialize {
    /// Returns the name of the ad or campaign, or the start of the window, if the row has one.
    fn named(&self) -> Option<&str>;

    /// What was counted.
    fn counts(&self) -> &Counts;
}

/// Counts of an ad, of a campaign, or of everything that the key sees.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct TotalRow {
    /// Ad that the row is of, if ads were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    ad_id: Option<String>,
    /// Campaign that the row is of, if campaigns were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    campaign_id: Option<String>,
    #[serde(flatten)]
    counts: Counts,
}

/// Counts of a window. A window without counts has no row.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct WindowRow {
    /// Start of the window, even if `from` lies within it and only what follows is counted.
    #[schema(example = "2026-03-07T12:00:00Z")]
    window_start: String,
    #[serde(skip)]
    pub start: EventTime,
    /// Number of clicks, as an integer, for the plot.
    #[serde(skip)]
    pub clicks: i64,
    #[serde(flatten)]
    counts: Counts,
}

impl Row for TotalRow {
    fn named(&self) -> Option<&str> {
        self.ad_id.as_deref().or(self.campaign_id.as_deref())
    }

    fn counts(&self) -> &Counts {
        &self.counts
    }
}

impl Row for WindowRow {
    fn named(&self) -> Option<&str> {
        Some(&self.window_start)
    }

    fn counts(&self) -> &Counts {
        &self.counts
    }
}

impl Row for TopRow {
    fn named(&self) -> Option<&str> {
        match self {
            Self::Ad { ad_id, .. } => Some(ad_id),
            Self::Campaign { campaign_id, .. } => campaign_id.as_deref(),
        }
    }

    fn counts(&self) -> &Counts {
        match self {
            Self::Ad { counts, .. } | Self::Campaign { counts, .. } => counts,
        }
    }
}

/// Counts of an ad, or of a campaign, among the largest.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub(super) enum TopRow {
    /// Row of an ad.
    Ad {
        /// Name of the ad.
        ad_id: String,
        #[serde(flatten)]
        counts: Counts,
    },
    /// Row of a campaign.
    Campaign {
        /// Name of the campaign; null for clicks of ads without one.
        #[schema(required)]
        campaign_id: Option<String>,
        #[serde(flatten)]
        counts: Counts,
    },
}

impl Of {
    /// Describes which clicks an answer to a question counts.
    pub fn answer(at: &StandsAt, question: &Question) -> Self {
        let to = question.to;
        // Offsets tell how much everyone has. The version has one cut, and names it.
        let cut = match question.sees {
            Sees::All => Cut::Positions(positions(at)),
            Sees::Campaigns(_) | Sees::People(_) => Cut::Named(format!("{}@{}", Table::ClicksMinute, at.minutes)),
        };
        let called = |topic: &str| called(at, &question.sees, topic);
        let mut pending: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for partition in at.pending(to) {
            pending.entry(called(&partition.topic)).or_default().push(partition.partition);
        }
        let by_topic = at.complete_until_by_topic().into_iter();
        Self {
            cut,
            version: at.minutes,
            is_final: at.is_final(to),
            pending,
            complete_until: at.complete_until().map(written),
            complete_until_by_topic: by_topic.map(|(topic, until)| (called(topic), until.map(written))).collect(),
        }
    }

    /// The version, whether it is final, and until when it is complete.
    pub fn said(&self) -> (Version, bool, Option<&str>) {
        (self.version, self.is_final, self.complete_until.as_deref())
    }
}

/// What a topic is called to somebody who sees so much: its name may tell of others. A key with campaigns is told one
/// that says nothing and stays the same, whatever topics come and go; nobody finds the topic to it who does not know
/// the id of the table.
fn called(at: &StandsAt, sees: &Sees, topic: &str) -> String {
    if *sees == Sees::All {
        return topic.to_owned();
    }
    let hash = Sha256::digest(format!("{} {topic}", at.table_id).as_bytes());
    let digits: String = hash.iter().take(TOPIC_BYTES).map(|byte| format!("{byte:02x}")).collect();
    format!("topic {digits}")
}

fn positions(at: &StandsAt) -> BTreeMap<String, BTreeMap<String, i64>> {
    let mut cut: BTreeMap<_, BTreeMap<_, _>> = BTreeMap::new();
    for (partition, next) in at.cut() {
        cut.entry(partition.topic).or_default().insert(partition.partition.to_string(), next);
    }
    cut
}

/// A total; of several names, one each, in the order in which they were asked for.
pub(super) fn total(answer: &Answer, whom: &Whom) -> Result<Vec<TotalRow>, QueryError> {
    let (ad_id, campaign_id) = match whom {
        Whom::All => (None, None),
        Whom::Ad(ad) => (Some(ad), None),
        Whom::Campaign(campaign) => (None, Some(campaign)),
        Whom::Ads(ads) => {
            let row = |(ad, counts)| TotalRow { ad_id: Some(ad), campaign_id: None, counts };
            return Ok(of_each(answer, column::AD_ID, ads)?.map(row).collect());
        }
        Whom::Campaigns(campaigns) => {
            let row = |(campaign, counts)| TotalRow { ad_id: None, campaign_id: Some(campaign), counts };
            return Ok(of_each(answer, column::CAMPAIGN_ID, campaigns)?.map(row).collect());
        }
    };
    of_rows(answer, |rows| {
        let row = |numbers| TotalRow {
            ad_id: ad_id.cloned(),
            campaign_id: campaign_id.cloned(),
            counts: Counts::of(numbers),
        };
        Ok(numbers(rows)?.map(row).collect())
    })
}

/// What each name has got, also if that is nothing.
fn of_each<'a>(
    answer: &Answer,
    column: &str,
    names: &'a [String],
) -> Result<impl Iterator<Item = (String, Counts)> + use<'a>, QueryError> {
    let found = of_rows(answer, |rows| {
        let names = typed(rows, column, DataType::Utf8)?;
        let names = names.as_string::<i32>().iter().map(|name| name.unwrap_or_default().to_owned());
        Ok(names.collect::<Vec<_>>().into_iter().zip(numbers(rows)?).collect())
    })?;
    let found: BTreeMap<String, _> = found.into_iter().collect();
    Ok(names.iter().map(move |name| {
        let counts = found.get(name).map_or_else(Counts::none, |numbers| Counts::of(*numbers));
        (name.clone(), counts)
    }))
}

/// A series.
pub(super) fn series(answer: &Answer) -> Result<Vec<WindowRow>, QueryError> {
    of_rows(answer, |rows| {
        let starts = typed(rows, column::WINDOW_START, timestamp())?;
        let starts: Vec<_> = starts.as_primitive::<TimestampMicrosecondType>().values().to_vec();
        let starts = starts.into_iter().map(EventTime::from_micros);
        let row = |(start, numbers): (EventTime, [i64; MEASURES])| {
            let clicks = Measure::counting(Verdict::Counted).of(&numbers);
            WindowRow { window_start: written(start), start, clicks, counts: Counts::of(numbers) }
        };
        Ok(starts.zip(numbers(rows)?).map(row).collect())
    })
}

/// Who is on top.
pub(super) fn top(answer: &Answer, detail: Detail) -> Result<Vec<TopRow>, QueryError> {
    let is_campaigns = detail == Detail::Campaigns;
    let name = if is_campaigns { column::CAMPAIGN_ID } else { column::AD_ID };
    of_rows(answer, |rows| {
        let names = typed(rows, name, DataType::Utf8)?;
        let names = names.as_string::<i32>().iter().map(|name| name.map(str::to_owned)).collect::<Vec<_>>();
        let row = |(name, numbers): (Option<String>, _)| match (name, Counts::of(numbers)) {
            (campaign_id, counts) if is_campaigns => TopRow::Campaign { campaign_id, counts },
            (ad, counts) => TopRow::Ad { ad_id: ad.unwrap_or_default(), counts },
        };
        Ok(names.into_iter().zip(numbers(rows)?).map(row).collect())
    })
}

fn of_rows<R>(
    answer: &Answer,
    rows: impl Fn(&RecordBatch) -> Result<Vec<R>, QueryError>,
) -> Result<Vec<R>, QueryError> {
    let all = answer.rows.iter().map(rows).collect::<Result<Vec<_>, _>>()?;
    Ok(all.into_iter().flatten().collect())
}

/// The numbers of rows, each in the order of measures.
fn numbers(rows: &RecordBatch) -> Result<impl Iterator<Item = [i64; MEASURES]> + use<>, QueryError> {
    let columns = Measure::ALL.map(|measure| typed(rows, measure.column(), DataType::Int64));
    let columns = columns.into_iter().collect::<Result<Vec<ArrayRef>, _>>()?;
    Ok((0..rows.num_rows()).map(move |row| {
        std::array::from_fn(|measure| {
            let column = columns[measure].as_primitive::<Int64Type>();
            if column.is_null(row) { 0 } else { column.value(row) }
        })
    }))
}

fn typed(rows: &RecordBatch, name: &str, of: DataType) -> Result<ArrayRef, QueryError> {
    Ok(column_as(rows, &Field::new(name, of, true))?)
}

/// A time in RFC 3339, without what is zero of its second.
fn written(time: EventTime) -> String {
    time.to_string().replace(".000Z", "Z")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn numbers_keep_their_digits_in_every_reader() {
        let text = |number: i64| serde_json::to_string(&Number::from(number)).expect("JSON");
        let most = 9_007_199_254_740_991;
        assert_eq!((text(7), text(most), text(-most)), ("7".to_owned(), most.to_string(), (-most).to_string()));
        assert_eq!(text(most + 1), "\"9007199254740992\"");
        assert_eq!(text(i64::MIN), "\"-9223372036854775808\"");
    }

    #[test]
    fn who_does_not_see_everything_learns_no_offset_and_no_topic() {
        use lake_schemas::{Stand, TopicPartition};
        use lake_store::commit::Partitions;
        let stand = |topic: &str| (TopicPartition::new(topic, 0), Stand { cut: Some(77_123), ..Stand::default() });
        let at = |table_id: &str, topics: &[&str]| {
            let partitions =
                Partitions { stands: topics.iter().copied().map(stand).collect(), ..Partitions::default() };
            let (table_id, minutes, hourly, daily) = (table_id.to_owned(), 412, None, None);
            StandsAt { table_id, minutes, hourly, daily, partitions, allowed_lateness_ms: 0 }
        };
        let told = |at: &StandsAt, sees| {
            let of = Of::answer(at, &Question { sees, ..Question::default() });
            serde_json::to_value(of).expect("JSON")
        };
        let two = at("a-table", &["acme", "clicks"]);
        let all = told(&two, Sees::All);
        assert_eq!(all["cut"], serde_json::json!({ "acme": { "0": 77_123 }, "clicks": { "0": 77_123 } }));
        assert_eq!(all["pending"], serde_json::json!({ "acme": [0], "clicks": [0] }));
        let own = || ["spring".to_owned()].into();
        for sees in [Sees::Campaigns(own()), Sees::People(own())] {
            let little = told(&two, sees.clone());
            assert_eq!(little["cut"], "clicks_minute@412");
            let text = little.to_string();
            assert!(!text.contains("acme") && !text.contains("77123"), "{text}");
            let names = |told: &serde_json::Value| -> BTreeSet<String> {
                told["pending"].as_object().expect("topics").keys().cloned().collect()
            };
            assert_eq!(names(&little).len(), 2, "{text}");
            // Each is called the same when another comes, before it in the alphabet, or when one goes; but not
            // elsewhere.
            let three = names(&told(&at("a-table", &["aaa", "acme", "clicks"]), sees.clone()));
            let one = names(&told(&at("a-table", &["clicks"]), sees.clone()));
            assert!(names(&little).is_subset(&three) && one.is_subset(&names(&little)), "{text}");
            assert!(one.is_disjoint(&names(&told(&at("another", &["clicks"]), sees))), "{text}");
        }
    }
}
