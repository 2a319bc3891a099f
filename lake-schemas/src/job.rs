//! The traits of a computation over the log, [`Job`] and [`Operator`], and the values that they take and hand over.
//!
//! A [`Job`] says which tables it writes, and makes one [`Operator`] for each partition. An operator is the computation
//! of its partition: synchronous, without clock, randomness or I/O. It takes [`LogBatch`]es and hands over [`Step`]s.
//! The loop that drives it is in `ingest`, with the sources of the log; that loop owns time, epochs and commits.

use arrow::record_batch::RecordBatch;

use crate::error::Invalid;
use crate::position::{OffsetRange, TopicPartition};
use crate::stand::Stand;
use crate::table::Table;

/// A decoded stretch of one partition's log.
#[derive(Clone, Debug)]
pub struct LogBatch {
    /// Partition that it is of.
    pub partition: TopicPartition,
    /// Range of its offsets, gaps included.
    pub offsets: OffsetRange,
    /// Number of messages read in it: its rows of `events` and `rejected` together.
    pub read: i64,
    /// Events as rows of `clicks`, in offset order, with at least the columns of [`Job::reads`].
    pub events: RecordBatch,
    /// Messages that could not be an event, as rows of `clicks_rejected`, in offset order.
    pub rejected: RecordBatch,
}

/// The rows of one partition for one table in an epoch, with the stand that they start from and the one that they lead
/// to.
#[derive(Clone, Debug)]
pub struct Step {
    /// Table that the rows are for.
    pub table: Table,
    /// Partition that the rows are of.
    pub partition: TopicPartition,
    /// Rows in offset order; possibly none.
    pub rows: Vec<RecordBatch>,
    /// Stand that the partition must have in the table for this step to be its next.
    pub from: Stand,
    /// Stand that the step leads to: strictly beyond `from`.
    pub to: Stand,
}

/// The computation of one partition.
pub trait Operator: Send {
    /// Takes the next stretch of the log. Fails if the operator cannot compute on it: then it is of no more use.
    fn push(&mut self, batch: LogBatch) -> Result<(), Invalid>;

    /// Returns the offset behind all that was taken in; `None` before the first stretch of a log that begins anew.
    fn next(&self) -> Option<i64>;

    /// Returns the amount of rows that the operator holds and the tables do not have yet.
    fn pending(&self) -> Pending;

    /// Returns whether a flush of this extent would hand over rows, and not only a stand that has moved.
    fn has_rows(&self, which: Flush) -> bool;

    /// Returns whether the operator holds rows of open windows, which only [`Flush::Everything`] would hand over.
    fn has_open_windows(&self) -> bool;

    /// Returns the memory that the operator's state takes, in bytes.
    fn bytes(&self) -> usize;

    /// Flushes: hands over what is to be committed now, in the order of the job's tables, and goes on from there.
    /// Returns nothing if no stand would advance.
    fn flush(&mut self, which: Flush) -> Vec<Step>;

    /// Takes a remark for whoever runs the job, if there is one. Each remark is given once.
    fn take_remark(&mut self) -> Option<String> {
        None
    }
}

/// Extent of a flush.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flush {
    /// Complete rows only: of windows, those that the watermark has passed.
    Closed,
    /// Everything held, open windows included: the partition is idle, the job stops, or rows are wanted early.
    Everything,
}

/// Amount of rows that an operator holds and the tables do not have yet.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pending {
    /// Number of rows.
    pub rows: usize,
    /// Size of these rows in memory, in bytes.
    pub bytes: usize,
    /// Number of folders that they will be written into, without those of the newest rows: most partitions write into
    /// these, and into no others.
    pub folders: usize,
}

/// A job: the tables that it writes, and how the computation of a partition begins.
pub trait Job: Send {
    /// The computation of one partition.
    type Operator: Operator;

    /// Returns the name of the job. The name decides nothing: there is one cut for each table, topic and partition,
    /// whichever job moves it.
    fn name(&self) -> &'static str;

    /// Returns the tables that the job writes, in the order in which an epoch commits to them.
    fn tables(&self) -> Vec<Table>;

    /// Returns the columns of `clicks` that the job's operators read.
    fn reads(&self) -> Vec<String>;

    /// Begins a partition that has these stands in [`Job::tables`]. Returns its operator, and the offset to read from
    /// (`None`: the first one in the log).
    fn begin(&self, partition: &TopicPartition, stands: &[Stand]) -> (Self::Operator, Option<i64>);
}
