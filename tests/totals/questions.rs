//! Questions to totals, and the plain sums that the answers must equal.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use lake_schemas::measure::{MEASURES, Measure};
use lake_schemas::table::column;
use lake_schemas::{EventTime, Field, Table, Width};
use lake_store::Lake;
use query::RowAccess;
use query::totals::{Answer, AsOf, Filter, Question, Totals, counted_by};
use rand::Rng;
use rand::seq::{IndexedRandom, IteratorRandom, SliceRandom};
use rand_chacha::ChaCha8Rng;

use super::{MINUTE_MS, START_MS};
use crate::minutes::Counts;
use crate::simulation::{self, versions};

/// Content of a table of minutes at a version, with its dimensions.
#[derive(Clone, Debug)]
pub struct Content {
    pub dimensions: Vec<Field>,
    pub counts: Counts,
}

/// Returns all granularities that totals may have.
pub fn granularities() -> impl Iterator<Item = Option<Width>> {
    std::iter::once(None).chain(Width::OF_WINDOWS.map(Some))
}

/// Returns the question for everything, by ad and campaign.
pub fn by_ad(granularity: Option<Width>) -> Question {
    Question { group_by: vec![Field::AdId, Field::CampaignId], granularity, ..Question::default() }
}

/// Number of answers in all seeds: those taken from days, from hours, and all.
pub static ANSWERS: [AtomicUsize; 3] = [const { AtomicUsize::new(0) }; 3];

/// Sums of an answer by window, if it has windows, and by dimensions.
pub type Sums = BTreeMap<(Option<i64>, Vec<Option<String>>), [i64; MEASURES]>;

/// Returns the content of a table of minutes at each of its versions.
pub async fn contents(lake: &Lake) -> Vec<Content> {
    let versions = versions(lake, Table::ClicksMinute).await;
    let dimensions = versions.iter().map(|version| counted_by(&version.parameters()));
    let all = dimensions.zip(simulation::contents(&versions));
    all.map(|(dimensions, counts)| Content { dimensions, counts }).collect()
}

/// Returns whether a question is about dimensions that are counted by.
pub fn has_answer(content: &Content, question: &Question) -> bool {
    let filtered = question.filter.iter().map(|filter| &filter.dimension);
    filtered.chain(&question.group_by).all(|dimension| content.dimensions.contains(dimension))
}

/// Returns whether a question was rightly refused: one of these versions does not count by what it asks for.
pub fn is_refused<'a>(why: &str, mut contents: impl Iterator<Item = &'a Content>, question: &Question) -> bool {
    why.starts_with("this lake does not count by") && contents.any(|content| !has_answer(content, question))
}

/// Returns the plain sum.
pub fn expected(Content { dimensions, counts }: &Content, question: &Question) -> Sums {
    let place = |asked: &Field| dimensions.iter().position(|dimension| dimension == asked).expect("it is counted by");
    let is_in = |start_ms: i64| {
        question.from.is_none_or(|from| from.millis() <= start_ms)
            && question.to.is_none_or(|to| start_ms < to.millis())
    };
    let is_seen = |values: &[Option<String>]| match &question.access {
        RowAccess::All => true,
        RowAccess::Campaigns(own) | RowAccess::People(own) => {
            values[1].as_ref().is_some_and(|campaign| own.contains(campaign))
        }
    };
    let holds = |filter: &Filter, values: &[_]| filter.values.contains(&values[place(&filter.dimension)]);
    let mut sums = Sums::new();
    if question.group_by.is_empty() && question.granularity.is_none() {
        sums.insert((None, Vec::new()), Default::default());
    }
    let is_asked = |start_ms: i64, values: &[Option<String>]| {
        is_in(start_ms) && is_seen(values) && question.filter.iter().all(|filter| holds(filter, values))
    };
    let asked = counts.iter().filter(|((start_ms, values), _)| is_asked(*start_ms, values));
    for ((start_ms, values), measures) in asked {
        let group = question.group_by.iter().map(|dimension| values[place(dimension)].clone()).collect();
        let sum = sums.entry((question.granularity.map(|width| width.start_ms(*start_ms)), group)).or_default();
        sum.iter_mut().zip(measures).for_each(|(sum, more)| *sum += more);
    }
    sums
}

