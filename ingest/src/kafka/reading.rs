//! A partition that is being read: what of it is taken in, and what is refused. Nothing here waits, or asks Kafka.

use consume_batch::{MessageRef, Messages};
use lake_schemas::Code;
use lake_schemas::fingerprint::Fingerprint;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use tracing::{debug, warn};

use super::fault::Fault;
use super::group::Assigned;
use super::instruction::Hold;
use super::stretch::{OffsetPlace, Stretch};
use super::undecoded::{Undecoded, decodable};
use crate::decode::{BatchBuilder, Columns, Decoding, Message};
use crate::source::SourceError;

/// Largest number of messages that are taken from librdkafka at once.
pub(super) const TAKEN_MAX: usize = 4_096;

/// Number of messages with which a batch is passed on: large enough that work done once a batch costs nothing, small
/// enough to be passed on soon. A batch has less than this and what is taken at once.
const BATCH_MESSAGES: usize = 4_096;

/// Number of bytes with which a batch is passed on, for messages that are larger than clicks.
const BATCH_BYTES: usize = 4 * 1024 * 1024;

/// A partition that is being read.
pub(super) struct PartitionBuffer {
    pub assigned: Assigned,
    stretch: Stretch,
    /// Messages of the stretch.
    parts: Vec<Messages>,
    /// Whether Kafka had no more of the partition; not reported to the loop yet.
    is_at_end: bool,
    /// Offset at which data could not be read the first time.
    suspect: Option<i64>,
    /// Whether nothing more is read of it, because what comes next cannot be.
    is_stopped: bool,
}

/// Why nothing more is taken in.
pub(super) enum Halt {
    /// The next data of the partition cannot be read, as librdkafka says.
    Unreadable { offset: i64, reason: String },
    /// Kafka no longer has the next message of the partition, or never had it.
    Gone { reason: String },
    /// Kafka refuses the whole topic.
    Topic(KafkaError),
    /// What has come contradicts what the table knows, or what came before.
    Contradiction(SourceError),
}

impl PartitionBuffer {
    /// Begins a partition where its table stands, not at the first message that comes: a gap in between is covered as
    /// well.
    pub fn new(assigned: Assigned) -> Self {
        let stretch = Stretch::at(assigned.first);
        Self { assigned, stretch, parts: Vec::new(), is_at_end: false, suspect: None, is_stopped: false }
    }

    /// Returns the offset that is to be read next.
    pub fn next(&self) -> i64 {
        if self.assigned.fingerprint.is_some() { self.assigned.position() } else { self.stretch.next() }
    }

    /// Returns whether anything is wanted of the partition: it is not held for a replay, and can be read.
    pub fn is_read(&self) -> bool {
        self.assigned.hold == Hold::Free && !self.is_stopped
    }

    /// Stops the partition: nothing that comes of it is taken in any more.
    pub fn stop(&mut self) {
        self.is_stopped = true;
    }

    /// Notes that data at an offset cannot be read. Returns whether this is the first time: what was damaged on its way
    /// to us, and not where it is stored, can be read the second time.
    pub fn suspects(&mut self, offset: i64) -> bool {
        self.suspect.replace(offset) != Some(offset)
    }

    /// Returns whether the batch is to be passed on now.
    pub fn is_full(&self) -> bool {
        self.stretch.messages() >= BATCH_MESSAGES || self.stretch.bytes() >= BATCH_BYTES
    }

    /// Returns whether Kafka had no more of the partition since the last time that somebody asked.
    pub fn takes_end(&mut self) -> bool {
        std::mem::take(&mut self.is_at_end)
    }

    /// Takes what has come since the last batch; `None` if that is nothing, not even a gap.
    pub fn finish(&mut self) -> Option<Undecoded> {
        let offsets = self.stretch.finish()?;
        let parts = std::mem::take(&mut self.parts);
        Some(Undecoded { partition: self.assigned.partition.clone(), offsets, parts })
    }

    /// Takes in what has come of the partition. If it halts, what came before that is taken in, and nothing after it.
    pub fn push(&mut self, mut part: Messages, decoding: &Decoding) -> Result<(), Halt> {
        if !self.is_read() {
            return Ok(());
        }
        let mut done = Ok(());
        part.retain(|one| {
            done.is_ok()
                && self.takes(one, decoding).unwrap_or_else(|halt| {
                    done = Err(halt);
                    false
                })
        });
        if !part.is_empty() {
            self.parts.push(part);
        }
        done
    }

