//! One end of the log, as the loop sees it: [`Source`], and what it says and is told.
//!
//! A source is a stream of signals: partitions come and go, batches arrive, ends are reached. Kafka is one, a replay of
//! the raw table another, a script in a test a third. What is computed of the batches is a job's: see
//! [`lake_schemas::job`].

use async_trait::async_trait;
use lake_schemas::TopicPartition;
use lake_schemas::job::LogBatch;
use lake_schemas::witness::Witness;
use lake_store::LakeError;

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
