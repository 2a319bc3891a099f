//! `clicklake top`: shows the ads, campaigns or other groups with most clicks; on a terminal, with bars beside them.

use lake_schemas::{Measure, Verdict};
use lake_store::Lake;
use query::totals::{Question, Totals};

use super::total::{question, say_of_commas, say_where_it_stands};
use crate::arguments;
use crate::drawing::with_bars;
use crate::report;

pub async fn run(lake: &str, command: arguments::Top) -> anyhow::Result<()> {
    let lake = Lake::at(lake)?;
    let question = Question { group_by: command.by, ..question(&command.filters, &command.span)? };
    let answer = Totals::new(lake.clone())?.top(&question, command.n.get()).await?;
    let drawn = Measure::counting(Verdict::Counted).column();
    report::show(&answer.rows, &command.report, &lake, |rows| with_bars(rows, drawn))?;
    say_where_it_stands(&question, &answer);
    say_of_commas(&command.filters.named, &answer);
    Ok(())
}
