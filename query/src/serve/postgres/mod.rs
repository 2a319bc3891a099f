//! SQL over the PostgreSQL wire, for psql, Grafana, Superset and whatever else speaks it: reading only, each key its
//! campaigns.
//!
//! ```text
//!   listener ── connection ── login ── statements ── a session of its own ── rows
//!               one at a      the      what is       sees the lake through
//!               time, each    key      allowed       its key; memory and what
//!               with limits                          is known of files: shared
//! ```
//!
//! The words are PostgreSQL's and the answers DataFusion's: `pg_catalog` is there as far as programs look at it to find
//! tables and columns. Transactions are a courtesy: each statement sees the lake as it is when it begins.

mod adapted;
mod answers;
mod arrays;
mod catalog;
mod connection;
mod copying;
mod cursors;
mod errors;
mod functions;
mod information_schema;
mod limits;
mod login;
mod metered;
mod of_catalog;
mod parameters;
mod parsed;
mod prepared;
mod protocol;
mod rows;
mod sessions;
mod settings;
mod statements;
mod tables;
mod times;

use std::sync::Arc;
use std::time::Duration;

use datafusion_postgres::pgwire::api::{ConnectionManager, RandomPidSecretKeyGenerator};
use futures::future::BoxFuture;
use lake_schemas::Lake;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use self::connection::converse;
use self::sessions::Sessions;
use super::keys::Keys;
use super::metrics::Metrics;
use super::tls::Tls;
use crate::error::QueryError;

/// Connections at once: some times what PostgreSQL itself serves unless it is told otherwise. One that is idle keeps
/// its session, which is functions by name and little else.
const CONNECTIONS_MAX: usize = 500;

/// How long to wait when a connection cannot be taken: by then some file has been closed.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// Whoever may ask by the PostgreSQL wire, and of what.
pub struct Postgres {
    sessions: Sessions,
    keys: Option<Arc<Keys>>,
    cancels: Arc<ConnectionManager>,
    names: RandomPidSecretKeyGenerator,
    metrics: Arc<Metrics>,
    tls: Option<Arc<Tls>>,
}

impl Postgres {
    /// Over a lake, for those who have a key, or, without keys, for everyone. All connections together may take so much
    /// memory for their statements, in bytes.
    pub fn new(lake: Lake, keys: Option<Arc<Keys>>, memory: usize) -> Result<Self, QueryError> {
        Ok(Self {
            sessions: Sessions::new(lake, memory)?,
            keys,
            cancels: Arc::new(ConnectionManager::new()),
            names: RandomPidSecretKeyGenerator::default(),
            metrics: Arc::new(Metrics::new()),
            tls: None,
        })
    }

    /// Lets clients connect with TLS, who may do without.
    pub fn with_tls(self, tls: Arc<Tls>) -> Self {
        Self { tls: Some(tls), ..self }
    }

    /// Counts connections there.
    pub(super) fn counted_by(self, metrics: &Arc<Metrics>) -> Self {
        Self { metrics: Arc::clone(metrics), ..self }
    }

    /// Serves who connects, until it is told to stop: then who is idle is sent away, and statements have some seconds
    /// to end.
    pub fn serve(self, listener: TcpListener, stop: CancellationToken) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            let (server, free) = (Arc::new(self), Arc::new(Semaphore::new(CONNECTIONS_MAX)));
            let mut connections = JoinSet::new();
            loop {
                let accepted = tokio::select! {
                    () = stop.cancelled() => break,
                    Some(ended) = connections.join_next() => {
                        if let Err(error) = ended {
                            warn!(%error, "a PostgreSQL connection ended by a bug");
                        }
                        continue;
                    }
                    accepted = listener.accept() => accepted,
                };
                let socket = match accepted {
                    Ok((socket, _)) => socket,
                    Err(error) => {
                        warn!(%error, "a PostgreSQL connection could not be taken");
                        tokio::time::sleep(ACCEPT_AGAIN).await;
                        continue;
                    }
                };
                match Arc::clone(&free).try_acquire_owned() {
                    Ok(place) => {
                        let (server, stop) = (Arc::clone(&server), stop.clone());
                        connections.spawn(async move {
                            let _connected = server.metrics.connected("postgresql");
                            if let Err(error) = converse(Arc::clone(&server), socket, stop).await {
                                debug!(%error, "a PostgreSQL connection broke");
                            }
                            drop(place);
                        });
                    }
                    Err(_) => send_away(&socket),
                }
            }
            while connections.join_next().await.is_some() {}
        })
    }
}

/// Says that there are too many, as far as that goes into the socket without waiting.
fn send_away(socket: &TcpStream) {
    if let Err(error) = socket.try_write(&errors::too_many_connections()) {
        debug!(%error, "a PostgreSQL connection too many was gone");
    }
}
