//! The thread that polls librdkafka, and takes from it what has come.
//!
//! It never stops polling for long, or the group would take its partitions away: while the loop has no room, the
//! partitions are paused and polling goes on. Rebalances, statistics and errors of the group come from the consumer,
//! messages and ends of partitions from the [queue](consume_batch) beside it.

use std::sync::Arc;
use std::time::Duration;

use consume_batch::DataQueue;
use rdkafka::consumer::BaseConsumer;
use rdkafka::error::KafkaError;
use rdkafka::message::Message as _;

use super::group::GroupContext;
use super::pace::SETTLE;
use super::reader::{Gone, ReaderState};
use super::reading::TAKEN_MAX;

/// Polls librdkafka, and hands what it gets to its [`ReaderState`].
pub(super) struct Reader {
    consumer: Arc<BaseConsumer<GroupContext>>,
    queue: DataQueue<GroupContext>,
    state: ReaderState,
    /// Longest wait of the next step for something to come.
    patience: Duration,
}

impl Reader {
    /// Makes a reader of what the consumer is subscribed to, and of what its partitions are diverted to.
    pub fn new(consumer: Arc<BaseConsumer<GroupContext>>, queue: DataQueue<GroupContext>, state: ReaderState) -> Self {
        Self { consumer, queue, state, patience: Duration::ZERO }
    }

    /// Reads until nobody listens any more, and leaves the group. What is being decoded meanwhile needs no client, so
    /// it is not waited for.
    pub fn run(mut self) {
        while self.step().is_ok() {}
    }

    fn step(&mut self) -> Result<(), Gone> {
        let Self { consumer, queue, state, patience } = self;
        let consumer: &BaseConsumer<GroupContext> = consumer;
        // Before anything new is read: what this thread holds stays bounded by what is taken at once.
        state.pass_on(consumer)?;
        // Polls here and nowhere else, and applies what a rebalance has changed before anything is taken: messages
        // would be taken before the seek to where their partition goes on, and once more after it. Without partitions
        // there is nothing to take, and all waiting is for the group.
        let is_reading = state.is_reading();
        let polled = consumer.poll(if is_reading { Duration::ZERO } else { *patience });
        let was_rebalanced = state.take_changes(consumer)?;
        // An error counts as something that came: more may stand behind it, so the next step must not wait.
        let has_news = polled.is_some() || was_rebalanced;
        match polled {
            Some(Ok(message)) => return Err(state.strayed(message.partition())),
            Some(Err(KafkaError::PartitionEOF(partition))) => return Err(state.strayed(partition)),
            Some(Err(error)) => state.complain(consumer, &error)?,
            None => {}
        }
        let waits = is_reading && !has_news;
        let messages = queue.take(TAKEN_MAX, if waits { *patience } else { Duration::ZERO });
        let came = has_news || !messages.is_empty();
        state.take(consumer, messages)?;
        // As long as messages come, they are taken without waiting. After that comes the short wait for silence, and
        // only then what lingers is passed on.
        if !came && patience.is_zero() && state.is_settling() {
            *patience = SETTLE;
            return Ok(());
        }
        // While messages still come, the rest of the answer is on its way: what it brings belongs to this flush.
        if !came || !state.is_settling() {
            state.flush_what_lingered();
        }
        // A flood does not keep commands waiting: the loop may be resetting partitions that are being read right now.
        state.look(consumer)?;
        *patience = if came { Duration::ZERO } else { state.until_flush() };
        Ok(())
    }
}
