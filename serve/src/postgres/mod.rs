//! SQL over the PostgreSQL wire, for psql, Grafana, Superset and other clients: read-only, and each key sees its own
//! campaigns.
//!
//! ```text
//!   listener ── door ── relay ──▶ a process for each key (workers, process, worker):
//!               login,  bytes     connection ── statements ── a session of its own ── rows
//!               the key           one message   what is       sees the lake
//!                                 at a time     allowed       through its key
//! ```
//!
//! The dialect is PostgreSQL's and the engine is DataFusion: `pg_catalog` exists as far as programs read it to find
//! tables and columns. Transactions are accepted and change nothing: each statement sees the lake as it is when it
//! begins. [`workers`] says why each key has a process of its own.

mod adapted;
mod answering;
mod answers;
mod arrays;
mod binary;
mod bound;
mod catalog;
mod connection;
mod copying;
mod cursors;
mod door;
mod engine;
mod errors;
mod frames;
mod functions;
mod handed;
mod information_schema;
mod kept;
mod limits;
mod login;
mod messages;
mod names;
mod numbered;
mod of_catalog;
mod only_element;
mod parameters;
mod parsed;
mod placed;
mod prepared;
mod priority;
mod process;
mod proofs;
mod protocol;
mod relay;
mod rows;
mod sendable;
mod sessions;
mod settings;
mod simple;
mod statements;
mod steps;
mod subqueries;
mod tables;
mod times;
mod turns;
mod under_way;
mod visited;
mod worker;
mod workers;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use datafusion_postgres::pgwire::api::ConnectionManager;
use futures::future::BoxFuture;
use lake_store::Lake;
use query::QueryError;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use self::answering::Answering;
use self::engine::Engine;
use self::numbered::Numbered;
use self::proofs::Proofs;
pub use self::worker::work;
pub use self::workers::Program;
use self::workers::Workers;
use super::keys::Keys;
use super::metrics::Metrics;
use super::places::Places;
use super::resources::connections_max;
use super::tls::Tls;

/// Wait after a connection could not be accepted: by then some descriptor has been closed.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// Time after which a silent client is probed. A client whose machine vanished would otherwise hold its place, and its
/// process, for good.
const SILENT_MAX: Duration = Duration::from_secs(60);

/// Time that sent bytes may stay unacknowledged: a client that never takes them is gone.
const UNTAKEN_MAX: Duration = Duration::from_secs(60);

/// Places for connections beyond the limit, which are read only to see whether they cancel a statement: when all are
/// taken, too, the oldest of them is cut off.
const TURNED_AWAY_MAX: usize = 16;

/// Time that sessions have to end when the server stops, of 20 seconds that a stop may take in all. It is a little
/// longer than the processes wait for them.
const STOP_MAX: Duration = Duration::from_secs(14);

/// Time that processes have to be gone after they are ended.
const END_MAX: Duration = Duration::from_secs(3);

/// Server of SQL over the PostgreSQL wire.
pub struct Postgres {
    answering: Answering,
    keys: Option<Arc<Keys>>,
    proofs: Proofs,
    cancels: Arc<ConnectionManager>,
    names: Numbered,
    metrics: Arc<Metrics>,
    tls: Option<Arc<Tls>>,
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
    pub(super) fn counted_by(self, metrics: &Arc<Metrics>) -> Self {
        Self { metrics: Arc::clone(metrics), ..self }
    }

    /// Serves clients until told to stop: idle ones are then sent away, and statements have some seconds to end.
    pub fn serve(self, listener: TcpListener, stop: CancellationToken) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            let server = Arc::new(self);
            let mut connections = JoinSet::new();
            tokio::select! {
                () = server.answering.watch() => {}
                () = server.accept(&listener, &mut connections, &stop) => {}
            }
            drop(listener);
            server.answering.stop();
            // Connections that take longer are cut off.
            let _ = timeout(STOP_MAX, async { while connections.join_next().await.is_some() {} }).await;
            drop(connections);
            let _ = timeout(END_MAX, server.answering.end()).await;
        })
    }

    async fn accept(self: &Arc<Self>, listener: &TcpListener, connections: &mut JoinSet<()>, stop: &CancellationToken) {
        let places = Places::new(connections_max().postgres, self.keys.is_some());
        let before_the_door = Places::new(TURNED_AWAY_MAX, false);
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
            let (socket, address) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    warn!(%error, "a PostgreSQL connection could not be taken");
                    sleep(ACCEPT_AGAIN).await;
                    continue;
                }
            };
            notice_end(&socket);
            let (server, stop) = (Arc::clone(self), stop.clone());
            let Some(place) = places.take(address.ip()) else {
                // No client logs in at these places, so one can always be evicted.
                if let Some(place) = before_the_door.take(address.ip()) {
                    connections.spawn(async move {
                        if let Err(error) = door::turn_away(server, socket, &place, &stop).await {
                            debug!(%error, "a PostgreSQL connection too many broke");
                        }
                    });
                }
                continue;
            };
            connections.spawn(async move {
                let _connected = server.metrics.connected("postgresql");
                if let Err(error) = door::open(server, socket, &place, &stop).await {
                    debug!(%error, "a PostgreSQL connection broke");
                }
            });
        }
    }
}

/// Has the system notice when a client vanishes. A connection on which that cannot be set is served all the same.
fn notice_end(socket: &TcpStream) {
    let socket = SockRef::from(socket);
    let _ = socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(SILENT_MAX).with_interval(SILENT_MAX));
    let _ = socket.set_tcp_user_timeout(Some(UNTAKEN_MAX));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_client_that_is_gone_without_a_word_is_noticed() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let socket = TcpStream::connect(listener.local_addr().expect("an address")).await.expect("it listens");
        notice_end(&socket);
        let socket = SockRef::from(&socket);
        assert!(socket.keepalive().expect("it is known"));
        assert_eq!(socket.tcp_user_timeout().expect("it is known"), Some(UNTAKEN_MAX));
    }
}
