//! The thread that polls librdkafka, and decodes what it gets.
//!
//! It never stops polling for long, or the group would take its partitions away: while the loop has no room, the
//! partitions are paused and the polling goes on.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use lake_schemas::LogTime;
use lake_schemas::job::SourceError;
use lake_schemas::witness::Witness;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message as _};
use rdkafka::{Offset, Timestamp, TopicPartitionList};
use tokio::runtime::Handle;
use tokio::sync::mpsc::{Sender, UnboundedSender};
use tokio::time::{Instant, timeout};
use tracing::{debug, info, warn};

use super::group::{Assigned, GroupContext, add, failed};
use super::{Control, Data, Hold};
use crate::decode::{BatchBuilder, Columns, Message, Place};

/// Rows of a batch: large enough that what is done once a batch costs nothing, small enough to be passed on soon.
pub(super) const BATCH_ROWS_MAX: usize = 8_192;

/// The same limit in bytes, for messages that are larger than clicks.
const BATCH_BYTES_MAX: usize = 4 * 1024 * 1024;

/// How long a message waits for its batch to fill.
const LINGER: Duration = Duration::from_millis(100);

/// Messages between two looks at the clock.
const MESSAGES_BETWEEN_LOOKS: u32 = 256;

/// How long the loop may have no room before the partitions are paused. Pausing throws away what was read ahead.
const PAUSE_AFTER: Duration = Duration::from_secs(2);

/// How long the broker may take for a step back.
const SEEK_MAX: Duration = Duration::from_secs(10);

/// How long to wait before it is asked again.
const SEEK_AGAIN: Duration = Duration::from_millis(20);

/// Polls, and hands what it gets to the desk.
pub(super) struct Reader {
    consumer: BaseConsumer<GroupContext>,
    desk: Desk,
}

/// The loop is gone, or was told why the reader ends: there is nobody to read for.
pub(super) struct Gone;

impl Reader {
    /// A reader of what the consumer is subscribed to. To be made inside the runtime that the loop runs in.
    pub fn new(
        consumer: BaseConsumer<GroupContext>,
        time_in_future_ms: i64,
        columns: Columns,
        control: UnboundedSender<Control>,
        data: Sender<Data>,
    ) -> Self {
        let desk = Desk {
            time_in_future_ms,
            columns,
            runtime: Handle::current(),
            control,
            data,
            outbox: VecDeque::new(),
            is_paused: false,
            reading: HashMap::new(),
            taken: 0,
            flushed_at: Instant::now(),
            cut_off: false,
        };
        Self { consumer, desk }
    }

    /// Reads until nobody listens any more, and leaves the group.
    pub fn run(mut self) {
        while self.step().is_ok() {}
    }

    fn step(&mut self) -> Result<(), Gone> {
        let Self { consumer, desk } = self;
        desk.pass_on(consumer)?;
        // The only poll, and at once the changes: one that meets a rebalance returns no message. That of another would
        // be pushed into what begins anew, and then be read again.
        let polled = consumer.poll(LINGER);
        desk.take_changes(consumer)?;
        if matches!(polled, Some(Ok(_))) && std::mem::take(&mut desk.cut_off) {
            info!("kafka answers again");
        }
        match polled {
            Some(Ok(message)) => desk.take(consumer, &message)?,
            Some(Err(KafkaError::PartitionEOF(partition))) => desk.meet_end(consumer, partition),
            Some(Err(error)) => desk.complain(consumer, &error)?,
            None => desk.look(consumer)?,
        }
        Ok(())
    }
}

/// What has been read and not been passed on yet.
struct Desk {
    time_in_future_ms: i64,
    columns: Columns,
    runtime: Handle,
    control: UnboundedSender<Control>,
    data: Sender<Data>,
    /// What is to be passed on before the next poll.
    outbox: VecDeque<Data>,
    /// The loop has no room: nothing is fetched.
    is_paused: bool,
    reading: HashMap<i32, Reading>,
    taken: u32,
    flushed_at: Instant,
    /// No broker answers, which has been said.
    cut_off: bool,
}

