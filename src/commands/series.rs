//! `clicklake series`: what an ad or a campaign has got in each minute, hour or day; on a terminal, drawn beside it.

use lake_schemas::minute::Measure;
use lake_schemas::{Lake, Width};
use query::totals::{Question, Totals};

use super::total::{question, say_where_it_stands};
use crate::arguments;
use crate::drawing::with_bars;
use crate::report;

const MILLIS_PER_HOUR: i64 = 3_600_000;

/// Longer spans are shown by hour.
const BY_MINUTE_MAX_MS: i64 = 3 * MILLIS_PER_HOUR;

/// Longer spans are shown by day.
const BY_HOUR_MAX_MS: i64 = 7 * 24 * MILLIS_PER_HOUR;

pub async fn run(lake: &str, command: arguments::Series) -> anyhow::Result<()> {
    let question = question(&command.whom, &command.span)?;
    let by = command.by.map_or_else(|| width_for(&question), Into::into);
    let answer = Totals::new(Lake::at(lake)?)?.series(&question, by).await?;
    report::show(&answer.rows, command.report.format, |rows| with_bars(rows, Measure::Clicks.column()))?;
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

/// Windows of which there are not too many to look at.
fn width_for(question: &Question) -> Width {
    match question.from.zip(question.to).map(|(from, to)| to.millis() - from.millis()) {
        Some(span_ms) if span_ms <= BY_MINUTE_MAX_MS => Width::Minute,
        Some(span_ms) if span_ms <= BY_HOUR_MAX_MS => Width::Hour,
        _ => Width::Day,
    }
}
