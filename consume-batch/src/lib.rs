//! Takes messages from librdkafka many at a time. `BaseConsumer::poll` pays for each message with an event, a reference
//! count and two looks at the clock; here a call hands over all that is there.
//!
//! [`queue`] is the one file of the workspace with `unsafe`: a [`DataQueue`] beside the queue of a consumer, to which
//! partitions are diverted, and the copying of what comes into [`Messages`]. Those are plain memory, which may be sent
//! to other threads, split by partition and dropped in any order, also after the consumer.
//!
//! A caller goes on polling the consumer, for rebalances, statistics and errors of the group come there and nowhere
//! else:
//!
//! ```text
//!   partitions ──diverted──> DataQueue ──take()──> Messages        messages, ends and faults of partitions
//!   group, statistics ─────> BaseConsumer ──poll(0)                rebalances, errors
//! ```
//!
//! librdkafka has three ways to take many messages, and this is the second. `rd_kafka_consume_batch_queue` hands over
//! messages without copying them, but librdkafka 2.12 counts the end of a partition as a message there ([4844][1]): its
//! own position stands one too far after an end, and the next pause, which each rebalance makes by itself, skips a
//! message without a word. `rd_kafka_consume_callback_queue` sets the position at each message, as a poll does, and
//! with the copies costs no more. One call for each message is the third, and costs nearly as much as a poll.
//!
//! [1]: https://github.com/confluentinc/librdkafka/issues/4844

mod messages;
#[allow(unsafe_code)]
mod queue;

pub use messages::{MessageRef, Messages};
pub use queue::{BYTES_MAX, DataQueue, Diverter, Undiverted};

#[cfg(test)]
mod tests;
