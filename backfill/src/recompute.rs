//! Runs history through the operators, a few partitions at a time, and hands on their rows.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use deltalake::kernel::Add;
use ingest::backoff::{Backoff, unless_stopped};
use ingest::drive::DriveError;
use ingest::replay::{Meter, Needs, RawTable};
use lake_schemas::job::{Flush, Job, LogBatch, Operator};
use lake_schemas::rows::Positions;
use lake_schemas::{Cut, OffsetRange, Stand, Table, TopicPartition};
use lake_store::commit::TableLog;
use lake_store::{Result, files};
use object_store::ObjectStore;
use stream_agg::job::{Aggregate, AggregatePartition};
use tokio_util::sync::CancellationToken;

use crate::bounded::{self, Takes};
use crate::contents::Contents;

/// Number of messages after which complete windows are handed over, so that they leave memory.
const FLUSH_MESSAGES: i64 = 250_000;

/// Greatest size of the rows that wait to be written, in bytes of Arrow: enough for files of megabytes.
const HELD_BYTES_MAX: usize = 64 * 1024 * 1024;

/// A bounded part of history, and how to compute it.
pub(crate) struct Recompute<'a> {
    /// Job whose operators compute.
    pub job: &'a Aggregate,
    /// Part of history, with the parameters that decide what it needs.
    pub needs: Needs,
    /// Offset of each partition at which the table had written everything, even open windows.
    pub drained: Cut,
    /// Flush by which each partition hands over its rows at its end.
    pub end: Flush,
    /// Number of partitions that are computed at once.
    pub at_a_time: usize,
    /// Meter that counts what is read.
    pub meter: &'a Arc<Meter>,
    /// Token that tells it to stop.
    pub stop: &'a CancellationToken,
}

/// Consumer of computed rows.
pub(crate) trait Sink: Send {
    /// Takes rows of one partition.
    fn take(&mut self, rows: RecordBatch) -> impl Future<Output = Result<()>> + Send;
}

impl Recompute<'_> {
    /// Runs to the end; returns `false` if it was stopped.
    pub async fn run(&self, raw: TableLog, sink: &mut impl Sink) -> Result<bool, DriveError> {
        let listed = RawTable::needed(raw, self.needs.clone()).metered(self.meter);
        let Some(listed) = unless_stopped(listed, self.stop).await else { return Ok(false) };
        let raw = listed?.shared();
        let partitions = self.needs.history.until.keys().cloned().collect();
        let mut running = Running { of: self, under_way: BTreeMap::new(), sink };
        bounded::read(raw, self.job.reads(), partitions, self.at_a_time, self.stop, &mut running).await
    }
}

/// Consumer of the partitions that are being computed.
struct Running<'a, 'b, S> {
    of: &'a Recompute<'b>,
    /// Operators by partition, with the number of messages that each took in since it last handed over complete
    /// windows.
    under_way: BTreeMap<TopicPartition, (AggregatePartition, i64)>,
    sink: &'a mut S,
}

impl<S: Sink> Takes for Running<'_, '_, S> {
    fn begin(&mut self, partition: &TopicPartition) -> Option<i64> {
        let (operator, from) = self.of.job.begin(partition, &[Stand::default()]);
        self.under_way.insert(partition.clone(), (operator, 0));
        from
    }

    async fn take(&mut self, batch: LogBatch) -> Result<(), DriveError> {
        let Some((operator, messages)) = self.under_way.get_mut(&batch.partition) else {
            unreachable!("batches are of partitions that have begun");
        };
        *messages += batch.read;
        let drained = self.of.drained.get(&batch.partition).copied();
        // At this offset the table wrote even its open windows. Handing over at the same offset yields the same rows.
        match drained.filter(|at| (batch.offsets.first + 1..=batch.offsets.next).contains(at)) {
            Some(at) => {
                let (below, above) = split(batch, at);
                operator.push(below)?;
                hand_over(operator, Flush::Everything, self.sink).await?;
                if above.offsets.first < above.offsets.next {
                    operator.push(above)?;
                }
            }
            None => operator.push(batch)?,
        }
        if *messages >= FLUSH_MESSAGES {
            *messages = 0;
            hand_over(operator, Flush::Closed, self.sink).await?;
        }
        Ok(())
    }

    async fn end(&mut self, partition: &TopicPartition) -> Result<(), DriveError> {
        let Some((mut operator, _)) = self.under_way.remove(partition) else { return Ok(()) };
        hand_over(&mut operator, self.of.end, self.sink).await
    }
}

async fn hand_over(operator: &mut AggregatePartition, which: Flush, sink: &mut impl Sink) -> Result<(), DriveError> {
    for rows in operator.flush(which).into_iter().flat_map(|step| step.rows) {
        sink.take(rows).await?;
    }
    Ok(())
}

/// Splits a batch into what lies below an offset, and the rest.
fn split(batch: LogBatch, at: i64) -> (LogBatch, LogBatch) {
    let rows = batch.events.num_rows();
    let positions = Positions::of(&batch.events).expect("the position is among the columns read");
    let below = positions.offsets().partition_point(|&offset| offset < at);
    let part = |offsets: OffsetRange, first: usize, next: usize| LogBatch {
        offsets,
        events: batch.events.slice(first, next - first),
        read: i64::try_from(next - first).expect("a batch is small"),
        ..batch.clone()
    };
    let OffsetRange { first, next } = batch.offsets;
    (part(OffsetRange { first, next: at }, 0, below), part(OffsetRange { first: at, next }, below, rows))
}

/// Sums up rows, and writes them into files if there is a store.
pub(crate) struct Output {
    table: Table,
    /// Dimensions by which [`Contents`] tells rows apart.
    dimensions: Vec<&'static str>,
    store: Option<Arc<dyn ObjectStore>>,
    /// Ends the attempts at writing a file. The caller that waits for this should watch it too.
    stop: CancellationToken,
    held: Vec<RecordBatch>,
    /// Contents of the rows.
    pub contents: Contents,
    /// Files that were written; the last of them perhaps not, if its put failed or was not waited for.
    pub adds: Vec<Add>,
}

impl Output {
    pub fn new(
        table: Table,
        dimensions: Vec<&'static str>,
        store: Option<Arc<dyn ObjectStore>>,
        stop: &CancellationToken,
    ) -> Self {
        let (stop, held, contents, adds) = (stop.clone(), Vec::new(), Contents::default(), Vec::new());
        Self { table, dimensions, store, stop, held, contents, adds }
    }

    /// Returns whether the files written here are among these live ones.
    pub fn is_among(&self, live: &[Add]) -> bool {
        self.adds.first().is_some_and(|ours| live.iter().any(|file| file.path == ours.path))
    }

    /// Writes the rows that wait.
    pub async fn flush(&mut self) -> Result<()> {
        let Some(store) = &self.store else { return Ok(()) };
        for file in files::encode(self.table, &std::mem::take(&mut self.held)).await? {
            // Recorded before the put: a put without an answer may have succeeded, and must be cleaned up.
            self.adds.push(file.add.clone());
            let mut backoff = Backoff::default();
            while let Err(error) = file.put(store.as_ref()).await {
                backoff.again(error, &self.stop).await?;
            }
        }
        Ok(())
    }
}

impl Sink for Output {
    async fn take(&mut self, rows: RecordBatch) -> Result<()> {
        self.contents.add(&rows, &self.dimensions);
        if self.store.is_some() {
            self.held.push(rows);
            if self.held.iter().map(RecordBatch::get_array_memory_size).sum::<usize>() >= HELD_BYTES_MAX {
                self.flush().await?;
            }
        }
        Ok(())
    }
}
