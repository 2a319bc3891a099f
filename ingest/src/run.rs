//! How a job runs, and until when.

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::drive::{Pace, Progress};

/// When a job is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// When it is told to stop.
    Stopped,
    /// When all that the topic had at the start is in the tables, whichever member of the group brought it there.
    CaughtUp,
}

/// How a job runs, and who is told.
pub struct Run {
    /// When it commits.
    pub pace: Pace,
    /// When it is done.
    pub until: Until,
    /// Tells it to stop.
    pub stop: CancellationToken,
    /// Is told what it has done.
    pub progress: watch::Sender<Progress>,
}
