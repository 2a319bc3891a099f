//! Reads the bounded end of the log: stretches of the raw table, a few partitions at a time, for a consumer of them.

use std::sync::Arc;

use ingest::backoff::{Backoff, unless_stopped};
use ingest::drive::{DriveError, start};
use ingest::hybrid::HybridSource;
use ingest::replay::RawTable;
use ingest::source::{Demand, Signal, Source, Start};
use lake_schemas::TopicPartition;
use lake_schemas::job::LogBatch;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use crate::end::End;

/// Consumer of the partitions of a bounded part of the log, each from its beginning to its end.
pub(crate) trait Takes: Send {
    /// Begins a partition, and returns the offset from which to read it; `None`: from the first that is needed.
    fn begin(&mut self, partition: &TopicPartition) -> Option<i64>;

    /// Takes the next stretch of a partition.
    fn take(&mut self, batch: LogBatch) -> impl Future<Output = Result<(), DriveError>> + Send;

    /// Ends a partition: all of it has been taken.
    fn end(&mut self, partition: &TopicPartition) -> impl Future<Output = Result<(), DriveError>> + Send;
}

/// Reads partitions, at most `at_a_time` at once, as far as the table is bounded. Returns whether it came to the end;
/// `false` if it was stopped.
pub(crate) async fn read(
    raw: Arc<Mutex<RawTable>>,
    columns: Vec<String>,
    (partitions, at_a_time): (Vec<TopicPartition>, usize),
    stop: &CancellationToken,
    takes: &mut impl Takes,
) -> Result<bool, DriveError> {
    let mut source = HybridSource::new(raw, End::of(partitions, at_a_time), columns);
    loop {
        let Some(signal) = unless_stopped(source.next(Demand::ForAll), stop).await else { return Ok(false) };
        match signal? {
            Signal::Assigned(partitions) => {
                for partition in partitions {
                    let from = takes.begin(&partition);
                    let (starts, mut backoff) =
                        (vec![Start { partition, from, fingerprint: None }], Backoff::default());
                    let started = start(&mut source, starts, &mut backoff, stop);
                    let Some(started) = unless_stopped(started, stop).await else { return Ok(false) };
                    started?;
                }
            }
            Signal::Batch(batch) => {
                let Some(taken) = unless_stopped(takes.take(batch), stop).await else { return Ok(false) };
                taken?;
            }
            Signal::Ended(partition) => {
                let Some(ended) = unless_stopped(takes.end(&partition), stop).await else { return Ok(false) };
                ended?;
                source.release(&[partition]).await?;
            }
            Signal::Finished => return Ok(true),
            Signal::Revoked(_) | Signal::CaughtUp(_) | Signal::Ends(_) => {}
        }
    }
}
