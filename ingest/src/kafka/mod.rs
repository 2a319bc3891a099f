//! The live end of the log: a member of a Kafka consumer group, as a [source](crate::source::Source).
//!
//! librdkafka is polled by one thread of its own, the [`reader`], which decodes as it polls. Partitions come by the
//! group's rebalancing; positions come from the tables alone, never from the group's offsets. A rebalance waits in the
//! poll until the loop has said where to begin, or has let go.
//!
//! ```text
//!   reader thread ──control (unbounded: rebalances, log ends)──> next()
//!                 ──data (bounded: batches, caught up)─────────>
//!                 <─commands (start here, release, committed)───
//! ```

mod config;
mod fault;
mod group;
mod log;
mod reader;
mod source;
mod told;
mod topic;
mod unreadable;
mod watermarks;

pub use config::KafkaOptions;
pub use source::KafkaSource;
pub(crate) use topic::to_be_read;
pub use topic::{Ends, ends, warn_of_producers_clocks};
