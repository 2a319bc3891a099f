//! The tables of a statement: opened when they are needed first, and then the same for all that the statement asks.

use std::sync::Arc;

use lake_schemas::{Lake, LakeError};
use tokio::sync::OnceCell;

use super::as_of::{Versions, sources_at};
use super::sources::Sources;

/// Tables that are open, or can be opened.
#[derive(Clone)]
pub(crate) enum Opened {
    /// These.
    Now(Arc<Sources>),
    /// Those of a session.
    WhenNeeded(Arc<InSession>),
}

/// The tables of a session, at the versions that it knows.
pub(crate) struct InSession {
    lake: Lake,
    versions: Versions,
    sources: OnceCell<Arc<Sources>>,
}

impl InSession {
    /// Of these versions. Nothing is read yet.
    pub fn new(lake: Lake, versions: Versions) -> Self {
        Self { lake, versions, sources: OnceCell::new() }
    }
}

impl Opened {
    /// The tables.
    pub async fn sources(&self) -> Result<Arc<Sources>, LakeError> {
        match self {
            Self::Now(sources) => Ok(Arc::clone(sources)),
            Self::WhenNeeded(session) => {
                let open = async || sources_at(&session.lake, session.versions).await.map(Arc::new);
                session.sources.get_or_try_init(open).await.cloned()
            }
        }
    }
}
