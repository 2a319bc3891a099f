//! `clicklake series`: shows the counts of an ad, a campaign or groups in each minute, hour or day; on a terminal, with
//! bars beside them.

use lake_schemas::{Measure, Verdict};
use lake_store::Lake;
use query::totals::{Question, Totals, width_for};

use super::total::{question, say_of_commas, say_where_it_stands};
use crate::arguments;
use crate::drawing::with_bars;
use crate::report;

pub async fn run(lake: &str, command: arguments::Series) -> anyhow::Result<()> {
    let lake = Lake::at(lake)?;
    let question = question(&command.filters, &command.span)?;
    let granularity = command.granularity.unwrap_or_else(|| width_for((question.from, question.to)));
    let question = Question { granularity: Some(granularity), group_by: command.groups.group_by, ..question };
    let answer = Totals::new(lake.clone())?.answer(&question).await?;
    let drawn = Measure::counting(Verdict::Counted).column();
    report::show(&answer.rows, &command.report, &lake, |rows| with_bars(rows, drawn))?;
    say_where_it_stands(&question, &answer);
    say_of_commas(&command.filters.named, &answer);
    Ok(())
}
