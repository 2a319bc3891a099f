//! Benchmarks: figures beside their floors, as JSON on stdout, and as a page in a folder if one is named by `--page=`.
//! This is a command, not a test. `--short` measures less, and names of parts restrict it to those.
//!
//! Machines are shared and noisy, so figures that are compared were measured in the same run, in CPU seconds.

#![expect(clippy::print_stdout, reason = "the figures")]

mod aggregate;
mod asked;
mod commits;
mod compact;
mod embedded;
mod ingest;
mod live;
mod operators;
mod page;
mod process;
mod raw_lake;
mod real;
mod replay;
mod restart;
mod serve;
#[path = "../stack/mod.rs"]
#[allow(dead_code, reason = "the tests use more of it")]
mod stack;
mod totals;
mod upkeep;

use std::path::Path;

use serde_json::{Map, Value};

/// Amounts that are measured.
#[derive(Clone, Copy)]
pub struct Scale {
    /// Number of clicks brought into a lake.
    pub clicks: u64,
    /// Number of clicks of a backlog that is caught up with.
    pub backlog: u64,
    /// Seconds for which a log is followed.
    pub live_seconds: u64,
    /// Number of messages that the operators alone are given.
    pub ids: u64,
    /// Seconds of event time that a restart has to rebuild.
    pub history_seconds: u64,
    /// Seconds of event time that are replayed.
    pub replayed_seconds: u64,
    /// Version whose commit is compared with an early one's.
    pub last_version: u64,
    /// Number of commits beside a compactor.
    pub upkeep_commits: u64,
    /// Number of ads that have clicks every day.
    pub ads: i64,
    /// Number of days that totals are asked for.
    pub days: i64,
}

/// Function that measures a part.
type Measure = fn(Scale) -> Value;

/// Parts that can be measured, by name.
const PARTS: [(&str, Measure); 13] = [
    ("ingest", embedded::measure),
    ("aggregate", real::measure_aggregate),
    ("kafka_to_s3", real::measure_ingest),
    ("live", live::measure),
    ("operators", operators::measure),
    ("restart", restart::measure),
    ("replay", replay::measure),
    ("commit", commits::measure),
    ("compact", compact::measure),
    ("upkeep", upkeep::measure),
    ("totals", totals::measure),
    ("asked", asked::measure),
    ("serve", serve::measure),
];

const SHORT: Scale = Scale {
    clicks: 100_000,
    backlog: 200_000,
    live_seconds: 10,
    ids: 500_000,
    history_seconds: 60,
    replayed_seconds: 240,
    last_version: 1_000,
    upkeep_commits: 500,
    ads: 1_000,
    days: 90,
};
const LONG: Scale = Scale {
    clicks: 1_000_000,
    backlog: 5_000_000,
    live_seconds: 60,
    ids: 10_000_000,
    history_seconds: 76 * 60,
    replayed_seconds: 10_000,
    last_version: 10_000,
    upkeep_commits: 20_000,
    ads: 10_000,
    days: 730,
};

/// Time of generated clicks: 2026-03-07T12:00:00Z.
const NOON_MS: i64 = 1_772_884_800_000;

// The same as the program's, so that the floor is no slower for it.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [role, clicks] = &arguments[..]
        && role == embedded::BROKER_ROLE
    {
        return embedded::broker(clicks.parse().expect("a number of clicks"));
    }
    let scale = if arguments.iter().any(|argument| argument == "--short") { SHORT } else { LONG };
    let named: Vec<_> = arguments.iter().filter(|argument| !argument.starts_with("--")).collect();
    let folder = arguments.iter().find_map(|argument| argument.strip_prefix("--page="));
    // Before anything is written, perhaps where it is committed.
    let (machine, mut figures) = (page::machine(), Value::Object(Map::new()));
    for (name, measure) in PARTS.iter().filter(|(name, _)| named.is_empty() || named.iter().any(|part| part == name)) {
        figures[*name] = measure(scale);
        // Write the figures so far, because a later part may fail.
        if let Some(folder) = folder {
            page::write(Path::new(folder), &machine, &figures);
        }
    }
    println!("{figures:#}");
}
