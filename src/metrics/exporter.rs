//! Serves metrics at an address, and writes them as Prometheus reads them.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context;
use axum::Router;
use axum::routing::get;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::registry::{Registry, Unit};
use serve::told;
use tokio::net::TcpListener;
use tracing::{error, info};

/// Serves `GET /metrics` at an address, until the process ends.
pub async fn serve(address: SocketAddr, job: &'static str, collector: Box<dyn Collector>) -> anyhow::Result<()> {
    let mut registry = Registry::with_prefix_and_labels("clicklake", [("job".into(), job.into())].into_iter());
    registry.register_collector(collector);
    let registry = Arc::new(registry);
    serve_at(address, Router::new().route("/metrics", get(move || async move { told(&registry) }))).await
}

/// Serves a router at an address, until the process ends.
pub async fn serve_at(address: SocketAddr, router: Router) -> anyhow::Result<()> {
    let listener = TcpListener::bind(address).await.with_context(|| format!("--metrics {address}"))?;
    let address = listener.local_addr()?;
    info!(%address, "metrics");
    tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, router).await {
            error!(%error, "metrics are no longer served");
        }
    });
    Ok(())
}

pub(super) fn counter(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    unit: Option<&Unit>,
    value: u64,
) -> Result<(), fmt::Error> {
    let counter = ConstCounter::new(value);
    counter.encode(encoder.encode_descriptor(name, help, unit, counter.metric_type())?)
}
