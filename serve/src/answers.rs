//! Answers over HTTP: the rows, and the description of the clicks that they count.

use std::collections::BTreeMap;
use std::fmt;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Int64Type, TimestampMicrosecondType};
use lake_schemas::exact::PLAIN_MAX;
use lake_schemas::measure::{MEASURES, Measure};
use lake_schemas::schema::column_as;
use lake_schemas::table::{Version, column, timestamp};
use lake_schemas::{EventTime, Field, Table, Verdict};
use query::totals::{Answer, Question, StandsAt, dimensions, short_name};
use query::{QueryError, RowAccess};
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use sha2::{Digest, Sha256};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{Object, ObjectBuilder, RefBuilder, Schema, SchemaType, Type};
use utoipa::{PartialSchema, ToSchema};

/// Bytes of the hash in a made-up name of a topic: a lake has few topics, so that no two of them get the same name.
const TOPIC_BYTES: usize = 4;

/// An answer: rows, and which clicks they count.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct AnswerBody {
    /// Rows of the answer.
    pub rows: Vec<Row>,
    #[serde(flatten)]
    pub of: AnswerMeta,
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
pub(super) struct AnswerMeta {
    /// End of the log that is counted: the next offset of each topic and partition. Keys with campaigns get a text in
    /// its place, of the table and its version: answers with the same text count the same clicks.
    cut: Cut,
    /// Version of the minute counts that was asked. `as_of` with this number gets the same numbers again.
    version: Version,
    /// Whether counts of clicks are settled; the description says of each measure whether it is among them.
    #[serde(rename = "final")]
    #[schema(schema_with = is_final)]
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

/// Describes `final`, measure by measure.
fn is_final() -> Object {
    let is_settled = |measure: &Measure| match measure.verdict() {
        Verdict::Counted | Verdict::Duplicate => true,
        // Events that come later may add to them for ever.
        Verdict::Late | Verdict::Filtered => false,
    };
    let (settled, open): (Vec<_>, Vec<_>) = Measure::ALL.into_iter().partition(is_settled);
    let names = |measures: &[Measure]| {
        measures.iter().map(|measure| format!("`{}`", measure.column())).collect::<Vec<_>>().join(", ")
    };
    let about = format!(
        "Whether these are settled: {}. Only computing history again changes them. Events that come later may still \
         add to the others: {}. False while nothing has been counted, and without an end (`to` or `last`) unless all \
         topics are retired.",
        names(&settled),
        names(&open)
    );
    ObjectBuilder::new().schema_type(Type::Boolean).description(Some(about)).build()
}

/// Dimensions that the lake counts by, in the order of its columns: others can be neither filtered nor grouped by.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct CountedBy {
    dimensions: Vec<Dimension>,
}

/// A dimension that the lake counts by.
#[derive(Debug, Serialize, ToSchema)]
struct Dimension {
    /// Name of its parameter and of its member in rows, which `group_by` takes, too.
    name: &'static str,
    /// Short name, if it has one: as a parameter it takes one value as it is, and not a list.
    short: Option<&'static str>,
}

impl CountedBy {
    /// Makes the answer that names these dimensions.
    pub fn these(dimensions: impl IntoIterator<Item = Field>) -> Self {
        let named = |dimension: Field| Dimension { name: dimension.column(), short: short_name(dimension) };
        Self { dimensions: dimensions.into_iter().map(named).collect() }
    }
}

/// Counts of a row: one number for each measure, in their order.
#[derive(Debug)]
pub(super) struct MeasureValues([Number; MEASURES]);

impl MeasureValues {
    /// Returns the numbers in the order of the measures.
    pub fn numbers(&self) -> &[Number; MEASURES] {
        &self.0
    }

    fn of(numbers: [i64; MEASURES]) -> Self {
        Self(numbers.map(Number::from))
    }
}

