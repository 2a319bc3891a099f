//! The shell: DataFusion's own, over a lake. Statements come from a command line, a file, a pipe, or from somebody who
//! types them; what is printed, and the commands that begin with a backslash, are DataFusion's.

mod editor;
mod interactive;

use std::io::IsTerminal;
use std::path::Path;

pub use datafusion_cli::print_format::PrintFormat;
pub use datafusion_cli::print_options::MaxRows;
use datafusion_cli::print_options::PrintOptions;
use futures::future::LocalBoxFuture;
use lake_schemas::LakeError;

use crate::error::QueryError;
use crate::sql::{Session, statements};

/// A session, and how its answers are printed.
pub struct Shell {
    session: Session,
    options: PrintOptions,
}

impl Shell {
    /// A shell that prints so, and at most so many rows of an answer. Where nobody looks on, results only.
    pub fn new(session: Session, format: PrintFormat, maxrows: MaxRows) -> Self {
        let is_seen = std::io::stdout().is_terminal();
        let instrumented_registry = session.stores();
        let options = PrintOptions { format, quiet: !is_seen, maxrows, color: is_seen, instrumented_registry };
        Self { session, options }
    }

    /// Runs the statements of a text, up to the first that fails.
    pub fn run<'a>(&'a self, text: &'a str) -> LocalBoxFuture<'a, Result<(), QueryError>> {
        Box::pin(async move {
            // Who reads anything but a table is no person, and wants all.
            let is_table = self.options.format == PrintFormat::Table;
            let maxrows = if is_table { self.options.maxrows } else { MaxRows::Unlimited };
            let options = PrintOptions { maxrows, ..self.options.clone() };
            for statement in statements(text)? {
                self.session.print(&statement, &options).await?;
            }
            Ok(())
        })
    }

    /// Runs the statements of a file, up to the first that fails.
    pub fn run_file<'a>(&'a self, file: &'a Path) -> LocalBoxFuture<'a, Result<(), QueryError>> {
        Box::pin(async move {
            let text = std::fs::read_to_string(file);
            let text = text.map_err(|error| LakeError::Refused(format!("{}: {error}", file.display())))?;
            // A script may say what runs it.
            let text = if text.starts_with("#!") { text.split_once('\n').map_or("", |(_, rest)| rest) } else { &text };
            self.run(text).await
        })
    }
}
