//! The thread that polls librdkafka, and decodes what it gets.
//!
//! It never stops polling for long, or the group would take its partitions away: while the loop has no room, the
//! partitions are paused and polling goes on.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

use lake_schemas::fingerprint::Fingerprint;
use lake_schemas::{Code, LogTime};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::{BorrowedMessage, Message as _};
use rdkafka::{Offset, Timestamp, TopicPartitionList};
use tokio::runtime::Handle;
use tokio::sync::mpsc::{Sender, UnboundedSender};
use tokio::time::{Instant, timeout};
use tracing::{debug, info, warn};

use super::fault::{Fault, failed};
use super::group::{Assigned, GroupContext, add, has_next};
use super::instruction::{Control, Data, Hold};
use super::topic::refused;
use super::unreadable::refusal;
use super::watermarks;
use crate::decode::{BatchBuilder, Columns, Decoding, Message, OffsetPlace};
use crate::source::SourceError;

/// Largest number of rows of a batch: large enough that work done once a batch costs nothing, small enough to be passed
/// on soon.
pub(super) const BATCH_ROWS_MAX: usize = 8_192;

/// Largest size of a batch in bytes, for messages that are larger than clicks.
const BATCH_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Longest wait of a message for its batch to fill, and of the report that a partition is at its end. Each batch costs
/// as much as some hundred messages, so at the live end a partition makes ten of them a second, however its messages
/// come.
const LINGER: Duration = Duration::from_millis(100);

/// Silence after which lingering messages are passed on: a broker answers partition by partition, and passing on the
/// first ones at once would leave the rest behind for another linger.
const SETTLE: Duration = Duration::from_millis(5);

/// Longest wait for that silence, if messages keep coming.
const SETTLE_MAX: Duration = Duration::from_millis(20);

/// Number of messages and ends of partitions between two looks at the clock, while they come without a pause.
const EVENTS_BETWEEN_LOOKS: u32 = 256;

/// Longest time for which the loop may have no room before the partitions are paused. Pausing throws away what was read
/// ahead, so it is not done at once.
const PAUSE_AFTER: Duration = Duration::from_secs(2);

/// Longest wait for a seek to succeed.
const SEEK_MAX: Duration = Duration::from_secs(10);

/// Longest wait for the brokers to tell of which partition they no longer have the next message.
const GONE_MAX: Duration = Duration::from_secs(5);

/// Wait between two attempts at a seek.
const SEEK_AGAIN: Duration = Duration::from_millis(20);

/// Polls librdkafka, and hands what it gets to its [`ReaderState`].
pub(super) struct Reader {
    consumer: BaseConsumer<GroupContext>,
    desk: ReaderState,
}

/// Signal that the reader must end: the loop is gone, or knows why the reader ends, so nobody takes what is read.
pub(super) struct Gone;

