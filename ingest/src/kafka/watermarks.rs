//! Asks where the logs of partitions begin and end, for all of them at once: one request for each end and broker,
//! however many partitions there are.
//!
//! librdkafka answers for all partitions asked for, or for none: one partition without a leader delays all that begin
//! with it. None of them can begin without the answer: a row below the first wanted offset tells whether the log is the
//! one that the table knows, if retention has left it, and only the log's beginning says whether it has. The log lines
//! name the partitions that have no leader.

use std::collections::HashMap;
use std::time::Duration;

use lake_schemas::OffsetRange;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::{Offset, TopicPartitionList};
use tokio::time::Instant;
use tracing::warn;

use super::fault::{Fault, failed};
use crate::source::SourceError;

/// Longest wait for an answer of the brokers before they are asked again.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// First wait between two questions; it doubles after each failure, up to `PAUSE_MAX`.
const PAUSE_FIRST: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// Longest wait for the brokers to tell which partitions have no leader: only log lines depend on it.
const LEADERS_MAX: Duration = Duration::from_secs(2);

/// Interval at which a waiting question checks whether anybody still wants the answer.
const PAUSE_SLICE: Duration = Duration::from_millis(100);

/// Longest time for which brokers may not know a topic or a partition: one that was only just created is not known
/// everywhere at once. librdkafka waits as long before it reports the same for what it fetches.
const UNKNOWN_MAX: Duration = Duration::from_secs(30);

/// Offsets that the log of each partition has.
pub(super) type Watermarks = HashMap<i32, OffsetRange>;

/// Asks once, and waits for the answer at most as long as `patience`.
pub(super) fn ask<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    topic: &str,
    partitions: &[i32],
    patience: Duration,
) -> KafkaResult<Watermarks> {
    let firsts = ends(consumer, topic, partitions, Offset::Beginning, patience)?;
    let nexts = ends(consumer, topic, partitions, Offset::End, patience)?;
    let range =
        |(partition, first): (i32, i64)| Some((partition, OffsetRange { first, next: *nexts.get(&partition)? }));
    Ok(firsts.into_iter().filter_map(range).collect())
}

