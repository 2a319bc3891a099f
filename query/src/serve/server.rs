//! The server: connections in, answers out, until it is told to stop; then what is under way is finished.
//!
//! It lives with clients that are slow, silent, or many: a request must arrive in time, or its connection is closed.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use futures::future::BoxFuture;
use hyper::server::conn::http1::Builder;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use lake_schemas::Lake;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::CompressionLayer;

use super::keys::Keys;
use super::postgres::Postgres;
use super::routes::{panicked, router};
use super::served::Served;
use super::tls::Tls;
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
    tls: Option<Arc<Tls>>,
}

impl Server {
    /// Of a lake, to those who have keys; without any, to everyone. Nothing is read yet.
    pub fn new(lake: Lake, keys: Option<Arc<Keys>>) -> Result<Self, QueryError> {
        Ok(Self { served: Arc::new(Served::new(lake, keys)?), tls: None })
    }

    /// Serves HTTP within TLS, and nothing without.
    pub fn with_tls(self, tls: Arc<Tls>) -> Self {
        Self { tls: Some(tls), ..self }
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
        let router = router(&self.served).layer(CompressionLayer::new()).layer(CatchPanicLayer::custom(panicked));
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
            let tls = self.tls.as_ref().map(|tls| tls.http());
            let served = connection(stream, tls, router.clone(), under_way.watcher());
            let connected = self.served.metrics.connected("http");
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
async fn connection(stream: TcpStream, tls: Option<TlsAcceptor>, router: Router, under_way: Watcher) {
    // Answers are small, and somebody waits for each. A connection that can be set to neither is one all the same.
    let _ = stream.set_nodelay(true);
    let _ = SockRef::from(&stream).set_tcp_user_timeout(Some(UNREAD_MAX));
    match tls {
        None => converse(stream, router, under_way).await,
        Some(tls) => {
            if let Ok(Ok(stream)) = timeout(HEAD_MAX, tls.accept(stream)).await {
                converse(stream, router, under_way).await;
            }
        }
    }
}

/// One connection, on which the client speaks HTTP.
async fn converse(stream: impl AsyncRead + AsyncWrite + Unpin + 'static, router: Router, under_way: Watcher) {
    let mut builder = Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD_MAX).max_buf_size(HEAD_BYTES_MAX);
    let connection = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    // How a client goes is its own business.
    let _ = under_way.watch(connection).await;
}
