//! Sends generated messages to a topic, at a rate, and counts what the broker has taken.

use std::time::Duration;

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer};
use rdkafka::{ClientConfig, ClientContext};
use tokio::sync::watch;
use tokio::time::{Instant, interval};
use tokio_util::sync::CancellationToken;

use crate::generate::{Counts, Generator, Kind};

/// Interval at which messages that are due are sent.
const TICK: Duration = Duration::from_millis(10);

/// Longest wait for the acknowledgement of the last messages.
const FLUSH_MAX: Duration = Duration::from_secs(30);

/// How many messages to send, and how fast.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Number of messages a second.
    pub rate: u64,
    /// Number of messages in all; `None` until stopped.
    pub count: Option<u64>,
    /// Time of the first message, in milliseconds since 1970.
    pub start_ms: i64,
}

/// Why messages could not be sent.
#[derive(Debug, thiserror::Error)]
pub enum ProduceError {
    /// Kafka did not take the messages.
    #[error("topic {topic}: {source}")]
    Kafka {
        /// Topic that the messages were sent to.
        topic: String,
        /// Error that Kafka returned.
        source: KafkaError,
    },
}

/// Counts what the broker acknowledges.
struct Acknowledged(watch::Sender<Counts>);

impl ClientContext for Acknowledged {}

impl ProducerContext for Acknowledged {
    type DeliveryOpaque = Box<Kind>;

    fn delivery(&self, result: &DeliveryResult<'_>, kind: Box<Kind>) {
        if result.is_ok() {
            self.0.send_modify(|counts| counts.add(*kind));
        }
    }
}

/// Sends messages until enough are sent, or it is stopped. At the end `counts` holds what the broker has acknowledged.
pub async fn produce(
    config: &ClientConfig,
    topic: &str,
    mut generator: Generator,
    load: Load,
    stop: CancellationToken,
    counts: watch::Sender<Counts>,
) -> Result<(), ProduceError> {
    let failed = |source| ProduceError::Kafka { topic: topic.to_owned(), source };
    let mut config = config.clone();
    config.set("linger.ms", "5").set("enable.idempotence", "true");
    let producer: ThreadedProducer<_> = config.create_with_context(Acknowledged(counts)).map_err(failed)?;
    let (start, mut ticks) = (Instant::now(), interval(TICK));
    let mut sent = 0;
    let enough = load.count.unwrap_or(u64::MAX);
    while sent < enough && !stop.is_cancelled() {
        ticks.tick().await;
        let elapsed = start.elapsed();
        let due = (elapsed.as_secs_f64() * load.rate as f64) as u64;
        let now_ms = load.start_ms + i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX);
        while sent < due.min(enough) {
            let message = generator.next_at(now_ms);
            let opaque = Box::new(message.kind);
            let mut record = BaseRecord::with_opaque_to(topic, opaque).key(&message.key).payload(&message.payload);
            while let Err((error, back)) = producer.send(record) {
                if error.rdkafka_error_code() != Some(RDKafkaErrorCode::QueueFull) {
                    return Err(failed(error));
                }
                record = back;
                ticks.tick().await;
            }
            sent += 1;
        }
    }
    let flushed = tokio::task::spawn_blocking(move || producer.flush(FLUSH_MAX)).await;
    flushed.unwrap_or(Err(KafkaError::Canceled)).map_err(failed)
}