    /// Takes in a message, an end or a fault. Returns whether it becomes a row.
    fn takes(&mut self, one: MessageRef<'_>, decoding: &Decoding) -> Result<bool, Halt> {
        let offset = one.offset();
        if let Some((code, reason)) = one.fault() {
            return self.meets(offset, code, reason).map(|()| false);
        }
        if let Some(fingerprint) = self.assigned.fingerprint.take_if(|fingerprint| offset >= fingerprint.offset()) {
            self.check(&fingerprint, &decodable(one), decoding).map_err(Halt::Contradiction)?;
        }
        // Rows below the first wanted offset are read only for the sake of the fingerprint.
        if offset < self.assigned.first {
            return Ok(false);
        }
        match self.stretch.place(offset) {
            OffsetPlace::Ahead => {
                let bytes: usize = [one.key(), one.payload()].into_iter().flatten().map(<[u8]>::len).sum();
                self.stretch.take(offset, bytes);
                Ok(true)
            }
            // librdkafka records its position only after it has taken a message off its queue. If the partition is
            // paused in between, reading goes on one message too early. We seek after a pause, so this is only seen
            // if librdkafka pauses without a word.
            OffsetPlace::Last => {
                debug!(partition = %self.assigned.partition, offset, "comes again");
                Ok(false)
            }
            // Any other repetition is unexplained: ending the job is safer than guessing which copy counts.
            OffsetPlace::Behind => {
                let partition = &self.assigned.partition;
                let what = format!(
                    "{partition}: offset {offset} has been read, and comes again; it is not counted twice, and the job \
                     ends: start it again"
                );
                Err(Halt::Contradiction(SourceError::Failed { what, source: None }))
            }
        }
    }

    /// Meets the end of the partition, or a fault.
    ///
    /// At an end the cut moves up to it, even if markers of transactions, or messages of aborted ones, stand last in
    /// the log: otherwise the cut would stay below them, and retention would seem to have lost messages that never
    /// existed.
    fn meets(&mut self, offset: i64, code: RDKafkaErrorCode, reason: &str) -> Result<(), Halt> {
        if code == RDKafkaErrorCode::PartitionEOF {
            self.stretch.skip_to(offset);
            self.is_at_end = true;
            return Ok(());
        }
        let error = KafkaError::MessageConsumption(code);
        match Fault::of(&error) {
            // The damaged batch may begin before what was read of it, or after a gap.
            Fault::Unreadable => Err(Halt::Unreadable { offset: offset.max(self.next()), reason: reason.to_owned() }),
            Fault::Gone => Err(Halt::Gone { reason: reason.to_owned() }),
            Fault::Unknown | Fault::Hopeless => Err(Halt::Topic(error)),
            Fault::CutOff | Fault::Passing => {
                warn!(partition = %self.assigned.partition, reason, "kafka; going on");
                Ok(())
            }
        }
    }

