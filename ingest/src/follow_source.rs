//! The raw table as a source: up to its cut, and on as it grows, or up to its bound.
//!
//! The live end of the log says which partitions there are, and where they end. Nothing is read of it: what is computed
//! over this source follows the raw table, and can never be ahead of it.
//!
//! A restart may have to replay hundreds of partitions. A few are read at a time; the others wait, and hold no memory.

use std::collections::BTreeMap;
use std::future::pending;
use std::sync::Arc;

use async_trait::async_trait;
use lake_schemas::{OffsetRange, TopicPartition};
use lake_store::LakeError;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep_until};
use tokio_util::task::AbortOnDropHandle;

use crate::at_ends::AtEnds;
use crate::replay::{Followed, Follows, Grower, Growth, LiveLog, RawTable};
use crate::source::{Demand, Signal, Source, SourceError, Start};
use crate::task::unwind;

/// A live end of the log that can hold partitions while they are read elsewhere.
#[async_trait]
pub trait Live: Source {
    /// Begins partitions like [`Source::start`], but yields nothing of them until they are started. Refuses what a
    /// start would refuse.
    async fn hold(&mut self, starts: Vec<Start>) -> Result<(), SourceError>;

    /// Returns the log that the live end reads, for queries beside the reader.
    fn log(&self) -> Arc<dyn LiveLog>;
}

/// A question for the ends of the live log that is under way.
type Question = AbortOnDropHandle<BTreeMap<TopicPartition, OffsetRange>>;

/// Source that reads the raw table, and follows it.
pub struct FollowSource<L> {
    live: L,
    log: Arc<dyn LiveLog>,
    raw: Arc<Mutex<RawTable>>,
    columns: Arc<[String]>,
    follows: Follows<TopicPartition>,
    at_ends: AtEnds,
    question: Option<Question>,
    /// Looks at the table, if this source keeps them.
    _grower: Option<Grower>,
    /// Whether the follows are asked before the live end next time. The two alternate, so that neither waits for the
    /// other.
    follows_first: bool,
}

impl<L: Live> FollowSource<L> {
    /// Makes a source that reads these columns of events, of the partitions that `live` assigns. `growth` is that of
    /// the table.
    pub fn new(raw: Arc<Mutex<RawTable>>, live: L, columns: Vec<String>, growth: Growth) -> Self {
        Self {
            log: live.log(),
            live,
            follows: Follows::new(Arc::clone(&raw), growth),
            raw,
            columns: columns.into(),
            at_ends: AtEnds::default(),
            question: None,
            _grower: None,
            follows_first: false,
        }
    }

    /// Returns this source, set to replay at most `at_once` partitions at a time.
    pub fn replaying(self, at_once: usize) -> Self {
        Self { follows: self.follows.at_once(at_once), ..self }
    }

    /// Returns this source, set to keep the looks at its table for as long as it lives.
    pub fn keeping(self, grower: Grower) -> Self {
        Self { _grower: Some(grower), ..self }
    }

    /// Returns the live end, for a caller that has read all that it wanted.
    pub fn into_live(self) -> L {
        self.live
    }

    /// Asks the live log for its ends, if it is time to, and no question is under way.
    fn ask(&mut self, now: Instant) {
        if self.question.is_none() && self.at_ends.asks(now).is_some_and(|at| at <= now) {
            let (log, asked) = (Arc::clone(&self.log), self.at_ends.asked());
            let question = tokio::spawn(async move { log.offsets(&asked).await });
            self.question = Some(AbortOnDropHandle::new(question));
        }
    }

    /// Returns the time at which something is to be done though nothing has come.
    fn wakes(&self, room: Demand, now: Instant) -> Option<Instant> {
        let asks = if self.question.is_none() { self.at_ends.asks(now) } else { None };
        let gives_up = if room == Demand::ForAll { self.at_ends.gives_up() } else { None };
        asks.into_iter().chain(gives_up).min()
    }

    /// Turns what a follow has come to into a signal. It never waits, so nothing is lost when the caller drops `next`
    /// before it returns.
    fn hear(
        &mut self,
        partition: TopicPartition,
        followed: Result<Followed, LakeError>,
    ) -> Result<Option<Signal>, SourceError> {
        Ok(match followed? {
            Followed::Batch(batch) => {
                self.at_ends.reads(&partition);
                Some(Signal::Batch(batch))
            }
            Followed::At(cut) => {
                self.at_ends.is_at(&partition, cut, Instant::now());
                None
            }
            Followed::End => Some(Signal::Ended(partition)),
        })
    }
}

