//! `clicklake total`: what an ad, a campaign, or everyone has got, in one row.

use lake_schemas::EventTime;
use lake_store::Lake;
use query::totals::{Answer, Detail, Question, Totals, Whom, last};

use super::{now, windows};
use crate::arguments::{self, Span};
use crate::report;

pub async fn run(lake: &str, command: arguments::Total) -> anyhow::Result<()> {
    let lake = Lake::at(lake)?;
    let question = question(&command.whom, &command.span)?;
    let answer = Totals::new(lake.clone())?.total(&question).await?;
    report::show(&answer.named(&question.whom)?, &command.report, &lake, |rows| Ok(rows.to_vec()))?;
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
    let as_of = span.as_of.unwrap_or_default();
    Ok(Question { whom, from, to, as_of, detail: Detail::Sums, ..Question::default() })
}

/// The stretch of time that the command line asks for.
fn span(span: &Span) -> anyhow::Result<(Option<EventTime>, Option<EventTime>)> {
    let (from, to) = span.last.map_or((span.from, span.to), |duration| last(duration, now()));
    let windows = windows(from, to)?;
    Ok((windows.from(), windows.to()))
}

/// Says what an answer is of, and whether it may still change.
pub fn say_where_it_stands(question: &Question, answer: &Answer) {
    let bound = |word: &str, time: Option<EventTime>| time.map(|time| format!("{word} {time} ")).unwrap_or_default();
    let span = format!("{}{}", bound("from", question.from), bound("to", question.to));
    let (at, is_final) = (&answer.at, answer.at.said_of(question.to));
    report::say(&format!("{span}at {at}; clicks that are not committed yet are not in it; {is_final}"));
}
