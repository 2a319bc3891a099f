//! Who answers those who have logged in: this process, or one for each key.

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

/// Who answers.
pub(super) enum Answering {
    /// This process, of which all is lost that a statement takes with it. For tests, and for who asks alone.
    Here {
        /// What it answers with.
        engine: Arc<Engine>,
        /// The sessions.
        tasks: TaskTracker,
        /// That they have to end.
        stop: CancellationToken,
    },
    /// A process for each key.
    Processes(Arc<Workers>),
}

/// A session that has been opened.
pub(super) struct Opened {
    /// Between the client and the session.
    pub stream: UnixStream,
    /// Whose it is.
    pub by: By,
}

/// Whose a session is.
pub(super) enum By {
    /// This process's.
    Here {
        /// What it answers with.
        engine: Arc<Engine>,
        /// The session, as it is cancelled.
        session: Session,
    },
    /// That of another.
    Process {
        /// The other.
        process: Used,
        /// The session, as it is cancelled.
        session: Session,
    },
}

impl Answering {
    /// This process.
    pub fn here(engine: Engine) -> Self {
        Self::Here { engine: Arc::new(engine), tasks: TaskTracker::new(), stop: CancellationToken::new() }
    }

    /// Opens a session.
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

    /// Watches who answers, until told to stop.
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

    /// Ends what is still there. Sessions of this process end with it.
    pub async fn end(&self) {
        if let Self::Processes(workers) = self {
            workers.end().await;
        }
    }
}

impl By {
    /// Cancels what the session has under way.
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

    /// Takes note of whether the client has nothing under way, and no transaction.
    pub fn rest(&self, rests: bool) {
        if let Self::Process { process, .. } = self {
            process.rest(rests);
        }
    }

    /// Why it was lost; `None`: it was closed.
    pub async fn why_lost(&self) -> Option<Why> {
        match self {
            // It was, by a bug.
            Self::Here { .. } => Some(Why::Crashed),
            Self::Process { process, .. } => process.why_lost().await,
        }
    }
}
