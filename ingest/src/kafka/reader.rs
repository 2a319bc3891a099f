//! State of the reader: what was read and not passed on yet, and how partitions are begun, sought, paused and stopped.
//! The [thread that polls](super::poll) calls it, and nobody else.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use consume_batch::Messages;
use lake_schemas::TopicPartition;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::{Offset, TopicPartitionList};
use tokio::runtime::Handle;
use tokio::sync::mpsc::{Sender, UnboundedSender};
use tokio::time::{Instant, timeout};
use tokio_util::task::AbortOnDropHandle;
use tracing::{debug, info, warn};

use super::fault::{Fault, failed};
use super::group::{Assigned, GroupContext, add};
use super::instruction::{Control, Data, Generation, Hold};
use super::pace::Pace;
use super::reading::{Halt, PartitionBuffer};
use super::topic::refused;
use super::undecoded::Undecoded;
use super::unreadable::{damaged, lacking};
use crate::decode::Decoding;
use crate::source::SourceError;

/// Longest time for which the loop may have no room before the partitions are paused. Pausing throws away what was read
/// ahead, so it is not done at once.
const PAUSE_AFTER: Duration = Duration::from_secs(2);

/// Longest wait for a seek to succeed.
const SEEK_MAX: Duration = Duration::from_secs(10);

/// Wait between two attempts at a seek.
const SEEK_AGAIN: Duration = Duration::from_millis(20);

/// Signal that the reader must end: the loop is gone, or knows why the reader ends, so nobody takes what is read.
pub(super) struct Gone;

/// State of the reader: what has been read and not been passed on yet.
pub(super) struct ReaderState {
    decoding: Arc<Decoding>,
    runtime: Handle,
    control: UnboundedSender<Control>,
    data: Sender<Data>,
    /// Data to pass on before anything else is read.
    outbox: VecDeque<Outgoing>,
    /// Whether the loop has no room: then nothing is fetched.
    is_paused: bool,
    reading: BTreeMap<i32, PartitionBuffer>,
    pace: Pace,
    /// Whether no broker answers; the warning about it has been logged.
    cut_off: bool,
}

/// Data that waits for room. Decoding begins only with the room, so that no more is decoded than the loop can take.
enum Outgoing {
    Batch(Generation, Undecoded),
    CaughtUp(Generation, TopicPartition),
    Stopped(Generation, TopicPartition, SourceError),
}

impl ReaderState {
    /// Makes the state before anything is assigned. Must be called inside the runtime in which the loop runs.
    pub fn new(decoding: Decoding, control: UnboundedSender<Control>, data: Sender<Data>) -> Self {
        Self {
            decoding: Arc::new(decoding),
            runtime: Handle::current(),
            control,
            data,
            outbox: VecDeque::new(),
            is_paused: false,
            reading: BTreeMap::new(),
            pace: Pace::new(),
            cut_off: false,
        }
    }

    /// Returns whether any partition is assigned.
    pub fn is_reading(&self) -> bool {
        !self.reading.is_empty()
    }

    /// Returns whether further messages are waited for before those that have come are passed on.
    pub fn is_settling(&self) -> bool {
        self.pace.is_settling()
    }

    /// Returns the time until something has to be passed on, or commands looked for.
    pub fn until_flush(&self) -> Duration {
        self.pace.until_flush()
    }

    /// Takes in what has come, partition by partition.
    pub fn take(&mut self, consumer: &BaseConsumer<GroupContext>, messages: Messages) -> Result<(), Gone> {
        if messages.is_empty() {
            return Ok(());
        }
        // Only a message proves that a broker answers: librdkafka makes errors by itself.
        if self.cut_off && messages.iter().any(|one| one.fault().is_none()) {
            self.cut_off = false;
            info!("kafka answers again");
        }
        self.pace.note();
        for (partition, part) in messages.split_by_partition() {
            let Some(reading) = self.reading.get_mut(&partition) else { continue };
            match reading.push(part, &self.decoding) {
                Ok(()) if reading.is_full() => self.flush(partition),
                Ok(()) => {}
                Err(halt) => self.halt(consumer, partition, halt)?,
            }
        }
        Ok(())
    }

