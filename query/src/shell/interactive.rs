//! The interactive shell: reads a line at a time, with history, until the user leaves.

use std::io::Write;
use std::path::{Path, PathBuf};

use datafusion_cli::command::{Command, OutputFormat};
use futures::future::LocalBoxFuture;
use lake_schemas::Code;
use lake_store::LakeError;
use rustyline::Editor;
use rustyline::error::ReadlineError;
use rustyline::history::FileHistory;

use super::Shell;
use super::editor::{Helper, Words};
use crate::error::QueryError;
use crate::output::{say_error, write_rows};
use crate::sql::TableSummary;

/// Prompt before each line.
const PROMPT: &str = "> ";

type Lines = Editor<Helper, FileHistory>;

/// Decision after a line: go on, or quit.
enum Done {
    Next,
    Quit,
}

impl Shell {
    /// Answers what the user types, until they leave. Saves the lines in a file, if one is given.
    pub fn interact(mut self, history: Option<PathBuf>) -> LocalBoxFuture<'static, Result<(), QueryError>> {
        Box::pin(async move {
            let helper = Helper::new(self.options.color);
            let mut lines = Lines::new().map_err(unusable)?;
            lines.set_helper(Some(helper));
            if let Some(history) = &history {
                // There is no file before the first use.
                let _ = lines.load_history(history);
            }
            // If the lake does not answer, the first statement says why.
            let _ = self.session.look_around().await;
            loop {
                if let Some(helper) = lines.helper_mut() {
                    helper.words = self.words();
                }
                // Reading a line blocks, so it must not hold up the runtime's threads.
                let read = move || {
                    let line = lines.readline(PROMPT);
                    (lines, line)
                };
                let line;
                (lines, line) = tokio::task::spawn_blocking(read).await.map_err(unusable)?;
                let done = match line {
                    Ok(line) => {
                        let _ = lines.add_history_entry(line.trim_end());
                        self.answer(line.trim()).await
                    }
                    Err(ReadlineError::Interrupted) => Ok(Done::Next),
                    Err(ReadlineError::Eof) => Ok(Done::Quit),
                    Err(error) => return Err(unusable(error)),
                };
                match done {
                    Ok(Done::Next) => {}
                    Ok(Done::Quit) => break,
                    Err(error) => say(&error),
                }
            }
            if let Some(history) = &history {
                remember(&mut lines, history);
            }
            Ok(())
        })
    }

    /// Answers a line. Ctrl-C ends the answer, and not the shell.
    async fn answer(&mut self, line: &str) -> Result<Done, QueryError> {
        tokio::select! {
            done = self.statement_or_command(line) => done,
            _ = tokio::signal::ctrl_c() => Ok(Done::Next),
        }
    }

    async fn statement_or_command(&mut self, line: &str) -> Result<Done, QueryError> {
        let Some(command) = line.strip_prefix('\\') else {
            self.run(line).await?;
            return Ok(Done::Next);
        };
        let words = command.split_whitespace().collect::<Vec<_>>().join(" ");
        let unknown =
            || LakeError::Refused(Code::StatementUnclear.because(format!("\\{words} is no command; \\? shows all")));
        match words.trim_end_matches(';').parse::<Command>().map_err(|()| unknown())? {
            Command::Quit => return Ok(Done::Quit),
            Command::ListTables => self.list().await?,
            Command::DescribeTableStmt(name) => self.run(&format!("describe {name}")).await?,
            Command::Include(Some(file)) => self.run_file(Path::new(&file)).await?,
            Command::OutputFormat(Some(format)) => {
                let format = format.parse::<OutputFormat>().map_err(|()| unknown())?;
                format.execute(&mut self.options)?;
            }
            other => other.execute(self.session.context(), &mut self.options).await?,
        }
        Ok(Done::Next)
    }

    /// Lists the tables with what they hold.
    async fn list(&mut self) -> Result<(), QueryError> {
        let held = self.session.held().await?;
        write_rows(&[TableSummary::rows_of(&held)?], self.options.format, &mut self.output)?;
        Ok(self.output.flush()?)
    }

    /// Collects the words that Tab may complete to.
    fn words(&self) -> Words {
        let state = self.session.context().state();
        let functions = state.scalar_functions().keys().chain(state.aggregate_functions().keys());
        let functions = functions.chain(state.window_functions().keys()).chain(state.table_functions().keys());
        Words::new(self.session.names(), functions.cloned())
    }
}

/// Saves the lines for the next time, in a file that nobody else can read.
fn remember(lines: &mut Lines, history: &Path) {
    if let Some(folder) = history.parent() {
        // Without a folder there is no history; nothing else is lost.
        let _ = std::fs::create_dir_all(folder);
    }
    let _ = lines.save_history(history);
}

fn say(error: &QueryError) {
    let text = error.to_string();
    let lines: Vec<_> = text.lines().map(str::trim).collect();
    say_error(error.code(), &lines.join(" "));
}

fn unusable(error: impl std::error::Error + Send + Sync + 'static) -> QueryError {
    LakeError::store("reading what is typed", error).into()
}
