//! Asks Kafka what it still has of a topic, beside the reader, which is busy polling. The client lives as long as this
//! log.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use lake_schemas::TopicPartition;
use rdkafka::consumer::{BaseConsumer, Consumer};
use tokio::sync::OnceCell;
use tracing::debug;

use super::config::KafkaOptions;
use super::fault::failed;
use crate::replay::LiveLog;
use crate::source::SourceError;

/// Longest wait for a broker's answer. The caller goes on without an answer, and asks again later.
const ANSWER_MAX: Duration = Duration::from_secs(8);

/// The log of a topic, for questions beside the reader.
pub(super) struct KafkaLog {
    options: KafkaOptions,
    client: OnceCell<Arc<BaseConsumer>>,
}

impl KafkaLog {
    /// Makes a log of the named topic. Connects only with the first question.
    pub fn new(options: KafkaOptions) -> Self {
        Self { options, client: OnceCell::new() }
    }

    /// Returns the first offset that a partition has.
    async fn first(&self, partition: &TopicPartition) -> Result<i64, SourceError> {
        let (topic, number) = (self.options.topic.clone(), partition.partition);
        let client = Arc::clone(self.client.get_or_try_init(|| async { self.connect() }).await?);
        let asking = tokio::task::spawn_blocking(move || {
            let watermarks = client.fetch_watermarks(&topic, number, ANSWER_MAX);
            watermarks.map(|(first, _)| first).map_err(|error| failed(&topic, &error))
        });
        asking.await.map_err(|panic| SourceError::failed("asking kafka", panic))?
    }

    fn connect(&self) -> Result<Arc<BaseConsumer>, SourceError> {
        let config = self.options.asking()?;
        config.create().map(Arc::new).map_err(|error| failed(&self.options.topic, &error))
    }
}

impl Drop for KafkaLog {
    fn drop(&mut self) {
        // Closing a client talks to its brokers, which no thread of the runtime should wait for. If no thread can be
        // started, this one waits.
        if let Some(client) = self.client.take() {
            let _ = std::thread::Builder::new().spawn(move || drop(client));
        }
    }
}

impl LiveLog for KafkaLog {
    fn has<'a>(&'a self, partition: &'a TopicPartition, offset: i64) -> BoxFuture<'a, bool> {
        async move {
            match self.first(partition).await {
                Ok(first) => first <= offset,
                Err(error) => {
                    debug!(%partition, %error, "not known whether kafka has what comes next");
                    false
                }
            }
        }
        .boxed()
    }
}