    /// Passes on what has come, unless the last flush was less than a linger ago.
    pub fn flush_what_lingered(&mut self) {
        if !self.pace.flushes() {
            return;
        }
        let at_end = |(partition, reading): (&i32, &mut PartitionBuffer)| reading.takes_end().then_some(*partition);
        let at_end: Vec<_> = self.reading.iter_mut().filter_map(at_end).collect();
        at_end.into_iter().for_each(|partition| self.reach_end(partition));
        let partitions: Vec<_> = self.reading.keys().copied().collect();
        partitions.into_iter().for_each(|partition| self.flush(partition));
    }

    /// Looks for commands of the loop.
    pub fn look(&mut self, consumer: &BaseConsumer<GroupContext>) -> Result<(), Gone> {
        while let Some(command) = consumer.context().try_command().map_err(|_| Gone)? {
            let begins = consumer.context().begins(consumer, command).unwrap_or_default().into_iter();
            // A partition that was revoked since is another member's to begin.
            let ours = begins.filter(|begin| self.reading.contains_key(&begin.start.partition.partition));
            let assigned = consumer.context().resolve(consumer, ours).map_err(|error| self.end(error))?;
            assigned.into_iter().try_for_each(|assigned| self.begin(consumer, assigned))?;
        }
        Ok(())
    }

    /// Applies what a rebalance inside the last poll has changed. Returns whether there was one.
    pub fn take_changes(&mut self, consumer: &BaseConsumer<GroupContext>) -> Result<bool, Gone> {
        let Some(changes) = consumer.context().take_changes() else { return Ok(false) };
        let moved: HashSet<i32> = changes.keys().copied().collect();
        for (partition, change) in changes {
            match change {
                Some(assigned) => self.begin(consumer, assigned)?,
                None => drop(self.reading.remove(&partition)),
            }
        }
        // The rebalance has paused what stays, and librdkafka goes on where it believes that we are.
        self.seek_where(consumer, |partition| !moved.contains(&partition))?;
        Ok(true)
    }

    /// Begins a partition; seeks back, or ahead, in one that is being read.
    fn begin(&mut self, consumer: &BaseConsumer<GroupContext>, assigned: Assigned) -> Result<(), Gone> {
        let number = assigned.partition.partition;
        let mut position = TopicPartitionList::new();
        add(&mut position, consumer.context().topic(), &assigned).map_err(|error| self.end(error))?;
        let moved = match (self.reading.get(&number).map(PartitionBuffer::is_read), assigned.hold) {
            // Whatever a held partition yields is thrown away; the pause only saves the work of reading it.
            (_, Hold::Held) => consumer.pause(&position),
            // What was thrown away while the partition was held, or stopped, is read again after the seek.
            (Some(false), Hold::Free) => consumer.resume(&position).and_then(|()| seek(consumer, &position)),
            // librdkafka has fetched ahead from where it was; only a seek drops that, and nothing may be taken before.
            (Some(true), Hold::Free) => seek(consumer, &position),
            // A partition of an earlier assignment may still be paused from being held or stopped then. Nothing was
            // taken since the assignment, which has said where to begin.
            (None, Hold::Free) => consumer.resume(&position),
        };
        // A partition that could not be moved would be read from elsewhere: rather no reader than one that skips.
        self.did(consumer, moved)?;
        // If a fingerprint must be checked first, the reader has to read its row before it is at the end.
        let is_at_end = assigned.fingerprint.is_none() && assigned.end.is_some_and(|end| assigned.first >= end);
        // One that is held is not caught up before its replay is over, and it is started again.
        let is_free = assigned.hold == Hold::Free;
        // Replaces what was read of it before its start, lingering rows included.
        self.reading.insert(number, PartitionBuffer::new(assigned));
        if is_at_end && is_free {
            self.reach_end(number);
        }
        Ok(())
    }

