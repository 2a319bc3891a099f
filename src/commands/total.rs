//! `clicklake total`: what an ad or a campaign has got, in one row.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use arrow::datatypes::Field;
use lake_schemas::minute::WINDOW_MS;
use lake_schemas::table::column;
use lake_schemas::{EventTime, Lake};
use query::totals::{Answer, Detail, Question, Totals, Whom};

use super::{now, windows};
use crate::arguments::{self, Span};
use crate::report;

pub async fn run(lake: &str, command: arguments::Total) -> anyhow::Result<()> {
    let question = question(&command.whom, &command.span)?;
    let answer = Totals::new(Lake::at(lake)?)?.total(&question).await?;
    let rows: Vec<_> = answer.rows.iter().map(|rows| named(rows, &question.whom)).collect::<Result<_, _>>()?;
    report::show(&rows, command.report.format, |rows| Ok(rows.to_vec()))?;
    say_where_it_stands(&question, &answer);
    Ok(())
}

/// What the command line asks for, as one sum.
pub fn question(whom: &arguments::Whom, span: &Span) -> anyhow::Result<Question> {
    let whom = match (&whom.ad, &whom.campaign) {
        (Some(ad), _) => Whom::Ad(ad.clone()),
        (None, Some(campaign)) => Whom::Campaign(campaign.clone()),
        (None, None) => Whom::All,
    };
    let (from, to) = self::span(span)?;
    Ok(Question { whom, from, to, detail: Detail::Sums, ..Question::default() })
}

/// The stretch of time that the command line asks for.
pub fn span(span: &Span) -> anyhow::Result<(Option<EventTime>, Option<EventTime>)> {
    let (from, to) = span.last.map_or(Ok((span.from, span.to)), last)?;
    let windows = windows(from, to)?;
    Ok((windows.from(), windows.to()))
}

/// The minutes up to now: the one that is not over is the last of them.
fn last(duration: std::time::Duration) -> anyhow::Result<(Option<EventTime>, Option<EventTime>)> {
    let minutes = i64::try_from(duration.as_millis())?.saturating_add(WINDOW_MS - 1) / WINDOW_MS;
    let to_ms = (now().timestamp_millis() / WINDOW_MS + 1) * WINDOW_MS;
    let from_ms = to_ms.saturating_sub(minutes.saturating_mul(WINDOW_MS));
    // What began before all time has no beginning.
    Ok((EventTime::from_millis(from_ms), EventTime::from_millis(to_ms)))
}

/// Says what an answer is of.
#[expect(clippy::print_stderr, reason = "what the result is of, beside the result")]
pub fn say_where_it_stands(question: &Question, answer: &Answer) {
    let bound = |word: &str, time: Option<EventTime>| time.map(|time| format!("{word} {time} ")).unwrap_or_default();
    let span = format!("{}{}", bound("from", question.from), bound("to", question.to));
    eprintln!("{span}at {}; clicks that are not committed yet are not in it", answer.at);
}

/// Sums, and whose they are.
fn named(sums: &RecordBatch, whom: &Whom) -> anyhow::Result<RecordBatch> {
    let (name, value) = match whom {
        Whom::Ad(ad) => (column::AD_ID, ad),
        Whom::Campaign(campaign) => (column::CAMPAIGN_ID, campaign),
        Whom::All => return Ok(sums.clone()),
    };
    let whose: ArrayRef = Arc::new(StringArray::from(vec![value.as_str(); sums.num_rows()]));
    let schema = sums.schema();
    let names = schema.fields().iter().map(|field| Field::name(field).as_str());
    let columns = names.zip(sums.columns().iter().map(Arc::clone));
    Ok(RecordBatch::try_from_iter(std::iter::once((name, whose)).chain(columns))?)
}
