//! Messages of one partition that become a batch: decoded on a thread of their own, so that the thread that polls goes
//! on polling.

use consume_batch::{MessageRef, Messages};
use lake_schemas::job::LogBatch;
use lake_schemas::{LogTime, OffsetRange, TopicPartition};

use crate::decode::{BatchBuilder, Decoding, Message};

/// Messages of a stretch of a partition, in the order of its log. They are plain memory, and need no client.
pub(super) struct Undecoded {
    pub partition: TopicPartition,
    /// Range of the batch, with all gaps.
    pub offsets: OffsetRange,
    /// Parts in which the messages came, without ends and faults.
    pub parts: Vec<Messages>,
}

impl Undecoded {
    /// Decodes the messages: a pure function of them.
    pub fn decode(self, decoding: &Decoding) -> LogBatch {
        let mut batch = BatchBuilder::of(decoding, self.partition, self.offsets.first);
        for message in self.parts.iter().flat_map(Messages::iter) {
            batch.push(&decodable(message));
        }
        batch.skip_to(self.offsets.next);
        batch.finish()
    }
}

/// Returns the message as decoders take it.
pub(super) fn decodable(message: MessageRef<'_>) -> Message<'_> {
    let log_time = message.timestamp_ms().and_then(LogTime::from_millis);
    Message { offset: message.offset(), log_time, key: message.key(), payload: message.payload() }
}