impl Reader {
    /// Makes a reader of what the consumer is subscribed to. Must be called inside the runtime in which the loop runs.
    pub fn new(
        consumer: BaseConsumer<GroupContext>,
        decoding: Decoding,
        control: UnboundedSender<Control>,
        data: Sender<Data>,
    ) -> Self {
        let desk = ReaderState {
            decoding,
            runtime: Handle::current(),
            control,
            data,
            outbox: VecDeque::new(),
            is_paused: false,
            reading: HashMap::new(),
            taken: 0,
            waits: None,
            flushed_at: Instant::now(),
            patience: Duration::ZERO,
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
        // Before anything new is read: what this thread holds stays bounded by what one poll can add.
        desk.pass_on(consumer)?;
        // Polls here and nowhere else, and applies rebalance changes right after it. A poll that runs a rebalance
        // returns no message; if another call polled, its message would be buffered before the seek and read twice.
        let polled = consumer.poll(desk.patience);
        desk.take_changes(consumer)?;
        // Only a message proves that a broker answers: librdkafka makes errors by itself.
        if matches!(polled, Some(Ok(_))) && std::mem::take(&mut desk.cut_off) {
            info!("kafka answers again");
        }
        // An error counts as well: more may stand behind it in librdkafka's queue, so the next poll must not wait.
        let came = polled.is_some();
        match polled {
            Some(Ok(message)) => desk.take(&message)?,
            Some(Err(KafkaError::PartitionEOF(partition))) => desk.mark_end(partition),
            Some(Err(error)) => desk.complain(consumer, &error)?,
            None => {}
        }
        // As long as messages come, they are taken without waiting. After that comes the short wait for silence, and
        // only then the commands, and a wait in the next poll.
        if !came && desk.patience.is_zero() && desk.is_settling() {
            desk.patience = SETTLE;
            return Ok(());
        }
        // A flood must not keep commands waiting: the loop may be resetting partitions that are being read right now.
        if !came || desk.taken >= EVENTS_BETWEEN_LOOKS {
            // While messages still come, the rest of the answer is on its way: what it brings belongs to this flush.
            if !came || !desk.is_settling() {
                desk.flush_what_lingered(consumer);
            }
            desk.look(consumer)?;
        }
        desk.patience = if came { Duration::ZERO } else { desk.until_flush() };
        Ok(())
    }
}

/// State of the reader: what has been read and not been passed on yet.
struct ReaderState {
    decoding: Decoding,
    runtime: Handle,
    control: UnboundedSender<Control>,
    data: Sender<Data>,
    /// Data to pass on before the next poll.
    outbox: VecDeque<Data>,
    /// Whether the loop has no room: then nothing is fetched.
    is_paused: bool,
    reading: HashMap<i32, PartitionBuffer>,
    /// Number of messages and ends of partitions since the last look.
    taken: u32,
    /// Time at which the first message, or end, has come since the last flush; `None` if nothing has.
    waits: Option<Instant>,
    flushed_at: Instant,
    /// Longest wait of the next poll.
    patience: Duration,
    /// Whether no broker answers; the warning about it has been logged.
    cut_off: bool,
}

/// A partition that is being read.
struct PartitionBuffer {
    assigned: Assigned,
    batch: BatchBuilder,
    /// Whether Kafka had no more of the partition; not reported to the loop yet.
    is_at_end: bool,
}

impl ReaderState {
    fn take(&mut self, message: &BorrowedMessage<'_>) -> Result<(), Gone> {
        let partition = message.partition();
        if let Some(reading) = self.reading.get_mut(&partition) {
            if let Err(error) = reading.push(message, &self.decoding) {
                return Err(self.end(error));
            }
            if reading.batch.read() >= BATCH_ROWS_MAX || reading.batch.bytes() >= BATCH_BYTES_MAX {
                self.flush(partition);
            }
        }
        self.note();
        Ok(())
    }

    /// Notes that Kafka has no more of a partition for now.
    fn mark_end(&mut self, partition: i32) {
        if let Some(reading) = self.reading.get_mut(&partition) {
            reading.is_at_end = true;
        }
        self.note();
    }

    fn note(&mut self) {
        self.taken += 1;
        self.waits.get_or_insert_with(Instant::now);
    }

    /// Returns whether the reader waits for further messages before it passes on those that have come.
    fn is_settling(&self) -> bool {
        self.waits.is_some_and(|since| since.elapsed() < SETTLE_MAX) && self.flushed_at.elapsed() >= LINGER
    }

    /// Returns the time until something has to be passed on, or commands looked for. It is rounded up to whole
    /// milliseconds, in which librdkafka counts: otherwise the polls would spin through the last fraction of one.
    fn until_flush(&self) -> Duration {
        let left = if self.waits.is_some() { LINGER.saturating_sub(self.flushed_at.elapsed()) } else { LINGER };
        Duration::from_millis(left.as_micros().div_ceil(1_000).try_into().expect("it is at most the linger"))
    }

    /// Passes on what has come, unless the last flush was less than a linger ago.
    fn flush_what_lingered(&mut self, consumer: &BaseConsumer<GroupContext>) {
        if self.waits.is_none() || self.flushed_at.elapsed() < LINGER {
            return;
        }
        self.waits = None;
        self.flushed_at = Instant::now();
        self.meet_ends(consumer);
        let partitions: Vec<_> = self.reading.keys().copied().collect();
        partitions.into_iter().for_each(|partition| self.flush(partition));
    }

