//! What is computed of the log: the traits [`Job`] and [`Operator`], and the values that they take in and hand over.
//!
//! A [`Job`] says which tables it writes, and makes one [`Operator`] for each partition: its computation, synchronous,
//! without clock, randomness or I/O. An operator takes in a [`LogBatch`] and hands over a [`Step`]. The loop that
//! drives it is in `ingest`, with the sources of the log; it owns time, epochs and commits.

use arrow::record_batch::RecordBatch;

use crate::position::{OffsetRange, TopicPartition};
use crate::stand::Stand;
use crate::table::Table;

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
