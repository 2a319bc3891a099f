//! What the environment says in the place of flags: `CLICKLAKE_<FLAG>`. One that is empty says nothing, for that is how
//! a variable that is not set arrives from many programs that start others; and a switch takes the words that people
//! write for yes and no.

use std::env;

use clap::builder::{BoolishValueParser, ValueParser};
use clap::error::ErrorKind;
use clap::{Command, CommandFactory, FromArgMatches};

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

/// Reads the command line, and what it does not say from the environment. A flag that stands there wins against a
/// variable that contradicts it.
pub fn parse() -> Result<Arguments, clap::Error> {
    let by = |heeds: &dyn Fn(&str) -> bool| {
        let command = heeding(command(), heeds);
        command.try_get_matches().and_then(|matches| Arguments::from_arg_matches(&matches))
    };
    // Which lake is meant is not guessed: an empty address is an error, and not `./lake`.
    let is_set = |name: &str| name == LAKE || env::var_os(name).is_some_and(|value| !value.is_empty());
    match by(&is_set) {
        // Not even with flags alone can it be: then that is what is said.
        Err(error) if error.kind() == ErrorKind::ArgumentConflict && has_flags() => {
            let without = by(&|name| is_set(name) && !contradicts(name, &said_of(&error)));
            without.map_err(|_| error)
        }
        done => done,
    }
}

/// Whether a variable stands for one of the flags of a contradiction, which is not written on the command line.
fn contradicts(variable: &str, said: &str) -> bool {
    let flag = flag_of(variable);
    let is_written = env::args().any(|word| word == flag || word.starts_with(&format!("{flag}=")));
    !is_written && said.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '-').any(|word| word == flag)
}

/// The flag that a variable stands for.
fn flag_of(variable: &str) -> String {
    format!("--{}", variable.trim_start_matches("CLICKLAKE_").to_ascii_lowercase().replace('_', "-"))
}

/// What is said of a contradiction: its first lines, which name the flags, and not how the command is used.
fn said_of(error: &clap::Error) -> String {
    let said = error.to_string();
    said.split("\n\nUsage:").next().unwrap_or_default().to_owned()
}

fn has_flags() -> bool {
    env::args().skip(2).any(|word| word.starts_with("--"))
}

/// A command that heeds some variables, and no others.
fn heeding(command: Command, heeds: &dyn Fn(&str) -> bool) -> Command {
    let command = command.mut_args(|argument| {
        let is_heeded = argument.get_env().and_then(|name| name.to_str()).is_none_or(heeds);
        if is_heeded { argument } else { argument.env(None::<&'static str>) }
    });
    command.mut_subcommands(|command| heeding(command, heeds))
}
