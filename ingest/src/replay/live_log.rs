//! The log that goes on where a replay ends, as far as a replay has to know it.

use futures::future::BoxFuture;
use lake_schemas::TopicPartition;

/// A live log, asked for what it still has.
pub trait LiveLog: Send + Sync {
    /// Returns whether the log has the message at an offset, and those after it. Returns `false` if that cannot be told
    /// for now.
    fn has<'a>(&'a self, partition: &'a TopicPartition, offset: i64) -> BoxFuture<'a, bool>;
}