    /// Looks for commands, which is too expensive for every message.
    fn look(&mut self, consumer: &BaseConsumer<GroupContext>) -> Result<(), Gone> {
        self.taken = 0;
        while let Some(command) = consumer.context().try_command().map_err(|_| Gone)? {
            let begins = consumer.context().begins(consumer, command).unwrap_or_default().into_iter();
            // A partition that was revoked since is another member's to begin.
            let ours = begins.filter(|begin| self.reading.contains_key(&begin.start.partition.partition));
            let assigned = consumer.context().resolve(consumer, ours).map_err(|error| self.end(error))?;
            assigned.into_iter().try_for_each(|assigned| self.begin(consumer, assigned))?;
        }
        Ok(())
    }

    /// Applies what a rebalance inside the last poll has changed.
    fn take_changes(&mut self, consumer: &BaseConsumer<GroupContext>) -> Result<(), Gone> {
        for (partition, change) in consumer.context().take_changes() {
            match change {
                Some(assigned) => self.begin(consumer, assigned)?,
                None => drop(self.reading.remove(&partition)),
            }
        }
        Ok(())
    }

    /// Begins a partition; seeks back, or ahead, in one that is being read.
    fn begin(&mut self, consumer: &BaseConsumer<GroupContext>, assigned: Assigned) -> Result<(), Gone> {
        let number = assigned.partition.partition;
        let topic = consumer.context().topic();
        let mut position = TopicPartitionList::new();
        add(&mut position, topic, &assigned).map_err(|error| self.end(error))?;
        let moved = match (self.reading.get(&number).map(|reading| reading.assigned.hold), assigned.hold) {
            // Whatever a held partition yields is thrown away; the pause only saves the work of reading it.
            (_, Hold::Held) => consumer.pause(&position),
            // What was thrown away while the partition was held is read again after the seek.
            (Some(Hold::Held), Hold::Free) => consumer.resume(&position).and_then(|()| seek(consumer, &position)),
            // librdkafka has fetched ahead from where it was; only a seek drops that, and no poll may come before it.
            (Some(Hold::Free), Hold::Free) => seek(consumer, &position),
            // A partition of an earlier assignment may still be paused from being held then.
            (None, Hold::Free) => consumer.resume(&position),
        };
        // A partition that could not be moved would be read from elsewhere: rather no reader than one that skips.
        self.did(consumer, moved)?;
        // It begins where the table stands, not at the first message that comes: a gap in between is covered as well.
        let batch = BatchBuilder::of(&self.decoding, assigned.partition.clone(), assigned.first);
        // If a fingerprint must be checked first, the reader has to read its row before it is at the end.
        let is_at_end = assigned.fingerprint.is_none() && assigned.end.is_some_and(|end| assigned.first >= end);
        // One that is held is not caught up before its replay is over, and it is started again.
        let is_free = assigned.hold == Hold::Free;
        // Replaces what was read of it before its start, lingering rows included.
        self.reading.insert(number, PartitionBuffer { assigned, batch, is_at_end: false });
        if is_at_end && is_free {
            self.reach_end(number);
        }
        Ok(())
    }

    /// Makes a batch of what has come of a partition, and reports the end if that was all.
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

    /// Reports partitions of which Kafka had no more. The cut of each moves up to the end of its log, even if markers
    /// of transactions, or messages of aborted ones, stand last in it: otherwise the cut would stay below them, and
    /// retention would seem to have lost messages that never existed.
    fn meet_ends(&mut self, consumer: &BaseConsumer<GroupContext>) {
        let at_end = |(partition, reading): (&i32, &mut PartitionBuffer)| {
            (std::mem::take(&mut reading.is_at_end) && reading.assigned.hold == Hold::Free).then_some(*partition)
        };
        let at_end: Vec<_> = self.reading.iter_mut().filter_map(at_end).collect();
        if at_end.is_empty() {
            return;
        }
        // Asking for positions makes librdkafka walk over all partitions, so it is done once for all ends. What it has
        // handed over since is in the batches already, so its positions are still the ends of what was read.
        let positions = consumer.position().ok();
        for partition in at_end {
            let topic = consumer.context().topic();
            let position =
                positions.as_ref().and_then(|all| all.find_partition(topic, partition)).map(|at| at.offset());
            if let (Some(Offset::Offset(next)), Some(reading)) = (position, self.reading.get_mut(&partition)) {
                reading.batch.skip_to(next);
            }
            self.reach_end(partition);
        }
    }

