//! `clicklake backfill`: computes history with the code that counts live, into a staging table or in place.

use std::sync::Arc;

use ::backfill::{Changes, Made, Range, Replace, Replaced, Staging, Work, Writes};
use arrow::array::{ArrayRef, Date32Array, Decimal128Array, RecordBatch, StringArray};
use lake_schemas::table::StagingName;
use lake_schemas::{Code, EventTime, Measure, Table, Verdict, Windowing, counted};
use lake_store::Lake;
use query::output;
use tokio_util::sync::CancellationToken;

use super::{Usage, requested, windows};
use crate::arguments::Backfill;
use crate::drawing::{grouped, grouped_of};
use crate::progress::shown;
use crate::report;

/// Digits in the sums of a day: as many as every number of 128 bits can have.
const SUM_DIGITS: u8 = 38;

/// Message for a backfill that was stopped.
const STOPPED: &str = "stopped: nothing was written";

pub async fn run(lake: &str, command: Backfill, stop: CancellationToken) -> anyhow::Result<()> {
    let lake = Lake::at(lake)?;
    let range = range(&command.range)?;
    if !command.dry_run {
        lake.probe().await?;
    }
    let text = match command.into {
        Some(name) => into(&lake, name, range, &command, stop).await?,
        None => replace(&lake, range, &command, stop).await?,
    };
    report::print_text(&text)
}

fn range(range: &crate::arguments::Range) -> Result<Range, Usage> {
    if let (Some(from), Some(to)) = (range.from_version, range.to_version)
        && to < from
    {
        let why = format!("--from-version {from} is after --to-version {to}; exchange the two");
        return Err(Usage(Code::RangeImpossible.because(why)));
    }
    Ok(match (range.from_version.or(range.to_version), range.as_of, range.as_of_version) {
        (Some(_), ..) => Range::Versions(range.from_version, range.to_version),
        (_, Some(time), _) => Range::AsOfTime(time),
        (.., Some(version)) => Range::AsOf(version),
        _ if range.from.is_none() && range.to.is_none() => Range::All,
        _ => Range::Windows(windows(range.from, range.to)?),
    })
}

async fn into(
    lake: &Lake,
    name: StagingName,
    range: Range,
    command: &Backfill,
    stop: CancellationToken,
) -> anyhow::Result<String> {
    let (table, requested) = (Table::Staging(name), requested(&command.settings));
    let staging = Staging { work: work(lake, range, command, stop), table, requested };
    if command.dry_run {
        let changes = shown(&staging.work.meter, staging.compare()).await?;
        let Some(changes) = changes else { return Ok(STOPPED.to_owned()) };
        let windows = grouped_of(changes.windows() as u64, "window");
        let changed = grouped(changes.windows_changed() as u64);
        let said = format!("{table} would hold {windows}; different from clicks_minute: {changed}");
        return Ok(format!("{}{said}", days(&changes)?));
    }
    Ok(match shown(&staging.work.meter, staging.run()).await? {
        Made::InPart => format!("stopped: {table} is incomplete; the same command goes on with it"),
        Made::Whole(done) => format!(
            "{table} is complete: {} in {}, now version {}; see it with `clicklake sql`, check it with \
             `clicklake verify --table {table}`",
            grouped_of(done.rows, "row"),
            counted(done.commits, "commit"),
            done.version
        ),
    })
}

async fn replace(lake: &Lake, range: Range, command: &Backfill, stop: CancellationToken) -> anyhow::Result<String> {
    let writes = if command.dry_run { Writes::Nothing } else { Writes::Changes };
    let replace = Replace { work: work(lake, range, command, stop), writes, wait: command.wait };
    Ok(match shown(&replace.work.meter, replace.run()).await? {
        Replaced::Stopped => STOPPED.to_owned(),
        Replaced::Compared(changes) => {
            let windows = grouped_of(changes.windows() as u64, "window");
            let said = match changes.windows_changed() {
                0 => format!("nothing to change in {windows}: the raw clicks say the same"),
                changed => format!("{}would change {} of {windows}", days(&changes)?, grouped(changed as u64)),
            };
            said + &left_out(&changes)
        }
        Replaced::Committed(version, changes) => {
            let windows = grouped_of(changes.windows() as u64, "window");
            let changed = grouped(changes.windows_changed() as u64);
            let said = format!("{}changed {changed} of {windows}, now version {version}", days(&changes)?);
            said + &left_out(&changes)
        }
    })
}

/// Returns a line that says which windows a backfill in place has left out, and why; nothing, if it has none.
fn left_out(changes: &Changes) -> String {
    let at = |millis: i64| EventTime::from_millis(millis).map(|time| time.to_string()).unwrap_or_default();
    let (Some(&first), Some(&last)) = (changes.left_out.first(), changes.left_out.last()) else {
        return String::new();
    };
    let (windows, to) = (grouped_of(changes.left_out.len() as u64, "window"), at(Windowing::default().end_ms(last)));
    format!(
        "\nleft out: {windows} from {} to {to}, because the watermark of a partition has not passed the end, and \
         clicks may still come; of a topic that is over, `clicklake backfill --into` counts these, too",
        at(first)
    )
}

fn work<'a>(lake: &'a Lake, range: Range, command: &Backfill, stop: CancellationToken) -> Work<'a> {
    let at_a_time = command.parallelism.or_else(|| std::thread::available_parallelism().ok()).map_or(1, Into::into);
    Work { lake, range, at_a_time, meter: Arc::default(), stop }
}

/// Returns a table of the days that change; empty, if none does. It shows the clicks of each day, and every other
/// measure that changes, before and after.
fn days(changes: &Changes) -> anyhow::Result<String> {
    let (mut dates, mut measures, mut before, mut after) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (date, day) in changes.days.iter().filter(|(_, day)| day.windows_changed > 0) {
        for (at, measure) in Measure::ALL.into_iter().enumerate() {
            if measure == Measure::counting(Verdict::Counted) || day.before[at] != day.after[at] {
                dates.push(*date);
                measures.push(measure.column());
                before.push(day.before[at]);
                after.push(day.after[at]);
            }
        }
    }
    if dates.is_empty() {
        return Ok(String::new());
    }
    let change = before.iter().zip(&after).map(|(before, after)| after - before).collect();
    // The sums of a day that was counted wrongly may not fit into 64 bits.
    let numbers = |numbers: Vec<i128>| Decimal128Array::from(numbers).with_precision_and_scale(SUM_DIGITS, 0);
    let columns: [(&str, ArrayRef); 5] = [
        ("day", Arc::new(Date32Array::from(dates))),
        ("measure", Arc::new(StringArray::from(measures))),
        ("before", Arc::new(numbers(before)?)),
        ("after", Arc::new(numbers(after)?)),
        ("change", Arc::new(numbers(change)?)),
    ];
    Ok(output::table(&[RecordBatch::try_from_iter(columns)?])? + "\n")
}
