//! The server: connections in, answers out, until it is told to stop; then what is under way is finished.
//!
//! It lives with clients that are slow, silent, or many: a request must arrive in time, or its connection is closed.

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
use super::places::{Place, Places};
use super::postgres::Postgres;
use super::resources::connections_max;
use super::routes::{metrics, panicked, router};
use super::served::Served;
use super::tls::Tls;

/// How long a request may take to arrive, and a connection to be silent between two.
const HEAD_MAX: Duration = Duration::from_secs(30);

/// Bytes of a request, its address and headers: two of the longest names, as they are written in addresses, and some.
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// How long a client may leave what is sent to it: one that never reads its answers is no client any more.
const UNREAD_MAX: Duration = Duration::from_secs(60);

/// How long what is under way may take when told to stop: the contract gives 20 seconds in all.
const STOP_MAX: Duration = Duration::from_secs(15);

/// How long to wait when no connection can be taken, for one to be closed.
const FULL_WAIT: Duration = Duration::from_millis(100);

/// Serves the totals of a lake.
pub struct Server {
    served: Arc<Served>,
    tls: Option<Arc<Tls>>,
    origins: Origins,
    /// Whether metrics are told where everything else is.
    has_metrics: bool,
}

impl Server {
    /// Of a lake, to those who have keys; without any, to everyone. What answers over HTTP are made of may take so much
    /// memory at once, in bytes. Nothing is read yet.
    pub fn new(lake: Lake, keys: Option<Arc<Keys>>, memory: usize) -> Result<Self, QueryError> {
        // Those who need a key for all else are not told how much others ask.
        let has_metrics = keys.is_none();
        let served = Arc::new(Served::new(lake, keys, memory)?);
        Ok(Self { served, tls: None, origins: Origins::default(), has_metrics })
    }

    /// Serves HTTP within TLS, and nothing without.
    pub fn with_tls(self, tls: Arc<Tls>) -> Self {
        Self { tls: Some(tls), ..self }
    }

    /// Lets pages of these origins ask.
    pub fn asked_from(self, origins: &[String]) -> Self {
        Self { origins: Origins::new(origins), ..self }
    }

    /// What it tells Prometheus, to be served elsewhere, and from now on nowhere else.
    pub fn metrics(&mut self) -> Router {
        self.has_metrics = false;
        metrics(&self.served)
    }

    /// Serves HTTP, and PostgreSQL if that is wanted, until told to stop, and then ends what is under way.
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
            // Who hangs up at once, or comes when no file can be opened, takes nobody else with it.
            let Ok((stream, address)) = accepted else {
                sleep(FULL_WAIT).await;
                continue;
            };
            // All are taken by those who have keys: whoever comes now is hung up on.
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
        // What takes longer is cut off: answers, and what is still being read though nobody waits for it any more.
        let ended = async { tokio::join!(under_way.shutdown(), self.served.totals.is_at_rest()) };
        let _ = timeout(STOP_MAX, ended).await;
    }
}

/// One connection, until it is closed.
async fn connection(
    stream: TcpStream,
    tls: Option<TlsAcceptor>,
    router: Router,
    place: Arc<Place>,
    under_way: Watcher,
) {
    // Answers are small, and somebody waits for each. A connection that can be set to neither is one all the same.
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

/// One connection, on which the client speaks HTTP.
async fn converse(
    stream: impl AsyncRead + AsyncWrite + Unpin + 'static,
    router: Router,
    place: Arc<Place>,
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
    // How a client goes is its own business.
    let _ = under_way.watch(connection).await;
}
