//! History through the operators, a few partitions at a time, and what becomes of their rows.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use deltalake::kernel::Add;
use ingest::backoff::{Backoff, unless_stopped};
use ingest::drive::DriveError;
use ingest::replay::{Meter, Needs, RawTable};
use lake_schemas::job::{Freeze, Job, LogBatch, Operator};
use lake_schemas::rows::Positions;
use lake_schemas::{Cut, OffsetRange, Stand, Table, TopicPartition};
use lake_store::commit::TableLog;
use lake_store::{Result, files};
use object_store::ObjectStore;
use stream_agg::job::{Aggregate, AggregatePartition};
use tokio_util::sync::CancellationToken;

use crate::bounded::{self, Takes};
use crate::contents::Contents;

/// Messages between two looks at what is complete: what is complete leaves memory.
const FREEZE_MESSAGES: i64 = 250_000;

/// Rows that are held until they are written, in bytes of Arrow: enough for files of megabytes.
const HELD_BYTES_MAX: usize = 64 * 1024 * 1024;

/// A bounded part of history, and how it is run.
pub(crate) struct Recompute<'a> {
    /// What is computed.
    pub job: &'a Aggregate,
    /// What of history.
    pub needs: Needs,
    /// By partition, the offset at which all was written, whatever was open.
    pub drained: Cut,
    /// What is handed over at the end of each partition.
    pub end: Freeze,
    /// How many partitions are under way at once.
    pub at_a_time: usize,
    /// Counts what is read.
    pub meter: &'a Arc<Meter>,
    /// Tells it to stop.
    pub stop: &'a CancellationToken,
}

/// Takes rows, and may write them.
pub(crate) trait Sink: Send {
    /// Takes rows of one partition.
    fn take(&mut self, rows: RecordBatch) -> impl Future<Output = Result<()>> + Send;
}

impl Recompute<'_> {
    /// Runs it; whether it came to its end, or was stopped.
    pub async fn run(&self, raw: TableLog, sink: &mut impl Sink) -> Result<bool, DriveError> {
        let listed = RawTable::needed(raw, self.needs.clone()).metered(self.meter);
        let Some(listed) = unless_stopped(listed, self.stop).await else { return Ok(false) };
        let raw = listed?.shared();
        let partitions = self.needs.history.until.keys().cloned().collect();
        let mut running = Running { of: self, under_way: BTreeMap::new(), sink };
        bounded::read(raw, self.job.reads(), (partitions, self.at_a_time), self.stop, &mut running).await
    }
}

/// The partitions that are under way.
struct Running<'a, 'b, S> {
    of: &'a Recompute<'b>,
    /// Their operators, and how many messages each took in since what was complete left it.
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
            unreachable!("stretches are of partitions that have begun");
        };
        *messages += batch.read;
        let drained = self.of.drained.get(&batch.partition).copied();
        match drained.filter(|at| (batch.offsets.first + 1..=batch.offsets.next).contains(at)) {
            Some(at) => {
                let (below, above) = split(batch, at);
                operator.push(below);
                hand_over(operator, Freeze::Everything, self.sink).await?;
                if above.offsets.first < above.offsets.next {
                    operator.push(above);
                }
            }
            None => operator.push(batch),
        }
        if *messages >= FREEZE_MESSAGES {
            *messages = 0;
            hand_over(operator, Freeze::Closed, self.sink).await?;
        }
        Ok(())
    }

    async fn end(&mut self, partition: &TopicPartition) -> Result<(), DriveError> {
        let Some((mut operator, _)) = self.under_way.remove(partition) else { return Ok(()) };
        hand_over(&mut operator, self.of.end, self.sink).await
    }
}

async fn hand_over(operator: &mut AggregatePartition, which: Freeze, sink: &mut impl Sink) -> Result<(), DriveError> {
    for rows in operator.freeze(which).into_iter().flat_map(|step| step.rows) {
        sink.take(rows).await?;
    }
    Ok(())
}

/// What of a stretch lies below an offset, and what from it on.
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

/// Adds rows up, and writes them into files if there is a store for that.
pub(crate) struct Output {
    table: Table,
    /// The dimensions by which contents are told apart.
    dimensions: Vec<&'static str>,
    store: Option<Arc<dyn ObjectStore>>,
    /// Ends the attempts at writing a file. Who waits for it should see it too.
    stop: CancellationToken,
    held: Vec<RecordBatch>,
    /// What the rows hold.
    pub contents: Contents,
    /// The files that were written; the last of them perhaps not, if that failed, or was not waited for.
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

    /// Whether what was written is among these files.
    pub fn is_among(&self, live: &[Add]) -> bool {
        self.adds.first().is_some_and(|ours| live.iter().any(|file| file.path == ours.path))
    }

    /// Writes what is held.
    pub async fn flush(&mut self) -> Result<()> {
        let Some(store) = &self.store else { return Ok(()) };
        for file in files::encode(self.table, &std::mem::take(&mut self.held)).await? {
            // A put of which nothing is heard may have happened all the same.
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
