//! Writes rows in a format, as a table, and lines.

use std::io::{self, Write};

use arrow::array::RecordBatch;
use arrow::error::ArrowError;
use arrow::util::pretty::pretty_format_batches;
use datafusion_cli::print_format::PrintFormat;
use lake_schemas::Code;

use super::destination::Opened;
use super::encoder::Encoder;
use super::table::{Breaks, visible_rows};
use super::visible::{visible, visible_lines};
use crate::error::QueryError;

/// Writes rows in a format: at least one batch, all with the same columns.
pub fn write_rows(rows: &[RecordBatch], format: PrintFormat, to: &mut Opened) -> Result<(), QueryError> {
    if matches!(format, PrintFormat::Table | PrintFormat::Automatic) {
        return Ok(writeln!(to, "{}", table(rows)?)?);
    }
    let mut encoder = Encoder::new(format);
    for rows in rows {
        to.write_all(&encoder.rows(rows)?)?;
    }
    Ok(to.write_all(&encoder.end())?)
}

/// Formats rows as a table of text, whose cells have one line each.
pub fn table(rows: &[RecordBatch]) -> Result<String, ArrowError> {
    let options = arrow::util::display::FormatOptions::default();
    let rows = rows.iter().map(|rows| visible_rows(rows, &options, Breaks::Escaped));
    Ok(pretty_format_batches(&rows.collect::<Result<Vec<_>, _>>()?)?.to_string())
}

/// Writes a line to standard error. If that fails, nothing else ends: a log matters less than what it is about.
pub fn say(line: &str) {
    let _ = writeln!(io::stderr(), "{}", visible_lines(line));
}

/// Writes the line of an error to standard error, with the code of the refusal if it is one.
pub fn say_error(code: Option<Code>, text: &str) {
    let code = code.map(|code| format!("[{code}]")).unwrap_or_default();
    say(&format!("error{code}: {}", visible(text)));
}
