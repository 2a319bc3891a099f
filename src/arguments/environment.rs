//! What the environment says in the place of flags: `CLICKLAKE_<FLAG>`. One that is empty says nothing, for that is how
//! a variable that is not set arrives from many programs that start others; and a switch takes the words that people
//! write for yes and no, of which no says as little.

use std::collections::BTreeSet;
use std::env;

use clap::builder::{BoolishValueParser, TypedValueParser, ValueParser};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, Command, CommandFactory, FromArgMatches};

use super::Arguments;

/// The variable that says which lake is meant.
const LAKE: &str = "CLICKLAKE_LAKE";

/// What a switch may be set to: yes, y, true, t, on, 1, or their opposites, in any case.
pub fn switch() -> ValueParser {
    BoolishValueParser::new().into()
}

/// The command line, as it may be written.
pub fn command() -> Command {
    Arguments::command()
}

/// Reads the command line, and what it does not say from the environment. A flag that stands there wins against the
/// variables that contradict it; variables that contradict each other are an error.
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
            // Not even without those variables can it be: then what was wrong at first is said.
            return Err(first.unwrap_or(error));
        }
        first.get_or_insert(error);
    }
}

/// The flags of a contradiction that come from variables, and contradict one that is written.
fn beaten_by(error: &clap::Error, is_written: impl Fn(&str) -> bool) -> Vec<String> {
    if error.kind() != ErrorKind::ArgumentConflict {
        return Vec::new();
    }
    // One flag, and those that it contradicts: these may be right beside each other.
    let (one, others) = (flags_of(error, ContextKind::InvalidArg), flags_of(error, ContextKind::PriorArg));
    let is_one_written = one.iter().any(|flag| is_written(flag));
    match (is_one_written, others.iter().any(|flag| is_written(flag))) {
        (true, _) => others.into_iter().filter(|flag| !is_written(flag)).collect(),
        (false, true) => one,
        (false, false) => Vec::new(),
    }
}

/// The flags that an error names in some part, without what stands behind them.
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

/// A command that heeds the variables that say something, but for those of some flags.
fn heeding(command: Command, beaten: &BTreeSet<String>) -> Command {
    let command = command.mut_args(|argument| {
        let is_beaten = argument.get_long().is_some_and(|long| beaten.contains(&format!("--{long}")));
        if is_beaten || says_nothing(&argument) { argument.env(None::<&'static str>) } else { argument }
    });
    command.mut_subcommands(|command| heeding(command, beaten))
}

/// Whether the variable of an argument is set to what is the same as not to set it.
fn says_nothing(argument: &Arg) -> bool {
    let Some(name) = argument.get_env() else { return false };
    let Some(value) = env::var_os(name) else { return false };
    let word = BoolishValueParser::new().parse_ref(&Command::new(""), None, &value);
    let is_no = word.is_ok_and(|is_yes| !is_yes);
    match argument.get_action() {
        ArgAction::SetTrue if is_no => true,
        // Which lake is meant is not guessed: an empty address is an error, and not `./lake`.
        _ => value.is_empty() && name != LAKE,
    }
}
