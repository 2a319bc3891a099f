//! The HTTP server: accepts connections and answers requests until told to stop; then finishes what is under way.
//!
//! It copes with clients that are slow, silent, or many: a request must arrive in time, or its connection is closed.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use futures::future::BoxFuture;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1::Builder;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use lake_store::Lake;
use query::QueryError;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::CompressionLayer;

use super::keys::Keys;
use super::origins::Origins;
use super::places::{ConnectionPermit, Places};
use super::postgres::Postgres;
use super::resources::connections_max;
use super::routes::{metrics, panicked, router};
use super::served::Served;
use super::tls::Tls;

/// Time that a request has to arrive, and that a connection may be silent between two.
const HEAD_MAX: Duration = Duration::from_secs(30);

/// Maximum size of a request's address and headers, in bytes: two of the longest names, as they are encoded in
/// addresses, and some.
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// Time that sent bytes may stay unacknowledged: a client that never reads its answers is gone.
const UNREAD_MAX: Duration = Duration::from_secs(60);

/// Time that requests have to finish when told to stop, of 20 seconds that a stop may take in all.
const STOP_MAX: Duration = Duration::from_secs(15);

/// Wait for a connection to be closed when none can be accepted.
const FULL_WAIT: Duration = Duration::from_millis(100);

/// Server of the totals of a lake.
pub struct Server {
    served: Arc<Served>,
    tls: Option<Arc<Tls>>,
    origins: Origins,
    /// Whether metrics are served beside everything else.
    has_metrics: bool,
}

impl Server {
    /// Creates a server of a lake, for clients with keys; for everyone, if there are no keys. Answers over HTTP may
    /// take `memory` bytes at once. Nothing is read yet.
    pub fn new(lake: Lake, keys: Option<Arc<Keys>>, memory: usize) -> Result<Self, QueryError> {
        // Where a key is needed for everything else, nobody without one is told how much others ask.
        let has_metrics = keys.is_none();
        let served = Arc::new(Served::new(lake, keys, memory)?);
        Ok(Self { served, tls: None, origins: Origins::default(), has_metrics })
    }

    /// Serves HTTP within TLS only.
    pub fn with_tls(self, tls: Arc<Tls>) -> Self {
        Self { tls: Some(tls), ..self }
    }

    /// Lets pages of these origins ask.
    pub fn asked_from(self, origins: &[String]) -> Self {
        Self { origins: Origins::new(origins), ..self }
    }

    /// Returns the metrics to be served elsewhere; from then on they are served nowhere else.
    pub fn metrics(&mut self) -> Router {
        self.has_metrics = false;
        metrics(&self.served)
    }

    /// Serves HTTP, and PostgreSQL if given, until told to stop, and then finishes what is under way.
    pub fn serve(
        &self,
        http: TcpListener,
        postgres: Option<(Postgres, TcpListener)>,
        stop: CancellationToken,
    ) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let postgres = async {
                if let Some((postgres, listener)) = postgres {
                    postgres.counted_by(&self.served.metrics).serve(listener, stop.clone()).await;
                }
            };
            let tls = async {
                if let Some(tls) = &self.tls {
                    tls.keep_fresh(&stop).await;
                }
            };
            tokio::join!(self.served.keep_looking(&stop), self.accept(http, &stop), postgres, tls);
        })
    }

    async fn accept(&self, listener: TcpListener, stop: &CancellationToken) {
        let router = router(&self.served, self.origins.clone(), self.has_metrics);
        let router = router.layer(CompressionLayer::new()).layer(CatchPanicLayer::custom(panicked));
        let under_way = GracefulShutdown::new();
        let places = Places::new(connections_max().http, self.served.has_keys());
        loop {
            let Some(accepted) = stop.run_until_cancelled(listener.accept()).await else { break };
            // A client that hangs up at once, or a lack of descriptors, must not end the server.
            let Ok((stream, address)) = accepted else {
                sleep(FULL_WAIT).await;
                continue;
            };
            // Clients with keys have all places: the new connection is closed.
            let Some(place) = places.take(address.ip()) else { continue };
            let (place, connected) = (Arc::new(place), self.served.metrics.connected("http"));
            let tls = self.tls.as_ref().map(|tls| tls.http());
            let served = connection(stream, tls, router.clone(), Arc::clone(&place), under_way.watcher());
            tokio::spawn(async move {
                tokio::select! {
                    () = served => {}
                    () = place.is_given_away() => {}
                }
                drop((connected, place));
            });
        }
        drop(listener);
        // What takes longer is cut off: answers, and reads of the lake that nobody waits for any more.
        let ended = async { tokio::join!(under_way.shutdown(), self.served.totals.is_at_rest()) };
        let _ = timeout(STOP_MAX, ended).await;
    }
}

/// Serves one connection until it is closed.
async fn connection(
    stream: TcpStream,
    tls: Option<TlsAcceptor>,
    router: Router,
    place: Arc<ConnectionPermit>,
    under_way: Watcher,
) {
    // Answers are small, and somebody waits for each. A connection on which these options cannot be set is served all
    // the same.
    let _ = stream.set_nodelay(true);
    let _ = SockRef::from(&stream).set_tcp_user_timeout(Some(UNREAD_MAX));
    match tls {
        None => converse(stream, router, place, under_way).await,
        Some(tls) => {
            if let Ok(Ok(stream)) = timeout(HEAD_MAX, tls.accept(stream)).await {
                converse(stream, router, place, under_way).await;
            }
        }
    }
}

/// Speaks HTTP on one connection.
async fn converse(
    stream: impl AsyncRead + AsyncWrite + Unpin + 'static,
    router: Router,
    place: Arc<ConnectionPermit>,
    under_way: Watcher,
) {
    let mut builder = Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD_MAX).max_buf_size(HEAD_BYTES_MAX);
    let router = TowerToHyperService::new(router);
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(Arc::clone(&place));
        router.call(request)
    });
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    // It does not matter how a client ends its connection.
    let _ = under_way.watch(connection).await;
}
