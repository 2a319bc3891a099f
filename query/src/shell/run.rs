//! Runs the statements of a text, a file or a pipe, and prints their answers.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use datafusion_cli::print_format::PrintFormat;
use datafusion_cli::print_options::{MaxRows, PrintOptions};
use futures::future::LocalBoxFuture;
use lake_schemas::Code;
use lake_store::LakeError;

use crate::error::QueryError;
use crate::output::{Destination, Opened, is_coloured};
use crate::sql::{Session, statements};

/// Largest script, in bytes: a statement takes kilobytes, and a far longer file is no script.
const SCRIPT_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// A session, with the way its answers are printed.
pub struct Shell {
    pub(super) session: Session,
    pub(super) options: PrintOptions,
    pub(super) output: Opened,
}

impl Shell {
    /// Makes a shell that prints in a format, and at most `maxrows` rows of an answer. Where the output is no terminal,
    /// only results are printed.
    pub fn new(session: Session, format: PrintFormat, maxrows: MaxRows, to: &Destination) -> Result<Self, QueryError> {
        let is_seen = to.is_terminal();
        let (instrumented_registry, output) = (session.stores(), to.open(session.snapshot().lake())?);
        let color = is_seen && is_coloured();
        let options = PrintOptions { format, quiet: !is_seen, maxrows, color, instrumented_registry };
        Ok(Self { session, options, output })
    }

    /// Runs the statements of a text, up to the first that fails.
    pub fn run<'a>(&'a mut self, text: &'a str) -> LocalBoxFuture<'a, Result<(), QueryError>> {
        Box::pin(async move {
            // A program reads any format but a table, and needs all rows.
            let is_table = self.options.format == PrintFormat::Table;
            let maxrows = if is_table { self.options.maxrows } else { MaxRows::Unlimited };
            let options = PrintOptions { maxrows, ..self.options.clone() };
            for statement in statements(plain(text))? {
                self.session.print(&statement, &options, &mut self.output).await?;
            }
            Ok(())
        })
    }

    /// Runs the statements of a file, up to the first that fails.
    pub fn run_file<'a>(&'a mut self, file: &'a Path) -> LocalBoxFuture<'a, Result<(), QueryError>> {
        Box::pin(async move {
            let name = file.display().to_string();
            let opened = File::open(file)
                .map_err(|error| LakeError::Refused(Code::StatementUnclear.because(format!("{name}: {error}"))))?;
            self.run_script(opened, &name).await
        })
    }

    /// Runs the statements of a script from any reader, up to the first that fails.
    pub fn run_script<'a>(
        &'a mut self,
        script: impl Read + 'a,
        name: &'a str,
    ) -> LocalBoxFuture<'a, Result<(), QueryError>> {
        Box::pin(async move {
            let mut bytes = Vec::new();
            let read = script.take(SCRIPT_BYTES_MAX + 1).read_to_end(&mut bytes);
            read.map_err(|error| LakeError::Refused(Code::StatementUnclear.because(format!("{name}: {error}"))))?;
            let text = script_of(bytes, name)?;
            self.run(&text).await
        })
    }

    /// Finishes the output, so that everything printed is written.
    pub fn finish(self) -> Result<(), QueryError> {
        Ok(self.output.finish()?)
    }
}

/// Decodes the bytes of a script.
fn script_of(bytes: Vec<u8>, name: &str) -> Result<String, LakeError> {
    if bytes.len() as u64 > SCRIPT_BYTES_MAX {
        return Err(LakeError::Refused(
            Code::StatementUnclear.because(format!("{name} is longer than {SCRIPT_BYTES_MAX} bytes; cut it up")),
        ));
    }
    let no_text =
        |_| LakeError::Refused(Code::StatementUnclear.because(format!("{name} is not UTF-8; save it as UTF-8")));
    String::from_utf8(bytes).map_err(no_text)
}

/// Strips from a text the byte order mark that editors put before it, and a first line that names its interpreter.
fn plain(text: &str) -> &str {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if text.starts_with("#!") { text.split_once('\n').map_or("", |(_, rest)| rest) } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_is_what_stands_behind_its_mark_and_its_first_line() {
        for text in
            ["select 1", "\u{feff}select 1", "#!/usr/bin/clicklake sql -f\nselect 1", "\u{feff}#! x\r\nselect 1"]
        {
            assert_eq!(plain(text), "select 1", "{text:?}");
        }
        assert_eq!(plain("#! nothing"), "");
    }

    #[test]
    fn lines_may_end_as_on_windows() {
        let text = "-- a comment\r\nselect 1,\r\n 2 from clicks VERSION AS OF 3;\r\nselect 'a\r\nb'\r\n";
        let found = statements(text).expect("statements").into_iter().map(|one| one.text).collect::<Vec<_>>();
        assert_eq!(found, ["select 1,\r\n 2 from \"clicks VERSION AS OF 3\"", "select 'a\r\nb'"]);
    }

    #[test]
    fn a_script_that_is_not_utf_8_is_refused_by_its_name() {
        let error = script_of(vec![0xff, 0xfe, b's', 0], "a.sql").expect_err("UTF-16").to_string();
        assert_eq!(error, "a.sql is not UTF-8; save it as UTF-8");
    }
}
