//! Figures, beside their floors, as JSON on stdout. A command, not a test; `--short` measures less.
//!
//! Machines are shared and noisy, so what is compared was measured in the same run, in CPU seconds.

#![expect(clippy::print_stdout, reason = "the figures")]

mod commits;
mod ingest;
mod process;

use serde_json::json;

/// How much is measured.
#[derive(Clone, Copy)]
pub struct Scale {
    /// Clicks brought into the lake.
    pub clicks: u64,
    /// The version whose commit is compared with an early one's.
    pub last_version: u64,
}

const SHORT: Scale = Scale { clicks: 100_000, last_version: 1_000 };
const LONG: Scale = Scale { clicks: 1_000_000, last_version: 10_000 };

// The same as the program's, so that the floor is no slower for it.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [role, clicks] = &arguments[..]
        && role == ingest::BROKER_ROLE
    {
        return ingest::broker(clicks.parse().expect("a number of clicks"));
    }
    let scale = if arguments.iter().any(|argument| argument == "--short") { SHORT } else { LONG };
    let figures = json!({
        "ingest": ingest::measure(scale),
        "commit": commits::measure(scale),
    });
    println!("{figures:#}");
}
