//! Messages between the reader and the loop, in both directions.

use lake_schemas::TopicPartition;
use lake_schemas::job::LogBatch;
use tokio_util::task::AbortOnDropHandle;

use crate::source::{SourceError, Start};

/// Number of a start of a partition: what was read before the last start has a lower one, and is dropped.
pub(super) type Generation = u64;

/// Control message of the reader: a rebalance, the ends of logs, or the end of the reader.
pub(super) enum Control {
    Assigned(Vec<TopicPartition>),
    Revoked(Vec<TopicPartition>),
    Ends(Vec<(TopicPartition, i64)>),
    Ended(SourceError),
}

/// Data that the reader has read. Those of one partition come in the order of its log.
pub(super) enum Data {
    /// A batch that is being decoded. What comes behind it waits for it.
    Batch(Generation, TopicPartition, AbortOnDropHandle<LogBatch>),
    CaughtUp(Generation, TopicPartition),
    /// Nothing more is read of the partition until it is started again: what comes next cannot be read.
    Stopped(Generation, TopicPartition, SourceError),
}

impl Data {
    /// Returns the partition, and the start since which this was read of it.
    pub fn of(&self) -> (&TopicPartition, Generation) {
        match self {
            Self::Batch(generation, partition, _)
            | Self::CaughtUp(generation, partition)
            | Self::Stopped(generation, partition, _) => (partition, *generation),
        }
    }
}

/// Command of the loop to the reader.
pub(super) enum Command {
    Begin(Vec<Begin>),
    Release,
    Committed(Vec<(TopicPartition, i64)>),
}

/// Start of a partition, with its generation.
pub(super) struct Begin {
    pub start: Start,
    pub generation: Generation,
    pub hold: Hold,
}

/// Whether a partition waits for another start before anything is read of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hold {
    Held,
    Free,
}
