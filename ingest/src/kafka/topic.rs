//! Questions about a topic that need no reading: whether it exists, where it ends, who sets its timestamps.

use std::collections::BTreeMap;
use std::error::Error;
use std::time::Duration;

use lake_schemas::{Cut, OffsetRange, TopicPartition};
use rdkafka::admin::{AdminClient, AdminOptions, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use tokio::time::{Instant, timeout};
use tracing::{debug, warn};

use super::config::KafkaOptions;
use super::fault::failed;
use super::group::GroupContext;
use super::watermarks;
use crate::source::SourceError;

/// Longest wait for a broker at start-up. With the rest of the start-up, errors come within 15 seconds.
const ANSWER_MAX: Duration = Duration::from_secs(8);

/// Longest wait for the ends of logs, while brokers fail to tell them.
const ENDS_MAX: Duration = Duration::from_secs(5);

/// Length of one attempt, between two looks at what librdkafka reports.
const ANSWER_SLICE: Duration = Duration::from_secs(1);

/// Longest wait for an answer on which only a warning depends.
const ASIDE_MAX: Duration = Duration::from_secs(3);

/// Topic setting that says whose timestamps its messages carry. [`CREATE_TIME`] is its value for the producers'.
const TIMESTAMP_TYPE: &str = "message.timestamp.type";
const CREATE_TIME: &str = "CreateTime";

/// Offsets that the log of each partition has.
pub type Ends = BTreeMap<TopicPartition, OffsetRange>;

/// Returns the offsets that each partition of a topic has now.
pub async fn ends(options: &KafkaOptions) -> Result<Ends, SourceError> {
    let (config, options) = (options.asking()?, options.clone());
    let ends = tokio::task::spawn_blocking(move || {
        let failed = |error: KafkaError| failed(&options.topic, &error);
        let consumer: BaseConsumer = config.create().map_err(failed)?;
        let metadata = consumer.fetch_metadata(Some(&options.topic), ANSWER_MAX);
        let metadata = metadata.map_err(|error| unreachable(&options.bootstrap_servers, error))?;
        let partitions: Vec<_> = metadata.topics().iter().flat_map(|topic| topic.partitions()).collect();
        let partitions: Vec<_> = partitions.into_iter().map(|partition| partition.id()).collect();
        // Waits for partitions whose leaders are just being elected, but not long.
        let began = Instant::now();
        let is_late = || began.elapsed() > ENDS_MAX;
        let watermarks = watermarks::until_told(&consumer, &options.topic, &partitions, is_late)?;
        let named = |(partition, offsets)| (TopicPartition::new(options.recorded_topic(), partition), offsets);
        Ok(watermarks.into_iter().map(named).collect::<Ends>())
    });
    ends.await.map_err(|panic| SourceError::failed("asking kafka", panic))?
}

/// Returns the ends of the partitions that have anything to read.
pub(crate) fn to_be_read(ends: &Ends) -> Cut {
    let with_messages = ends.iter().filter(|(_, offsets)| offsets.first < offsets.next);
    with_messages.map(|(partition, offsets)| (partition.clone(), offsets.next)).collect()
}

/// Warns if producers set the timestamps of a topic: event times too far in the future are recognised by comparison
/// with them. A broker that does not answer, or may not, is not asked twice.
pub async fn warn_of_producers_clocks(options: &KafkaOptions) {
    let topic = &options.topic;
    let Ok(client) = options.client().create::<AdminClient<DefaultClientContext>>() else { return };
    let asked = [ResourceSpecifier::Topic(topic)];
    let admin = AdminOptions::new().request_timeout(Some(ASIDE_MAX));
    let answer = match timeout(ASIDE_MAX, client.describe_configs(&asked, &admin)).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => return debug!(%error, "whose timestamps the topic has is not told"),
        Err(_) => return debug!("whose timestamps the topic has is not told in time"),
    };
    let settings = answer.iter().flatten().find_map(|resource| resource.get(TIMESTAMP_TYPE));
    if settings.and_then(|setting| setting.value.as_deref()) == Some(CREATE_TIME) {
        warn!(
            topic,
            "producers set this topic's timestamps: one whose clock is ahead can make the clicks of a partition late; \
             {TIMESTAMP_TYPE}=LogAppendTime rules that out"
        );
    }
}