/// Counts of a row: of everything that is asked for, of a window, of a group, or of a group in a window.
#[derive(Debug)]
pub(super) struct Row {
    /// Columns that identify the row, in their order, with their values; `None` is null.
    of: Vec<(&'static str, Option<String>)>,
    /// Start of its window, if windows have rows.
    pub start: Option<EventTime>,
    /// Number of clicks, as an integer, for the plot.
    pub clicks: i64,
    counts: MeasureValues,
}

impl Row {
    fn new(of: Vec<(&'static str, Option<String>)>, start: Option<EventTime>, numbers: [i64; MEASURES]) -> Self {
        let clicks = Measure::counting(Verdict::Counted).of(&numbers);
        Self { of, start, clicks, counts: MeasureValues::of(numbers) }
    }

    /// Returns the values of the columns that identify the row.
    pub fn values(&self) -> impl Iterator<Item = Option<&str>> {
        self.of.iter().map(|(_, value)| value.as_deref())
    }

    /// Returns the counts of the row.
    pub fn counts(&self) -> &MeasureValues {
        &self.counts
    }
}

impl Serialize for Row {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut row = serializer.serialize_map(Some(self.of.len() + MEASURES))?;
        for (column, value) in &self.of {
            row.serialize_entry(column, value)?;
        }
        for (measure, number) in Measure::ALL.into_iter().zip(self.counts.numbers()) {
            row.serialize_entry(measure.column(), number)?;
        }
        row.end()
    }
}

impl PartialSchema for Row {
    fn schema() -> RefOr<Schema> {
        let about =
            "Counts of a row. Those of a series have the start of their window, and rows of groups their names.";
        let row = ObjectBuilder::new().description(Some(about));
        let start = ObjectBuilder::new().schema_type(Type::String).description(Some(
            "Start of the window, if the answer is a series, even if `from` lies within it and only what follows is \
             counted.",
        ));
        let row = row.property(column::WINDOW_START, start.examples(["2026-03-07T12:00:00Z"]));
        let row = dimensions().fold(row, |row, dimension| {
            let name = ObjectBuilder::new().schema_type(SchemaType::from_iter([Type::String, Type::Null]));
            let about = "What the row is of, if that is grouped by or named; null for clicks without one.";
            row.property(dimension.column(), name.description(Some(about)))
        });
        let row = Measure::ALL.into_iter().fold(row, |row, measure| {
            let number = RefBuilder::new().ref_location_from_schema_name(Number::name());
            let name = measure.column();
            row.property(name, number.description(Some(measure.about()))).required(name)
        });
        row.into()
    }
}

impl ToSchema for Row {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        schemas.push((Number::name().into_owned(), Number::schema()));
        Number::schemas(schemas);
    }
}

