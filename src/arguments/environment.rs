//! Reads flags from the environment, as `CLICKLAKE_<FLAG>`.
//!
//! An empty variable counts as not set, because that is how many programs pass an unset variable to those that they
//! start. A switch accepts the words that people write for yes and no; "no" counts as not set, too.

use std::collections::BTreeSet;
use std::env;

use clap::builder::{BoolishValueParser, TypedValueParser};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, Command, CommandFactory, FromArgMatches};

use super::Arguments;

/// Variable that says which lake is meant.
const LAKE: &str = "CLICKLAKE_LAKE";

/// Returns the definition of the command line.
pub fn command() -> Command {
    Arguments::command()
}

/// Reads the command line, and the rest from the environment. A flag on the command line wins against variables that
/// contradict it; variables that contradict each other are an error.
pub fn parse() -> Result<Arguments, clap::Error> {
    let words: Vec<_> = env::args_os().map(|word| word.to_string_lossy().into_owned()).collect();
    let is_written = |flag: &str| {
        words.iter().any(|word| word.strip_prefix(flag).is_some_and(|rest| rest.is_empty() || rest.starts_with('=')))
    };
    let by = |beaten: &BTreeSet<String>| {
        let matches = heeding(command(), beaten).try_get_matches();
        matches.and_then(|matches| Arguments::from_arg_matches(&matches))
    };
    let (mut beaten, mut first) = (BTreeSet::new(), None);
    loop {
        let error = match by(&beaten) {
            Ok(arguments) => return Ok(arguments),
            Err(error) => error,
        };
        let known = beaten.len();
        beaten.extend(beaten_by(&error, is_written));
        if beaten.len() == known {
            // Dropping those variables does not help: report the first error.
            return Err(first.unwrap_or(error));
        }
        first.get_or_insert(error);
    }
}

/// Returns the flags in a contradiction that come from variables and contradict a flag on the command line.
fn beaten_by(error: &clap::Error, is_written: impl Fn(&str) -> bool) -> Vec<String> {
    if error.kind() != ErrorKind::ArgumentConflict {
        return Vec::new();
    }
    // An error names one flag and those that it contradicts; these need not contradict each other.
    let (one, others) = (flags_of(error, ContextKind::InvalidArg), flags_of(error, ContextKind::PriorArg));
    let is_one_written = one.iter().any(|flag| is_written(flag));
    match (is_one_written, others.iter().any(|flag| is_written(flag))) {
        (true, _) => others.into_iter().filter(|flag| !is_written(flag)).collect(),
        (false, true) => one,
        (false, false) => Vec::new(),
    }
}

/// Returns the flags that a part of an error names, without their values.
fn flags_of(error: &clap::Error, part: ContextKind) -> Vec<String> {
    let named = match error.get(part) {
        Some(ContextValue::String(one)) => std::slice::from_ref(one),
        Some(ContextValue::Strings(all)) => all.as_slice(),
        _ => &[],
    };
    let flag = |shown: &String| {
        let ends = shown.find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '-');
        shown[..ends.unwrap_or(shown.len())].to_owned()
    };
    named.iter().map(flag).filter(|flag| flag.starts_with("--")).collect()
}

/// Returns a command that ignores variables that count as not set, and those of some flags.
fn heeding(command: Command, beaten: &BTreeSet<String>) -> Command {
    let command = command.mut_args(|argument| {
        let is_beaten = argument.get_long().is_some_and(|long| beaten.contains(&format!("--{long}")));
        if is_beaten || says_nothing(&argument) { argument.env(None::<&'static str>) } else { argument }
    });
    command.mut_subcommands(|command| heeding(command, beaten))
}

/// Returns whether the variable of an argument counts as not set.
fn says_nothing(argument: &Arg) -> bool {
    let Some(name) = argument.get_env() else { return false };
    let Some(value) = env::var_os(name) else { return false };
    let word = BoolishValueParser::new().parse_ref(&Command::new(""), None, &value);
    let is_no = word.is_ok_and(|is_yes| !is_yes);
    match argument.get_action() {
        ArgAction::SetTrue if is_no => true,
        // The lake is never guessed: an empty address is an error, and does not mean `./lake`.
        _ => value.is_empty() && name != LAKE,
    }
}
