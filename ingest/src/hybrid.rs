//! The whole log as one source: the raw table up to its cut, then Kafka from exactly there.
//!
//! A partition that begins below the raw table's cut is held at the live end while its replay runs. Then the live end
//! begins where the replay has ended, so that no event is read twice and none is skipped. The live end, which knows
//! where its log begins, refuses a position that Kafka has dropped and the raw table lacks too.
//!
//! A restart may have to replay hundreds of partitions. A few are replayed at a time; the others wait, and hold no
//! memory.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use lake_schemas::TopicPartition;
use lake_schemas::job::LogBatch;
use lake_store::LakeError;
use tokio::sync::{Mutex, Semaphore, mpsc};
use tokio_util::task::AbortOnDropHandle;

use crate::follow_source::Live;
use crate::replay::{LiveLog, RawTable, Replay};
use crate::source::{Demand, Signal, Source, SourceError, Start};

/// Number of batches on their way from the replays to the loop.
const BATCHES_MAX: usize = 8;

/// Number of a start of a partition. Messages that were read before the partition's last start have a lower number, and
/// are dropped.
type Generation = u64;

/// Message of a replay to the source.
enum ReplayMessage {
    Batch(LogBatch),
    End(TopicPartition, Result<Start, LakeError>),
}

/// A replay that is under way. Dropping it aborts the replay.
struct Replaying {
    generation: Generation,
    _task: AbortOnDropHandle<()>,
}

/// Source that reads the raw table, then a live end.
pub struct HybridSource<L> {
    live: L,
    raw: Arc<Mutex<RawTable>>,
    columns: Arc<[String]>,
    replaying: HashMap<TopicPartition, Replaying>,
    /// Semaphore that bounds the replays under way, which hold one permit each; `None`: no bound.
    turns: Option<Arc<Semaphore>>,
    generation: Generation,
    said_in: mpsc::Sender<(Generation, ReplayMessage)>,
    said: mpsc::Receiver<(Generation, ReplayMessage)>,
    /// Whether replays are asked before the live end next time. The two alternate, so that neither waits for the other.
    history_first: bool,
}

impl<L: Live> HybridSource<L> {
    /// Makes a source that reads these columns of events.
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

    /// Returns this source, set to replay at most `at_once` partitions at a time.
    pub fn replaying(self, at_once: usize) -> Self {
        Self { turns: Some(Arc::new(Semaphore::new(at_once.max(1)))), ..self }
    }

    /// Returns the live end, for a caller that has read all that it wanted.
    pub fn into_live(self) -> L {
        self.live
    }

    fn replay(&mut self, live: &Arc<dyn LiveLog>, partition: TopicPartition, from: Option<i64>) {
        self.generation += 1;
        let (generation, out, turns) = (self.generation, self.said_in.clone(), self.turns.clone());
        let replay = Replay::new(&self.raw, live, partition.clone(), from, &self.columns);
        let named = partition.clone();
        let task = tokio::spawn(async move {
            // A replay waits for its turn before it reads anything, so a waiting one holds no memory.
            let _turn = match turns {
                Some(turns) => Some(turns.acquire_owned().await.expect("nobody closes it")),
                None => None,
            };
            // If the loop is gone and nobody receives, this task is aborted soon.
            let say = |said| async { drop(out.send((generation, said)).await) };
            let end = replay.run(|batch| say(ReplayMessage::Batch(batch))).await;
            say(ReplayMessage::End(named, end)).await;
        });
        self.replaying.insert(partition, Replaying { generation, _task: AbortOnDropHandle::new(task) });
    }

    /// Turns a message of a replay into a signal, unless its partition was started again, or released, since. It never
    /// waits: starting the live end only sends a message. So no message is lost when the caller drops `next` before it
    /// returns, and `next` stays safe to cancel.
    async fn hear(&mut self, generation: Generation, said: ReplayMessage) -> Result<Option<Signal>, SourceError> {
        let partition = match &said {
            ReplayMessage::Batch(batch) => &batch.partition,
            ReplayMessage::End(partition, _) => partition,
        };
        // The generation tells: this batch was read before the partition was reset, and would be counted twice.
        if self.replaying.get(partition).is_none_or(|replaying| replaying.generation != generation) {
            return Ok(None);
        }
        match said {
            ReplayMessage::Batch(batch) => Ok(Some(Signal::Batch(batch))),
            ReplayMessage::End(partition, start) => {
                self.replaying.remove(&partition);
                // The replay has reached the cut of the raw table: the live end, held until now, goes on from exactly
                // there.
                self.live.start(vec![start?]).await?;
                Ok(None)
            }
        }
    }
}

#[async_trait]
impl<L: Live> Source for HybridSource<L> {
    async fn next(&mut self, room: Demand) -> Result<Signal, SourceError> {
        loop {
            // Every other call asks the replays first, or a busy live end would starve them: the select below is
            // biased.
            self.history_first = !self.history_first;
            // Replays bring batches: without room for these they are not asked, so that their channel fills, and they
            // wait.
            let asked = (self.history_first && room == Demand::ForAll).then(|| self.said.try_recv().ok()).flatten();
            let (generation, said) = match asked {
                Some(said) => said,
                None => tokio::select! {
                    // The live end first: it tells of rebalances, for which the whole group waits.
                    biased;
                    signal = self.live.next(room) => return signal,
                    Some(said) = self.said.recv(), if room == Demand::ForAll => said,
                },
            };
            // A message that is out of date, and the end of a replay, are no signals: wait for the next message.
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
                // Below the raw table's cut history is replayed; at the cut, or above it, the live end has what comes
                // next.
                let cut = raw.cut(&start.partition);
                if start.from < cut {
                    history.push((start, cut));
                } else {
                    froms.extend(start.from.map(|from| (start.partition.clone(), from)));
                    live.push(start);
                }
            }
            // The live end must prove that it is the log of the raw table: the row below the start must still be the
            // same.
            let mut fingerprints = raw.fingerprints(&froms).await?;
            for start in &mut live {
                start.fingerprint = fingerprints.remove(&start.partition);
            }
        }
        // The live end holds a replayed partition at the cut, so that it refuses at once a log that lacks what follows.
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
