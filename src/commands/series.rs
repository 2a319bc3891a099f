//! `clicklake series`: what an ad or a campaign has got in each minute, hour or day; on a terminal, drawn beside it.

use lake_schemas::{Measure, Verdict, Width};
use lake_store::Lake;
use query::totals::{Totals, width_for};

use super::total::{question, say_where_it_stands};
use crate::arguments;
use crate::drawing::with_bars;
use crate::report;

pub async fn run(lake: &str, command: arguments::Series) -> anyhow::Result<()> {
    let lake = Lake::at(lake)?;
    let question = question(&command.whom, &command.span)?;
    let by = command.by.map_or_else(|| width_for((question.from, question.to)), Into::into);
    let answer = Totals::new(lake.clone())?.series(&question, by).await?;
    let drawn = Measure::counting(Verdict::Counted).column();
    report::show(&answer.rows, &command.report, &lake, |rows| with_bars(rows, drawn))?;
    say_where_it_stands(&question, &answer);
    Ok(())
}

impl From<arguments::By> for Width {
    fn from(by: arguments::By) -> Self {
        match by {
            arguments::By::Minute => Self::Minute,
            arguments::By::Hour => Self::Hour,
            arguments::By::Day => Self::Day,
        }
    }
}
