//! The live end of the log: a member of a Kafka consumer group, as a [`Source`].
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
mod group;
mod reader;

pub use config::KafkaOptions;

use std::collections::HashMap;
use std::sync::mpsc as commands;
use std::thread::JoinHandle;
use std::time::Duration;

use async_trait::async_trait;
use lake_schemas::job::{LogBatch, Room, Signal, Source, SourceError, Start};
use lake_schemas::{Cut, TopicPartition};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use tokio::sync::mpsc;
use tokio::time::Instant;

use self::group::{GroupContext, failed};
use self::reader::Reader;

/// How long a broker may take to answer at start-up. With what else happens there, errors come within 15 seconds.
const ANSWER_MAX: Duration = Duration::from_secs(8);

/// How long it is asked at a time, between two looks at what librdkafka complains of.
const ANSWER_SLICE: Duration = Duration::from_secs(1);

/// Batches on their way from the reader to the loop, each of at most [`reader::BATCH_ROWS_MAX`] rows.
const BATCHES_MAX: usize = 8;

/// Counts the starts of a partition, so that what was read before the last of them can be told apart.
type Generation = u64;

/// A rebalance, what the broker says of the log, or the end of the reader.
enum Control {
    Assigned(Vec<TopicPartition>),
    Revoked(Vec<TopicPartition>),
    Ends(Vec<(TopicPartition, i64)>),
    Ended(SourceError),
}

/// What the reader has read.
enum Data {
    Batch(Generation, LogBatch),
    CaughtUp(Generation, TopicPartition),
}

/// What the loop tells the reader.
enum Command {
    Start(Vec<(Start, Generation)>),
    Release,
    Committed(Vec<(TopicPartition, i64)>),
}

/// A topic, read as a member of a consumer group.
pub struct KafkaSource {
    control: mpsc::UnboundedReceiver<Control>,
    data: mpsc::Receiver<Data>,
    commands: commands::Sender<Command>,
    generations: HashMap<TopicPartition, Generation>,
    generation: Generation,
    reader: JoinHandle<()>,
}

impl KafkaSource {
    /// Joins the group, after a look whether the broker answers and has the topic. `time_in_future_ms` is the bound
    /// that the raw table records.
    pub async fn join(options: &KafkaOptions, group: &str, time_in_future_ms: i64) -> Result<Self, SourceError> {
        let (control_in, control) = mpsc::unbounded_channel();
        let (data_in, data) = mpsc::channel(BATCHES_MAX);
        let (commands, commands_out) = commands::channel();
        let context = GroupContext::new(options, control_in.clone(), commands_out);
        let config = options.consumer(group)?;
        let consumer: BaseConsumer<GroupContext> = config
            .create_with_context(context)
            .map_err(|error| SourceError::Failed(format!("kafka settings: {error}")))?;
        let (options, topic) = (options.clone(), options.topic.clone());
        let consumer = tokio::task::spawn_blocking(move || {
            has_topic(&consumer, &options)?;
            let subscribed = consumer.subscribe(&[&topic]);
            subscribed.map_err(|error| SourceError::Failed(format!("topic {topic}: {error}")))?;
            Ok::<_, SourceError>(consumer)
        })
        .await
        .map_err(|panic| SourceError::Failed(panic.to_string()))??;
        let reader = Reader::new(consumer, time_in_future_ms, control_in, data_in);
        let reader = std::thread::Builder::new()
            .name("kafka-reader".to_owned())
            .spawn(move || reader.run())
            .map_err(|error| SourceError::Failed(format!("starting the reader: {error}")))?;
        Ok(Self { control, data, commands, generations: HashMap::new(), generation: 0, reader })
    }

    /// Leaves the group, so that its other members need not wait for this one to time out.
    pub async fn leave(self) {
        let Self { control, data, commands, reader, .. } = self;
        drop((control, data, commands));
        // A panic of the reader has been reported by its own thread, and there is nothing left to leave.
        let _ = tokio::task::spawn_blocking(move || reader.join()).await;
    }

    /// Tells the reader; if it has ended, why.
    fn send(&mut self, command: Command) -> Result<(), SourceError> {
        if self.commands.send(command).is_ok() {
            return Ok(());
        }
        while let Ok(control) = self.control.try_recv() {
            if let Control::Ended(error) = control {
                return Err(error);
            }
        }
        Err(ended())
    }

    /// What a piece of data signals, unless its partition was started again, or released, since.
    fn current(&self, data: Data) -> Option<Signal> {
        let (generation, partition) = match &data {
            Data::Batch(generation, batch) => (generation, &batch.partition),
            Data::CaughtUp(generation, partition) => (generation, partition),
        };
        let is_current = self.generations.get(partition) == Some(generation);
        is_current.then_some(match data {
            Data::Batch(_, batch) => Signal::Batch(batch),
            Data::CaughtUp(_, partition) => Signal::CaughtUp(partition),
        })
    }
}

