//! What the reader tells the loop, and the loop the reader.

use lake_schemas::TopicPartition;
use lake_schemas::job::LogBatch;

use crate::source::{SourceError, Start};

/// Counts the starts of a partition, so that what was read before the last of them can be told apart.
pub(super) type Generation = u64;

/// A rebalance, what the broker says of the log, or the end of the reader.
pub(super) enum Control {
    Assigned(Vec<TopicPartition>),
    Revoked(Vec<TopicPartition>),
    Ends(Vec<(TopicPartition, i64)>),
    Ended(SourceError),
}

/// What the reader has read.
pub(super) enum Data {
    Batch(Generation, LogBatch),
    CaughtUp(Generation, TopicPartition),
}

/// What the loop tells the reader.
pub(super) enum Command {
    Begin(Vec<Begin>),
    Release,
    Committed(Vec<(TopicPartition, i64)>),
}

/// Where to begin in a partition.
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
