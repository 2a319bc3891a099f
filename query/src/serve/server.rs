//! The server: connections in, answers out, until it is told to stop; then what is under way is finished.
//!
//! It lives with clients that are slow, silent, or many: a request must arrive in time, or its connection is closed.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use futures::future::BoxFuture;
use hyper::server::conn::http1::Builder;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use lake_schemas::Lake;
use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::CompressionLayer;

use super::keys::Keys;
use super::origins::Origins;
use super::postgres::Postgres;
use super::routes::{metrics, panicked, router};
use super::served::Served;
use crate::error::QueryError;

/// Connections that are open at once: those of 10,000 pages that wait, and some. Others wait for one to close.
const CONNECTIONS_MAX: usize = 16_384;

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
    origins: Origins,
    /// Whether metrics are told where everything else is.
    has_metrics: bool,
}

impl Server {
    /// Of a lake, to those who have keys; without any, to everyone. Nothing is read yet.
    pub fn new(lake: Lake, keys: Option<Arc<Keys>>) -> Result<Self, QueryError> {
        // Those who need a key for all else are not told how much others ask.
        let has_metrics = keys.is_none();
        Ok(Self { served: Arc::new(Served::new(lake, keys)?), origins: Origins::default(), has_metrics })
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
            tokio::join!(self.served.keep_looking(&stop), self.accept(http, &stop), postgres);
        })
    }

    async fn accept(&self, listener: TcpListener, stop: &CancellationToken) {
        let router = router(&self.served, self.origins.clone(), self.has_metrics);
        let router = router.layer(CompressionLayer::new()).layer(CatchPanicLayer::custom(panicked));
        let (under_way, places) = (GracefulShutdown::new(), Arc::new(Semaphore::new(CONNECTIONS_MAX)));
        loop {
            let place = Arc::clone(&places).acquire_owned();
            let Some(Ok(place)) = stop.run_until_cancelled(place).await else { break };
            let Some(accepted) = stop.run_until_cancelled(listener.accept()).await else { break };
            // Who hangs up at once, or comes when no file can be opened, takes nobody else with it.
            let Ok((stream, _)) = accepted else {
                sleep(FULL_WAIT).await;
                continue;
            };
            let (connected, served) =
                (self.served.metrics.connected("http"), connection(stream, router.clone(), &under_way));
            tokio::spawn(async move {
                served.await;
                drop((connected, place));
            });
        }
        drop(listener);
        // What takes longer is cut off.
        let _ = timeout(STOP_MAX, under_way.shutdown()).await;
    }
}

/// One connection, until it is closed.
fn connection(stream: TcpStream, router: Router, under_way: &GracefulShutdown) -> impl Future<Output = ()> + use<> {
    // Answers are small, and somebody waits for each. A connection that can be set to neither is one all the same.
    let _ = stream.set_nodelay(true);
    let _ = SockRef::from(&stream).set_tcp_user_timeout(Some(UNREAD_MAX));
    let mut builder = Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD_MAX).max_buf_size(HEAD_BYTES_MAX);
    let connection = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let watched = under_way.watch(connection);
    async move {
        // How a client goes is its own business.
        let _ = watched.await;
    }
}
