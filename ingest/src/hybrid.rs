//! The whole log: the raw table up to its cut, then Kafka from exactly there.
//!
//! A partition that begins below the raw table's cut is held at the live end while its replay runs. Then the live end
//! begins where the replay has ended: no event is seen twice, none is passed over. What Kafka has dropped and the raw
//! table lacks too is refused by the live end, which knows where its log begins.
//!
//! A restart may have to replay hundreds of partitions. A few are under way at a time; the others wait, and hold
//! nothing.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use lake_schemas::TopicPartition;
use lake_schemas::job::LogBatch;
use lake_store::LakeError;
use tokio::sync::{Mutex, Semaphore, mpsc};
use tokio_util::task::AbortOnDropHandle;

use crate::replay::{LiveLog, RawTable, Replay};
use crate::source::{Room, Signal, Source, SourceError, Start};

/// Batches on their way from the replays to the loop.
const BATCHES_MAX: usize = 8;

/// A live end of the log that can wait for history.
#[async_trait]
pub trait Live: Source {
    /// Like [`Source::start`], but nothing is yielded of these partitions until they are started. What a start would
    /// refuse is refused.
    async fn hold(&mut self, starts: Vec<Start>) -> Result<(), SourceError>;

    /// The log that it reads, for who asks beside it.
    fn log(&self) -> Arc<dyn LiveLog>;
}

/// Counts the starts of a partition, so that what was read before the last of them can be told apart.
type Generation = u64;

/// What a replay has to say.
enum Said {
    Batch(LogBatch),
    End(TopicPartition, Result<Start, LakeError>),
}

/// A replay that is under way. It ends when this is dropped.
struct Replaying {
    generation: Generation,
    _task: AbortOnDropHandle<()>,
}

/// The raw table, then a live end.
pub struct HybridSource<L> {
    live: L,
    raw: Arc<Mutex<RawTable>>,
    columns: Arc<[String]>,
    replaying: HashMap<TopicPartition, Replaying>,
    /// Replays under way hold one of its permits each; `None`: any number may be.
    turns: Option<Arc<Semaphore>>,
    generation: Generation,
    said_in: mpsc::Sender<(Generation, Said)>,
    said: mpsc::Receiver<(Generation, Said)>,
    /// Whether history is asked first, the next time: neither end waits for the other.
    history_first: bool,
}

impl<L: Live> HybridSource<L> {
    /// Reads these columns of events.
    pub fn new(raw: Arc<Mutex<RawTable>>, live: L, columns: Vec<String>) -> Self {
        let (said_in, said) = mpsc::channel(BATCHES_MAX);
        Self {
            live,
            raw,
            columns: columns.into(),
            replaying: HashMap::new(),
            turns: None,
            generation: 0,
            said_in,
            said,
            history_first: false,
        }
    }

    /// The same, which replays so many partitions at a time.
    pub fn replaying(self, at_once: usize) -> Self {
        Self { turns: Some(Arc::new(Semaphore::new(at_once.max(1)))), ..self }
    }

    /// The live end, when all is done.
    pub fn into_live(self) -> L {
        self.live
    }

    fn replay(&mut self, live: &Arc<dyn LiveLog>, partition: TopicPartition, from: Option<i64>) {
        self.generation += 1;
        let (generation, out, turns) = (self.generation, self.said_in.clone(), self.turns.clone());
        let replay = Replay::new(&self.raw, live, (partition.clone(), from), &self.columns);
        let named = partition.clone();
        let task = tokio::spawn(async move {
            let _turn = match turns {
                Some(turns) => Some(turns.acquire_owned().await.expect("nobody closes it")),
                None => None,
            };
            // When the loop is gone, this task is aborted soon.
            let say = |said| async { drop(out.send((generation, said)).await) };
            let end = replay.run(|batch| say(Said::Batch(batch))).await;
            say(Said::End(named, end)).await;
        });
        self.replaying.insert(partition, Replaying { generation, _task: AbortOnDropHandle::new(task) });
    }

    /// What follows from what a replay has said, unless its partition was started again, or released, since. It does
    /// not wait: to start is to tell the live end. So nothing is lost when who asks for a signal asks no longer.
    async fn hear(&mut self, generation: Generation, said: Said) -> Result<Option<Signal>, SourceError> {
        let partition = match &said {
            Said::Batch(batch) => &batch.partition,
            Said::End(partition, _) => partition,
        };
        if self.replaying.get(partition).is_none_or(|replaying| replaying.generation != generation) {
            return Ok(None);
        }
        match said {
            Said::Batch(batch) => Ok(Some(Signal::Batch(batch))),
            Said::End(partition, start) => {
                self.replaying.remove(&partition);
                self.live.start(vec![start?]).await?;
                Ok(None)
            }
        }
    }
}

#[async_trait]
impl<L: Live> Source for HybridSource<L> {
    async fn next(&mut self, room: Room) -> Result<Signal, SourceError> {
        loop {
            self.history_first = !self.history_first;
            let asked = (self.history_first && room == Room::ForAll).then(|| self.said.try_recv().ok()).flatten();
            let (generation, said) = match asked {
                Some(said) => said,
                None => tokio::select! {
                    biased;
                    signal = self.live.next(room) => return signal,
                    Some(said) = self.said.recv(), if room == Room::ForAll => said,
                },
            };
            if let Some(signal) = self.hear(generation, said).await? {
                return Ok(signal);
            }
        }
    }

    async fn start(&mut self, starts: Vec<Start>) -> Result<(), SourceError> {
        let (mut history, mut live) = (Vec::new(), Vec::new());
        {
            let mut raw = self.raw.lock().await;
            raw.refresh().await?;
            let mut froms = Vec::new();
            for start in starts {
                let cut = raw.cut(&start.partition);
                if start.from < cut {
                    history.push((start, cut));
                } else {
                    froms.extend(start.from.map(|from| (start.partition.clone(), from)));
                    live.push(start);
                }
            }
            let mut witnesses = raw.witnesses(&froms).await?;
            for start in &mut live {
                start.witness = witnesses.remove(&start.partition);
            }
        }
        let held = history.iter().map(|(start, cut)| Start { from: *cut, ..start.clone() }).collect();
        for start in &live {
            self.replaying.remove(&start.partition);
        }
        self.live.hold(held).await?;
        self.live.start(live).await?;
        let log = self.live.log();
        for (start, _) in history {
            self.replay(&log, start.partition, start.from);
        }
        Ok(())
    }

    async fn release(&mut self, partitions: &[TopicPartition]) -> Result<(), SourceError> {
        for partition in partitions {
            self.replaying.remove(partition);
        }
        self.live.release(partitions).await
    }

    async fn committed(&mut self, cuts: &[(TopicPartition, i64)]) {
        self.live.committed(cuts).await;
    }
}
