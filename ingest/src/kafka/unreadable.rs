//! Finds out which partition cannot be read.
//!
//! librdkafka reports that a batch is damaged, and at which offset, but the binding does not say in which partition. So
//! a consumer of its own reads each partition, alone, from its next offset, until one of them fails as before.

use std::error::Error;
use std::time::Duration;

use lake_schemas::{Code, TopicPartition};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::{Offset, TopicPartitionList};
use tokio::time::Instant;
use tracing::debug;

use super::config::KafkaOptions;
use super::fault::Fault;
use crate::source::SourceError;

/// Longest search in all: a job that ends has 20 seconds, and the culprit is usually the first partition tried.
const SEARCH_MAX: Duration = Duration::from_secs(10);

/// Longest wait for a partition to yield a message, its end, or its error.
const PARTITION_MAX: Duration = Duration::from_secs(3);

/// Next position to read of a partition.
pub(super) type Next = (TopicPartition, i64);

/// Builds the error that ends a reader when data cannot be read. `reason` is librdkafka's report; `next` are the
/// partitions that are read.
pub(super) fn refusal(options: &KafkaOptions, reason: &str, mut next: Vec<Next>) -> SourceError {
    // The damaged batch begins at a partition's next offset, or shortly before: try the nearest ones first.
    let named: Vec<i64> = numbers(reason).collect();
    next.sort_by_key(|(_, offset)| named.iter().map(|named| named.abs_diff(*offset)).min());
    match search(options, &next) {
        Ok(Some((partition, offset))) => {
            SourceError::Refused(Code::BatchUnreadable.because(said(partition, *offset, reason)))
        }
        // Data that can be read the second time was damaged on its way, and not where it is stored.
        Ok(None) => SourceError::Failed {
            what: format!(
                "topic {}: kafka sent data that cannot be read, but could be read when it was sent again: start the \
                 job again ({reason})",
                options.topic
            ),
            source: None,
        },
        Err(error) => SourceError::Refused(Code::BatchUnreadable.because(format!(
            "topic {}: data of one of its partitions cannot be read, and which one was not found out ({error}): \
             {reason}",
            options.topic
        ))),
    }
}

fn said(partition: &TopicPartition, offset: i64, reason: &str) -> String {
    format!(
        "{partition}: what the log has at offset {offset} cannot be read, and is not passed over: {reason}; if another \
         replica of the partition is whole, make it the leader and start again; to go on without what is damaged, \
         delete the partition's records up to behind it, and record the topic under a new name with --topic-as"
    )
}

/// Returns the first partition whose next message cannot be read; `None` if all of them can.
fn search<'a>(options: &KafkaOptions, next: &'a [Next]) -> Result<Option<&'a Next>, Box<dyn Error + Send + Sync>> {
    let mut config = options.asking()?;
    // One message is enough, so the broker need not collect a batch.
    config.set("fetch.min.bytes", "1").set("fetch.wait.max.ms", "10");
    let consumer: BaseConsumer = config.create()?;
    let began = Instant::now();
    for candidate @ (partition, offset) in next {
        if began.elapsed() > SEARCH_MAX {
            return Err("it took too long".into());
        }
        let mut alone = TopicPartitionList::new();
        alone.add_partition_offset(&options.topic, partition.partition, Offset::Offset(*offset))?;
        consumer.assign(&alone)?;
        if is_unreadable(&consumer) {
            return Ok(Some(candidate));
        }
    }
    Ok(None)
}

/// Returns whether the assigned partition yields the error before a message or its end.
fn is_unreadable(consumer: &BaseConsumer) -> bool {
    let began = Instant::now();
    while began.elapsed() < PARTITION_MAX {
        match consumer.poll(PARTITION_MAX) {
            Some(Ok(_) | Err(KafkaError::PartitionEOF(_))) => return false,
            Some(Err(error)) if Fault::of(&error) == Fault::Unreadable => return true,
            Some(Err(error)) => debug!(%error, "looking for what cannot be read"),
            None => {}
        }
    }
    false
}

/// Extracts the numbers in a text.
fn numbers(text: &str) -> impl Iterator<Item = i64> {
    text.split(|character: char| !character.is_ascii_digit()).filter_map(|digits| digits.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_refusal_says_where_and_what_to_do() {
        let said = said(&TopicPartition::new("clicks", 3), 520, "MessageSet at offset 500 failed CRC32C check");
        for word in ["clicks/3", "offset 520", "offset 500", "CRC32C", "replica", "--topic-as"] {
            assert!(said.contains(word), "{word:?} is not in: {said}");
        }
        assert!(!said.contains('\n'), "{said}");
    }

    #[test]
    fn numbers_are_found_in_what_librdkafka_says() {
        let reason = "MessageSet at offset 500 (612 bytes) failed CRC32C check (original 0x1f != calculated 0x2a)";
        assert_eq!(numbers(reason).take(2).collect::<Vec<_>>(), [500, 612]);
    }
}
