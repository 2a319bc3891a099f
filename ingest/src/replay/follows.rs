//! Follows of many partitions at a time, in one stream: each is a task of its own, and can be begun again or ended at
//! any time.

use std::collections::BTreeMap;
use std::sync::Arc;

use lake_schemas::TopicPartition;
use lake_store::Result;
use tokio::sync::{Mutex, mpsc};
use tokio_util::task::AbortOnDropHandle;

use super::follow::{Follow, Followed};
use super::growth::Growth;
use super::raw_table::RawTable;
use super::turns::Turns;

/// Number of batches on their way from the follows to the loop.
const BATCHES_MAX: usize = 8;

/// Number of a beginning of a follow. What was read before the last beginning has a lower number, and is dropped.
type Generation = u64;

/// Message of a follow.
struct Said<K> {
    key: K,
    generation: Generation,
    what: Result<Followed>,
}

/// A follow that is under way. Dropping it aborts it.
struct UnderWay {
    generation: Generation,
    _task: AbortOnDropHandle<()>,
}

/// Follows of a process, each under a key.
pub(crate) struct Follows<K> {
    raw: Arc<Mutex<RawTable>>,
    growth: Growth,
    /// Turns that they take; `None`: all read at the same time.
    turns: Option<Arc<Turns>>,
    under_way: BTreeMap<K, UnderWay>,
    generation: Generation,
    said_in: mpsc::Sender<Said<K>>,
    said: mpsc::Receiver<Said<K>>,
}

impl<K: Clone + Ord + Send + Sync + 'static> Follows<K> {
    /// Makes follows of a table, of which none is under way.
    pub fn new(raw: Arc<Mutex<RawTable>>, growth: Growth) -> Self {
        let (said_in, said) = mpsc::channel(BATCHES_MAX);
        Self { raw, growth, turns: None, under_way: BTreeMap::new(), generation: 0, said_in, said }
    }

    /// Returns these follows, set to restore at most so many partitions at a time.
    pub fn at_once(self, at_once: usize) -> Self {
        Self { turns: Some(Turns::of(at_once)), ..self }
    }

    /// Begins a follow from an offset on. One of the same key ends, and nothing of it comes any more.
    pub fn begin(&mut self, key: K, partition: TopicPartition, from: Option<i64>, columns: &Arc<[String]>) {
        self.generation += 1;
        let (generation, out, growth) = (self.generation, self.said_in.clone(), self.growth.clone());
        let follow = Follow::new(&self.raw, partition, from, columns).in_turns(self.turns.as_ref());
        let named = key.clone();
        let task = tokio::spawn(async move {
            // If the loop is gone and nobody receives, this task is aborted soon.
            let say = |what| async {
                let said = Said { key: named.clone(), generation, what };
                drop(out.send(said).await);
            };
            if let Err(error) = follow.run(growth, |followed| say(Ok(followed))).await {
                say(Err(error)).await;
            }
        });
        self.under_way.insert(key, UnderWay { generation, _task: AbortOnDropHandle::new(task) });
    }

    /// Ends a follow. Nothing of it comes any more.
    pub fn end(&mut self, key: &K) {
        self.under_way.remove(key);
    }

    /// Returns whether a follow is under way.
    pub fn is_any(&self) -> bool {
        !self.under_way.is_empty()
    }

    /// Waits for what comes next, of any of them; for ever if none is under way. After an error or its end, nothing
    /// comes of that one any more. Safe to cancel.
    pub async fn next(&mut self) -> (K, Result<Followed>) {
        loop {
            let Some(said) = self.said.recv().await else { unreachable!("there is a sender in self") };
            if let Some(current) = self.current(said) {
                return current;
            }
        }
    }

    /// Returns what has come, without a wait.
    pub fn next_now(&mut self) -> Option<(K, Result<Followed>)> {
        while let Ok(said) = self.said.try_recv() {
            if let Some(current) = self.current(said) {
                return Some(current);
            }
        }
        None
    }

    /// Returns a message, unless its follow was begun again, or ended, since.
    fn current(&mut self, said: Said<K>) -> Option<(K, Result<Followed>)> {
        let Said { key, generation, what } = said;
        // The generation tells: this batch was read before the partition was reset, and would be counted twice.
        if self.under_way.get(&key).is_none_or(|one| one.generation != generation) {
            return None;
        }
        if matches!(what, Err(_) | Ok(Followed::End)) {
            self.under_way.remove(&key);
        }
        Some((key, what))
    }
}