/// Waits for the answer to a question; for ever if none is under way. Safe to cancel.
async fn answer(question: &mut Option<Question>) -> BTreeMap<TopicPartition, OffsetRange> {
    match question {
        Some(asked) => {
            let offsets = unwind(asked.await);
            *question = None;
            offsets
        }
        None => pending().await,
    }
}

async fn sleep_to(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => pending().await,
    }
}

#[async_trait]
impl<L: Live> Source for FollowSource<L> {
    async fn next(&mut self, room: Demand) -> Result<Signal, SourceError> {
        loop {
            let now = Instant::now();
            self.ask(now);
            if room == Demand::ForAll
                && let Some(partition) = self.at_ends.take(now)
            {
                return Ok(Signal::CaughtUp(partition));
            }
            // Every other call asks the follows first, or a busy live end would starve them: the select below is
            // biased.
            self.follows_first = !self.follows_first;
            // Follows bring batches: without room for these they are not asked, so that their channel fills, and they
            // wait.
            let has_come = if self.follows_first && room == Demand::ForAll { self.follows.next_now() } else { None };
            let wakes = self.wakes(room, now);
            let (partition, followed) = match has_come {
                Some(followed) => followed,
                None => tokio::select! {
                    // The live end first: it tells of rebalances, for which the whole group waits.
                    biased;
                    signal = self.live.next(room) => return signal,
                    offsets = answer(&mut self.question) => {
                        let ends = self.at_ends.told(offsets, Instant::now());
                        if ends.is_empty() {
                            continue;
                        }
                        return Ok(Signal::Ends(ends));
                    }
                    followed = self.follows.next(), if room == Demand::ForAll => followed,
                    () = sleep_to(wakes) => continue,
                },
            };
            if let Some(signal) = self.hear(partition, followed)? {
                return Ok(signal);
            }
        }
    }

    async fn start(&mut self, starts: Vec<Start>) -> Result<(), SourceError> {
        self.raw.lock().await.refresh().await?;
        // The live end has nothing to yield, so it can hold them from wherever its log begins.
        let held = |start: &Start| Start { partition: start.partition.clone(), from: None, fingerprint: None };
        self.live.hold(starts.iter().map(held).collect()).await?;
        for Start { partition, from, .. } in starts {
            self.at_ends.reads(&partition);
            self.follows.begin(partition.clone(), partition, from, &self.columns);
        }
        Ok(())
    }

    async fn release(&mut self, partitions: &[TopicPartition]) -> Result<(), SourceError> {
        for partition in partitions {
            self.at_ends.forget(partition);
            self.follows.end(partition);
        }
        self.live.release(partitions).await
    }

