//! Draws results for people: numbers are right-aligned with their thousands set apart, times are shown as ages, and
//! bars compare numbers.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Int64Type, Schema, TimestampMicrosecondType};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use chrono::{DateTime, Utc};
use comfy_table::{Cell, CellAlignment, Table};
use lake_schemas::plural;
use lake_schemas::time::{MILLIS_PER_DAY, MILLIS_PER_HOUR, MILLIS_PER_MINUTE};
use query::output::visible;

/// Borders of tables, as a preset of `comfy_table`: those of arrow's `pretty_format_batches`, which prints results that
/// do not go to a terminal.
const BORDERS: &str = "||--+-++|    ++++++";

/// Length of the longest bar, in characters.
const BAR_CHARS: i64 = 30;

/// Last character of a bar, by how many eighths of it are filled.
const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];

/// Returns rows as a table of text.
pub fn table(rows: &[RecordBatch]) -> anyhow::Result<String> {
    let mut table = Table::new();
    table.load_preset(BORDERS);
    if let Some(first) = rows.first() {
        let name = |field: &Arc<Field>| visible(field.name()).into_owned();
        let header = |field: &Arc<Field>| Cell::new(name(field)).set_alignment(alignment(field.data_type()));
        table.set_header(first.schema().fields().iter().map(header));
    }
    let options = FormatOptions::default();
    for rows in rows {
        let columns = rows.columns().iter();
        let formatters = columns.map(|column| ArrayFormatter::try_new(column.as_ref(), &options));
        let formatters = formatters.collect::<Result<Vec<_>, _>>()?;
        for row in 0..rows.num_rows() {
            table.add_row(rows.columns().iter().zip(&formatters).map(|(column, formatter)| {
                let text = formatter.value(row).to_string();
                let is_number = alignment(column.data_type()) == CellAlignment::Right;
                let text = if is_number { in_groups(&text) } else { visible(&text).into_owned() };
                Cell::new(text).set_alignment(alignment(column.data_type()))
            }));
        }
    }
    Ok(table.trim_fmt())
}

fn alignment(of: &DataType) -> CellAlignment {
    if of.is_integer() { CellAlignment::Right } else { CellAlignment::Left }
}

/// Returns a number, with its thousands set apart, and what is counted.
pub fn grouped_of(number: u64, noun: &str) -> String {
    format!("{} {}", grouped(number), plural::form(&number, noun))
}

/// Returns a number with its thousands set apart.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// Returns a whole number with its thousands set apart.
fn in_groups(text: &str) -> String {
    let (sign, digits) = text.strip_prefix('-').map_or(("", text), |digits| ("-", digits));
    digits.parse().map_or_else(|_| text.to_owned(), |number| format!("{sign}{}", grouped(number)))
}

/// Adds a bar to each row, as long as the number in one of its columns is large.
pub fn with_bars(rows: &[RecordBatch], column: &str) -> anyhow::Result<Vec<RecordBatch>> {
    let numbers = |rows: &RecordBatch| rows[column].as_primitive::<Int64Type>().clone();
    let most = rows.iter().flat_map(|rows| numbers(rows).values().to_vec()).max().unwrap_or(0);
    let draw = |rows: &RecordBatch| {
        let bars = numbers(rows).values().iter().map(|number| bar(*number, most)).collect::<Vec<_>>();
        let bars: ArrayRef = Arc::new(StringArray::from(bars));
        let fields = rows.schema().fields().iter().cloned().collect::<Vec<_>>();
        let bar = Arc::new(Field::new("", bars.data_type().clone(), false));
        let schema = Schema::new(fields.into_iter().chain([bar]).collect::<Vec<_>>());
        let columns = rows.columns().iter().cloned().chain([bars]).collect();
        Ok(RecordBatch::try_new(Arc::new(schema), columns)?)
    };
    rows.iter().map(draw).collect()
}

/// Returns the bar for a number, compared with the largest one. A number above zero has a visible bar.
fn bar(number: i64, largest: i64) -> String {
    if number <= 0 {
        return String::new();
    }
    let eighths = (i128::from(number) * i128::from(BAR_CHARS * 8) / i128::from(largest.max(number))).max(1);
    let eighths = usize::try_from(eighths).expect("a bar is no longer than the longest");
    format!("{}{}", "█".repeat(eighths / 8), EIGHTHS[eighths % 8])
}

/// Returns rows in which a column of times is replaced by how long ago they were.
pub fn with_ages(rows: &[RecordBatch], column: &str, now: DateTime<Utc>) -> anyhow::Result<Vec<RecordBatch>> {
    rows.iter().map(|rows| aged(rows, column, now)).collect()
}

fn aged(rows: &RecordBatch, column: &str, now: DateTime<Utc>) -> anyhow::Result<RecordBatch> {
    let schema = rows.schema();
    let columns = schema.fields().iter().zip(rows.columns()).map(|(field, values)| {
        let name = field.name().clone();
        if name != column {
            return Ok((name, Arc::clone(values)));
        }
        let times = cast(values, &DataType::Timestamp(arrow::datatypes::TimeUnit::Microsecond, None))?;
        let ages = times.as_primitive::<TimestampMicrosecondType>().iter();
        let ages = ages.map(|micros| micros.map(|micros| age(now.timestamp_millis() - micros / 1_000)));
        Ok((name, Arc::new(ages.collect::<StringArray>()) as ArrayRef))
    });
    Ok(RecordBatch::try_from_iter(columns.collect::<anyhow::Result<Vec<_>>>()?)?)
}

/// Returns how long ago something was, in words.
pub fn age(millis: i64) -> String {
    const UNITS: [(i64, &str); 4] =
        [(MILLIS_PER_DAY, "days"), (MILLIS_PER_HOUR, "h"), (MILLIS_PER_MINUTE, "min"), (1_000, "s")];
    let (length, is_past) = (millis.abs(), millis >= 0);
    // At least two of a unit, so that rounding loses little.
    let found = UNITS.into_iter().find(|(unit, _)| length >= 2 * unit);
    match found {
        Some((unit, name)) if is_past => format!("{} {name} ago", length / unit),
        Some((unit, name)) => format!("in {} {name}", length / unit),
        None => "now".to_owned(),
    }
}
