//! Selects who answers clients that have logged in: this process, or a process for each key.

use std::sync::Arc;

use datafusion_postgres::pgwire::error::PgWireError;
use tokio::net::UnixStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::debug;

use super::connection::converse;
use super::engine::Engine;
use super::errors::Refused;
use super::handed::{Client, Handed, Session};
use super::process::Why;
use super::workers::{Used, Workers};
use crate::keys::Who;

/// Answerer of sessions.
pub(super) enum Answering {
    /// This process: if a statement crashes it, everything is lost. For tests, and for a single user.
    Here {
        /// Engine that answers.
        engine: Arc<Engine>,
        /// Tasks of the sessions.
        tasks: TaskTracker,
        /// Token that ends all sessions.
        stop: CancellationToken,
    },
    /// A process for each key.
    Processes(Arc<Workers>),
}

/// A session that has been opened.
pub(super) struct Opened {
    /// Socket between the client and the session.
    pub stream: UnixStream,
    /// Process that runs the session.
    pub by: By,
}

/// Process that runs a session.
pub(super) enum By {
    /// This process answers it.
    Here {
        /// Engine that answers.
        engine: Arc<Engine>,
        /// Identifier by which the session is cancelled.
        session: Session,
    },
    /// A process of its key answers it.
    Process {
        /// The process, marked as in use by the session.
        process: Used,
        /// Identifier by which the session is cancelled.
        session: Session,
    },
}

impl Answering {
    /// Answers in this process.
    pub fn here(engine: Engine) -> Self {
        Self::Here { engine: Arc::new(engine), tasks: TaskTracker::new(), stop: CancellationToken::new() }
    }

    /// Opens a session for a client.
    pub async fn open(&self, who: &Who, client: Client) -> Result<Opened, PgWireError> {
        let session = client.session.clone();
        match self {
            Self::Here { engine, tasks, stop } => {
                let (stream, other) = UnixStream::pair().map_err(|_| Refused::not_begun())?;
                let conversed = converse(Arc::clone(engine), other, client, stop.clone());
                tasks.spawn(async move {
                    if let Err(error) = conversed.await {
                        debug!(%error, "a PostgreSQL connection broke");
                    }
                });
                Ok(Opened { stream, by: By::Here { engine: Arc::clone(engine), session } })
            }
            Self::Processes(workers) => {
                let (stream, process) = workers.open(who, client).await?;
                Ok(Opened { stream, by: By::Process { process, session } })
            }
        }
    }

    /// Watches the processes that answer, until told to stop.
    pub async fn watch(&self) {
        match self {
            Self::Here { stop, .. } => stop.cancelled().await,
            Self::Processes(workers) => workers.watch().await,
        }
    }

    /// Tells all sessions to end.
    pub fn stop(&self) {
        match self {
            Self::Here { tasks, stop, .. } => {
                stop.cancel();
                tasks.close();
            }
            Self::Processes(workers) => workers.stop(),
        }
    }

    /// Ends the processes that still run. Sessions of this process end with it.
    pub async fn end(&self) {
        if let Self::Processes(workers) = self {
            workers.end().await;
        }
    }
}

impl By {
    /// Cancels the statement that the session has under way.
    pub async fn cancel(&self) {
        match self {
            Self::Here { engine, session } => {
                engine.cancels.cancel(session.pid, &session.secret()).await;
            }
            Self::Process { process, session } => {
                if let Err(error) = process.hand(&Handed::Cancel(session.clone())).await {
                    debug!(%error, "nobody is there who could be cancelled");
                }
            }
        }
    }

    /// Records whether the client rests: it has nothing under way, and no transaction.
    pub fn rest(&self, rests: bool) {
        if let Self::Process { process, .. } = self {
            process.rest(rests);
        }
    }

    /// Returns why the session was lost; `None` if it was closed.
    pub async fn why_lost(&self) -> Option<Why> {
        match self {
            // A session of this process is lost only by a bug.
            Self::Here { .. } => Some(Why::Crashed),
            Self::Process { process, .. } => process.why_lost().await,
        }
    }
}
