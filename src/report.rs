//! Writes results in the format that was asked for, to where they are wanted. [`query::output`] decides what a terminal
//! may get of them.
//!
//! A result that cannot be written is an error, and the exit code says so. But a reader that closes the pipe after the
//! beginning has all it wants.

use std::io::{self, ErrorKind, Write};

use arrow::array::RecordBatch;
use lake_store::Lake;
pub use query::output::say;
use query::output::{Opened, visible_lines, write_rows};

use crate::arguments::{Format, Report};
use crate::drawing;

/// Prints rows of a lake: at least one batch, whose columns are those of all.
fn print(rows: &[RecordBatch], how: &Report, lake: &Lake) -> anyhow::Result<()> {
    let mut to = how.destination().open(lake)?;
    let written = write_rows(rows, how.format.into(), &mut to).map_err(anyhow::Error::from);
    match written.and_then(|()| Ok(to.finish()?)) {
        Err(error) if is_unread(&error) => Ok(()),
        done => done,
    }
}

/// Prints rows of a lake. On a terminal, `draw` prepares them for people first.
pub fn show(
    rows: &[RecordBatch],
    how: &Report,
    lake: &Lake,
    draw: impl FnOnce(&[RecordBatch]) -> anyhow::Result<Vec<RecordBatch>>,
) -> anyhow::Result<()> {
    if !is_seen(how) {
        return print(rows, how, lake);
    }
    print_text(&drawing::table(&draw(rows)?)?)
}

/// Returns whether the result goes to a terminal as a table.
pub fn is_seen(how: &Report) -> bool {
    matches!(how.format, Format::Table) && how.destination().is_terminal()
}

/// Prints lines of text, with everything escaped that could control a terminal.
pub fn print_text(text: &str) -> anyhow::Result<()> {
    print_bytes(format!("{}\n", visible_lines(text)).as_bytes())
}

/// Prints a result unchanged.
pub fn print_bytes(bytes: &[u8]) -> anyhow::Result<()> {
    let mut to = Opened::standard();
    unless_unread(to.write_all(bytes).and_then(|()| to.finish()))
}

/// Returns whether an error means that nobody reads the output any more.
pub fn is_unread(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        let is_gone = |error: &io::Error| error.kind() == ErrorKind::BrokenPipe;
        cause.downcast_ref::<io::Error>().is_some_and(is_gone)
            || cause.downcast_ref::<query::QueryError>().is_some_and(query::QueryError::is_unread)
    })
}

fn unless_unread(written: io::Result<()>) -> anyhow::Result<()> {
    match written {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}
