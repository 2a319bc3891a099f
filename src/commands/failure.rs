//! How each kind of failure is reported, and ends the process.

use std::io;
use std::process::ExitCode;

use clap::error::ErrorKind;
use compactor::CompactError;
use ingest::drive::DriveError;
use ingest::source::SourceError;
use lake_store::LakeError;
use query::output::visible;

use crate::report::say;

/// Exit code: a broker, a store, data or SQL failed.
const EXIT_FAILED: u8 = 3;

/// Exit code: another process owns what this one writes, or the program refuses to start.
const EXIT_REFUSED: u8 = 4;

/// Exit code: the command line asks for something impossible.
const EXIT_USAGE: u8 = 2;

/// Error of a command line that asks for something impossible, though each word of it is valid.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Usage(pub String);

/// Reports in one line why a command failed. Returns the exit code.
pub fn fail(error: &anyhow::Error) -> ExitCode {
    say(&format!("error: {}", visible(&one_line(error))));
    let code = match error {
        _ if error.is::<Usage>() => EXIT_USAGE,
        _ if is_refusal(error) => EXIT_REFUSED,
        _ => EXIT_FAILED,
    };
    ExitCode::from(code)
}

/// Reports in one line what is wrong with a command line, or prints the help that it asks for.
pub fn fail_usage(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() || error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        return match error.print() {
            _ if error.use_stderr() => ExitCode::from(EXIT_USAGE),
            // If nobody reads the output, nobody misses it.
            Err(failed) if failed.kind() != io::ErrorKind::BrokenPipe => {
                fail(&anyhow::Error::new(failed).context("standard output"))
            }
            _ => ExitCode::SUCCESS,
        };
    }
    // What is wrong, and perhaps a tip. The usage is left out; `--help` shows it.
    let said = error.to_string();
    let said = ["\n\nUsage:", "\n\nFor more information"]
        .iter()
        .fold(said.as_str(), |said, end| said.split(end).next().unwrap_or_default());
    let words: Vec<_> = said.split_whitespace().collect();
    say(&format!("{} (see --help)", visible(&words.join(" "))));
    ExitCode::from(EXIT_USAGE)
}

/// Joins an error and its causes, without causes that an earlier one repeats already.
fn one_line(error: &anyhow::Error) -> String {
    let mut line = String::new();
    for cause in error.chain() {
        let cause = cause.to_string().lines().map(str::trim).collect::<Vec<_>>().join(" ");
        if !line.contains(&cause) {
            line.push_str(if line.is_empty() { "" } else { ": " });
            line.push_str(&cause);
        }
    }
    line
}

fn is_refusal(error: &anyhow::Error) -> bool {
    let lake = |error: &LakeError| matches!(error, LakeError::Refused(_) | LakeError::Altered(_));
    let source = |error: &SourceError| match error {
        SourceError::Refused(_) => true,
        SourceError::Lake(error) => lake(error),
        SourceError::Failed(_) => false,
    };
    error.chain().any(|cause| {
        cause.downcast_ref::<LakeError>().is_some_and(lake)
            || cause.downcast_ref::<CompactError>().is_some_and(|error| match error {
                CompactError::Fenced(_) => true,
                CompactError::Lake(error) => lake(error),
                CompactError::Sql(_) => false,
            })
            || cause.downcast_ref::<DriveError>().is_some_and(|error| match error {
                DriveError::Fenced { .. } => true,
                DriveError::Lake(error) => lake(error),
                DriveError::Source(error) => source(error),
                DriveError::Memory { .. } | DriveError::StoppedShort => false,
            })
    })
}
