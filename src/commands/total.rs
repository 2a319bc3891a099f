//! `clicklake total`: shows the counts of an ad, a campaign or everything in one row, or of groups in one row each.

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::Int64Type;
use lake_schemas::{EventTime, Field, Measure};
use lake_store::Lake;
use query::output::visible;
use query::totals::{Answer, Filter, Question, Totals, last};

use super::{now, windows};
use crate::arguments::{self, Filters, Named, Span};
use crate::report;

pub async fn run(lake: &str, command: arguments::Total) -> anyhow::Result<()> {
    let lake = Lake::at(lake)?;
    let question = Question { group_by: command.groups.group_by, ..question(&command.filters, &command.span)? };
    let answer = Totals::new(lake.clone())?.answer(&question).await?;
    let rows = match named(&command.filters.named) {
        Some((dimension, name)) if question.group_by.is_empty() => answer.of_one(dimension, name)?,
        _ => answer.rows.clone(),
    };
    report::show(&rows, &command.report, &lake, |rows| Ok(rows.to_vec()))?;
    say_where_it_stands(&question, &answer);
    say_of_commas(&command.filters.named, &answer);
    Ok(())
}

/// Returns what the command line asks for, as one sum.
pub fn question(filters: &Filters, span: &Span) -> anyhow::Result<Question> {
    let named = named(&filters.named).map(|(dimension, name)| Filter::one(dimension, name));
    let filter = named.into_iter().chain(filters.filters.iter().cloned()).collect();
    let (from, to) = self::span(span)?;
    let as_of = span.as_of.unwrap_or_default();
    Ok(Question { filter, from, to, as_of, ..Question::default() })
}

/// Returns the ad or the campaign that is named, if one is.
fn named(named: &Named) -> Option<(Field, &str)> {
    let ad = named.ad.as_deref().map(|ad| (Field::AdId, ad));
    ad.or(named.campaign.as_deref().map(|campaign| (Field::CampaignId, campaign)))
}

/// Says how several names are given, if a name with a comma in it has no counts.
pub fn say_of_commas(named: &Named, answer: &Answer) {
    let Some((dimension, name)) = self::named(named).filter(|(_, name)| name.contains(',')) else { return };
    let mut counts = Measure::ALL.into_iter().filter(|measure| measure.counts_events()).map(Measure::column);
    let is_nothing = |rows: &RecordBatch, column: &str| {
        let counts = rows.column_by_name(column).and_then(|counts| counts.as_primitive_opt::<Int64Type>());
        counts.is_some_and(|counts| counts.iter().all(|count| count.unwrap_or(0) == 0))
    };
    if counts.all(|column| answer.rows.iter().all(|rows| is_nothing(rows, column))) {
        let column = dimension.column();
        report::say(&format!(
            "nothing is of one {column} {name:?}; for several write --where {column}={}",
            visible(name)
        ));
    }
}

/// Returns the stretch of time that the command line asks for.
fn span(span: &Span) -> anyhow::Result<(Option<EventTime>, Option<EventTime>)> {
    let (from, to) = span.last.map_or((span.from, span.to), |duration| last(duration, now()));
    let windows = windows(from, to)?;
    Ok((windows.from(), windows.to()))
}

/// Prints the state of the tables behind an answer, and whether it may still change.
pub fn say_where_it_stands(question: &Question, answer: &Answer) {
    let bound = |word: &str, time: Option<EventTime>| time.map(|time| format!("{word} {time} ")).unwrap_or_default();
    let span = format!("{}{}", bound("from", question.from), bound("to", question.to));
    let (at, is_final) = (&answer.at, answer.at.said_of(question.to));
    report::say(&format!("{span}at {at}; clicks that are not committed yet are not in it; {is_final}"));
}
