//! Asks Kafka what it still has of a topic, beside the reader, which is busy polling. The client lives as long as this
//! log.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use lake_schemas::{OffsetRange, TopicPartition};
use rdkafka::consumer::BaseConsumer;
use tokio::sync::OnceCell;
use tracing::debug;

use super::config::KafkaOptions;
use super::fault::failed;
use super::watermarks::{self, Watermarks};
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

    /// Asks for the offsets that these partitions of the topic have.
    async fn ask(&self, numbers: Vec<i32>) -> Result<Watermarks, SourceError> {
        let topic = self.options.topic.clone();
        let client = Arc::clone(self.client.get_or_try_init(|| async { self.connect() }).await?);
        let asking = tokio::task::spawn_blocking(move || {
            watermarks::ask(client.as_ref(), &topic, &numbers, ANSWER_MAX).map_err(|error| failed(&topic, &error))
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
    fn offsets<'a>(&'a self, partitions: &'a [TopicPartition]) -> BoxFuture<'a, BTreeMap<TopicPartition, OffsetRange>> {
        async move {
            // A log that was recorded under another name is none of this topic.
            let topic = self.options.recorded_topic();
            let numbers: Vec<_> = partitions.iter().filter(|one| one.topic == topic).map(|one| one.partition).collect();
            if numbers.is_empty() {
                return BTreeMap::new();
            }
            match self.ask(numbers).await {
                Ok(told) => {
                    let named = |(number, offsets)| (TopicPartition::new(topic, number), offsets);
                    told.into_iter().map(named).collect()
                }
                Err(error) => {
                    debug!(topic, %error, "not known what kafka has");
                    BTreeMap::new()
                }
            }
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use rdkafka::mocking::MockCluster;

    use super::*;

    #[tokio::test]
    async fn offsets_are_told_of_the_topic_under_its_recorded_name_and_of_no_other() {
        let cluster = MockCluster::new(1).expect("a cluster");
        cluster.create_topic("clicks", 2, 1).expect("a topic");
        let log = KafkaLog::new(KafkaOptions {
            bootstrap_servers: cluster.bootstrap_servers(),
            topic: "clicks".to_owned(),
            topic_as: Some("recorded".to_owned()),
            group: None,
            instance: None,
            properties: Vec::new(),
        });
        let [first, second, other] =
            [("recorded", 0), ("recorded", 1), ("clicks", 0)].map(|(topic, number)| TopicPartition::new(topic, number));
        let asked = [first.clone(), second.clone(), other.clone()];
        assert_eq!(log.ends(&asked).await, BTreeMap::from([(first.clone(), 0), (second, 0)]));
        assert!(log.has(&first, 0).await && !log.has(&other, 0).await);
        assert!(log.offsets(&[other]).await.is_empty());
    }
}
