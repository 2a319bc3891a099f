//! What totals are asked, and the plain sums that they are held to.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use lake_schemas::measure::{MEASURES, Measure};
use lake_schemas::table::column;
use lake_schemas::{EventTime, Table, Width};
use lake_store::Lake;
use query::Sees;
use query::totals::{Answer, AsOf, Detail, Question, Totals, Whom};
use rand::Rng;
use rand::seq::{IndexedRandom, IteratorRandom};
use rand_chacha::ChaCha8Rng;

use super::{MINUTE_MS, START_MS};
use crate::minutes::Counts;
use crate::simulation::{self, versions};

/// All that totals are asked by.
pub const WIDTHS: [Option<Width>; 4] = [None, Some(Width::Minute), Some(Width::Hour), Some(Width::Day)];

/// Answers in all seeds: those that were taken from days, from hours, and all.
pub static ANSWERS: [AtomicUsize; 3] = [const { AtomicUsize::new(0) }; 3];

/// The sums of an answer, by window, if it has windows, and dimensions.
pub type Sums = BTreeMap<(Option<i64>, Vec<Option<String>>), [i64; MEASURES]>;

/// What is asked, and by which windows.
pub type Asked = (Question, Option<Width>);

/// What a table of minutes held at each of its versions.
pub async fn contents(lake: &Lake) -> Vec<Counts> {
    simulation::contents(&versions(lake, Table::ClicksMinute).await).collect()
}

/// The plain sum.
pub fn expected(counts: &Counts, (question, by): &Asked) -> Sums {
    let is_in = |start_ms: i64| {
        question.from.is_none_or(|from| from.millis() <= start_ms)
            && question.to.is_none_or(|to| start_ms < to.millis())
    };
    let is_seen = |dimensions: &[Option<String>]| match &question.sees {
        Sees::All => true,
        Sees::Campaigns(own) | Sees::People(own) => {
            dimensions[1].as_ref().is_some_and(|campaign| own.contains(campaign))
        }
    };
    let is_theirs = |dimensions: &[Option<String>]| match &question.whom {
        Whom::All => true,
        Whom::Ad(ad) => dimensions[0].as_ref() == Some(ad),
        Whom::Campaign(campaign) => dimensions[1].as_ref() == Some(campaign),
        Whom::Ads(ads) => dimensions[0].as_ref().is_some_and(|ad| ads.contains(ad)),
        Whom::Campaigns(campaigns) => dimensions[1].as_ref().is_some_and(|campaign| campaigns.contains(campaign)),
    };
    let mut sums = Sums::new();
    if question.detail == Detail::Sums && by.is_none() {
        sums.insert((None, Vec::new()), Default::default());
    }
    let is_asked = |start_ms: i64, dimensions: &[_]| is_in(start_ms) && is_theirs(dimensions) && is_seen(dimensions);
    let asked = counts.iter().filter(|((start_ms, dimensions), _)| is_asked(*start_ms, dimensions));
    for ((start_ms, dimensions), measures) in asked {
        let dimensions = if question.detail == Detail::Sums { Vec::new() } else { dimensions.clone() };
        let sum = sums.entry((by.map(|width| width.start_ms(*start_ms)), dimensions)).or_default();
        sum.iter_mut().zip(measures).for_each(|(sum, more)| *sum += more);
    }
    sums
}

/// The rows of an answer, which are in order, and each of its own.
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

/// Asks.
pub async fn answer(totals: &Totals, (question, by): &Asked) -> Result<Answer, String> {
    let answer = match by {
        Some(width) => totals.series(question, *width).await,
        None => totals.total(question).await,
    };
    answer.map_err(|error| error.to_string())
}

/// Whether an answer is the plain sum at the version that it names.
pub fn is_right(answer: &Answer, contents: &[Counts], asked: &Asked) -> Result<(), String> {
    let counts =
        contents.get(usize::try_from(answer.at.minutes).expect("small")).ok_or("a version that is not there")?;
    let kinds = [answer.at.daily.is_some(), answer.at.hourly.is_some(), true];
    for (is_of, answers) in kinds.into_iter().zip(&ANSWERS) {
        answers.fetch_add(is_of.into(), Ordering::Relaxed);
    }
    let (found, expected) = (sums_of(&answer.rows, asked.1), expected(counts, asked));
    if found == expected { Ok(()) } else { Err(format!("{asked:?} at {}: {found:?}, not {expected:?}", answer.at)) }
}

/// A question about what is there.
pub fn asked(rng: &mut ChaCha8Rng, counts: &Counts) -> Asked {
    let some = |rng: &mut ChaCha8Rng| counts.keys().choose(rng).cloned().unwrap_or((START_MS, vec![None, None]));
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
    let dimensions = some(rng).1;
    let whom = match rng.random_range(0..4) {
        0 => Whom::All,
        1 => Whom::Ad(dimensions[0].clone().unwrap_or_else(|| "nobody".to_owned())),
        2 => Whom::Campaign(dimensions[1].clone().unwrap_or_else(|| "none".to_owned())),
        _ => Whom::Ads(dimensions[0].iter().cloned().chain(["nobody".to_owned()]).collect()),
    };
    let detail = if rng.random_ratio(1, 4) { Detail::Sums } else { Detail::Dimensions };
    let time = |ms: Option<i64>| ms.and_then(EventTime::from_millis);
    let sees = if rng.random_ratio(1, 3) {
        let own = (0..rng.random_range(1..3)).filter_map(|_| some(rng).1[1].clone());
        Sees::Campaigns(own.collect())
    } else {
        Sees::All
    };
    let question = Question { whom, from: time(from), to: time(to), as_of: AsOf::Newest, detail, sees };
    (question, *WIDTHS.choose(rng).expect("some"))
}
