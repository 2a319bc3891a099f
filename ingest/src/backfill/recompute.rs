//! History through a job's operators, a few partitions at a time, and what becomes of their rows.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use deltalake::kernel::Add;
use lake_schemas::commit::TableLog;
use lake_schemas::job::{Freeze, Job, LogBatch, Operator, Room, Signal, Source};
use lake_schemas::minute::Parameters;
use lake_schemas::{Cut, OffsetRange, Result, Stand, Table, files};
use object_store::ObjectStore;
use tokio_util::sync::CancellationToken;

use super::contents::Contents;
use super::end::End;
use crate::backoff::Backoff;
use crate::drive::DriveError;
use crate::hybrid::HybridSource;
use crate::replay::{Meter, Needs, RawTable};

/// Messages between two looks at what is complete: what is complete leaves memory.
const FREEZE_MESSAGES: i64 = 250_000;

/// Rows that are held until they are written, in bytes of Arrow: enough for files of megabytes.
const HELD_BYTES_MAX: usize = 64 * 1024 * 1024;

/// A bounded part of history, and how it is run.
pub(super) struct Recompute<'a, J> {
    /// What is computed.
    pub job: &'a J,
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
pub(super) trait Sink: Send {
    /// Takes rows of one partition.
    fn take(&mut self, rows: RecordBatch) -> impl Future<Output = Result<()>> + Send;
}

/// One partition under way.
struct UnderWay<O> {
    operator: O,
    messages: i64,
}

impl<J: Job + Sync> Recompute<'_, J> {
    /// Runs it; whether it came to its end, or was stopped.
    pub async fn run(&self, raw: TableLog, sink: &mut impl Sink) -> Result<bool, DriveError> {
        let raw = RawTable::needed(raw, self.needs.clone()).metered(self.meter).await?;
        let end = End::of(self.needs.history.until.keys().cloned(), self.at_a_time);
        let mut source = HybridSource::new(raw, end, self.job.reads());
        let mut under_way = BTreeMap::new();
        loop {
            let signal = tokio::select! {
                biased;
                () = self.stop.cancelled() => return Ok(false),
                signal = source.next(Room::ForAll) => signal?,
            };
            match signal {
                Signal::Assigned(partitions) => {
                    for partition in partitions {
                        let (operator, from) = self.job.begin(&partition, &[Stand::default()]);
                        under_way.insert(partition.clone(), UnderWay { operator, messages: 0 });
                        super::start(&mut source, partition, from, self.stop).await?;
                    }
                }
                Signal::Batch(batch) => {
                    let Some(one) = under_way.get_mut(&batch.partition) else {
                        unreachable!("the source yields batches of partitions that were started");
                    };
                    self.push(one, batch, sink).await?;
                }
                Signal::Ended(partition) => {
                    if let Some(mut one) = under_way.remove(&partition) {
                        take(&mut one.operator, self.end, sink).await?;
                    }
                    source.release(&[partition]).await?;
                }
                Signal::Finished => return Ok(true),
                Signal::Revoked(_) | Signal::CaughtUp(_) | Signal::Ends(_) => {}
            }
        }
    }

    async fn push<O: Operator>(
        &self,
        one: &mut UnderWay<O>,
        batch: LogBatch,
        sink: &mut impl Sink,
    ) -> Result<(), DriveError> {
        one.messages += batch.read;
        let drained = self.drained.get(&batch.partition).copied();
        match drained.filter(|at| (batch.offsets.first + 1..=batch.offsets.next).contains(at)) {
            Some(at) => {
                let (below, above) = split(batch, at);
                one.operator.push(below);
                take(&mut one.operator, Freeze::Everything, sink).await?;
                if above.offsets.first < above.offsets.next {
                    one.operator.push(above);
                }
            }
            None => one.operator.push(batch),
        }
        if one.messages >= FREEZE_MESSAGES {
            one.messages = 0;
            take(&mut one.operator, Freeze::Closed, sink).await?;
        }
        Ok(())
    }
}

async fn take(operator: &mut impl Operator, which: Freeze, sink: &mut impl Sink) -> Result<(), DriveError> {
    for rows in operator.freeze(which).into_iter().flat_map(|step| step.rows) {
        sink.take(rows).await?;
    }
    Ok(())
}

/// What of a stretch lies below an offset, and what from it on.
fn split(batch: LogBatch, at: i64) -> (LogBatch, LogBatch) {
    let rows = batch.events.num_rows();
    let below = crate::replay::offsets(&batch.events).partition_point(|&offset| offset < at);
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
pub(super) struct Output {
    table: Table,
    parameters: Parameters,
    store: Option<Arc<dyn ObjectStore>>,
    held: Vec<RecordBatch>,
    /// What the rows hold.
    pub contents: Contents,
    /// The files that were written.
    pub adds: Vec<Add>,
}

impl Output {
    pub fn new((table, parameters): (Table, Parameters), store: Option<Arc<dyn ObjectStore>>) -> Self {
        Self { table, parameters, store, held: Vec::new(), contents: Contents::default(), adds: Vec::new() }
    }

    /// Writes what is held.
    pub async fn flush(&mut self) -> Result<()> {
        let Some(store) = &self.store else { return Ok(()) };
        let never = CancellationToken::new();
        for file in files::encode(self.table, &std::mem::take(&mut self.held)).await? {
            let mut backoff = Backoff::default();
            while let Err(error) = file.put(store.as_ref()).await {
                backoff.again(error, &never).await?;
            }
            self.adds.push(file.add);
        }
        Ok(())
    }
}

impl Sink for Output {
    async fn take(&mut self, rows: RecordBatch) -> Result<()> {
        self.contents.add(&rows, &self.parameters);
        if self.store.is_some() {
            self.held.push(rows);
            if self.held.iter().map(RecordBatch::get_array_memory_size).sum::<usize>() >= HELD_BYTES_MAX {
                self.flush().await?;
            }
        }
        Ok(())
    }
}

/// Keeps rows, by partition.
#[derive(Default)]
pub(super) struct Kept(pub Vec<RecordBatch>);

impl Sink for Kept {
    async fn take(&mut self, rows: RecordBatch) -> Result<()> {
        self.0.push(rows);
        Ok(())
    }
}