/// Returns the rows of an answer, after checking that they are in order, and different.
pub fn sums_of(rows: &[RecordBatch], by: Option<Width>) -> Sums {
    let mut sums = Sums::new();
    for rows in rows {
        let first = rows.schema().index_of(Measure::ALL[0].column()).expect("measures");
        for row in 0..rows.num_rows() {
            let window = by.map(|_| rows[column::WINDOW_START].as_primitive::<TimestampMicrosecondType>().value(row));
            let value = |column: &ArrayRef| {
                let text = column.as_string::<i32>();
                text.is_valid(row).then(|| text.value(row).to_owned())
            };
            let dimensions = rows.columns()[usize::from(by.is_some())..first].iter().map(value).collect();
            let key = (window.map(|micros| micros / 1_000), dimensions);
            let measure = |measure: Measure| rows[measure.column()].as_primitive::<Int64Type>().value(row);
            assert!(sums.last_key_value().is_none_or(|(last, _)| *last < key), "{key:?} is not in order");
            sums.insert(key, Measure::ALL.map(measure));
        }
    }
    sums
}

/// Asks a question of totals.
pub async fn answer(totals: &Totals, question: &Question) -> Result<Answer, String> {
    totals.answer(question).await.map_err(|error| error.to_string())
}

/// Checks that an answer is the plain sum at the version that it names.
pub fn is_right(answer: &Answer, contents: &[Content], asked: &Question) -> Result<(), String> {
    let content =
        contents.get(usize::try_from(answer.at.minutes).expect("small")).ok_or("a version that is not there")?;
    let kinds = [answer.at.daily.is_some(), answer.at.hourly.is_some(), true];
    for (is_of, answers) in kinds.into_iter().zip(&ANSWERS) {
        answers.fetch_add(is_of.into(), Ordering::Relaxed);
    }
    if !has_answer(content, asked) {
        return Err(format!("{asked:?} at {}: {:?} are counted by", answer.at, content.dimensions));
    }
    let (found, expected) = (sums_of(&answer.rows, asked.granularity), expected(content, asked));
    if found == expected { Ok(()) } else { Err(format!("{asked:?} at {}: {found:?}, not {expected:?}", answer.at)) }
}

/// Makes up a question about the content.
pub fn asked(rng: &mut ChaCha8Rng, content: &Content) -> Question {
    let Content { dimensions, counts } = content;
    let nothing = || (START_MS, vec![None; dimensions.len()]);
    let some = |rng: &mut ChaCha8Rng| counts.keys().choose(rng).cloned().unwrap_or_else(nothing);
    let edge = |rng: &mut ChaCha8Rng| {
        let near = some(rng).0 + rng.random_range(-2..=2) * MINUTE_MS;
        let width = *[Width::Minute, Width::Hour, Width::Day, Width::Day].choose(rng).expect("some");
        (!rng.random_ratio(1, 4)).then(|| width.start_ms(near))
    };
    let (one, other) = (edge(rng), edge(rng));
    let (from, to) = match (one, other) {
        (Some(one), Some(other)) => (Some(one.min(other)), Some(one.max(other) + MINUTE_MS)),
        open => open,
    };
    let value_of = |rng: &mut ChaCha8Rng, at: usize| match rng.random_range(0..8) {
        0 => Some("nobody".to_owned()),
        _ => some(rng).1[at].clone(),
    };
    let filter = match rng.random_range(0..4) {
        0 => Vec::new(),
        1 => vec![Filter { dimension: Field::AdId, values: vec![value_of(rng, 0)] }],
        most => {
            let places = (0..dimensions.len()).choose_multiple(rng, most - 1).into_iter();
            let filters = places.map(|at| {
                let values = (0..rng.random_range(1..4)).map(|_| value_of(rng, at)).collect();
                Filter { dimension: dimensions[at], values }
            });
            filters.collect()
        }
    };
    let group_by = match rng.random_range(0..4) {
        0 => Vec::new(),
        1 => dimensions.clone(),
        _ => {
            let most = rng.random_range(1..=dimensions.len());
            let mut some = dimensions.iter().copied().choose_multiple(rng, most);
            some.shuffle(rng);
            some
        }
    };
    let time = |ms: Option<i64>| ms.and_then(EventTime::from_millis);
    let access = if rng.random_ratio(1, 3) {
        let own = (0..rng.random_range(1..3)).filter_map(|_| some(rng).1[1].clone());
        RowAccess::Campaigns(own.collect())
    } else {
        RowAccess::All
    };
    let granularity = granularities().choose(rng).expect("some");
    Question { filter, group_by, granularity, from: time(from), to: time(to), as_of: AsOf::Newest, access }
}
