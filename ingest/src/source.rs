//! One end of the log, as the loop sees it: [`Source`], with its signals and commands.
//!
//! A source is a stream of signals: partitions come and go, batches arrive, ends are reached. Kafka is one, a replay of
//! the raw table another, a script in a test a third. Jobs compute on the batches: see [`lake_schemas::job`].

use std::error::Error;

use async_trait::async_trait;
use lake_schemas::fingerprint::Fingerprint;
use lake_schemas::job::LogBatch;
use lake_schemas::{Code, Refusal, TopicPartition};
use lake_store::LakeError;

/// Signal of a source to the loop.
#[derive(Debug)]
pub enum Signal {
    /// These partitions are assigned to this process. The source waits for [`Source::start`], which says where each
    /// begins.
    Assigned(Vec<TopicPartition>),
    /// These partitions are being taken away. The source waits for [`Source::release`].
    Revoked(Vec<TopicPartition>),
    /// The next stretch of a partition's log.
    Batch(LogBatch),
    /// The reader has reached the end of this partition's log: the end it had when it was assigned, or, as often as it
    /// comes to that, the end it has now.
    CaughtUp(TopicPartition),
    /// Current ends of the logs of these partitions; reported from time to time.
    Ends(Vec<(TopicPartition, i64)>),
    /// This partition has ended: all of it has been yielded, and there will never be more. The source waits for
    /// [`Source::release`], when all is written, or for [`Source::start`].
    Ended(TopicPartition),
    /// All partitions that there ever will be have ended, and were released.
    Finished,
}

/// Start of a partition: where to begin, and what the log must confirm.
#[derive(Clone, Debug)]
pub struct Start {
    /// Partition to begin.
    pub partition: TopicPartition,
    /// First offset to yield; `None` is the first that the log has.
    pub from: Option<i64>,
    /// Fingerprint of a row below `from`, which the log must still hold if it has that offset at all.
    pub fingerprint: Option<Fingerprint>,
}

/// Kinds of signals that the loop has room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Demand {
    /// Demand for any signal.
    ForAll,
    /// Demand only for what cannot wait, and takes no memory: all but [`Signal::Batch`], [`Signal::CaughtUp`] and
    /// [`Signal::Ended`].
    ForControl,
}

/// One end of the log: Kafka, a replay of it, or a script in a test.
#[async_trait]
pub trait Source: Send {
    /// Waits for the next signal that there is room for. After [`Source::start`] or [`Source::release`] of a partition
    /// it never yields what was read of it before. Safe to cancel: a signal that is not returned is not lost.
    async fn next(&mut self, room: Demand) -> Result<Signal, SourceError>;

    /// Begins partitions, or resets partitions that are being read. If it fails with an error that may pass, nothing
    /// has begun.
    async fn start(&mut self, starts: Vec<Start>) -> Result<(), SourceError>;

    /// Releases partitions that are being revoked.
    async fn release(&mut self, partitions: &[TopicPartition]) -> Result<(), SourceError>;

    /// Reports cuts that are in the tables now, so that others can be told too. Nothing depends on it.
    async fn committed(&mut self, cuts: &[(TopicPartition, i64)]);
}

/// Why a source cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The log no longer has what a table still needs, or is not the log that the table knows: a human decides.
    #[error("{0}")]
    Refused(Refusal),
    /// The source failed, for example because the broker or the topic cannot be used as configured.
    #[error("{what}")]
    Failed {
        /// What failed, with its topic or its brokers, and what to do if that is known.
        what: String,
        /// Error of Kafka's client, if one of its was the cause.
        source: Option<Box<dyn Error + Send + Sync>>,
    },
    /// The lake failed, for a source that reads from there.
    #[error(transparent)]
    Lake(#[from] LakeError),
}

impl SourceError {
    /// Wraps an error with what failed by it.
    pub fn failed(what: impl Into<String>, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Failed { what: what.into(), source: Some(source.into()) }
    }

    /// Returns the code of the refusal; `None` if it is none.
    pub fn code(&self) -> Option<Code> {
        match self {
            Self::Refused(refusal) => Some(refusal.code),
            Self::Failed { .. } => None,
            Self::Lake(error) => error.code(),
        }
    }
}
