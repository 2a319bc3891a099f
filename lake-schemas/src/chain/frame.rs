//! Frames: what a job says of its chains, one change each.

use std::fmt;

use arrow::array::RecordBatch;

use crate::position::TopicPartition;
use crate::stand::Stand;
use crate::table::Table;

/// Name of a chain within one process.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ChainKey {
    /// Table of counts that the chain goes on from.
    pub table: Table,
    /// Partition whose events it has.
    pub partition: TopicPartition,
}

impl fmt::Display for ChainKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.table, self.partition)
    }
}

/// One change of a chain. The order of a job's frames is the order of what happened to it.
#[derive(Clone, Debug, PartialEq)]
pub enum Frame {
    /// The chain begins, with the whole open part and without any step. A job says it only when its operator has taken
    /// in all that is below the cut of `at`: before that, the open part lacks events that the table lacks, too.
    Begin {
        /// Name of the chain.
        key: ChainKey,
        /// Delta's id of the table, which a table that is made again does not share.
        table_id: String,
        /// Spec that the operator counts by, in the text of [`crate::spec`].
        spec: String,
        /// Stand that the table has once all that was handed over is committed. The open part begins there.
        at: Stand,
        /// Offset below which all events are in the table at that stand or in `cells`.
        next: i64,
        /// All [cells](super::cells) of the open part.
        cells: RecordBatch,
    },
    /// The operator took in events. The position and the cells are one frame, because either without the other is no
    /// prefix of the log.
    Took {
        /// Name of the chain.
        key: ChainKey,
        /// Offset below which all events are taken in.
        next: i64,
        /// [Cells](super::cells) that changed since the frame before, with their new sums. Possibly none.
        cells: RecordBatch,
    },
    /// The operator handed over a step: all windows that have a row in `rows` leave the open part. A [`Frame::Took`]
    /// before has told all that the operator had taken in by then.
    Handed {
        /// Name of the chain.
        key: ChainKey,
        /// Stand that the step starts from: where the open part began until now.
        from: Stand,
        /// Stand that the step leads to: where the open part begins from now on.
        to: Stand,
        /// Rows of the step, in the columns of the table.
        rows: RecordBatch,
    },
    /// The step that leads to this stand is in the table.
    Committed {
        /// Name of the chain.
        key: ChainKey,
        /// Stand that the step leads to.
        to: Stand,
    },
    /// The chain forgets all committed steps up to the one that leads to this stand, because readers of earlier
    /// versions of the table are not expected any more.
    Forget {
        /// Name of the chain.
        key: ChainKey,
        /// Stand that the last of these steps leads to.
        to: Stand,
    },
    /// The chain ends: the process has lost the partition, or gives it back.
    Release {
        /// Name of the chain.
        key: ChainKey,
    },
}

impl Frame {
    /// Returns the name of the chain that changes.
    pub fn key(&self) -> &ChainKey {
        match self {
            Self::Begin { key, .. }
            | Self::Took { key, .. }
            | Self::Handed { key, .. }
            | Self::Committed { key, .. }
            | Self::Forget { key, .. }
            | Self::Release { key } => key,
        }
    }
}

/// Frames that are applied together, or not at all: between two sets an answer may be read, within one it may not.
#[derive(Clone, Debug, PartialEq)]
pub struct FrameSet {
    /// Incarnation of the process that says it: a number that no other start of any process has.
    pub incarnation: u128,
    /// Number of the set: the first of an incarnation is 1, and each is one more than the set before.
    pub number: u64,
    /// Frames in their order. None at all is a sign of life.
    pub frames: Vec<Frame>,
}

/// Receiver of the frames of a job.
pub trait FrameSink: Send + Sync {
    /// Takes frames that belong together. A sink numbers them.
    fn put(&self, frames: Vec<Frame>);

    /// Returns whether anybody listens. If not, a job need not say anything, and begins all of its chains once somebody
    /// does.
    fn is_wanted(&self) -> bool;
}
