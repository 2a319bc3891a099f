//! The source behind a bounded part of history: the end of each partition.
//!
//! In the place of a live end of the log, it hands out the partitions, a few at a time, so that only a few operators
//! are in memory at once.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use async_trait::async_trait;
use futures::FutureExt;
use futures::future::{BoxFuture, ready};
use ingest::follow_source::Live;
use ingest::replay::LiveLog;
use ingest::source::{Demand, Signal, Source, SourceError, Start};
use lake_schemas::{OffsetRange, TopicPartition};

/// Source that has no messages: it hands out partitions and ends them.
pub(crate) struct End {
    waiting: VecDeque<TopicPartition>,
    under_way: BTreeSet<TopicPartition>,
    under_way_max: usize,
    ended: VecDeque<TopicPartition>,
}

impl End {
    /// Hands out these partitions, at most `at_a_time` at once.
    pub fn of(partitions: impl IntoIterator<Item = TopicPartition>, at_a_time: usize) -> Self {
        Self {
            waiting: partitions.into_iter().collect(),
            under_way: BTreeSet::new(),
            under_way_max: at_a_time.max(1),
            ended: VecDeque::new(),
        }
    }
}

#[async_trait]
impl Source for End {
    async fn next(&mut self, room: Demand) -> Result<Signal, SourceError> {
        if self.under_way.len() < self.under_way_max
            && let Some(partition) = self.waiting.pop_front()
        {
            self.under_way.insert(partition.clone());
            return Ok(Signal::Assigned(vec![partition]));
        }
        if self.waiting.is_empty() && self.under_way.is_empty() {
            return Ok(Signal::Finished);
        }
        if room == Demand::ForAll
            && let Some(partition) = self.ended.pop_front()
        {
            return Ok(Signal::Ended(partition));
        }
        // Only a start or a release changes this, and after either the loop calls `next` again.
        std::future::pending().await
    }

    async fn start(&mut self, starts: Vec<Start>) -> Result<(), SourceError> {
        self.ended.extend(starts.into_iter().map(|start| start.partition));
        Ok(())
    }

    async fn release(&mut self, partitions: &[TopicPartition]) -> Result<(), SourceError> {
        for partition in partitions {
            self.under_way.remove(partition);
            self.ended.retain(|ended| ended != partition);
        }
        Ok(())
    }

    async fn committed(&mut self, _: &[(TopicPartition, i64)]) {}
}

#[async_trait]
impl Live for End {
    async fn hold(&mut self, starts: Vec<Start>) -> Result<(), SourceError> {
        for start in starts {
            self.ended.retain(|ended| *ended != start.partition);
        }
        Ok(())
    }

    fn log(&self) -> Arc<dyn LiveLog> {
        Arc::new(NoLog)
    }
}

/// Log without messages: behind the end there is nothing to go on with.
struct NoLog;

impl LiveLog for NoLog {
    fn offsets<'a>(&'a self, _: &'a [TopicPartition]) -> BoxFuture<'a, BTreeMap<TopicPartition, OffsetRange>> {
        ready(BTreeMap::new()).boxed()
    }
}
