//! A topic as a source: the member of the group, its reader, and the channels between them.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc as commands;
use std::thread::JoinHandle;

use async_trait::async_trait;
use consume_batch::DataQueue;
use lake_schemas::TopicPartition;
use rdkafka::consumer::{BaseConsumer, Consumer};
use tokio::sync::mpsc;

use super::config::KafkaOptions;
use super::group::GroupContext;
use super::instruction::{Begin, Command, Control, Data, Generation, Hold};
use super::log::KafkaLog;
use super::poll::Reader;
use super::reader::ReaderState;
use super::topic::has_topic;
use crate::decode::Decoding;
use crate::follow_source::Live;
use crate::replay::LiveLog;
use crate::source::{Demand, Signal, Source, SourceError, Start};

/// Number of batches on their way from the reader to the loop, which are being decoded meanwhile; each has at most as
/// many rows as the reader puts into one.
const BATCHES_MAX: usize = 8;

/// Source that reads a topic as a member of a consumer group.
pub struct KafkaSource {
    options: KafkaOptions,
    control: mpsc::UnboundedReceiver<Control>,
    data: mpsc::Receiver<Data>,
    /// Data that was taken from the channel, and not yielded yet: a batch may still be decoded.
    taken: Option<Data>,
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
        let (consumer, queue) = tokio::task::spawn_blocking(move || {
            has_topic(&consumer, &asked)?;
            let consumer = Arc::new(consumer);
            let queue = DataQueue::new(&consumer);
            consumer.context().divert_to(&queue);
            let subscribed = consumer.subscribe(&[&topic]);
            subscribed.map_err(|error| SourceError::failed(format!("topic {topic}"), error))?;
            Ok::<_, SourceError>((consumer, queue))
        })
        .await
        .map_err(|panic| SourceError::failed("joining the group", panic))??;
        let reader = Reader::new(consumer, queue, ReaderState::new(decoding, control_in, data_in));
        let reader = std::thread::Builder::new()
            .name("kafka-reader".to_owned())
            .spawn(move || reader.run())
            .map_err(|error| SourceError::failed("starting the reader", error))?;
        let (options, generations) = (options.clone(), HashMap::new());
        Ok(Self { options, control, data, taken: None, commands, generations, generation: 0, reader })
    }

    /// Leaves the group, so that its other members need not wait for this one to time out.
    pub async fn leave(self) {
        let Self { control, data, taken, commands, reader, .. } = self;
        drop((control, data, taken, commands));
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

    /// Drops the data that were taken, if their partition was started again, or released, since. Returns whether there
    /// are none.
    fn has_taken_nothing(&mut self) -> bool {
        let generations = &self.generations;
        let is_current = |data: &mut Data| {
            let (partition, generation) = data.of();
            generations.get(partition) == Some(&generation)
        };
        // A batch that is not wanted need not be decoded either.
        drop(self.taken.take_if(|data| !is_current(data)));
        self.taken.is_none()
    }
}

#[async_trait]
impl Source for KafkaSource {
    async fn next(&mut self, room: Demand) -> Result<Signal, SourceError> {
        loop {
            let has_taken_nothing = self.has_taken_nothing();
            tokio::select! {
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
                signal = yielded(&mut self.taken), if room == Demand::ForAll && !has_taken_nothing => return signal,
                Some(data) = self.data.recv(), if room == Demand::ForAll && has_taken_nothing => {
                    self.taken = Some(data);
                }
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

/// Waits until the data can be yielded, and takes them then: whoever cancels this loses nothing.
async fn yielded(taken: &mut Option<Data>) -> Result<Signal, SourceError> {
    let decoded = match taken {
        Some(Data::Batch(_, _, decoded)) => Some(decoded.await),
        _ => None,
    };
    match (taken.take().expect("there are some"), decoded) {
        (_, Some(decoded)) => {
            decoded.map(Signal::Batch).map_err(|panic| SourceError::failed("decoding messages", panic))
        }
        (Data::CaughtUp(_, partition), None) => Ok(Signal::CaughtUp(partition)),
        (Data::Stopped(_, _, why), None) => Err(why),
        (Data::Batch(..), None) => unreachable!("batches are waited for"),
    }
}

fn ended() -> SourceError {
    SourceError::Failed { what: "the kafka reader has ended".to_owned(), source: None }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use lake_schemas::job::LogBatch;
    use tokio_util::task::AbortOnDropHandle;

    use super::*;
    use crate::decode::BatchBuilder;

    #[tokio::test]
    async fn a_batch_that_is_being_decoded_is_not_lost_when_nobody_waits_for_it() {
        let partition = TopicPartition::new("clicks", 0);
        let mut batch = BatchBuilder::new(partition.clone(), 3, 0);
        batch.skip_to(5);
        let batch = batch.finish();
        let (go, gate) = commands::channel::<()>();
        let decoded = tokio::task::spawn_blocking(move || {
            gate.recv().expect("the law says when");
            batch
        });
        let mut taken = Some(Data::Batch(1, partition, AbortOnDropHandle::new(decoded)));
        assert!(yielded(&mut taken).now_or_never().is_none() && taken.is_some());
        go.send(()).expect("it waits");
        let Ok(Signal::Batch(batch)) = yielded(&mut taken).await else { panic!("it is a batch") };
        assert_eq!((batch.offsets.first, batch.offsets.next, taken.is_none()), (3, 5, true));
    }

    #[tokio::test]
    async fn a_decoder_that_panics_is_an_error_and_no_loss() {
        let decoded = tokio::task::spawn_blocking(|| -> LogBatch { panic!("a law of decoders is broken") });
        let partition = TopicPartition::new("clicks", 0);
        let mut taken = Some(Data::Batch(1, partition, AbortOnDropHandle::new(decoded)));
        let error = yielded(&mut taken).await.expect_err("there is no batch");
        assert!(error.to_string().contains("decoding"), "{error}");
    }
}
