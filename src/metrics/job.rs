//! Metrics of a job that reads the log.

use std::fmt;

use ::ingest::drive::{COMMIT_SECONDS_BOUNDS, Committed, Progress, Reach};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;
use tokio::sync::watch;

use super::counter;

/// A job's progress, as metrics.
#[derive(Debug)]
pub struct JobCollector {
    pub job: &'static str,
    pub progress: watch::Receiver<Progress>,
}

impl Collector for JobCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let progress = self.progress.borrow().clone();
        if self.job == "ingest" {
            let (help, read) = ("Messages whose rows and position are committed", progress.read.unsigned_abs());
            counter(&mut encoder, "messages_committed", help, None, read)?;
        }
        tables(&mut encoder, &progress, "rows", "Rows committed", None, |table| table.rows)?;
        tables(&mut encoder, &progress, "files", "Data files committed", None, |table| table.files)?;
        tables(&mut encoder, &progress, "written", "Size of the data files committed", Some(&Unit::Bytes), |table| {
            table.bytes
        })?;
        tables(&mut encoder, &progress, "commits", "Commits", None, |table| table.commits)?;
        rejected(&mut encoder, &progress)?;
        commit_time(&mut encoder, &progress)?;
        let of_partitions = [
            ("owned", "Partitions that the group has given to this process", (|_| Some(1)) as fn(Reach) -> Option<i64>),
            ("lag_offsets", "Offsets in the log that are not committed yet", Reach::lag),
            ("committed_offset", "The next offset to read, as committed", |reach| reach.cut),
            ("log_end_offset", "Where the log ends, as last heard", |reach| reach.end),
            ("complete_until_seconds", "The event time up to which minutes are written", |reach| {
                Some(reach.watermark_ms?.div_euclid(1_000))
            }),
        ];
        for (name, help, value) in of_partitions {
            partitions(&mut encoder, &progress, name, help, value)?;
        }
        let rebalances = "Times that the group brought or took partitions";
        counter(&mut encoder, "rebalances", rebalances, None, progress.rebalances)?;
        counter(&mut encoder, "fenced", "Epochs that another writer was faster with", None, progress.fenced)?;
        counter(&mut encoder, "abandoned", "Epochs given up, to be read again", None, progress.abandoned)
    }
}

/// Encodes a counter with a label for each table.
fn tables(
    encoder: &mut DescriptorEncoder<'_>,
    progress: &Progress,
    name: &str,
    help: &str,
    unit: Option<&Unit>,
    value: fn(&Committed) -> u64,
) -> Result<(), fmt::Error> {
    let mut family = encoder.encode_descriptor(name, help, unit, MetricType::Counter)?;
    for (table, committed) in &progress.tables {
        let labels = [("table", table.name())];
        ConstCounter::new(value(committed)).encode(family.encode_family(&labels)?)?;
    }
    Ok(())
}

fn rejected(encoder: &mut DescriptorEncoder<'_>, progress: &Progress) -> Result<(), fmt::Error> {
    let help = "Rows committed to clicks_rejected, by reason";
    let mut family = encoder.encode_descriptor("rejected", help, None, MetricType::Counter)?;
    for (reason, rows) in &progress.rejected {
        let labels = [("reason", reason.as_str())];
        ConstCounter::new(*rows).encode(family.encode_family(&labels)?)?;
    }
    Ok(())
}

fn commit_time(encoder: &mut DescriptorEncoder<'_>, progress: &Progress) -> Result<(), fmt::Error> {
    let help = "Time from the end of an epoch to its commit, files included";
    let mut histogram = encoder.encode_descriptor("commit", help, Some(&Unit::Seconds), MetricType::Histogram)?;
    let bounds = COMMIT_SECONDS_BOUNDS.into_iter().chain([f64::MAX]);
    let buckets: Vec<_> = bounds.zip(progress.commit_counts).collect();
    let count = progress.commit_counts.iter().sum();
    histogram.encode_histogram::<NoLabelSet>(progress.commit_time.as_secs_f64(), count, &buckets, None)
}

/// Encodes a gauge with labels for each partition that this process owns.
fn partitions(
    encoder: &mut DescriptorEncoder<'_>,
    progress: &Progress,
    name: &str,
    help: &str,
    value: fn(Reach) -> Option<i64>,
) -> Result<(), fmt::Error> {
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for (partition, reach) in &progress.partitions {
        if let Some(value) = value(*reach) {
            let labels = [("topic", partition.topic.clone()), ("partition", partition.partition.to_string())];
            ConstGauge::new(value).encode(family.encode_family(&labels)?)?;
        }
    }
    Ok(())
}
