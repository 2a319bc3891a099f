//! `clicklake series`: what an ad or a campaign has got in each minute, hour or day; on a terminal, drawn beside it.

use std::io::IsTerminal;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch, StringArray};
use arrow::datatypes::{Field, Int64Type, Schema};
use lake_schemas::minute::Measure;
use lake_schemas::{Lake, Width};
use query::totals::{Question, Totals};

use super::total::{question, say_where_it_stands};
use crate::arguments::{self, Format};
use crate::report;

const MILLIS_PER_HOUR: i64 = 3_600_000;

/// Longer spans are shown by hour.
const BY_MINUTE_MAX_MS: i64 = 3 * MILLIS_PER_HOUR;

/// Longer spans are shown by day.
const BY_HOUR_MAX_MS: i64 = 7 * 24 * MILLIS_PER_HOUR;

/// The longest bar, in characters.
const BAR_CHARS: i64 = 30;

/// The last character of a bar, by how many eighths of it are filled.
const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];

pub async fn run(lake: &str, command: arguments::Series) -> anyhow::Result<()> {
    let question = question(&command.whom, &command.span)?;
    let by = command.by.map_or_else(|| width_for(&question), Into::into);
    let answer = Totals::new(Lake::at(lake)?)?.series(&question, by).await?;
    let is_drawn = matches!(command.report.format, Format::Table) && std::io::stdout().is_terminal();
    let rows = if is_drawn { drawn(&answer.rows)? } else { answer.rows.clone() };
    report::print(&rows, command.report.format)?;
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

/// Rows with a bar beside each, as long as its clicks are many.
fn drawn(rows: &[RecordBatch]) -> anyhow::Result<Vec<RecordBatch>> {
    let clicks = |rows: &RecordBatch| rows[Measure::Clicks.column()].as_primitive::<Int64Type>().clone();
    let most = rows.iter().flat_map(|rows| clicks(rows).values().to_vec()).max().unwrap_or(0);
    let draw = |rows: &RecordBatch| {
        let bars = clicks(rows).values().iter().map(|clicks| bar(*clicks, most)).collect::<Vec<_>>();
        let bars: ArrayRef = Arc::new(StringArray::from(bars));
        let fields = rows.schema().fields().iter().cloned().collect::<Vec<_>>();
        let bar = Arc::new(Field::new("", bars.data_type().clone(), false));
        let schema = Schema::new(fields.into_iter().chain([bar]).collect::<Vec<_>>());
        let columns = rows.columns().iter().cloned().chain([bars]).collect();
        Ok(RecordBatch::try_new(Arc::new(schema), columns)?)
    };
    rows.iter().map(draw).collect()
}

/// A bar for a number, beside the largest. What is not nothing is seen.
fn bar(number: i64, largest: i64) -> String {
    if number <= 0 {
        return String::new();
    }
    let eighths = (i128::from(number) * i128::from(BAR_CHARS * 8) / i128::from(largest.max(number))).max(1);
    let eighths = usize::try_from(eighths).expect("a bar is no longer than the longest");
    format!("{}{}", "█".repeat(eighths / 8), EIGHTHS[eighths % 8])
}
