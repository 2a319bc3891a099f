//! State of the loop: the job, the committer of its tables, and the partitions of this process.

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

/// Interval of looks at the tables, so that a partition learns that another writer has moved it.
pub(super) const LOOK: Duration = Duration::from_secs(10);

/// A job that is being driven, with all its state.
pub(super) struct Drive<'a, J: Job, S> {
    pub job: &'a J,
    pub source: &'a mut S,
    /// Tables of the job, or the epoch or look in flight that has them.
    pub committer: Committer,
    pub policy: CommitPolicy,
    pub goal: Option<Cut>,
    pub progress: watch::Sender<Progress>,
    pub stop: CancellationToken,
    pub owned: Owned<J::Operator>,
    /// Partitions of an epoch that did not go through, or that stand elsewhere: they begin again.
    pub lost: BTreeSet<TopicPartition>,
    /// Which of the assigned partitions are not caught up yet.
    pub catch_up: CatchUp,
    pub cadence: Cadence,
    /// Time at which all partitions were last compared with the tables.
    pub looked: Instant,
    pub checkpoints: JoinSet<()>,
    pub fencings: Fencings,
    /// Whether the source has finished: no signal will follow.
    pub is_finished: bool,
}
