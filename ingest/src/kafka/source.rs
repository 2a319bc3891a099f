//! A topic as a source: the member of the group, its reader, and the channels between them.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc as commands;
use std::thread::JoinHandle;

use async_trait::async_trait;
use lake_schemas::TopicPartition;
use rdkafka::consumer::{BaseConsumer, Consumer};
use tokio::sync::mpsc;

use super::config::KafkaOptions;
use super::group::GroupContext;
use super::instruction::{Begin, Command, Control, Data, Generation, Hold};
use super::log::KafkaLog;
use super::reader::Reader;
use super::topic::has_topic;
use crate::decode::Decoding;
use crate::follow_source::Live;
use crate::replay::LiveLog;
use crate::source::{Demand, Signal, Source, SourceError, Start};

/// Number of batches on their way from the reader to the loop; each has at most as many rows as the reader puts into
/// one.
const BATCHES_MAX: usize = 8;

/// Source that reads a topic as a member of a consumer group.
pub struct KafkaSource {
    options: KafkaOptions,
    control: mpsc::UnboundedReceiver<Control>,
    data: mpsc::Receiver<Data>,
    commands: commands::Sender<Command>,
    generations: HashMap<TopicPartition, Generation>,
    generation: Generation,
    reader: JoinHandle<()>,
}

impl KafkaSource {
    /// Joins the group, after checking that the broker answers and has the topic. `decoding` says how to decode its
    /// messages, and which columns are wanted.
    pub async fn join(options: &KafkaOptions, group: &str, decoding: Decoding) -> Result<Self, SourceError> {
        let (control_in, control) = mpsc::unbounded_channel();
        let (data_in, data) = mpsc::channel(BATCHES_MAX);
        let (commands, commands_out) = commands::channel();
        let context = GroupContext::new(options, control_in.clone(), commands_out);
        let config = options.consumer(group)?;
        let consumer: BaseConsumer<GroupContext> =
            config.create_with_context(context).map_err(|error| SourceError::failed("kafka settings", error))?;
        let (asked, topic) = (options.clone(), options.topic.clone());
        let consumer = tokio::task::spawn_blocking(move || {
            has_topic(&consumer, &asked)?;
            let subscribed = consumer.subscribe(&[&topic]);
            subscribed.map_err(|error| SourceError::failed(format!("topic {topic}"), error))?;
            Ok::<_, SourceError>(consumer)
        })
        .await
        .map_err(|panic| SourceError::failed("joining the group", panic))??;
        let reader = Reader::new(consumer, decoding, control_in, data_in);
        let reader = std::thread::Builder::new()
            .name("kafka-reader".to_owned())
            .spawn(move || reader.run())
            .map_err(|error| SourceError::failed("starting the reader", error))?;
        let options = options.clone();
        Ok(Self { options, control, data, commands, generations: HashMap::new(), generation: 0, reader })
    }

    /// Leaves the group, so that its other members need not wait for this one to time out.
    pub async fn leave(self) {
        let Self { control, data, commands, reader, .. } = self;
        drop((control, data, commands));
        // A panic of the reader has been reported by its own thread, and there is nothing left to leave.
        let _ = tokio::task::spawn_blocking(move || reader.join()).await;
    }

    /// Sends a command to the reader; returns why the reader has ended, if it has.
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

    fn begin(&mut self, starts: Vec<Start>, hold: Hold) -> Result<(), SourceError> {
        self.generation += 1;
        let generation = self.generation;
        let begin = |start| Begin { start, generation, hold };
        self.send(Command::Begin(starts.into_iter().map(begin).collect()))
    }

    /// Turns data into a signal, unless its partition was started again, or released, since.
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
    async fn next(&mut self, room: Demand) -> Result<Signal, SourceError> {
        loop {
            let data = tokio::select! {
                // Control first: a rebalance makes the whole group wait.
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
                Some(data) = self.data.recv(), if room == Demand::ForAll => data,
            };
            if let Some(signal) = self.current(data) {
                return Ok(signal);
            }
        }
    }

    async fn start(&mut self, starts: Vec<Start>) -> Result<(), SourceError> {
        for start in &starts {
            self.generations.insert(start.partition.clone(), self.generation + 1);
        }
        self.begin(starts, Hold::Free)
    }

    async fn release(&mut self, partitions: &[TopicPartition]) -> Result<(), SourceError> {
        for partition in partitions {
            self.generations.remove(partition);
        }
        self.send(Command::Release)
    }

    async fn committed(&mut self, cuts: &[(TopicPartition, i64)]) {
        // If the reader has ended, `next` reports it.
        let _ = self.commands.send(Command::Committed(cuts.to_vec()));
    }
}

#[async_trait]
impl Live for KafkaSource {
    async fn hold(&mut self, starts: Vec<Start>) -> Result<(), SourceError> {
        // Messages that were read of these partitions before must be dropped, too: removing their generation does so.
        for start in &starts {
            self.generations.remove(&start.partition);
        }
        self.begin(starts, Hold::Held)
    }

    fn log(&self) -> Arc<dyn LiveLog> {
        Arc::new(KafkaLog::new(self.options.clone()))
    }
}

fn ended() -> SourceError {
    SourceError::Failed { what: "the kafka reader has ended".to_owned(), source: None }
}
