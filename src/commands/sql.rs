//! `clicklake sql`: DataFusion's shell over the lake; statements of the command line, of files, of a pipe, or typed.

use std::env;
use std::io::{IsTerminal, Read};
use std::path::PathBuf;

use anyhow::Context;
use lake_schemas::Lake;
use query::QueryError;
use query::shell::{MaxRows, PrintFormat, Shell};
use query::sql::Session;

use crate::arguments::{Format, Sql};
use crate::memory;

/// Rows of an answer that are printed to somebody who types, unless they say otherwise.
const ROWS_TYPED: usize = 40;

pub async fn run(lake: &str, command: Sql) -> anyhow::Result<()> {
    let session = Session::new(Lake::at(lake)?, Some(memory::three_quarters()))?;
    let is_typed = command.statement.is_none() && command.commands.is_empty() && command.files.is_empty();
    let is_interactive = is_typed && std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    let maxrows = match command.maxrows {
        Some(rows) => MaxRows::Limited(rows),
        None if is_interactive => MaxRows::Limited(ROWS_TYPED),
        None => MaxRows::Unlimited,
    };
    let shell = Shell::new(session, command.report.format.into(), maxrows);
    if is_interactive {
        return Ok(shell.interact(history()).await?);
    }
    match answer(&shell, &command, is_typed).await {
        // Who reads only the beginning has had enough.
        Err(error) if error.downcast_ref().is_some_and(QueryError::is_unread) => Ok(()),
        done => done,
    }
}

/// Runs the statements of the command line, or else those that are piped in.
async fn answer(shell: &Shell, command: &Sql, is_piped: bool) -> anyhow::Result<()> {
    if is_piped {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).context("reading standard input")?;
        return Ok(shell.run(&text).await?);
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

/// Where what was typed is remembered: among the state that programs keep for somebody.
fn history() -> Option<PathBuf> {
    let home = || Some(PathBuf::from(env::var_os("HOME")?).join(".local/state"));
    let state = env::var_os("XDG_STATE_HOME").map(PathBuf::from).filter(|path| path.is_absolute()).or_else(home)?;
    Some(state.join("clicklake/sql_history"))
}