/// A partition that is being read.
struct Reading {
    assigned: Assigned,
    batch: BatchBuilder,
}

impl Desk {
    fn take(&mut self, consumer: &BaseConsumer<GroupContext>, message: &BorrowedMessage<'_>) -> Result<(), Gone> {
        let partition = message.partition();
        if let Some(reading) = self.reading.get_mut(&partition) {
            if let Err(error) = reading.push(message, self.time_in_future_ms) {
                return Err(self.end(error));
            }
            if reading.batch.read() >= BATCH_ROWS_MAX || reading.batch.bytes() >= BATCH_BYTES_MAX {
                self.flush(partition);
            }
        }
        self.taken += 1;
        if self.taken >= MESSAGES_BETWEEN_LOOKS { self.look(consumer) } else { Ok(()) }
    }

    /// Does what is not done for every message: passes on what has lingered, and looks for commands.
    fn look(&mut self, consumer: &BaseConsumer<GroupContext>) -> Result<(), Gone> {
        self.taken = 0;
        if self.flushed_at.elapsed() >= LINGER {
            self.flushed_at = Instant::now();
            let partitions: Vec<_> = self.reading.keys().copied().collect();
            partitions.into_iter().for_each(|partition| self.flush(partition));
        }
        while let Some(command) = consumer.context().try_command().map_err(|_| Gone)? {
            for begin in consumer.context().begins(consumer, command).unwrap_or_default() {
                // A partition that was taken away since is another member's to begin.
                if !self.reading.contains_key(&begin.start.partition.partition) {
                    continue;
                }
                let assigned = consumer.context().resolve(consumer, begin);
                self.begin(consumer, assigned.map_err(|error| self.end(error))?)?;
            }
        }
        Ok(())
    }

    /// Follows what a rebalance inside the last poll has changed.
    fn take_changes(&mut self, consumer: &BaseConsumer<GroupContext>) -> Result<(), Gone> {
        for (partition, change) in consumer.context().take_changes() {
            match change {
                Some(assigned) => self.begin(consumer, assigned)?,
                None => drop(self.reading.remove(&partition)),
            }
        }
        Ok(())
    }

    /// Begins a partition; goes back, or ahead, in one that is being read.
    fn begin(&mut self, consumer: &BaseConsumer<GroupContext>, assigned: Assigned) -> Result<(), Gone> {
        let number = assigned.partition.partition;
        let topic = consumer.context().topic();
        let mut position = TopicPartitionList::new();
        add(&mut position, topic, &assigned).map_err(|error| self.end(error))?;
        let moved = match (self.reading.get(&number).map(|reading| reading.assigned.hold), assigned.hold) {
            // What it reads until it is free is thrown away; that it reads little is for the sake of speed.
            (_, Hold::Held) => consumer.pause(&position),
            (Some(Hold::Held), Hold::Free) => consumer.resume(&position).and_then(|()| seek(consumer, &position)),
            (Some(Hold::Free), Hold::Free) => seek(consumer, &position),
            // Held when it was here before, it may be paused still.
            (None, Hold::Free) => consumer.resume(&position),
        };
        self.did(consumer, moved)?;
        let (partition, first) = (assigned.partition.clone(), assigned.first);
        let batch = BatchBuilder::of(&self.columns, partition, first, self.time_in_future_ms);
        // With a witness to meet, the end is reached by reading to it.
        let is_at_end = assigned.witness.is_none() && assigned.end.is_some_and(|end| assigned.first >= end);
        let is_free = assigned.hold == Hold::Free;
        self.reading.insert(number, Reading { assigned, batch });
        if is_at_end && is_free {
            self.reach_end(number);
        }
        Ok(())
    }

