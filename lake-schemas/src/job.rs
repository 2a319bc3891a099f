//! The two traits that a job is made of: where the log comes from, and what is computed of it.
//!
//! A [`Source`] is a hand of signals: partitions come and go, batches arrive, ends are reached. An [`Operator`] is one
//! partition's computation: synchronous, without clock, randomness or I/O. Between them stands one loop, in `ingest`,
//! which owns time, epochs and commits.

use arrow::record_batch::RecordBatch;
use async_trait::async_trait;

use crate::error::LakeError;
use crate::position::{OffsetRange, TopicPartition};
use crate::stand::Stand;
use crate::table::Table;
use crate::witness::Witness;

/// A stretch of one partition's log, decoded.
#[derive(Clone, Debug)]
pub struct LogBatch {
    /// Whose log.
    pub partition: TopicPartition,
    /// Which stretch of it, gaps included.
    pub offsets: OffsetRange,
    /// Messages read in it: its rows of `events` and `rejected` together.
    pub read: i64,
    /// The events, as rows of `clicks`, in offset order; of its columns, at least [`Job::reads`].
    pub events: RecordBatch,
    /// What could not be an event, as rows of `clicks_rejected`, in offset order.
    pub rejected: RecordBatch,
}

/// What a source has to say.
#[derive(Debug)]
pub enum Signal {
    /// These partitions are ours from now on. The source waits for [`Source::start`] with where to begin in each.
    Assigned(Vec<TopicPartition>),
    /// These partitions are being taken away. The source waits for [`Source::release`].
    Revoked(Vec<TopicPartition>),
    /// The next stretch of a partition's log.
    Batch(LogBatch),
    /// The reader has reached the end of this partition's log: the end it had when it was assigned, or, as often as it
    /// comes to that, the end it has now.
    CaughtUp(TopicPartition),
    /// Where the logs of these partitions end now; said from time to time.
    Ends(Vec<(TopicPartition, i64)>),
    /// This partition has ended: all of it has been yielded, and there will never be more. The source waits for
    /// [`Source::release`], when all is written, or for [`Source::start`].
    Ended(TopicPartition),
    /// All partitions that there ever will be have ended, and were released.
    Finished,
}

/// Where to begin in a partition.
#[derive(Clone, Debug)]
pub struct Start {
    /// Which one.
    pub partition: TopicPartition,
    /// The first offset to yield; `None` is the first that the log has.
    pub from: Option<i64>,
    /// A row from below `from`, which the log must still say if it has that offset at all.
    pub witness: Option<Witness>,
}

/// What there is room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// Anything.
    ForAll,
    /// Only what cannot wait, and takes no room: all but [`Signal::Batch`], [`Signal::CaughtUp`] and
    /// [`Signal::Ended`].
    ForControl,
}

/// One end of the log: Kafka, a replay of it, or a script in a test.
#[async_trait]
pub trait Source: Send {
    /// Waits for the next signal that there is room for. After [`Source::start`] or [`Source::release`] of a partition
    /// it never yields what was read of it before. Safe to cancel: what is not returned is not lost.
    async fn next(&mut self, room: Room) -> Result<Signal, SourceError>;

    /// Begins partitions. Also the way back, for a partition that is being read. If it fails for now, nothing has
    /// begun.
    async fn start(&mut self, starts: Vec<Start>) -> Result<(), SourceError>;

    /// Lets go of partitions that are being taken away.
    async fn release(&mut self, partitions: &[TopicPartition]) -> Result<(), SourceError>;

    /// Is told of cuts that are in the tables now, so that others can be told too. Nothing depends on it.
    async fn committed(&mut self, cuts: &[(TopicPartition, i64)]);
}

/// Why a source cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The log no longer has what a table still needs, or is not the log that the table knows: a human decides.
    #[error("{0}")]
    Refused(String),
    /// The broker cannot be used as it was addressed.
    #[error("{0}")]
    Failed(String),
    /// The lake, for a source that reads from there.
    #[error(transparent)]
    Lake(#[from] LakeError),
}

/// What one epoch writes of one partition to one table: the rows, and the step of the stand they belong to.
#[derive(Clone, Debug)]
pub struct Step {
    /// The table.
    pub table: Table,
    /// The partition.
    pub partition: TopicPartition,
    /// The rows, in offset order; possibly none.
    pub rows: Vec<RecordBatch>,
    /// Where the partition must stand in the table for this step to be its next.
    pub from: Stand,
    /// Where it stands when the step is taken: strictly beyond `from`.
    pub to: Stand,
}

/// One partition's computation.
pub trait Operator: Send {
    /// Takes in the next stretch of the log.
    fn push(&mut self, batch: LogBatch);

    /// What it holds that is not in the tables yet.
    fn pending(&self) -> Pending;

    /// Whether it holds what only [`Freeze::Everything`] would hand over.
    fn holds_back(&self) -> bool;

    /// The memory that its state takes, in bytes.
    fn bytes(&self) -> usize;

    /// Hands over what is to be committed now, in the order of the job's tables, and goes on from there. Empty if no
    /// stand would advance.
    fn freeze(&mut self, which: Freeze) -> Vec<Step>;

    /// What it has met that whoever runs the job should know. It is told once.
    fn take_remark(&mut self) -> Option<String> {
        None
    }
}

/// What an operator hands over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freeze {
    /// What is complete: of windows, those that the watermark has passed.
    Closed,
    /// All that it holds: the partition is idle, the job stops, or rows are wanted early.
    Everything,
}

/// How much an operator holds that is not in the tables yet.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pending {
    /// Rows.
    pub rows: usize,
    /// Their size in memory, in bytes.
    pub bytes: usize,
    /// The folders that they will be written into, but for those that the newest of them are in: most partitions write
    /// into these, and into no others.
    pub folders: usize,
}

/// A job: which tables it writes, and how a partition's computation begins.
pub trait Job: Send {
    /// The computation of one partition.
    type Operator: Operator;

    /// Its name, which decides nothing: there is one cut for each table, topic and partition, whoever moves it.
    fn name(&self) -> &'static str;

    /// The tables it writes, in the order in which an epoch commits to them.
    fn tables(&self) -> Vec<Table>;

    /// Which columns of `clicks` its operators read.
    fn reads(&self) -> Vec<String>;

    /// Begins a partition that stands thus in [`Job::tables`]: its operator, and the offset to read from (`None`: the
    /// first that the log has).
    fn begin(&self, partition: &TopicPartition, stands: &[Stand]) -> (Self::Operator, Option<i64>);
}