#[async_trait]
impl Source for KafkaSource {
    async fn next(&mut self, room: Room) -> Result<Signal, SourceError> {
        loop {
            let data = tokio::select! {
                biased;
                control = self.control.recv() => {
                    return match control {
                        Some(Control::Assigned(partitions)) => Ok(Signal::Assigned(partitions)),
                        Some(Control::Revoked(partitions)) => Ok(Signal::Revoked(partitions)),
                        Some(Control::Ends(ends)) => Ok(Signal::Ends(ends)),
                        Some(Control::Ended(error)) => Err(error),
                        None => Err(ended()),
                    };
                }
                Some(data) = self.data.recv(), if room == Room::ForAll => data,
            };
            if let Some(signal) = self.current(data) {
                return Ok(signal);
            }
        }
    }

    async fn start(&mut self, starts: Vec<Start>) -> Result<(), SourceError> {
        self.generation += 1;
        let generation = self.generation;
        let starts = starts.into_iter().map(|start| {
            self.generations.insert(start.partition.clone(), generation);
            (start, generation)
        });
        let command = Command::Start(starts.collect());
        self.send(command)
    }

    async fn release(&mut self, partitions: &[TopicPartition]) -> Result<(), SourceError> {
        for partition in partitions {
            self.generations.remove(partition);
        }
        self.send(Command::Release)
    }

    async fn committed(&mut self, cuts: &[(TopicPartition, i64)]) {
        // A reader that has ended says so itself.
        let _ = self.commands.send(Command::Committed(cuts.to_vec()));
    }
}

fn ended() -> SourceError {
    SourceError::Failed("the kafka reader has ended".to_owned())
}

/// Where the partitions of a topic end now that have anything to read.
pub async fn ends(options: &KafkaOptions) -> Result<Cut, SourceError> {
    // A group is named because a consumer must; it is not joined.
    let (config, options) = (options.consumer("clicklake")?, options.clone());
    let ends = tokio::task::spawn_blocking(move || {
        let failed = |error: KafkaError| failed(&options.topic, &error);
        let consumer: BaseConsumer = config.create().map_err(failed)?;
        let metadata = consumer.fetch_metadata(Some(&options.topic), ANSWER_MAX).map_err(failed)?;
        let mut ends = Cut::new();
        for partition in metadata.topics().iter().flat_map(|topic| topic.partitions()) {
            let watermarks = consumer.fetch_watermarks(&options.topic, partition.id(), ANSWER_MAX);
            let (low, high) = watermarks.map_err(failed)?;
            if low < high {
                ends.insert(TopicPartition::new(options.recorded_topic(), partition.id()), high);
            }
        }
        Ok(ends)
    });
    ends.await.map_err(|panic| SourceError::Failed(panic.to_string()))?
}

/// Finds out within seconds that a broker cannot be reached, or lacks the topic.
fn has_topic(consumer: &BaseConsumer<GroupContext>, options: &KafkaOptions) -> Result<(), SourceError> {
    let (topic, servers) = (&options.topic, &options.bootstrap_servers);
    let began = Instant::now();
    let metadata = loop {
        let error = match consumer.fetch_metadata(Some(topic), ANSWER_SLICE) {
            Ok(metadata) => break metadata,
            Err(error) => error,
        };
        // Errors are called back inside a poll; there is nothing else to get before the consumer has subscribed.
        let polled = consumer.poll(Duration::ZERO).and_then(Result::err);
        let complaint = consumer.context().complaint();
        let is_hopeless = complaint.as_ref().is_some_and(|complaint| complaint.is_hopeless);
        if is_hopeless || began.elapsed() > ANSWER_MAX {
            let reason = complaint.map(|complaint| complaint.reason);
            let reason = reason.unwrap_or_else(|| polled.unwrap_or(error).to_string());
            return Err(SourceError::Failed(format!("cannot reach kafka at {servers}: {reason}")));
        }
    };
    let found = metadata.topics().iter().find(|found| found.name() == topic);
    match found.map(|found| found.error().map(RDKafkaErrorCode::from)) {
        Some(None) => Ok(()),
        None | Some(Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic)) => {
            Err(SourceError::Failed(format!(
                "topic {topic} does not exist at {servers}; create it, or name another with --topic"
            )))
        }
        Some(Some(error)) => Err(SourceError::Failed(format!("topic {topic} at {servers}: {error}"))),
    }
}
