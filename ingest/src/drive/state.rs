//! State of the loop that drives a job: the job, the committer of its tables, and the partitions of this process.

use std::collections::BTreeSet;
use std::time::Duration;

use lake_schemas::job::Job;
use lake_schemas::{Cut, TopicPartition};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::cadence::{Cadence, CommitPolicy};
use super::catch_up::CatchUp;
use super::committer::Committer;
use super::fencings::Fencings;
use super::owned::Owned;
use super::progress::Progress;

/// Interval at which all tables are refreshed, so that this process notices that another writer has moved one of its
/// partitions.
pub(super) const LOOK: Duration = Duration::from_secs(10);

/// A job that is being driven, with all its state.
pub(super) struct Drive<'a, J: Job, S> {
    pub job: &'a J,
    pub source: &'a mut S,
    /// Tables of the job, or the operation in flight that owns them until it is done.
    pub committer: Committer,
    pub policy: CommitPolicy,
    pub goal: Option<Cut>,
    pub progress: watch::Sender<Progress>,
    pub stop: CancellationToken,
    pub owned: Owned<J::Operator>,
    /// Partitions whose epoch was not committed, or whose stand in the tables is not the expected one: their operators
    /// begin again from the tables.
    pub lost: BTreeSet<TopicPartition>,
    /// Record of the assigned partitions that are not caught up yet.
    pub catch_up: CatchUp,
    pub cadence: Cadence,
    /// Time at which all partitions were last compared with the tables.
    pub looked: Instant,
    pub checkpoints: JoinSet<()>,
    pub fencings: Fencings,
    /// Whether the source has finished: no signal will follow.
    pub is_finished: bool,
}