/// Finds out within seconds that a broker cannot be reached, or lacks the topic.
pub(super) fn has_topic(consumer: &BaseConsumer<GroupContext>, options: &KafkaOptions) -> Result<(), SourceError> {
    let (topic, servers) = (&options.topic, &options.bootstrap_servers);
    let began = Instant::now();
    let metadata = loop {
        let error = match consumer.fetch_metadata(Some(topic), ANSWER_SLICE) {
            Ok(metadata) => break metadata,
            Err(error) => error,
        };
        // librdkafka calls errors back inside a poll; nothing else can come before the consumer has subscribed.
        let polled = consumer.poll(Duration::ZERO).and_then(Result::err);
        let complaint = consumer.context().complaint();
        let is_hopeless = complaint.as_ref().is_some_and(|complaint| complaint.is_hopeless);
        if is_hopeless || began.elapsed() > ANSWER_MAX {
            let reason = complaint.map(|complaint| complaint.reason);
            let reason = reason.unwrap_or_else(|| polled.unwrap_or(error).to_string());
            return Err(unreachable(servers, reason));
        }
    };
    let found = metadata.topics().iter().find(|found| found.name() == topic);
    let code = found.map_or(Some(RDKafkaErrorCode::UnknownTopic), |found| found.error().map(RDKafkaErrorCode::from));
    code.map_or(Ok(()), |code| Err(refused(options, code, &code)))
}

/// Builds the error for brokers that do not answer. It names their address and the flag that sets it.
fn unreachable(servers: &str, reason: impl Into<Box<dyn Error + Send + Sync>>) -> SourceError {
    let reason = reason.into();
    let what = format!("cannot reach kafka at {servers}: {reason}; --bootstrap-servers says where it is");
    SourceError::failed(what, reason)
}

/// Builds the error for a topic that Kafka refuses, by the error's code, and says what to do about it.
pub(super) fn refused<E>(options: &KafkaOptions, code: RDKafkaErrorCode, error: &E) -> SourceError
where
    E: Error + Clone + Send + Sync + 'static,
{
    use RDKafkaErrorCode as Code;
    let KafkaOptions { topic, bootstrap_servers: servers, .. } = options;
    let what = match code {
        Code::UnknownTopicOrPartition | Code::UnknownTopic => {
            let what = format!("topic {topic} does not exist at {servers}; create it, or name another with --topic");
            return SourceError::Failed { what, source: None };
        }
        // A name of a process is in use. The tables are written by one of the two at a time, whoever is refused.
        Code::FencedInstanceId | Code::UnreleasedInstanceId => {
            let instance = options.instance.as_deref().unwrap_or_default();
            return SourceError::Refused(lake_schemas::Code::Fenced.because(format!(
                "topic {topic}: another process of the group has begun as --instance {instance}, and has this one's \
                 partitions; give each process a name of its own"
            )));
        }
        Code::TopicAuthorizationFailed => {
            format!("topic {topic} at {servers}: {error}; allow this user to read and describe it")
        }
        Code::GroupAuthorizationFailed => {
            format!(
                "topic {topic} at {servers}: {error}; allow this user to read as that group, or name another with \
                 --group"
            )
        }
        _ => format!("topic {topic} at {servers}"),
    };
    SourceError::failed(what, error.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_kafka_refuses_names_the_topic_and_what_to_do() {
        let (bootstrap_servers, topic) = ("kafka:9092".to_owned(), "clicks".to_owned());
        let (instance, properties) = (None, Vec::new());
        let options = KafkaOptions { bootstrap_servers, topic, topic_as: None, group: None, instance, properties };
        for (code, word) in [
            (RDKafkaErrorCode::UnknownTopicOrPartition, "create it"),
            (RDKafkaErrorCode::UnknownTopic, "--topic"),
            (RDKafkaErrorCode::TopicAuthorizationFailed, "allow this user"),
            (RDKafkaErrorCode::GroupAuthorizationFailed, "--group"),
        ] {
            let said = refused(&options, code, &code).to_string();
            assert!(said.starts_with("topic clicks ") && said.contains("kafka:9092") && said.contains(word), "{said}");
        }
    }

    #[test]
    fn a_process_whose_name_another_has_taken_is_refused_by_it() {
        let (bootstrap_servers, topic) = ("kafka:9092".to_owned(), "clicks".to_owned());
        let (instance, properties) = (Some("one".to_owned()), Vec::new());
        let options = KafkaOptions { bootstrap_servers, topic, topic_as: None, group: None, instance, properties };
        for code in [RDKafkaErrorCode::FencedInstanceId, RDKafkaErrorCode::UnreleasedInstanceId] {
            let refused = refused(&options, code, &code);
            assert_eq!(refused.code(), Some(lake_schemas::Code::Fenced));
            assert!(refused.to_string().contains("--instance one"), "{refused}");
        }
    }
}
