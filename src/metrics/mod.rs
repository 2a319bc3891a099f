//! `--metrics ADDR`: serves the progress of a job for Prometheus to scrape.
//!
//! There are no separate counters: each scrape reads the job's progress.

mod compactor;
mod exporter;
mod job;

pub use self::compactor::{CompactorCollector, Rounds};
pub use self::exporter::{serve, serve_at};
pub use self::job::JobCollector;
