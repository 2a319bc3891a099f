//! State of the loop: the job and its tables, the partitions of this process, and what is in flight.

use std::collections::BTreeSet;
use std::time::Duration;

use lake_schemas::job::Job;
use lake_schemas::{Cut, TopicPartition};
use lake_store::Result;
use lake_store::commit::TableLog;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::cadence::{Cadence, CommitPolicy};
use super::epoch::EpochOutcome;
use super::fencings::Fencings;
use super::owned::Owned;
use super::progress::Progress;

/// Interval of looks at the tables, so that a partition learns that another writer has moved it.
pub(super) const LOOK: Duration = Duration::from_secs(10);

/// A finished task that had taken the tables: it brings them back.
pub(super) enum Flight {
    /// The tables after an epoch, and its outcome.
    Epoch(Vec<TableLog>, EpochOutcome),
    /// A look at the tables; `None` if it was given up.
    Look(Vec<TableLog>, Option<Result<()>>),
}

/// A job that is being driven, with all its state.
pub(super) struct Drive<'a, J: Job, S> {
    pub job: &'a J,
    pub source: &'a mut S,
    /// Tables of the job; `None` while an epoch, or a look, is in flight and has them.
    pub logs: Option<Vec<TableLog>>,
    pub policy: CommitPolicy,
    pub goal: Option<Cut>,
    pub progress: watch::Sender<Progress>,
    pub stop: CancellationToken,
    pub owned: Owned<J::Operator>,
    /// Partitions of an epoch that did not go through, or that stand elsewhere: they begin again.
    pub lost: BTreeSet<TopicPartition>,
    /// Assigned partitions that are not caught up yet; `None` before the first assignment.
    pub behind: Option<BTreeSet<TopicPartition>>,
    pub cadence: Cadence,
    /// Time at which all partitions were last compared with the tables.
    pub looked: Instant,
    pub in_flight: JoinSet<Flight>,
    /// Tells the epoch in flight to stop trying.
    pub give_up: CancellationToken,
    /// Tells the look in flight that nobody waits for it any longer.
    pub end_look: CancellationToken,
    pub checkpoints: JoinSet<()>,
    pub fencings: Fencings,
    /// Whether the source has finished: no signal will follow.
    pub is_finished: bool,
}