impl AnswerMeta {
    /// Describes which clicks an answer to a question counts.
    pub fn answer(at: &StandsAt, question: &Question) -> Self {
        let to = question.to;
        // Offsets would tell how much others have. The version stands for one cut, and names it.
        let cut = match question.access {
            RowAccess::All => Cut::Positions(positions(at)),
            RowAccess::Campaigns(_) | RowAccess::People(_) => {
                Cut::Named(format!("{}@{}", Table::ClicksMinute, at.minutes))
            }
        };
        let called = |topic: &str| called(at, &question.access, topic);
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

    /// Returns the version, whether it is final, and until when it is complete.
    pub fn said(&self) -> (Version, bool, Option<&str>) {
        (self.version, self.is_final, self.complete_until.as_deref())
    }
}

/// Returns the name of a topic for somebody with this access, because the real name may tell of others. A key with
/// campaigns gets a made-up name, which stays the same whatever topics come and go. Without the id of the table, nobody
/// can find the topic that belongs to it.
fn called(at: &StandsAt, access: &RowAccess, topic: &str) -> String {
    if *access == RowAccess::All {
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

/// Returns the columns that identify each row of an answer.
pub(super) fn columns(question: &Question) -> Vec<&'static str> {
    let start = question.granularity.map(|_| column::WINDOW_START);
    start.into_iter().chain(question.group_by.iter().map(|dimension| dimension.column())).collect()
}

/// Returns the rows of an answer.
pub(super) fn rows(answer: &Answer, question: &Question) -> Result<Vec<Row>, QueryError> {
    let all = answer.rows.iter().map(|batch| rows_of(batch, question)).collect::<Result<Vec<_>, _>>()?;
    Ok(all.into_iter().flatten().collect())
}

fn rows_of(batch: &RecordBatch, question: &Question) -> Result<Vec<Row>, QueryError> {
    let starts = question.granularity.map(|_| typed(batch, column::WINDOW_START, timestamp())).transpose()?;
    let groups = question.group_by.iter().map(|dimension| {
        let column = dimension.column();
        Ok((column, typed(batch, column, DataType::Utf8)?))
    });
    let groups = groups.collect::<Result<Vec<_>, QueryError>>()?;
    let row = |(row, numbers): (usize, [i64; MEASURES])| {
        let start = starts
            .as_ref()
            .map(|starts| EventTime::from_micros(starts.as_primitive::<TimestampMicrosecondType>().value(row)));
        let names = groups.iter().map(|(column, names)| {
            let names = names.as_string::<i32>();
            (*column, names.is_valid(row).then(|| names.value(row).to_owned()))
        });
        let of = start.map(|start| (column::WINDOW_START, Some(written(start)))).into_iter().chain(names).collect();
        Row::new(of, start, numbers)
    };
    Ok(numbers(batch)?.enumerate().map(row).collect())
}

/// Returns a row for each name of a dimension that was asked for, in that order; one without counts has zeros. Without
/// groups there is one name, and one row.
pub(super) fn of_each(dimension: Field, rows: Vec<Row>, question: &Question) -> Vec<Row> {
    let column = dimension.column();
    let asked = question.filter.iter().filter(|filter| filter.dimension == dimension);
    let mut names = asked.flat_map(|filter| filter.values.iter().cloned());
    if question.group_by.is_empty() {
        return rows.into_iter().map(|row| Row { of: vec![(column, names.next().flatten())], ..row }).collect();
    }
    let named = rows.into_iter().map(|row| {
        let name = row.of.first().and_then(|(_, name)| name.clone());
        (name, row)
    });
    let mut found: BTreeMap<_, _> = named.collect();
    let none = |name| Row::new(vec![(column, name)], None, [0; MEASURES]);
    names.map(|name| found.remove(&name).unwrap_or_else(|| none(name))).collect()
}

/// Returns the numbers of the rows, each in the order of the measures.
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
    Ok(column_as(rows, &arrow::datatypes::Field::new(name, of, true))?)
}

/// Returns a time in RFC 3339, without fractions of a second if these are zero.
fn written(time: EventTime) -> String {
    time.to_string().replace(".000Z", "Z")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use query::totals::Filter;

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
    fn a_row_says_what_it_is_of_before_its_counts() {
        let start = EventTime::parse("2026-03-07T12:00:00Z");
        let window = (column::WINDOW_START, start.map(written));
        let of = vec![window, ("country", Some("DE".to_owned())), ("device", None)];
        let text = serde_json::to_string(&Row::new(of, start, std::array::from_fn(|at| at as i64 + 1))).expect("JSON");
        let named = "{\"window_start\":\"2026-03-07T12:00:00Z\",\"country\":\"DE\",\"device\":null,\"clicks\":1,";
        assert!(text.starts_with(named), "{text}");
    }

    #[test]
    fn the_description_says_of_each_measure_whether_it_is_settled() {
        let said = serde_json::to_value(is_final()).expect("JSON");
        let about = said["description"].as_str().expect("a text");
        let (settled, open) = about.split_once("the others: ").expect("two lists");
        assert!(settled.contains(": `clicks`, `cost_micros`, `duplicates`. "), "{about}");
        assert!(open.starts_with("`late`, `filtered`. ") && said["type"] == "boolean", "{said}");
        assert_eq!(Measure::ALL.into_iter().filter(|one| !about.contains(&format!("`{}`", one.column()))).count(), 0);
    }

    #[test]
    fn dimensions_are_told_by_their_columns_and_their_short_names() {
        let told = serde_json::to_value(CountedBy::these([Field::AdId, Field::Country])).expect("JSON");
        let expected = serde_json::json!({ "name": "ad_id", "short": "ad" });
        assert_eq!(told["dimensions"][0], expected);
        assert_eq!(told["dimensions"][1], serde_json::json!({ "name": "country", "short": null }));
    }

    #[test]
    fn each_name_that_was_asked_for_has_a_row_in_that_order() {
        let question = |names: &[&str], group_by: &[Field]| {
            let filter = vec![Filter::one(Field::Country, "DE"), Filter::any(Field::AdId, names.iter().copied())];
            Question { filter, group_by: group_by.to_vec(), ..Question::default() }
        };
        let told = |rows, question: &Question| {
            let rows = of_each(Field::AdId, rows, question).into_iter();
            rows.map(|row| (row.of[0].1.clone().expect("a name"), row.clicks)).collect::<Vec<_>>()
        };
        let row = |of: Option<&str>, clicks| {
            let of = of.map(|ad| ("ad_id", Some(ad.to_owned())));
            Row::new(of.into_iter().collect(), None, std::array::from_fn(|at| if at == 0 { clicks } else { 0 }))
        };
        let some = vec![row(Some("a"), 1), row(Some("c"), 3)];
        let expected = [("c", 3), ("b", 0), ("a", 1)].map(|(ad, clicks)| (ad.to_owned(), clicks));
        assert_eq!(told(some, &question(&["c", "b", "a"], &[Field::AdId])), expected);
        assert_eq!(told(vec![row(None, 7)], &question(&["a"], &[])), [("a".to_owned(), 7)]);
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
        let told = |at: &StandsAt, access| {
            let of = AnswerMeta::answer(at, &Question { access, ..Question::default() });
            serde_json::to_value(of).expect("JSON")
        };
        let two = at("a-table", &["acme", "clicks"]);
        let all = told(&two, RowAccess::All);
        assert_eq!(all["cut"], serde_json::json!({ "acme": { "0": 77_123 }, "clicks": { "0": 77_123 } }));
        assert_eq!(all["pending"], serde_json::json!({ "acme": [0], "clicks": [0] }));
        let own = || ["spring".to_owned()].into();
        for access in [RowAccess::Campaigns(own()), RowAccess::People(own())] {
            let little = told(&two, access.clone());
            assert_eq!(little["cut"], "clicks_minute@412");
            let text = little.to_string();
            assert!(!text.contains("acme") && !text.contains("77123"), "{text}");
            let names = |told: &serde_json::Value| -> BTreeSet<String> {
                told["pending"].as_object().expect("topics").keys().cloned().collect()
            };
            assert_eq!(names(&little).len(), 2, "{text}");
            // Each topic keeps its name when another one comes before it in the alphabet, or when one goes. In another
            // table it has another name.
            let three = names(&told(&at("a-table", &["aaa", "acme", "clicks"]), access.clone()));
            let one = names(&told(&at("a-table", &["clicks"]), access.clone()));
            assert!(names(&little).is_subset(&three) && one.is_subset(&names(&little)), "{text}");
            assert!(one.is_disjoint(&names(&told(&at("another", &["clicks"]), access))), "{text}");
        }
    }
}
