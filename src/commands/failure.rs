//! Failures: how each kind is reported, and with which code the process exits.

use std::io;
use std::process::ExitCode;

use clap::error::ErrorKind;
use compactor::CompactError;
use ingest::drive::DriveError;
use ingest::source::SourceError;
use lake_schemas::{Code, Invalid, Refusal};
use lake_store::LakeError;
use query::QueryError;
use query::output::{say_error, visible};

use crate::report::say;

/// Exit code: a broker, a store, data or SQL failed.
const EXIT_FAILED: u8 = 3;

/// Exit code: another process owns what this one writes, or the lake, the topic or a setting is refused.
const EXIT_REFUSED: u8 = 4;

/// Exit code: the command line asks for something impossible.
const EXIT_USAGE: u8 = 2;

/// Error of a command line that asks for something impossible, though each word of it is valid.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Usage(pub Refusal);

/// Reports in one line why a command failed. Returns the exit code.
pub fn fail(error: &anyhow::Error) -> ExitCode {
    let code = code_of(error);
    say_error(code, &one_line(error));
    ExitCode::from(code.map_or(EXIT_FAILED, exit_of))
}

/// Returns how the process ends that refuses something of this kind. Like refusals end alike, whatever the command.
fn exit_of(code: Code) -> u8 {
    match code {
        // The command line asks for what cannot be.
        Code::RangeImpossible
        | Code::SettingsImpossible
        | Code::DimensionNotCounted
        | Code::QuestionImpossible
        | Code::KeysNeeded => EXIT_USAGE,
        // A statement fails, as one that is wrong does, or what it asks for does not fit.
        Code::SumOverflow
        | Code::MemoryLimit
        | Code::ReadOnly
        | Code::StatementUnsupported
        | Code::StatementUnclear
        | Code::StatementTooComplex
        | Code::StatementBug
        | Code::ArgumentImpossible
        | Code::NameReserved
        | Code::Hidden => EXIT_FAILED,
        // Others were first, or faster: it may pass without any change.
        Code::Contended => EXIT_FAILED,
        _ => EXIT_REFUSED,
    }
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

/// Returns the code of the first refusal among an error and its causes. An error that shows another one as its own
/// hides it from the causes, so each kind of error is asked for the code itself.
fn code_of(error: &anyhow::Error) -> Option<Code> {
    error.chain().find_map(|cause| {
        let usage = cause.downcast_ref::<Usage>().map(|Usage(refusal)| refusal.code);
        usage
            .or_else(|| cause.downcast_ref::<Invalid>().map(|Invalid(refusal)| refusal.code))
            .or_else(|| cause.downcast_ref::<LakeError>().and_then(LakeError::code))
            .or_else(|| cause.downcast_ref::<SourceError>().and_then(SourceError::code))
            .or_else(|| cause.downcast_ref::<DriveError>().and_then(DriveError::code))
            .or_else(|| cause.downcast_ref::<CompactError>().and_then(CompactError::code))
            .or_else(|| cause.downcast_ref::<QueryError>().and_then(QueryError::code))
    })
}