    /// Batches what is there of a partition, and says so if that is all.
    fn flush(&mut self, partition: i32) {
        let Some(reading) = self.reading.get_mut(&partition) else { return };
        if reading.batch.is_empty() {
            return;
        }
        let batch = reading.batch.finish();
        let is_at_end = reading.assigned.end.is_some_and(|end| batch.offsets.next >= end);
        self.outbox.push_back(Data::Batch(reading.assigned.generation, batch));
        if is_at_end {
            self.reach_end(partition);
        }
    }

    /// Kafka has no more of a partition now: what was read ends where the log does, whatever stands last in it
    /// (markers of transactions, messages of aborted ones). Otherwise the cut would stay below them, and retention
    /// would seem to have lost what was never there.
    fn meet_end(&mut self, consumer: &BaseConsumer<GroupContext>, partition: i32) {
        if let Some(reading) = self.reading.get_mut(&partition)
            && let Some(next) = position(consumer, partition)
        {
            if reading.assigned.hold == Hold::Held {
                return;
            }
            reading.batch.skip_to(next);
        }
        self.reach_end(partition);
    }

    /// The log of a partition has been read to its end.
    fn reach_end(&mut self, partition: i32) {
        self.flush(partition);
        let Some(reading) = self.reading.get_mut(&partition) else { return };
        reading.assigned.end = None;
        let data = Data::CaughtUp(reading.assigned.generation, reading.assigned.partition.clone());
        self.outbox.push_back(data);
    }

    /// Passes on what is there. While the loop has had no room for long, the partitions are paused.
    fn pass_on(&mut self, consumer: &BaseConsumer<GroupContext>) -> Result<(), Gone> {
        while !self.outbox.is_empty() {
            let patience = if self.is_paused { Duration::ZERO } else { PAUSE_AFTER };
            let waiting = async { timeout(patience, self.data.reserve()).await };
            let Ok(room) = self.runtime.block_on(waiting) else { return self.pause(consumer) };
            let room = room.map_err(|_| Gone)?;
            if let Some(data) = self.outbox.pop_front() {
                room.send(data);
            }
        }
        if !std::mem::take(&mut self.is_paused) {
            return Ok(());
        }
        let mut free = TopicPartitionList::new();
        for (partition, _) in self.reading.iter().filter(|(_, reading)| reading.assigned.hold == Hold::Free) {
            free.add_partition(consumer.context().topic(), *partition);
        }
        self.did(consumer, consumer.resume(&free))
    }

    /// Pauses what is read; those too that have come since the last time.
    fn pause(&mut self, consumer: &BaseConsumer<GroupContext>) -> Result<(), Gone> {
        if !std::mem::replace(&mut self.is_paused, true) {
            info!("no room; partitions paused");
        }
        self.did(consumer, consumer.assignment().and_then(|assigned| consumer.pause(&assigned)))
    }

    /// What librdkafka was told and could not do ends the reader.
    fn did(&self, consumer: &BaseConsumer<GroupContext>, done: KafkaResult<()>) -> Result<(), Gone> {
        done.map_err(|error| self.end(failed(consumer.context().topic(), &error)))
    }

    /// Tells what kafka reports. What passes is waited for; what does not ends the reader.
    fn complain(&mut self, consumer: &BaseConsumer<GroupContext>, error: &KafkaError) -> Result<(), Gone> {
        let topic = |what: &str| format!("{what}: {error}");
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange) => {
                Err(self.end(SourceError::Refused(topic(
                    "kafka no longer has the next message; to go on without what it dropped, use --topic-as",
                ))))
            }
            Some(
                RDKafkaErrorCode::UnknownTopicOrPartition
                | RDKafkaErrorCode::UnknownTopic
                | RDKafkaErrorCode::TopicAuthorizationFailed
                | RDKafkaErrorCode::GroupAuthorizationFailed
                | RDKafkaErrorCode::Fatal,
            ) => Err(self.end(SourceError::Failed(topic("kafka")))),
            Some(RDKafkaErrorCode::BrokerTransportFailure | RDKafkaErrorCode::AllBrokersDown) => {
                if !std::mem::replace(&mut self.cut_off, true) {
                    let reason = consumer.context().complaint().map(|complaint| complaint.reason);
                    warn!(reason, "a kafka broker does not answer; waiting for it");
                }
                Ok(())
            }
            _ => {
                warn!(%error, "kafka; going on");
                Ok(())
            }
        }
    }

    fn end(&self, error: SourceError) -> Gone {
        // If the loop is gone already, there is nobody to tell.
        let _ = self.control.send(Control::Ended(error));
        Gone
    }
}

