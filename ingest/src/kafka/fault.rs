//! What an error of librdkafka means for who reads: whether it passes, whether a human has to look, and whether data of
//! the log cannot be read.

use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use crate::source::SourceError;

/// A kind of error, by what is to be done about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// Bytes of a partition cannot be read: they are damaged, or written in a way that librdkafka does not know. It
    /// goes on behind some of them by itself, so whoever ignores this loses messages.
    Unreadable,
    /// Kafka no longer has the next message.
    Gone,
    /// The topic is not there. Brokers say so for a moment, too, of partitions that were only just made.
    Unknown,
    /// It will be no better next time.
    Hopeless,
    /// No broker answers, or one of them does not.
    CutOff,
    /// It passes by itself.
    Passing,
}

impl Fault {
    /// The kind of an error.
    pub fn of(error: &KafkaError) -> Self {
        use RDKafkaErrorCode as Code;
        if matches!(error, KafkaError::MessageConsumptionFatal(_)) {
            return Self::Hopeless;
        }
        match error.rdkafka_error_code() {
            // What librdkafka finds in a batch: a wrong checksum, what cannot be decompressed, an unknown format or
            // codec, a batch larger than it can hold.
            Some(
                Code::BadMessage | Code::BadCompression | Code::NotImplemented | Code::MessageSizeTooLarge
                // What the broker finds, in its files or in what the request can carry.
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

/// What becomes of an error that ends the reading of a topic.
pub(super) fn failed(topic: &str, error: &KafkaError) -> SourceError {
    SourceError::Failed(format!("topic {topic}: {error}"))
}
