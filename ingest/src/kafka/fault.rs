//! Classifies errors of librdkafka for a reader: whether an error passes, whether a human has to look, and whether data
//! of the log cannot be read.

use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use crate::source::SourceError;

/// Kind of an error, by the reaction that it needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// Bytes of a partition cannot be read: they are damaged, or written in a format that librdkafka does not know. It
    /// skips some of them by itself, so a reader that ignores this loses messages.
    Unreadable,
    /// Kafka no longer has the next message.
    Gone,
    /// The topic does not exist. Brokers also report this for a moment for partitions that were only just created.
    Unknown,
    /// A retry would fail in the same way.
    Hopeless,
    /// No broker answers, or one of them does not.
    CutOff,
    /// The error passes by itself.
    Passing,
}

impl Fault {
    /// Returns the kind of an error.
    pub fn of(error: &KafkaError) -> Self {
        use RDKafkaErrorCode as Code;
        if matches!(error, KafkaError::MessageConsumptionFatal(_)) {
            return Self::Hopeless;
        }
        match error.rdkafka_error_code() {
            // Damage that librdkafka finds in a batch: a wrong checksum, a failed decompression, an unknown format or
            // codec, a batch larger than it can hold.
            Some(
                Code::BadMessage | Code::BadCompression | Code::NotImplemented | Code::MessageSizeTooLarge
                // Damage that the broker finds in its files, and messages that no request can carry.
                | Code::InvalidMessage | Code::InvalidMessageSize | Code::UnsupportedCompressionType
                | Code::UnsupportedForMessageFormat,
            ) => Self::Unreadable,
            Some(Code::AutoOffsetReset | Code::OffsetOutOfRange) => Self::Gone,
            Some(Code::UnknownTopicOrPartition | Code::UnknownTopic) => Self::Unknown,
            Some(Code::TopicAuthorizationFailed | Code::GroupAuthorizationFailed | Code::Fatal) => Self::Hopeless,
            Some(Code::BrokerTransportFailure | Code::AllBrokersDown) => Self::CutOff,
            _ => Self::Passing,
        }
    }
}

/// Builds the error that ends the reading of a topic.
pub(super) fn failed(topic: &str, error: &KafkaError) -> SourceError {
    SourceError::failed(format!("topic {topic}"), error.clone())
}
