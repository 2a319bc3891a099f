//! Says why a partition cannot be read on, by its next offset, and what to do.

use std::time::Duration;

use lake_schemas::{Code, TopicPartition};
use rdkafka::consumer::{BaseConsumer, Consumer};

use super::group::{GroupContext, has_next};
use super::watermarks;
use crate::source::SourceError;

/// Longest wait for the brokers to tell where the log of the partition begins and ends.
const TOLD_MAX: Duration = Duration::from_secs(5);

/// Builds the error for data that librdkafka cannot read. It would pass over some of it by itself.
pub(super) fn damaged(partition: &TopicPartition, offset: i64, reason: &str) -> SourceError {
    SourceError::Refused(Code::BatchUnreadable.because(format!(
        "{partition}: what the log has at offset {offset} cannot be read, and is not passed over: {reason}; if another \
         replica of the partition is whole, make it the leader and start again; to go on without what is damaged, \
         delete the partition's records up to behind it, and record the topic under a new name with --topic-as"
    )))
}

/// Builds the error for a partition whose log lacks the message that must be read next, as librdkafka says. The log is
/// asked where it begins and ends.
pub(super) fn lacking(
    consumer: &BaseConsumer<GroupContext>,
    partition: &TopicPartition,
    next: i64,
    reason: &str,
) -> SourceError {
    let number = partition.partition;
    let log = watermarks::ask(consumer, consumer.context().topic(), &[number], TOLD_MAX).unwrap_or_default();
    match log.get(&number).map(|log| has_next(partition, next, *log)) {
        Some(Err(error)) => error,
        // librdkafka reads on only if the partition is assigned again.
        Some(Ok(())) => SourceError::Failed {
            what: format!(
                "{partition}: kafka said that it does not have what must be read next, at offset {next}, and has it: \
                 start the job again ({reason})"
            ),
            source: None,
        },
        None => SourceError::Refused(Code::OffsetsGone.because(format!(
            "{partition}: offset {next} must be read next, but kafka does not have it ({reason}); to go on without \
             what it dropped, record the topic under a new name with --topic-as"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_refusal_says_where_and_what_to_do() {
        let reason = "MessageSet at offset 500 failed CRC32C check";
        let refused = damaged(&TopicPartition::new("clicks", 3), 520, reason);
        assert_eq!(refused.code(), Some(Code::BatchUnreadable));
        let said = refused.to_string();
        for word in ["clicks/3", "offset 520", "offset 500", "CRC32C", "replica", "--topic-as"] {
            assert!(said.contains(word), "{word:?} is not in: {said}");
        }
        assert!(!said.contains('\n'), "{said}");
    }
}
