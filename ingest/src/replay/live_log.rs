//! The log that goes on where a replay ends, as far as a replay has to know it.

use futures::future::BoxFuture;
use lake_schemas::TopicPartition;

/// What a live log still has.
pub trait LiveLog: Send + Sync {
    /// Whether it has what comes at an offset, and from there on. `false` if that cannot be told for now.
    fn has<'a>(&'a self, partition: &'a TopicPartition, offset: i64) -> BoxFuture<'a, bool>;
}