    async fn committed(&mut self, cuts: &[(TopicPartition, i64)]) {
        self.live.committed(cuts).await;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::Mutex as Lock;
    use std::time::Duration;

    use futures::FutureExt;
    use futures::future::{BoxFuture, ready};
    use tokio::time::timeout;

    use super::*;
    use crate::replay::{Written, named};

    const EVERY: Duration = Duration::from_millis(100);
    const MINUTE: Duration = Duration::from_secs(60);

    /// A live log, by what it tells, and a member of a group that has nothing but this log.
    #[derive(Clone, Default)]
    struct Told {
        offsets: Arc<Lock<BTreeMap<TopicPartition, OffsetRange>>>,
        signals: Arc<Lock<VecDeque<Signal>>>,
        held: Arc<Lock<Vec<Start>>>,
    }

    impl Told {
        fn ends_at(&self, next: i64) {
            self.offsets.lock().expect("no panic").insert(named(0), OffsetRange { first: 0, next });
        }
    }

    impl LiveLog for Told {
        fn offsets<'a>(&'a self, _: &'a [TopicPartition]) -> BoxFuture<'a, BTreeMap<TopicPartition, OffsetRange>> {
            ready(self.offsets.lock().expect("no panic").clone()).boxed()
        }
    }

    #[async_trait]
    impl Source for Told {
        async fn next(&mut self, _: Demand) -> Result<Signal, SourceError> {
            let signal = self.signals.lock().expect("no panic").pop_front();
            match signal {
                Some(signal) => Ok(signal),
                None => pending().await,
            }
        }

        async fn start(&mut self, _: Vec<Start>) -> Result<(), SourceError> {
            unreachable!("nothing is read of the live end")
        }

        async fn release(&mut self, partitions: &[TopicPartition]) -> Result<(), SourceError> {
            self.held.lock().expect("no panic").retain(|start| !partitions.contains(&start.partition));
            Ok(())
        }

        async fn committed(&mut self, _: &[(TopicPartition, i64)]) {}
    }

    #[async_trait]
    impl Live for Told {
        async fn hold(&mut self, starts: Vec<Start>) -> Result<(), SourceError> {
            self.held.lock().expect("no panic").extend(starts);
            Ok(())
        }

        fn log(&self) -> Arc<dyn LiveLog> {
            Arc::new(self.clone())
        }
    }

    /// Says what comes within a time, in words.
    async fn comes(source: &mut FollowSource<Told>, room: Demand, within: Duration) -> Vec<String> {
        let (mut said, until) = (Vec::new(), Instant::now() + within);
        while let Ok(signal) = tokio::time::timeout_at(until, source.next(room)).await {
            said.push(match signal.expect("memory") {
                Signal::Batch(batch) => format!("{} with {}", batch.offsets, batch.events.num_rows()),
                Signal::CaughtUp(_) => "caught up".to_owned(),
                Signal::Ends(ends) => format!("ends at {}", ends[0].1),
                other => format!("{other:?}"),
            });
        }
        said
    }

    #[tokio::test(start_paused = true)]
    async fn a_partition_is_caught_up_when_the_raw_table_has_come_to_the_end_of_the_live_log() {
        let (mut written, told) = (Written::new().await, Told::default());
        written.events(0, 0..5, 5).await;
        told.ends_at(8);
        let raw = written.raw().await.shared();
        let (_grower, growth) = Grower::new(&raw, EVERY);
        let mut source = FollowSource::new(raw, told.clone(), vec!["ad_id".to_owned()], growth);
        let start = Start { partition: named(0), from: Some(2), fingerprint: None };
        source.start(vec![start]).await.expect("memory");
        let held = told.held.lock().expect("no panic")[0].clone();
        assert_eq!((held.partition, held.from), (named(0), None), "it is held, from wherever its log begins");
        let said = comes(&mut source, Demand::ForAll, Duration::from_secs(12)).await;
        assert_eq!(said, ["2..5 with 3", "ends at 8", "ends at 8", "ends at 8"]);
        written.events(0, 5..8, 8).await;
        let said = comes(&mut source, Demand::ForAll, MINUTE).await;
        assert_eq!(said.iter().filter(|said| *said == "caught up").count(), 1, "{said:?}");
        assert!(said.iter().position(|said| said == "5..8 with 3") < said.iter().position(|said| said == "caught up"));
        // A partition at rest is asked for rarely, for the lag alone.
        told.ends_at(9);
        assert_eq!(comes(&mut source, Demand::ForAll, MINUTE).await, ["ends at 9"]);
        source.release(&[named(0)]).await.expect("nothing fails");
        written.events(0, 8..9, 9).await;
        assert_eq!(comes(&mut source, Demand::ForAll, MINUTE).await, [""; 0]);
        assert!(told.held.lock().expect("no panic").is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn without_room_no_rows_come_but_rebalances_do() {
        let (mut written, told) = (Written::new().await, Told::default());
        written.events(0, 0..5, 5).await;
        let raw = written.raw().await.shared();
        let (grower, growth) = Grower::new(&raw, EVERY);
        let source = FollowSource::new(raw, told.clone(), vec!["ad_id".to_owned()], growth);
        let mut source = source.replaying(1).keeping(grower);
        let start = Start { partition: named(0), from: None, fingerprint: None };
        source.start(vec![start]).await.expect("memory");
        assert_eq!(comes(&mut source, Demand::ForControl, MINUTE).await, [""; 0]);
        told.signals.lock().expect("no panic").push_back(Signal::Revoked(vec![named(0)]));
        let revoked = timeout(MINUTE, source.next(Demand::ForControl)).await.expect("it comes");
        assert!(matches!(revoked, Ok(Signal::Revoked(_))), "{revoked:?}");
        // Nobody tells the end of its log: it is where the raw table stands still.
        let said = comes(&mut source, Demand::ForAll, 2 * MINUTE).await;
        assert_eq!(said, ["0..5 with 5", "caught up"]);
        source.into_live();
    }
}