    /// Makes a batch of what has come of a partition, and reports the end if that was all.
    fn flush(&mut self, partition: i32) {
        let Some(reading) = self.reading.get_mut(&partition) else { return };
        let Some(undecoded) = reading.finish() else { return };
        let is_at_end = reading.assigned.end.is_some_and(|end| undecoded.offsets.next >= end);
        self.outbox.push_back(Outgoing::Batch(reading.assigned.generation, undecoded));
        if is_at_end {
            self.reach_end(partition);
        }
    }

    /// Reports that the log of a partition has been read to its end.
    fn reach_end(&mut self, partition: i32) {
        self.flush(partition);
        let Some(reading) = self.reading.get_mut(&partition) else { return };
        reading.assigned.end = None;
        let data = Outgoing::CaughtUp(reading.assigned.generation, reading.assigned.partition.clone());
        self.outbox.push_back(data);
    }

    /// Handles what has halted a partition: stops it alone, if the others can be read.
    fn halt(&mut self, consumer: &BaseConsumer<GroupContext>, number: i32, halt: Halt) -> Result<(), Gone> {
        let Some(reading) = self.reading.get_mut(&number) else { return Ok(()) };
        let (partition, next) = (&reading.assigned.partition, reading.next());
        let why = match halt {
            Halt::Unreadable { offset, reason } => {
                let why = damaged(partition, offset, &reason);
                if reading.suspects(offset) {
                    warn!(partition = %reading.assigned.partition, offset, reason, "unreadable; reading it once more");
                    return self.seek_where(consumer, |one| one == number);
                }
                why
            }
            Halt::Gone { reason } => lacking(consumer, partition, next, &reason),
            Halt::Topic(error) => return self.complain(consumer, &error),
            Halt::Contradiction(error) => return Err(self.end(error)),
        };
        // What came before is passed on before the loop hears that nothing follows.
        self.flush(number);
        let Some(reading) = self.reading.get_mut(&number) else { return Ok(()) };
        reading.stop();
        let Assigned { generation, partition, .. } = &reading.assigned;
        self.outbox.push_back(Outgoing::Stopped(*generation, partition.clone(), why));
        let mut stopped = TopicPartitionList::new();
        stopped.add_partition(consumer.context().topic(), number);
        self.did(consumer, consumer.pause(&stopped))
    }

    /// Passes on what is in the outbox. Pauses the partitions when the loop has had no room for long.
    pub fn pass_on(&mut self, consumer: &BaseConsumer<GroupContext>) -> Result<(), Gone> {
        while !self.outbox.is_empty() {
            // This blocks the thread, and so the polls, only up to the patience: the group takes partitions away from a
            // member that does not poll.
            let patience = if self.is_paused { Duration::ZERO } else { PAUSE_AFTER };
            let waiting = async { timeout(patience, self.data.reserve()).await };
            let Ok(room) = self.runtime.block_on(waiting) else { return self.pause(consumer) };
            let room = room.map_err(|_| Gone)?;
            if let Some(outgoing) = self.outbox.pop_front() {
                room.send(outgoing.begin(&self.runtime, &self.decoding));
            }
        }
        // The outbox is empty again: resume what was paused, except partitions that are held for a replay, or stopped.
        if !std::mem::take(&mut self.is_paused) {
            return Ok(());
        }
        let mut read = TopicPartitionList::new();
        for (partition, _) in self.reading.iter().filter(|(_, reading)| reading.is_read()) {
            read.add_partition(consumer.context().topic(), *partition);
        }
        self.did(consumer, consumer.resume(&read))?;
        self.seek_where(consumer, |_| true)
    }

