//! `clicklake verify`: recounts the raw clicks, to prove the counts.

use std::process::ExitCode;

use ::backfill::replay;
use ::ingest::replay::Needs;
use arrow::array::RecordBatch;
use futures::FutureExt;
use futures::future::BoxFuture;
use lake_schemas::{EventTime, TopicPartition};
use lake_store::Lake;
use query::QueryError;
use query::verify::{Question, Recompute, Stands, conservation, verify};

use super::windows;
use crate::arguments::{AuditFormat, Verify};
use crate::progress::Steps;
use crate::{memory, report};

/// Exit code: the table differs from the raw clicks.
const EXIT_DIFFERS: u8 = 1;

pub async fn run(lake: &str, command: Verify) -> anyhow::Result<ExitCode> {
    let lake = Lake::at(lake)?;
    let memory = command.memory_limit.unwrap_or_else(memory::three_quarters);
    let is_json = command.format == AuditFormat::Json;
    say_bounds(&command);
    let (is_right, found) = if command.conservation {
        let found = conservation(&lake, command.table, memory).await?;
        (found.holds(), if is_json { found.to_json().to_string() } else { found.to_string() })
    } else {
        let (replay, windows) = (Replay { lake: &lake }, windows(command.from, command.to)?);
        let by = command.replay.then_some(&replay as &dyn Recompute);
        let steps = Steps::of("partitions recounted");
        let progress = |done: usize, of: usize, next: &TopicPartition| steps.at(done, of, next);
        let asked = Question { table: command.table, windows, by, progress: Some(&progress) };
        let found = verify(&lake, asked, memory).await;
        steps.end();
        let found = found?;
        (found.is_equal(), if is_json { found.to_json().to_string() } else { found.to_string() })
    };
    if is_json {
        // JSON has escapes of its own, so ours for terminals must not be added.
        report::print_bytes(format!("{found}\n").as_bytes())?;
    } else {
        report::print_text(found.trim_end())?;
    }
    Ok(if is_right { ExitCode::SUCCESS } else { ExitCode::from(EXIT_DIFFERS) })
}

/// Prints which windows are checked, unless all are: a bound may come from a forgotten variable of the environment.
fn say_bounds(command: &Verify) {
    let bound = |word: &str, time: Option<EventTime>| time.map(|time| format!(" {word} {time}")).unwrap_or_default();
    let span = format!("{}{}", bound("from", command.from), bound("to", command.to));
    // Bounds in the wrong order are an error that is reported later, and no window is checked.
    let is_stretch = command.from.zip(command.to).is_none_or(|(from, to)| from < to);
    if is_stretch && !span.is_empty() {
        report::say(&format!("only windows{span} are looked at"));
    }
}

/// Recomputes rows for `--replay`: by the operators that also count live, from the raw clicks.
struct Replay<'a> {
    lake: &'a Lake,
}

impl Recompute for Replay<'_> {
    fn rows(&self, of: Stands) -> BoxFuture<'_, Result<Vec<RecordBatch>, QueryError>> {
        let Stands { table, parameters, history, partition, stand } = of;
        async move {
            let needs = Needs { history, parameters };
            replay(self.lake, table, needs, &partition, stand).await.map_err(QueryError::Lake)
        }
        .boxed()
    }
}