/// Asks until there is an answer, a permanent error, or nobody who waits for the answer.
pub(super) fn until_told<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    topic: &str,
    partitions: &[i32],
    is_unwanted: impl Fn() -> bool,
) -> Result<Watermarks, SourceError> {
    let (began, mut pause) = (Instant::now(), PAUSE_FIRST);
    loop {
        let error = match ask(consumer, topic, partitions, ANSWER_MAX) {
            Ok(watermarks) => return Ok(watermarks),
            Err(error) => error,
        };
        if !may_pass(Fault::of(&error), began.elapsed()) {
            return Err(failed(topic, &error));
        }
        let without_leader = without_leader(consumer, topic, partitions);
        if is_unwanted() {
            return Err(unanswered(topic, &error, &without_leader));
        }
        let wait_ms = pause.as_millis();
        warn!(topic, %error, ?without_leader, wait_ms, "asking again where the log of the topic begins and ends");
        let until = Instant::now() + pause;
        while Instant::now() < until && !is_unwanted() {
            std::thread::park_timeout(PAUSE_SLICE.min(pause));
        }
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

/// Builds the error for a question without an answer; it names the partitions that cannot have one.
fn unanswered(topic: &str, error: &KafkaError, without_leader: &[i32]) -> SourceError {
    if without_leader.is_empty() {
        return failed(topic, error);
    }
    SourceError::failed(format!("topic {topic}: these partitions have no leader: {without_leader:?}"), error.clone())
}

/// Finds the partitions that have no leader now, as far as the brokers tell.
fn without_leader<C: ConsumerContext>(consumer: &BaseConsumer<C>, topic: &str, partitions: &[i32]) -> Vec<i32> {
    let Ok(metadata) = consumer.fetch_metadata(Some(topic), LEADERS_MAX) else { return Vec::new() };
    let told = metadata.topics().iter().flat_map(|topic| topic.partitions());
    let without = told.filter(|one| one.leader() < 0).map(|one| one.id());
    without.filter(|partition| partitions.contains(partition)).collect()
}

/// Returns whether the fault may pass, so that another attempt is worth it, this long after the first.
fn may_pass(fault: Fault, after: Duration) -> bool {
    match fault {
        Fault::Hopeless | Fault::Gone | Fault::Unreadable => false,
        Fault::Unknown => after < UNKNOWN_MAX,
        Fault::CutOff | Fault::Passing => true,
    }
}

/// Asks for one end of each log. To librdkafka the ends are special times, so this is the request for offsets by time.
fn ends<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    topic: &str,
    partitions: &[i32],
    which: Offset,
    patience: Duration,
) -> KafkaResult<HashMap<i32, i64>> {
    let mut asked = TopicPartitionList::with_capacity(partitions.len());
    for partition in partitions {
        asked.add_partition_offset(topic, *partition, which)?;
    }
    if asked.count() == 0 {
        return Ok(HashMap::new());
    }
    let answered = consumer.offsets_for_times(asked, patience)?;
    let end = |one: &rdkafka::topic_partition_list::TopicPartitionListElem<'_>| {
        one.error()?;
        match one.offset() {
            Offset::Offset(offset) => Ok((one.partition(), offset)),
            // The broker has left the partition out.
            _ => Err(KafkaError::MetadataFetch(RDKafkaErrorCode::OffsetNotAvailable)),
        }
    };
    answered.elements().iter().map(end).collect()
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use rdkafka::ClientConfig;
    use rdkafka::mocking::MockCluster;
    use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
    use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

    use super::*;

    const TOPIC: &str = "clicks";

    fn config(cluster: &MockCluster<'_, impl rdkafka::ClientContext>) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", cluster.bootstrap_servers()).set("group.id", "watermarks");
        config
    }

    /// Asks the mock cluster, whose next answers are these errors. Nobody wants the answer any more after `looks_max`
    /// checks; returns the result and the time that it took.
    fn told(errors: &[RDKafkaRespErr], looks_max: usize) -> (Result<Watermarks, SourceError>, Duration) {
        let cluster = MockCluster::new(1).expect("a cluster");
        cluster.create_topic(TOPIC, 3, 1).expect("a topic");
        let producer: ThreadedProducer<DefaultProducerContext> = config(&cluster).create().expect("a producer");
        for number in 0..5 {
            let record = BaseRecord::<(), _>::to(TOPIC).partition(number % 2).payload("{}");
            producer.send(record).map_err(|(error, _)| error).expect("a message is queued");
        }
        producer.flush(ANSWER_MAX).expect("the cluster answers");
        let consumer: BaseConsumer = config(&cluster).create().expect("a consumer");
        consumer.fetch_metadata(Some(TOPIC), ANSWER_MAX).expect("the cluster answers");
        cluster.request_errors(RDKafkaApiKey::ListOffsets, errors);
        let (began, looks) = (Instant::now(), Cell::new(0));
        let is_unwanted = || looks.replace(looks.get() + 1) >= looks_max;
        (until_told(&consumer, TOPIC, &[0, 1, 2], is_unwanted), began.elapsed())
    }

    #[test]
    fn all_partitions_are_told_at_once() {
        let (told, _) = told(&[], usize::MAX);
        let told = told.expect("it is answered");
        let ranges: Vec<_> = [0, 1, 2].iter().map(|partition| (told[partition].first, told[partition].next)).collect();
        assert_eq!(ranges, [(0, 3), (0, 2), (0, 0)]);
    }

    #[test]
    fn a_fail_over_is_waited_for_with_pauses() {
        let errors = [RDKafkaRespErr::RD_KAFKA_RESP_ERR_OFFSET_NOT_AVAILABLE; 4];
        let (told, took) = told(&errors, usize::MAX);
        assert_eq!(told.expect("it passes").len(), 3);
        let pauses: Duration = (0..4).map(|number| (PAUSE_FIRST * (1 << number)).min(PAUSE_MAX)).sum();
        assert!(took >= pauses, "four failures in {took:?}, and no pauses between them");
    }

    #[test]
    fn partitions_without_a_leader_are_named() {
        let cluster = MockCluster::new(1).expect("a cluster");
        cluster.create_topic(TOPIC, 3, 1).expect("a topic");
        cluster.partition_leader(TOPIC, 1, None).expect("a partition");
        let consumer: BaseConsumer = config(&cluster).create().expect("a consumer");
        assert_eq!(without_leader(&consumer, TOPIC, &[0, 1, 2]), [1]);
        assert!(without_leader(&consumer, TOPIC, &[0, 2]).is_empty());
        let error = KafkaError::MetadataFetch(RDKafkaErrorCode::OperationTimedOut);
        let said = unanswered(TOPIC, &error, &[1]).to_string();
        assert!(said.contains(TOPIC) && said.ends_with("no leader: [1]"), "{said}");
        assert_eq!(unanswered(TOPIC, &error, &[]).to_string(), failed(TOPIC, &error).to_string());
    }

    #[test]
    fn a_permanent_error_is_reported_at_once() {
        let (told, took) = told(&[RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED; 100], usize::MAX);
        let error = told.expect_err("nobody gives it back");
        let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
        assert!(error.to_string().contains(TOPIC) && cause.contains("authorization"), "{error}: {cause}");
        assert!(took < UNKNOWN_MAX / 3, "it took {took:?}");
    }

    #[test]
    fn a_stop_ends_the_wait() {
        let (told, took) = told(&[RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION; 1_000], 6);
        told.expect_err("nobody waits for it");
        assert!(took < PAUSE_MAX * 2, "it took {took:?}");
    }

    #[test]
    fn a_topic_that_nobody_knows_is_asked_for_as_long_as_news_may_travel() {
        assert!(may_pass(Fault::Unknown, Duration::from_secs(1)));
        assert!(!may_pass(Fault::Unknown, UNKNOWN_MAX));
        assert!(may_pass(Fault::CutOff, UNKNOWN_MAX * 100));
    }
}
