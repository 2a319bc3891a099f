//! Who asks for totals while others write: each answer must be the plain sum over the minutes at the version that it
//! names.

use std::sync::Mutex;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type, TimestampMicrosecondType};
use lake_schemas::commit::TableView;
use lake_schemas::minute::{Measure, Parameters};
use lake_schemas::{EventTime, Lake, Table, Width, read};
use query::totals::{Answer, AsOf, Question, Totals, Whom};
use rand::Rng;
use rand_chacha::ChaCha8Rng;

use super::log::START_MS;
use crate::minutes::Counts;

const MINUTE_MS: i64 = 60_000;

/// Answers that were compared, and those that were wrong.
static COMPARED: Mutex<(usize, Vec<String>)> = Mutex::new((0, Vec::new()));

/// How many answers were compared so far; an error, if one was wrong.
pub fn answers() -> Result<usize, String> {
    let compared = COMPARED.lock().expect("no panic under the lock");
    compared.1.first().map_or(Ok(compared.0), |wrong| Err(wrong.clone()))
}

/// Asks some questions of one lake, and compares with what another view of it holds.
pub async fn ask(lake: &Lake, clean: &Lake, rng: &mut ChaCha8Rng) -> Result<(), String> {
    let text = |error: &dyn std::error::Error| error.to_string();
    let totals = Totals::new(lake.clone()).map_err(|error| text(&error))?;
    for _ in 0..rng.random_range(1..6) {
        let newest = TableView::newest(clean, Table::ClicksMinute).await.map_err(|error| text(&error))?;
        let question = question(rng, newest.ok_or("no minutes yet")?.version());
        let by = [None, Some(Width::Minute), Some(Width::Hour), Some(Width::Day)][rng.random_range(0..4)];
        let answer = match by {
            Some(by) => totals.series(&question, by).await,
            None => totals.total(&question).await,
        };
        let answer = answer.map_err(|error| text(&error))?;
        let (found, expected) = (counts_of(&answer, by), expected(clean, &question, &answer, by).await);
        let mut compared = COMPARED.lock().expect("no panic under the lock");
        compared.0 += 1;
        if found != expected {
            compared.1.push(format!("{question:?} by {by:?} at {}: {found:?}, not {expected:?}", answer.at));
        }
    }
    Ok(())
}

/// Whose clicks, from when and to when: some minutes, or days around them.
fn question(rng: &mut ChaCha8Rng, newest: u64) -> Question {
    let mut bound = |earliest: i64, latest: i64| {
        let minute = START_MS.div_euclid(MINUTE_MS) + rng.random_range(earliest..latest);
        let minute = if rng.random_ratio(1, 3) { minute - minute.rem_euclid(1_440) } else { minute };
        rng.random_ratio(4, 5).then(|| EventTime::from_millis(minute * MINUTE_MS)).flatten()
    };
    let (from, to) = (bound(-3_000, 0), bound(1, 3_000));
    let to = to.filter(|to| from.is_none_or(|from| from < *to));
    let ad = rng.random_range(0..20);
    let whom = [Whom::All, Whom::Ad(format!("ad-{ad}")), Whom::Campaign(format!("campaign-{}", ad / 10))];
    let as_of = if rng.random_ratio(1, 3) { AsOf::Version(rng.random_range(0..=newest)) } else { AsOf::Newest };
    Question { whom: whom[rng.random_range(0..3)].clone(), from, to, as_of, ..Question::default() }
}

fn counts_of(answer: &Answer, by: Option<Width>) -> Counts {
    let mut counts = Counts::new();
    for rows in &answer.rows {
        let first = usize::from(by.is_some());
        let measures = rows.schema().index_of(Measure::ALL[0].column()).expect("a column");
        let dimensions = texts(&rows.columns()[first..measures]);
        for row in 0..rows.num_rows() {
            let start_ms = if by.is_some() { starts(rows).value(row) / 1_000 } else { 0 };
            add(&mut counts, rows, row, (start_ms, dimensions.iter().map(|column| value(column, row)).collect()));
        }
    }
    counts
}

/// The plain sum over all rows of the minutes at the version that an answer names.
async fn expected(lake: &Lake, question: &Question, answer: &Answer, by: Option<Width>) -> Counts {
    let table = Table::ClicksMinute;
    let newest = TableView::newest(lake, table).await.expect("memory").expect("it is there");
    let view = newest.at(answer.at.minutes).await.expect("it is there");
    let parameters = Parameters::recorded(table, view.properties()).expect("they are recorded");
    let (schema, store) = (parameters.schema(table), lake.log_store(table.name()).expect("memory").object_store(None));
    let mut counts = Counts::new();
    for file in view.live_files().await.expect("memory") {
        for rows in read::all_rows(store.clone(), table, schema.clone(), file).await.expect("memory") {
            let names = parameters.dimension_columns();
            let dimensions: Vec<ArrayRef> = names.iter().map(|name| rows[*name].clone()).collect();
            let dimensions = texts(&dimensions);
            for row in 0..rows.num_rows() {
                let start_ms = starts(&rows).value(row) / 1_000;
                let key: Vec<_> = dimensions.iter().map(|column| value(column, row)).collect();
                let is_asked = match &question.whom {
                    Whom::All => true,
                    Whom::Ad(ad) => key[0].as_ref() == Some(ad),
                    Whom::Campaign(campaign) => key[1].as_ref() == Some(campaign),
                };
                let is_in = question.from.is_none_or(|from| from.millis() <= start_ms)
                    && question.to.is_none_or(|to| start_ms < to.millis());
                if is_asked && is_in {
                    add(&mut counts, &rows, row, (by.map_or(0, |by| by.start_ms(start_ms)), key));
                }
            }
        }
    }
    counts
}

fn add(counts: &mut Counts, rows: &RecordBatch, row: usize, key: (i64, Vec<Option<String>>)) {
    let sums = counts.entry(key).or_default();
    for (sum, measure) in sums.iter_mut().zip(Measure::ALL) {
        *sum += rows[measure.column()].as_primitive::<Int64Type>().value(row);
    }
}

fn starts(rows: &RecordBatch) -> &arrow::array::TimestampMicrosecondArray {
    rows["window_start"].as_primitive::<TimestampMicrosecondType>()
}

fn texts(columns: &[ArrayRef]) -> Vec<ArrayRef> {
    columns.iter().map(|column| cast(column, &DataType::Utf8).expect("text")).collect()
}

fn value(column: &ArrayRef, row: usize) -> Option<String> {
    let column = column.as_string::<i32>();
    column.is_valid(row).then(|| column.value(row).to_owned())
}