    /// Checks the fingerprint: refuses a log whose message at that offset is not the row that the table holds. If the
    /// log no longer has that offset (the message comes later), nothing can be checked.
    fn check(&self, fingerprint: &Fingerprint, message: &Message<'_>, decoding: &Decoding) -> Result<(), SourceError> {
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use consume_batch::DataQueue;
    use lake_schemas::TopicPartition;
    use rdkafka::consumer::{BaseConsumer, Consumer};
    use rdkafka::mocking::MockCluster;
    use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
    use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
    use rdkafka::{ClientConfig, Offset, TopicPartitionList};
    use tokio::time::Instant;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    /// Number of messages of the partition.
    const MESSAGES: i64 = 10;

    /// Gives a buffer what comes of a partition from an offset on, up to its end or to what halts it. The mocked
    /// brokers' next answers are these errors.
    fn read(buffer: &mut PartitionBuffer, from: i64, errors: &[RDKafkaRespErr]) -> Result<(), Halt> {
        let cluster = MockCluster::new(1).expect("a cluster");
        cluster.create_topic("clicks", 1, 1).expect("a topic");
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", cluster.bootstrap_servers()).set("group.id", "reading");
        config.set("enable.partition.eof", "true").set("auto.offset.reset", "error");
        let producer: ThreadedProducer<DefaultProducerContext> = config.create().expect("a producer");
        for _ in 0..MESSAGES {
            let record = BaseRecord::<(), _>::to("clicks").partition(0).payload("{}");
            producer.send(record).map_err(|(error, _)| error).expect("a message is queued");
        }
        producer.flush(PATIENCE).expect("the cluster answers");
        cluster.request_errors(RDKafkaApiKey::Fetch, errors);
        let consumer: Arc<BaseConsumer> = Arc::new(config.create().expect("a consumer"));
        let mut queue = DataQueue::new(&consumer);
        queue.divert(c"clicks", 0).expect("a partition");
        let mut position = TopicPartitionList::new();
        position.add_partition_offset("clicks", 0, Offset::Offset(from)).expect("an offset");
        consumer.assign(&position).expect("it is assigned");
        let began = Instant::now();
        loop {
            // What is not a message wakes it up, too.
            let messages = queue.take(TAKEN_MAX, PATIENCE);
            assert!(began.elapsed() < PATIENCE, "nothing comes");
            let is_end = messages.iter().any(|one| one.is_end());
            buffer.push(messages, &Decoding::json(0))?;
            if is_end {
                return Ok(());
            }
        }
    }

    fn buffer(first: i64, hold: Hold) -> PartitionBuffer {
        let partition = TopicPartition::new("clicks", 0);
        PartitionBuffer::new(Assigned { partition, generation: 1, hold, first, fingerprint: None, end: None })
    }

    #[test]
    fn what_is_wanted_becomes_a_batch_and_what_comes_twice_ends_the_job() {
        let mut buffer = buffer(4, Hold::Free);
        assert!(read(&mut buffer, 2, &[]).is_ok(), "it is read to its end");
        assert!(buffer.takes_end() && !buffer.takes_end(), "the end is told once");
        assert_eq!(buffer.next(), MESSAGES);
        let undecoded = buffer.finish().expect("there are messages");
        let offsets: Vec<_> = undecoded.parts.iter().flat_map(Messages::iter).map(|one| one.offset()).collect();
        assert_eq!(offsets, [4, 5, 6, 7, 8, 9]);
        let batch = undecoded.decode(&Decoding::json(0));
        assert_eq!((batch.offsets.first, batch.offsets.next, batch.read), (4, MESSAGES, 6));
        assert!(buffer.finish().is_none(), "nothing has come since");
        assert!(read(&mut buffer, MESSAGES - 1, &[]).is_ok(), "the last one may come again");
        assert!(buffer.finish().is_none() && buffer.parts.is_empty(), "it is not taken in again");
        let Err(Halt::Contradiction(error)) = read(&mut buffer, 7, &[]) else { panic!("it has been read") };
        assert!(error.to_string().contains("clicks/0: offset 7 has been read, and comes again"), "{error}");
    }

    /// Markers of transactions are no messages, and may stand last.
    #[test]
    fn an_end_behind_the_last_message_moves_the_cut() {
        let mut buffer = buffer(10, Hold::Free);
        assert!(buffer.meets(12, RDKafkaErrorCode::PartitionEOF, "no more").is_ok());
        assert_eq!((buffer.next(), buffer.takes_end()), (12, true));
        let batch = buffer.finish().expect("there is a gap").decode(&Decoding::json(0));
        assert_eq!((batch.offsets.first, batch.offsets.next, batch.read), (10, 12, 0));
    }

    #[test]
    fn a_partition_that_is_held_or_stopped_takes_nothing_in() {
        let mut held = buffer(0, Hold::Held);
        let mut stopped = buffer(0, Hold::Free);
        stopped.stop();
        for buffer in [&mut held, &mut stopped] {
            assert!(!buffer.is_read() && read(buffer, 0, &[]).is_ok());
            assert!(!buffer.takes_end() && buffer.finish().is_none());
        }
    }

    #[test]
    fn a_fault_halts_the_partition_behind_what_came_before() {
        let mut gone = buffer(0, Hold::Free);
        let Err(Halt::Gone { reason }) = read(&mut gone, 1_000, &[]) else { panic!("there is no such offset") };
        assert!(!reason.is_empty());
        let forbidden = [RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED];
        let Err(Halt::Topic(error)) = read(&mut buffer(0, Hold::Free), 0, &forbidden) else {
            panic!("it is forbidden")
        };
        assert_eq!(error.rdkafka_error_code(), Some(RDKafkaErrorCode::TopicAuthorizationFailed));
        let mut suspect = buffer(0, Hold::Free);
        assert_eq!([3, 3, 4, 3].map(|offset| suspect.suspects(offset)), [true, false, true, true]);
    }
}