    /// Pauses all assigned partitions, including those assigned since the last pause.
    fn pause(&mut self, consumer: &BaseConsumer<GroupContext>) -> Result<(), Gone> {
        if !std::mem::replace(&mut self.is_paused, true) {
            info!("no room; partitions paused");
        }
        self.did(consumer, consumer.assignment().and_then(|assigned| consumer.pause(&assigned)))
    }

    /// Seeks some of the partitions that are read to where we stand. After a pause librdkafka's own position may be one
    /// message behind, or ahead of messages that nobody has seen.
    fn seek_where(&self, consumer: &BaseConsumer<GroupContext>, is_meant: impl Fn(i32) -> bool) -> Result<(), Gone> {
        let mut positions = TopicPartitionList::new();
        let meant = self.reading.iter().filter(|(partition, reading)| reading.is_read() && is_meant(**partition));
        for (partition, reading) in meant {
            let next = Offset::Offset(reading.next());
            let added = positions.add_partition_offset(consumer.context().topic(), *partition, next);
            self.did(consumer, added)?;
        }
        if positions.count() == 0 {
            return Ok(());
        }
        self.did(consumer, seek(consumer, &positions))
    }

    /// Ends the reader if librdkafka could not do what it was told.
    fn did(&self, consumer: &BaseConsumer<GroupContext>, done: KafkaResult<()>) -> Result<(), Gone> {
        done.map_err(|error| self.end(failed(consumer.context().topic(), &error)))
    }

    /// Handles an error of the topic or the group: logs a transient one, and ends the reader at a permanent one.
    pub fn complain(&mut self, consumer: &BaseConsumer<GroupContext>, error: &KafkaError) -> Result<(), Gone> {
        match Fault::of(error) {
            Fault::Unreadable | Fault::Gone | Fault::Unknown | Fault::Hopeless => {
                let (topic, options) = (consumer.context().topic(), consumer.context().options());
                // A fatal error says only that there is one; the client knows which.
                let fatal = consumer.client().fatal_error().map(|(code, _)| KafkaError::MessageConsumptionFatal(code));
                let error = fatal.as_ref().unwrap_or(error);
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

    /// Ends the reader at a message that came elsewhere than where all messages are taken: its place among those of its
    /// partition is not known.
    pub fn strayed(&self, partition: i32) -> Gone {
        let what =
            format!("partition {partition}: kafka's client gave a message out of its order: start the job again");
        self.end(SourceError::Failed { what, source: None })
    }

    fn end(&self, error: SourceError) -> Gone {
        // If the loop is gone already, there is nobody to tell.
        let _ = self.control.send(Control::Ended(error));
        Gone
    }
}

impl Outgoing {
    /// Returns the data for the loop; begins to decode a batch.
    fn begin(self, runtime: &Handle, decoding: &Arc<Decoding>) -> Data {
        match self {
            Self::Batch(generation, undecoded) => {
                let (partition, decoding) = (undecoded.partition.clone(), Arc::clone(decoding));
                let decoded = runtime.spawn_blocking(move || undecoded.decode(&decoding));
                Data::Batch(generation, partition, AbortOnDropHandle::new(decoded))
            }
            Self::CaughtUp(generation, partition) => Data::CaughtUp(generation, partition),
            Self::Stopped(generation, partition, why) => Data::Stopped(generation, partition, why),
        }
    }
}

/// Seeks in partitions that were assigned. One that has only just been assigned may not be fetched yet, so the seek is
/// tried again: a seek that is not done would skip messages.
fn seek(consumer: &BaseConsumer<GroupContext>, positions: &TopicPartitionList) -> KafkaResult<()> {
    let began = Instant::now();
    loop {
        let done = consumer.seek_partitions(positions.clone(), SEEK_MAX)?;
        match done.elements().iter().try_for_each(|one| one.error()) {
            Err(error) if began.elapsed() < SEEK_MAX => debug!(%error, "seeking again"),
            done => return done,
        }
        std::thread::park_timeout(SEEK_AGAIN);
    }
}
