//! Metrics of the server, as Prometheus reads them.

use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::AtomicI64;
use std::time::Duration;

use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::locked::lock;

/// Content type of the text that Prometheus expects.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Bucket bounds of durations, in seconds: warm answers take milliseconds, and nothing takes longer than a minute.
const SECONDS_BOUNDS: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 20.0];

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Answered {
    route: &'static str,
    status: u16,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Route {
    route: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OfTable {
    table: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Protocol {
    protocol: &'static str,
}

/// Metrics that the server counts.
pub(crate) struct Metrics {
    registry: Mutex<Registry>,
    requests: Family<Answered, Counter>,
    seconds: Family<Route, Histogram>,
    in_flight: Gauge,
    version: Family<OfTable, Gauge>,
    refreshed: Gauge<i64, AtomicI64>,
    connections: Family<Protocol, Gauge>,
}

impl Metrics {
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix_and_labels("clicklake", [("job".into(), "serve".into())].into_iter());
        let this = Self {
            registry: Mutex::default(),
            requests: Family::default(),
            seconds: Family::new_with_constructor(|| Histogram::new(SECONDS_BOUNDS)),
            in_flight: Gauge::default(),
            version: Family::default(),
            refreshed: Gauge::default(),
            connections: Family::default(),
        };
        registry.register("requests", "Requests answered, by route and status", this.requests.clone());
        registry.register("request_seconds", "How long an answer took", this.seconds.clone());
        registry.register("in_flight", "Questions that are being answered", this.in_flight.clone());
        registry.register("version", "The version that answers are of", this.version.clone());
        registry.register("refreshed_seconds", "When the lake was last looked at, since 1970", this.refreshed.clone());
        registry.register("connections", "Connections that are open, by protocol", this.connections.clone());
        *lock(&this.registry) = registry;
        this
    }

    /// Counts an answer, and how long it took.
    pub fn answered(&self, route: &'static str, status: StatusCode, took: Duration) {
        self.requests.get_or_create(&Answered { route, status: status.as_u16() }).inc();
        self.seconds.get_or_create(&Route { route }).observe(took.as_secs_f64());
    }

    /// Counts a question as under way, as long as the returned value is held.
    pub fn in_flight(&self) -> GaugeGuard {
        GaugeGuard::of(&self.in_flight)
    }

    /// Counts a connection as open, as long as the returned value is held.
    pub fn connected(&self, protocol: &'static str) -> GaugeGuard {
        GaugeGuard::of(&self.connections.get_or_create(&Protocol { protocol }))
    }

    /// Records that a table of the lake was refreshed, and its version.
    pub fn refreshed(&self, table: &'static str, version: u64, at_seconds: i64) {
        self.version.get_or_create(&OfTable { table }).set(i64::try_from(version).unwrap_or(i64::MAX));
        self.refreshed.set(at_seconds);
    }

    /// Adds the metric that tells whether the file of keys is refused.
    pub fn with_keys(self, refused: &Gauge) -> Self {
        let help = "Whether the file of keys is not taken as it is, and the keys are those of before";
        lock(&self.registry).register("keys_refused", help, refused.clone());
        self
    }

    /// Returns all metrics as a response.
    pub fn told(&self) -> impl IntoResponse + use<> {
        told(&lock(&self.registry))
    }
}

/// Returns the metrics of a registry as a response that Prometheus reads.
pub fn told(registry: &Registry) -> impl IntoResponse + use<> {
    let mut text = String::new();
    encode(&mut text, registry).expect("text can be written to a string");
    ([(CONTENT_TYPE, OPEN_METRICS)], text)
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("metrics")
    }
}

/// Counts as one in a gauge, until it is dropped.
pub(crate) struct GaugeGuard(Gauge);

impl GaugeGuard {
    fn of(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for GaugeGuard {
    fn drop(&mut self) {
        self.0.dec();
    }
}
