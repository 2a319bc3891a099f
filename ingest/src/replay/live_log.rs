//! The live log behind the raw table, as far as those who read the raw table have to know it.

use std::collections::BTreeMap;
use std::slice::from_ref;

use futures::FutureExt;
use futures::future::BoxFuture;
use lake_schemas::{OffsetRange, TopicPartition};

/// A live log, asked for what it has now.
pub trait LiveLog: Send + Sync {
    /// Returns the offsets that these partitions have, all of them in one question. A partition is left out if it is
    /// none of this log, or if that cannot be told for now.
    fn offsets<'a>(&'a self, partitions: &'a [TopicPartition]) -> BoxFuture<'a, BTreeMap<TopicPartition, OffsetRange>>;

    /// Returns the offsets at which these partitions end, as [`LiveLog::offsets`] does.
    fn ends<'a>(&'a self, partitions: &'a [TopicPartition]) -> BoxFuture<'a, BTreeMap<TopicPartition, i64>> {
        let ends = self.offsets(partitions).map(|offsets| {
            let ends = offsets.into_iter().map(|(partition, offsets)| (partition, offsets.next));
            ends.collect::<BTreeMap<_, _>>()
        });
        ends.boxed()
    }

    /// Returns whether the log has the message at an offset, and those after it. Returns `false` if that cannot be told
    /// for now.
    fn has<'a>(&'a self, partition: &'a TopicPartition, offset: i64) -> BoxFuture<'a, bool> {
        let has = self.offsets(from_ref(partition)).map(move |offsets| {
            let known = offsets.get(partition);
            known.is_some_and(|offsets| offsets.first <= offset)
        });
        has.boxed()
    }
}
