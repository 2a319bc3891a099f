//! Logs to stderr: one line for each epoch, structured, of our crates alone unless more is asked for; a panic is one
//! line, too.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::IsTerminal;
use std::panic;

use query::output::is_coloured;
use tracing::error;
use tracing_subscriber::EnvFilter;

use crate::arguments::{Command, Common, LogFormat};

/// Crates whose logs are ours.
const OURS: [&str; 9] =
    ["backfill", "clicklake", "compactor", "ingest", "lake_schemas", "lake_store", "localstack", "query", "serve"];

/// Starts logging to stderr.
pub fn start(common: &Common, command: &Command) {
    let (ours, others) = match common.verbose {
        0 => (unasked(command), "off"),
        1 => ("debug", "warn"),
        _ => ("trace", "debug"),
    };
    let directives = OURS.map(|name| format!("{name}={ours}")).join(",");
    let filter = EnvFilter::new(format!("{others},{directives}"));
    // A log line that cannot be written is dropped, because there is no other place to complain.
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

/// Returns what a command logs by default: little, if it draws a line of its own, or prints an answer.
fn unasked(command: &Command) -> &'static str {
    match command {
        Command::Ingest(_) | Command::Aggregate(_) | Command::Compact(_) | Command::Serve(_) => "info",
        Command::Backfill(_) if !std::io::stderr().is_terminal() => "info",
        _ => "warn",
    }
}