    /// Reports that the log of a partition has been read to its end.
    fn reach_end(&mut self, partition: i32) {
        self.flush(partition);
        let Some(reading) = self.reading.get_mut(&partition) else { return };
        reading.assigned.end = None;
        let data = Data::CaughtUp(reading.assigned.generation, reading.assigned.partition.clone());
        self.outbox.push_back(data);
    }

    /// Passes on what is in the outbox. Pauses the partitions when the loop has had no room for long.
    fn pass_on(&mut self, consumer: &BaseConsumer<GroupContext>) -> Result<(), Gone> {
        while !self.outbox.is_empty() {
            // This blocks the thread, and so the polls, only up to the patience: the group takes partitions away from a
            // member that does not poll.
            let patience = if self.is_paused { Duration::ZERO } else { PAUSE_AFTER };
            let waiting = async { timeout(patience, self.data.reserve()).await };
            let Ok(room) = self.runtime.block_on(waiting) else { return self.pause(consumer) };
            let room = room.map_err(|_| Gone)?;
            if let Some(data) = self.outbox.pop_front() {
                room.send(data);
            }
        }
        // The outbox is empty again: resume what was paused, except partitions that are held for a replay.
        if !std::mem::take(&mut self.is_paused) {
            return Ok(());
        }
        let mut free = TopicPartitionList::new();
        for (partition, _) in self.reading.iter().filter(|(_, reading)| reading.assigned.hold == Hold::Free) {
            free.add_partition(consumer.context().topic(), *partition);
        }
        self.did(consumer, consumer.resume(&free))
    }

    /// Pauses all assigned partitions, including those assigned since the last pause.
    fn pause(&mut self, consumer: &BaseConsumer<GroupContext>) -> Result<(), Gone> {
        if !std::mem::replace(&mut self.is_paused, true) {
            info!("no room; partitions paused");
        }
        self.did(consumer, consumer.assignment().and_then(|assigned| consumer.pause(&assigned)))
    }

    /// Ends the reader if librdkafka could not do what it was told.
    fn did(&self, consumer: &BaseConsumer<GroupContext>, done: KafkaResult<()>) -> Result<(), Gone> {
        done.map_err(|error| self.end(failed(consumer.context().topic(), &error)))
    }

    /// Handles an error that a poll returns: logs a transient one, and ends the reader at a permanent one.
    fn complain(&mut self, consumer: &BaseConsumer<GroupContext>, error: &KafkaError) -> Result<(), Gone> {
        match Fault::of(error) {
            Fault::Unreadable => {
                let reason = consumer.context().complaint().map_or_else(|| error.to_string(), |said| said.reason);
                let next = self.reading.values().map(|reading| (reading.assigned.partition.clone(), reading.next()));
                Err(self.end(refusal(consumer.context().options(), &reason, next.collect())))
            }
            Fault::Gone => Err(self.end(self.lacking(consumer, error))),
            Fault::Unknown | Fault::Hopeless => {
                let (topic, options) = (consumer.context().topic(), consumer.context().options());
                let code = error.rdkafka_error_code();
                Err(self.end(code.map_or_else(|| failed(topic, error), |code| refused(options, code, error))))
            }
            Fault::CutOff => {
                if !std::mem::replace(&mut self.cut_off, true) {
                    let reason = consumer.context().complaint().map(|complaint| complaint.reason);
                    warn!(reason, "a kafka broker does not answer; waiting for it");
                }
                Ok(())
            }
            Fault::Passing => {
                warn!(%error, "kafka; going on");
                Ok(())
            }
        }
    }

