//! The live end of the log: a member of a Kafka consumer group, as a [source](crate::source::Source).
//!
//! One thread of its own, which [polls](poll) librdkafka, has the [state](reader) of what was read. Batches are decoded
//! on other threads, and come in their order. The group's rebalancing assigns partitions; positions come from the
//! tables alone, never from the group's offsets. A rebalance waits inside the poll until the loop has said where to
//! begin, or has released what is revoked.
//!
//! ```text
//!   reader thread ──control (unbounded: rebalances, log ends)────────────────> next()
//!                 ──data (bounded: batches being decoded, caught up, stopped)─>
//!                 <─commands (start here, release, committed)─────────────────
//! ```

mod config;
mod fault;
mod group;
mod instruction;
mod log;
mod pace;
mod poll;
mod reader;
mod reading;
mod source;
mod stretch;
mod topic;
mod undecoded;
mod unreadable;
mod watermarks;

pub use config::KafkaOptions;
pub use source::KafkaSource;
pub(crate) use topic::to_be_read;
pub use topic::{Ends, ends, warn_of_producers_clocks};
