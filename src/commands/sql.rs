//! `clicklake sql`: DataFusion's shell over the lake; runs statements of the command line, of files, of a pipe, or
//! typed.

use std::env;
use std::io::IsTerminal;
use std::path::PathBuf;

use lake_store::Lake;
use query::shell::{MaxRows, PrintFormat, Shell};
use query::sql::Session;

use crate::arguments::{Format, Sql};
use crate::memory;
use crate::report::is_unread;

/// Rows of an answer that are printed in the shell, by default.
const ROWS_TYPED: usize = 40;

pub async fn run(lake: &str, command: Sql) -> anyhow::Result<()> {
    let session = Session::new(Lake::at(lake)?, Some(command.memory_limit.unwrap_or_else(memory::three_quarters)))?;
    let is_typed = command.statement.is_none() && command.commands.is_empty() && command.files.is_empty();
    let to = command.report.destination();
    let is_interactive = is_typed && std::io::stdin().is_terminal() && to.is_terminal();
    let maxrows = match command.maxrows {
        Some(rows) => MaxRows::Limited(rows),
        None if is_interactive => MaxRows::Limited(ROWS_TYPED),
        None => MaxRows::Unlimited,
    };
    let mut shell = Shell::new(session, command.report.format.into(), maxrows, &to)?;
    if is_interactive {
        return Ok(shell.interact(history()).await?);
    }
    let answered = answer(&mut shell, &command, is_typed).await;
    match answered.and_then(|()| Ok(shell.finish()?)) {
        // A reader that takes only the beginning has all it wants.
        Err(error) if is_unread(&error) => Ok(()),
        done => done,
    }
}

/// Runs the statements of the command line, or else those that are piped in.
async fn answer(shell: &mut Shell, command: &Sql, is_piped: bool) -> anyhow::Result<()> {
    if is_piped {
        return Ok(shell.run_script(std::io::stdin(), "standard input").await?);
    }
    for text in command.statement.iter().chain(&command.commands) {
        shell.run(text).await?;
    }
    for file in &command.files {
        shell.run_file(file).await?;
    }
    Ok(())
}

impl From<Format> for PrintFormat {
    fn from(format: Format) -> Self {
        match format {
            Format::Table => Self::Table,
            Format::Csv => Self::Csv,
            Format::Tsv => Self::Tsv,
            Format::Json => Self::Json,
            Format::NdJson => Self::NdJson,
        }
    }
}

/// Returns the file for the history of the shell: in the folder for the state of the user's programs.
fn history() -> Option<PathBuf> {
    let home = || Some(PathBuf::from(env::var_os("HOME")?).join(".local/state"));
    let state = env::var_os("XDG_STATE_HOME").map(PathBuf::from).filter(|path| path.is_absolute()).or_else(home)?;
    Some(state.join("clicklake/sql_history"))
}
