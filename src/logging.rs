//! Logs go to stderr: one line an epoch, structured, ours alone unless more is asked for; a panic is one, too.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::IsTerminal;
use std::panic;

use query::output::is_coloured;
use tracing::error;
use tracing_subscriber::EnvFilter;

use crate::arguments::{Command, Common, LogFormat};

/// The crates whose logs are ours.
const OURS: [&str; 6] = ["clicklake", "compactor", "ingest", "lake_schemas", "localstack", "query"];

/// Starts logging.
pub fn start(common: &Common, command: &Command) {
    let (ours, others) = match common.verbose {
        0 => (unasked(command), "off"),
        1 => ("debug", "warn"),
        _ => ("trace", "debug"),
    };
    let directives = OURS.map(|name| format!("{name}={ours}")).join(",");
    let filter = EnvFilter::new(format!("{others},{directives}"));
    // A log that cannot be written ends nothing, and is not complained of where it cannot be written.
    let logs =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).log_internal_errors(false);
    match common.log_format {
        LogFormat::Text => logs.with_ansi(std::io::stderr().is_terminal() && is_coloured()).init(),
        LogFormat::Json => logs.json().init(),
    }
    panic::set_hook(Box::new(|panic| {
        let said = panic.to_string().replace('\n', " ");
        let trace = Backtrace::capture();
        match trace.status() {
            BacktraceStatus::Captured => error!(%trace, "a bug: {said}"),
            _ => error!("a bug: {said}; RUST_BACKTRACE=1 tells more"),
        }
    }));
}

/// What a command logs if nothing is said of that: little, if it draws a line of its own, or has an answer to give.
fn unasked(command: &Command) -> &'static str {
    match command {
        Command::Ingest(_) | Command::Aggregate(_) | Command::Compact(_) | Command::Serve(_) => "info",
        Command::Backfill(_) if !std::io::stderr().is_terminal() => "info",
        _ => "warn",
    }
}
