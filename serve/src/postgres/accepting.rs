//! Takes connections, as many as there are places for, until the server is told to stop.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::door;
use super::server::Postgres;
use crate::places::Places;
use crate::resources::{ACCEPT_AGAIN, connections_max};

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

impl Postgres {
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
