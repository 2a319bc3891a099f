//! The server: all that its connections share.

use std::io;
use std::sync::Arc;

use datafusion_postgres::pgwire::api::ConnectionManager;
use lake_store::Lake;
use query::QueryError;

use super::answering::Answering;
use super::engine::Engine;
use super::numbered::Numbered;
use super::proofs::Proofs;
use super::workers::{Program, Workers};
use crate::keys::Keys;
use crate::metrics::Metrics;
use crate::tls::Tls;

/// Server of SQL over the PostgreSQL wire.
pub struct Postgres {
    pub(super) answering: Answering,
    pub(super) keys: Option<Arc<Keys>>,
    pub(super) proofs: Proofs,
    pub(super) cancels: Arc<ConnectionManager>,
    pub(super) names: Numbered,
    pub(super) metrics: Arc<Metrics>,
    pub(super) tls: Option<Arc<Tls>>,
}

impl Postgres {
    /// Creates a server over a lake, for clients with a key, or for everyone if there are no keys. This process answers
    /// all statements, so that one which crashes ends it. Statements of all connections together may take `memory`
    /// bytes.
    pub fn new(lake: Lake, keys: Option<Arc<Keys>>, memory: usize) -> Result<Self, QueryError> {
        Ok(Self::answered_by(Answering::here(Engine::new(lake, memory)?), keys))
    }

    /// Creates a server that starts `program`, which is this program, for each key. All processes together may take
    /// `memory` bytes.
    pub fn by_processes(program: Program, keys: Option<Arc<Keys>>, memory: usize) -> io::Result<Self> {
        Ok(Self::answered_by(Answering::Processes(Arc::new(Workers::new(program, memory)?)), keys))
    }

    fn answered_by(answering: Answering, keys: Option<Arc<Keys>>) -> Self {
        Self {
            answering,
            keys,
            proofs: Proofs::default(),
            cancels: Arc::new(ConnectionManager::new()),
            names: Numbered::default(),
            metrics: Arc::new(Metrics::new()),
            tls: None,
        }
    }

    /// Lets clients connect with TLS, or without.
    pub fn with_tls(self, tls: Arc<Tls>) -> Self {
        Self { tls: Some(tls), ..self }
    }

    /// Counts connections in these metrics.
    pub(crate) fn counted_by(self, metrics: &Arc<Metrics>) -> Self {
        Self { metrics: Arc::clone(metrics), ..self }
    }
}
