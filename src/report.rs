//! Results on stdout, in the form that was asked for.

use std::io::{ErrorKind, IsTerminal, Write};

use arrow::array::RecordBatch;
use arrow::csv::WriterBuilder;
use arrow::json::{ArrayWriter, LineDelimitedWriter};
use arrow::util::pretty::pretty_format_batches;

use crate::arguments::Format;
use crate::drawing;

/// Prints rows: at least one batch, whose columns are those of all.
pub fn print(rows: &[RecordBatch], format: Format) -> anyhow::Result<()> {
    print_text(&text(rows, format)?);
    Ok(())
}

/// Prints rows; on a terminal, as people like to read them.
pub fn show(
    rows: &[RecordBatch],
    format: Format,
    draw: impl FnOnce(&[RecordBatch]) -> anyhow::Result<Vec<RecordBatch>>,
) -> anyhow::Result<()> {
    if !is_seen(format) {
        return print(rows, format);
    }
    print_text(&drawing::table(&draw(rows)?)?);
    Ok(())
}

/// Whether somebody looks at what is printed.
pub fn is_seen(format: Format) -> bool {
    matches!(format, Format::Table) && std::io::stdout().is_terminal()
}

/// Rows as text.
pub fn text(rows: &[RecordBatch], format: Format) -> anyhow::Result<String> {
    let mut text = Vec::new();
    let all: Vec<_> = rows.iter().collect();
    match format {
        Format::Table => text.extend(pretty_format_batches(rows)?.to_string().into_bytes()),
        Format::Csv => separated(rows, b',', &mut text)?,
        Format::Tsv => separated(rows, b'\t', &mut text)?,
        Format::Json => {
            let mut writer = ArrayWriter::new(&mut text);
            writer.write_batches(&all)?;
            writer.finish()?;
        }
        Format::NdJson => {
            let mut writer = LineDelimitedWriter::new(&mut text);
            writer.write_batches(&all)?;
            writer.finish()?;
        }
    }
    Ok(String::from_utf8(text)?.trim_end().to_owned())
}

fn separated(rows: &[RecordBatch], separator: u8, text: &mut Vec<u8>) -> anyhow::Result<()> {
    let mut writer = WriterBuilder::new().with_header(true).with_delimiter(separator).build(text);
    for batch in rows {
        writer.write(batch)?;
    }
    Ok(())
}

/// Prints a result that is text.
///
/// # Panics
///
/// If it cannot be written, though somebody reads it: a result must not be lost in silence.
pub fn print_text(text: &str) {
    print_bytes(format!("{text}\n").as_bytes()).expect("standard output can be written");
}

/// Prints a result as it is. Who reads only the beginning of it has had enough.
pub fn print_bytes(bytes: &[u8]) -> anyhow::Result<()> {
    match std::io::stdout().write_all(bytes) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

/// A number with its thousands set apart.
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
