//! Settings of one run of a job: its commit policy, when it is done, and where it reports.

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::drive::{CommitPolicy, Progress};

/// Condition under which a job is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// Done when it is told to stop.
    Stopped,
    /// Done when all that the topic had at the start is in the tables, whichever member of the group brought it there.
    CaughtUp,
}

/// Settings of one run of a job.
pub struct Run {
    /// Commit policy of the job.
    pub policy: CommitPolicy,
    /// Condition under which the job is done.
    pub until: Until,
    /// Token that tells the job to stop.
    pub stop: CancellationToken,
    /// Channel on which the job reports its progress.
    pub progress: watch::Sender<Progress>,
}
