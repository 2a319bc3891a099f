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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use lake_schemas::{Code, Cut, Table};
    use tokio::time::{sleep, timeout};

    use super::super::growth::Grower;
    use super::super::written::{Written, named};
    use super::*;

    const EVERY: Duration = Duration::from_secs(1);

    fn columns() -> Arc<[String]> {
        Arc::from(["ad_id".to_owned()])
    }

    /// Says what comes next, in words.
    async fn come(follows: &mut Follows<i32>) -> String {
        let (key, followed) = timeout(10 * EVERY, follows.next()).await.expect("something comes");
        match followed.expect("memory") {
            Followed::Batch(batch) => format!("{key}: {} with {}", batch.offsets, batch.events.num_rows()),
            Followed::At(cut) => format!("{key}: at {cut:?}"),
            Followed::End => format!("{key}: end"),
        }
    }

    async fn comes_nothing(follows: &mut Follows<i32>) -> bool {
        timeout(10 * EVERY, follows.next()).await.is_err()
    }

    #[tokio::test(start_paused = true)]
    async fn a_follow_goes_on_with_the_table_over_gaps_and_rejected_messages() {
        let mut written = Written::new().await;
        written.events(0, 3..10, 12).await;
        let raw = written.raw().await.shared();
        let (_grower, growth) = Grower::new(&raw, EVERY);
        let mut follows = Follows::new(raw, growth);
        follows.begin(0, named(0), Some(5), &columns());
        for expected in ["0: 5..10 with 5", "0: 10..12 with 0", "0: at Some(12)"] {
            assert_eq!(come(&mut follows).await, expected);
        }
        written.rejected(0, 12..14).await;
        for expected in ["0: 12..14 with 0", "0: at Some(14)"] {
            assert_eq!(come(&mut follows).await, expected);
        }
        written.events(0, 15..18, 18).await;
        for expected in ["0: 14..18 with 3", "0: at Some(18)"] {
            assert_eq!(come(&mut follows).await, expected);
        }
        written.events(1, 0..4, 4).await;
        assert!(comes_nothing(&mut follows).await, "that was of another partition");
        follows.end(&0);
        assert!(!follows.is_any());
        // From the first row that there is.
        follows.begin(0, named(0), None, &columns());
        for expected in ["0: 3..10 with 7", "0: 10..18 with 3", "0: at Some(18)"] {
            assert_eq!(come(&mut follows).await, expected);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_partition_that_the_table_does_not_know_yet_is_waited_for() {
        let mut written = Written::new().await;
        let raw = written.raw().await.shared();
        let (_grower, growth) = Grower::new(&raw, EVERY);
        let mut follows = Follows::new(raw, growth);
        follows.begin(0, named(2), None, &columns());
        assert_eq!(come(&mut follows).await, "0: at None");
        written.events(2, 7..8, 8).await;
        for expected in ["0: 7..8 with 1", "0: at Some(8)"] {
            assert_eq!(come(&mut follows).await, expected);
        }
        // Where its operator stands ahead of the table, the follow waits, too, and begins at exactly that offset.
        follows.begin(0, named(2), Some(10), &columns());
        assert_eq!(come(&mut follows).await, "0: at Some(8)");
        written.events(2, 8..12, 12).await;
        for expected in ["0: 10..12 with 2", "0: at Some(12)"] {
            assert_eq!(come(&mut follows).await, expected);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_table_with_a_bound_is_read_to_there_and_no_further() {
        let mut written = Written::new().await;
        written.events(0, 0..20, 20).await;
        let until = Cut::from([(named(0), 8)]);
        let raw = RawTable::until(written.open(Table::Clicks).await, until).shared();
        let mut follows = Follows::new(raw, Growth::none());
        follows.begin(0, named(0), None, &columns());
        for expected in ["0: 0..8 with 8", "0: end"] {
            assert_eq!(come(&mut follows).await, expected);
        }
        follows.begin(1, named(1), None, &columns());
        assert_eq!(come(&mut follows).await, "1: end", "nothing of it is within the bound");
        assert!(!follows.is_any());
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_comes_of_what_was_read_before_a_partition_began_again() {
        let mut written = Written::new().await;
        written.events(0, 0..10, 10).await;
        let raw = written.raw().await.shared();
        let (_grower, growth) = Grower::new(&raw, EVERY);
        let mut follows = Follows::new(raw, growth);
        follows.begin(0, named(0), None, &columns());
        // Its batch is on its way by then.
        sleep(EVERY).await;
        follows.begin(0, named(0), Some(6), &columns());
        for expected in ["0: 6..10 with 4", "0: at Some(10)"] {
            assert_eq!(come(&mut follows).await, expected);
        }
        written.events(0, 10..11, 11).await;
        sleep(10 * EVERY).await;
        follows.end(&0);
        assert!(follows.next_now().is_none() && comes_nothing(&mut follows).await);
    }

    #[tokio::test(start_paused = true)]
    async fn files_that_were_replaced_meanwhile_are_read_from_the_new_ones() {
        let mut written = Written::new().await;
        written.events(0, 0..10, 10).await;
        let raw = written.raw().await.shared();
        // The table as it is known names a file that is not there any more.
        written.replace(0, 0..10).await;
        let (_grower, growth) = Grower::new(&raw, EVERY);
        let mut follows = Follows::new(raw, growth);
        follows.begin(0, named(0), None, &columns());
        for expected in ["0: 0..10 with 10", "0: at Some(10)"] {
            assert_eq!(come(&mut follows).await, expected);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_file_that_is_lost_ends_the_follow_of_its_partition_alone() {
        let mut written = Written::new().await;
        written.events(0, 0..10, 10).await;
        written.lose_files().await;
        written.events(1, 0..10, 10).await;
        let raw = written.raw().await.shared();
        let (_grower, growth) = Grower::new(&raw, EVERY);
        let mut follows = Follows::new(raw, growth);
        follows.begin(0, named(0), None, &columns());
        let (key, lost) = follows.next().await;
        assert_eq!((key, lost.expect_err("the file is lost").code()), (0, Some(Code::FileDamaged)));
        assert!(!follows.is_any());
        follows.begin(1, named(1), None, &columns());
        for expected in ["1: 0..10 with 10", "1: at Some(10)"] {
            assert_eq!(come(&mut follows).await, expected);
        }
    }
}
