//! Logs go to stderr: one line an epoch, structured, ours alone unless more is asked for.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::arguments::{Command, Common, LogFormat};

/// The crates whose logs are ours.
const OURS: [&str; 5] = ["clicklake", "ingest", "lake_schemas", "localstack", "query"];

/// Starts logging.
pub fn start(common: &Common, command: &Command) {
    let (ours, others) = match (common.verbose, command) {
        // Those draw a line of their own, or have an answer to give.
        (0, Command::Up(_) | Command::Generate(_) | Command::Sql(_) | Command::Verify(_) | Command::Lag(_)) => {
            ("warn", "off")
        }
        (0, Command::Ingest(_) | Command::Aggregate(_)) => ("info", "off"),
        (1, _) => ("debug", "warn"),
        (_, _) => ("trace", "debug"),
    };
    let directives = OURS.map(|name| format!("{name}={ours}")).join(",");
    let filter = EnvFilter::new(format!("{others},{directives}"));
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match common.log_format {
        LogFormat::Text => logs.with_ansi(std::io::stderr().is_terminal()).init(),
        LogFormat::Json => logs.json().init(),
    }
}