impl Reading {
    fn push(&mut self, message: &BorrowedMessage<'_>, time_in_future_ms: i64) -> Result<(), SourceError> {
        if self.assigned.hold == Hold::Held {
            return Ok(());
        }
        let message = decodable(message);
        if let Some(witness) = self.assigned.witness.take_if(|witness| message.offset >= witness.offset()) {
            self.hear(&witness, &message, time_in_future_ms)?;
        }
        // What is below comes only with a witness.
        if message.offset < self.assigned.first {
            return Ok(());
        }
        match self.batch.place(message.offset) {
            Place::Ahead => self.batch.push(&message),
            // librdkafka notes where it is after it has taken a message off its queue. If it pauses for a rebalance in
            // between, on a thread of its own, it goes on one message too early.
            Place::Last => debug!(partition = %self.assigned.partition, message.offset, "comes again"),
            Place::Behind => {
                return Err(SourceError::Failed(format!(
                    "{}: offset {} has been read, and comes again; it is not counted twice, and the job ends: start it \
                     again",
                    self.assigned.partition, message.offset
                )));
            }
        }
        Ok(())
    }

    /// Refuses a log that does not say what the table knows of it. If it no longer has that offset, it says nothing.
    fn hear(&self, witness: &Witness, message: &Message<'_>, time_in_future_ms: i64) -> Result<(), SourceError> {
        let partition = &self.assigned.partition;
        let mut alone = BatchBuilder::new(partition.clone(), message.offset, time_in_future_ms);
        alone.push(message);
        if message.offset != witness.offset() || witness.agrees(&alone.finish()) {
            return Ok(());
        }
        Err(SourceError::Refused(format!(
            "{partition}: offset {} is another message than the one that the table read there: the topic was made \
             again; to read it as a new one, use --topic-as",
            message.offset
        )))
    }
}

/// Goes to a position in a partition that was assigned. What has only just been assigned may not be fetched yet, and is
/// asked again: a step that is not taken would leave out messages.
fn seek(consumer: &BaseConsumer<GroupContext>, position: &TopicPartitionList) -> KafkaResult<()> {
    let began = Instant::now();
    loop {
        let done = consumer.seek_partitions(position.clone(), SEEK_MAX)?;
        match done.elements().iter().try_for_each(|one| one.error()) {
            Err(error) if began.elapsed() < SEEK_MAX => debug!(%error, "seeking again"),
            done => return done,
        }
        std::thread::park_timeout(SEEK_AGAIN);
    }
}

fn decodable<'a>(message: &'a BorrowedMessage<'_>) -> Message<'a> {
    let log_time = match message.timestamp() {
        Timestamp::CreateTime(millis) | Timestamp::LogAppendTime(millis) => LogTime::from_millis(millis),
        Timestamp::NotAvailable => None,
    };
    Message { offset: message.offset(), log_time, key: message.key(), payload: message.payload() }
}

/// The offset after the last that librdkafka has handed over, or skipped, of a partition.
fn position(consumer: &BaseConsumer<GroupContext>, partition: i32) -> Option<i64> {
    let positions = consumer.position().ok()?;
    match positions.find_partition(consumer.context().topic(), partition)?.offset() {
        Offset::Offset(next) => Some(next),
        _ => None,
    }
}