    /// Builds the error for a reader whose next message is gone from the log. librdkafka does not say from which
    /// partition, so the logs are asked for their beginnings.
    fn lacking(&self, consumer: &BaseConsumer<GroupContext>, error: &KafkaError) -> SourceError {
        let topic = consumer.context().topic();
        let read = self.reading.iter().filter(|(_, reading)| reading.assigned.hold == Hold::Free);
        let read: BTreeMap<i32, &PartitionBuffer> = read.map(|(partition, reading)| (*partition, reading)).collect();
        let partitions: Vec<_> = read.keys().copied().collect();
        let logs = watermarks::ask(consumer, topic, &partitions, GONE_MAX).unwrap_or_default();
        let lacking = read.iter().find_map(|(partition, reading)| {
            has_next(&reading.assigned.partition, reading.next(), *logs.get(partition)?).err()
        });
        lacking.unwrap_or_else(|| {
            SourceError::Refused(Code::OffsetsGone.because(format!(
                "topic {topic}: kafka no longer has the next message of one of its partitions; to go on without what \
                 it dropped, record the topic under a new name with --topic-as: {error}"
            )))
        })
    }

    fn end(&self, error: SourceError) -> Gone {
        // If the loop is gone already, there is nobody to tell.
        let _ = self.control.send(Control::Ended(error));
        Gone
    }
}

impl PartitionBuffer {
    /// Returns the offset that is to be read next.
    fn next(&self) -> i64 {
        if self.assigned.fingerprint.is_some() { self.assigned.position() } else { self.batch.next() }
    }

    fn push(&mut self, message: &BorrowedMessage<'_>, decoding: &Decoding) -> Result<(), SourceError> {
        if self.assigned.hold == Hold::Held {
            return Ok(());
        }
        let message = decodable(message);
        if let Some(fingerprint) =
            self.assigned.fingerprint.take_if(|fingerprint| message.offset >= fingerprint.offset())
        {
            self.hear(&fingerprint, &message, decoding)?;
        }
        // Rows below the first wanted offset are read only for the sake of the fingerprint.
        if message.offset < self.assigned.first {
            return Ok(());
        }
        match self.batch.place(message.offset) {
            OffsetPlace::Ahead => self.batch.push(&message),
            // librdkafka records its position only after it has taken a message off its queue. If a rebalance pauses
            // the partition in between, on librdkafka's own thread, reading goes on one message too early.
            OffsetPlace::Last => debug!(partition = %self.assigned.partition, message.offset, "comes again"),
            // Any other repetition is unexplained: ending the job is safer than guessing which copy counts.
            OffsetPlace::Behind => {
                let (partition, offset) = (&self.assigned.partition, message.offset);
                let what = format!(
                    "{partition}: offset {offset} has been read, and comes again; it is not counted twice, and the job \
                     ends: start it again"
                );
                return Err(SourceError::Failed { what, source: None });
            }
        }
        Ok(())
    }

    /// Checks the fingerprint: refuses a log whose message at that offset is not the row that the table holds. If the
    /// log no longer has that offset (the message comes later), nothing can be checked.
    fn hear(&self, fingerprint: &Fingerprint, message: &Message<'_>, decoding: &Decoding) -> Result<(), SourceError> {
        let partition = &self.assigned.partition;
        // The fingerprint may cover columns that the job does not read.
        let whole = decoding.clone().with(Columns::all());
        let mut alone = BatchBuilder::of(&whole, partition.clone(), message.offset);
        alone.push(message);
        if message.offset != fingerprint.offset() || fingerprint.agrees(&alone.finish()) {
            return Ok(());
        }
        Err(SourceError::Refused(Code::TopicAnew.because(format!(
            "{partition}: offset {} is another message than the one that the table read there: the topic was made \
             again; to read it as a new one, use --topic-as",
            message.offset
        ))))
    }
}

/// Seeks in a partition that was assigned. One that has only just been assigned may not be fetched yet, so the seek is
/// tried again: a seek that is not done would skip messages.
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
