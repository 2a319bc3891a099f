//! Metrics of a compactor: sums over everything that it reported.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use ::compactor::Done;
use lake_schemas::Table;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;
use tokio::sync::watch;

use super::counter;

/// Sums over the rounds of a compactor so far.
#[derive(Clone, Debug, Default)]
pub struct Rounds {
    /// Rounds that succeeded.
    pub done: u64,
    /// Rounds that failed.
    pub failed: u64,
    /// Duration of the last round.
    pub last_took: Duration,
    tables: BTreeMap<Table, Sums>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    windows: u64,
    files_in: u64,
    files_out: u64,
    bytes_out: u64,
    files_deleted: u64,
    retained_from: u64,
}

impl Rounds {
    /// Adds one thing that was done.
    pub fn add(&mut self, done: &Done) {
        match *done {
            Done::RolledUp { table, windows, bytes, .. } => {
                let sums = self.tables.entry(table).or_default();
                sums.windows += windows as u64;
                sums.bytes_out += bytes;
            }
            Done::Merged { table, files, bytes, .. } => {
                let sums = self.tables.entry(table).or_default();
                sums.files_in += files.0 as u64;
                sums.files_out += files.1 as u64;
                sums.bytes_out += bytes.1;
            }
            Done::SortedOut { table, files, .. } => {
                let sums = self.tables.entry(table).or_default();
                sums.files_in += files.0 as u64;
                sums.files_out += files.1 as u64;
            }
            Done::GaveUp { table, cleaned, .. } => {
                let sums = self.tables.entry(table).or_default();
                sums.files_deleted += cleaned.files as u64;
                sums.retained_from = cleaned.from;
            }
            Done::Swept { table, cleaned, .. } => {
                self.tables.entry(table).or_default().files_deleted += cleaned.files as u64;
            }
            Done::Checkpointed { .. } | Done::Foreign(_) | Done::Would { .. } => {}
        }
    }
}

/// A compactor's progress, as metrics.
#[derive(Debug)]
pub struct CompactorCollector(pub watch::Receiver<Rounds>);

impl Collector for CompactorCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let rounds = self.0.borrow().clone();
        counter(&mut encoder, "rounds", "Rounds that went through", None, rounds.done)?;
        counter(&mut encoder, "rounds_failed", "Rounds that failed, to be tried again", None, rounds.failed)?;
        let took = ConstGauge::new(rounds.last_took.as_secs_f64());
        let help = "How long the last round took";
        took.encode(encoder.encode_descriptor("last_round", help, Some(&Unit::Seconds), took.metric_type())?)?;
        let mut tables = |name: &str, help: &str, unit: Option<&Unit>, value: fn(&Sums) -> u64| {
            let mut family = encoder.encode_descriptor(name, help, unit, MetricType::Counter)?;
            rounds.tables.iter().try_for_each(|(table, sums)| {
                ConstCounter::new(value(sums)).encode(family.encode_family(&[("table", table.name())])?)
            })
        };
        tables("windows_summed", "Windows of a roll-up that were summed again", None, |sums| sums.windows)?;
        tables("files_merged", "Files that were put together", None, |sums| sums.files_in)?;
        tables("files_merged_into", "Files that they became", None, |sums| sums.files_out)?;
        tables("written", "Size of the data files written", Some(&Unit::Bytes), |sums| sums.bytes_out)?;
        tables("files_deleted", "Data files that were deleted", None, |sums| sums.files_deleted)?;
        let help = "The first version that can still be read";
        let mut family = encoder.encode_descriptor("kept_from_version", help, None, MetricType::Gauge)?;
        for (table, sums) in &rounds.tables {
            let version = ConstGauge::new(sums.retained_from.cast_signed());
            version.encode(family.encode_family(&[("table", table.name())])?)?;
        }
        Ok(())
    }
}
