//! `clicklake top`: which ads, or campaigns, have got most; on a terminal, drawn beside it.

use lake_schemas::Lake;
use lake_schemas::minute::Measure;
use query::totals::{Detail, Question, Totals, Whom};

use super::total::{say_where_it_stands, span};
use crate::arguments::{self, TopBy};
use crate::drawing::with_bars;
use crate::report;

pub async fn run(lake: &str, command: arguments::Top) -> anyhow::Result<()> {
    let (from, to) = span(&command.span)?;
    let detail = match command.by {
        TopBy::Ad => Detail::Ads,
        TopBy::Campaign => Detail::Campaigns,
    };
    let question = Question { whom: Whom::All, from, to, detail, ..Question::default() };
    let answer = Totals::new(Lake::at(lake)?)?.top(&question, command.n.get()).await?;
    report::show(&answer.rows, command.report.format, |rows| with_bars(rows, Measure::Clicks.column()))?;
    say_where_it_stands(&question, &answer);
    Ok(())
}
