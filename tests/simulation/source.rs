//! A consumer group that is only a list of owners, with a member's view of it and of the log.
//!
//! A member learns late that a partition belongs to another one by now: until then it goes on reading, as a zombie.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures::FutureExt;
use futures::future::{BoxFuture, ready};
use ingest::decode::{BatchBuilder, Message};
use ingest::drive::DriveError;
use ingest::follow_source::Live;
use ingest::replay::LiveLog;
use ingest::source::{Demand, Signal, Source, SourceError, Start};
use lake_schemas::table::TIME_IN_FUTURE_MS;
use lake_schemas::{Code, LogTime, OffsetRange, TopicPartition};
use rand::seq::IteratorRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio::time::Instant;

use super::log::{Log, named, number_of};

/// Most messages of a batch: few, so that epochs are cut everywhere.
const BATCH_MESSAGES_MAX: usize = 12;

/// How long a member sleeps with nothing to do, in worlds where no days pass.
pub const NAP: Duration = Duration::from_millis(20);

/// Owners of the partitions.
#[derive(Default)]
pub struct Group {
    owners: Mutex<BTreeMap<i32, usize>>,
    /// When a partition was first read.
    first_reads: Mutex<BTreeMap<i32, Instant>>,
    /// Why the last member that ended by itself did so.
    ended: Mutex<Option<String>>,
}

impl Group {
    /// Gives a partition to a member.
    pub fn give(&self, partition: i32, member: usize) {
        self.owners.lock().expect("no panic under the lock").insert(partition, member);
    }

    /// Returns how many partitions were first read by a time.
    pub fn read_by(&self, time: Instant) -> usize {
        let reads = self.first_reads.lock().expect("no panic under the lock");
        reads.values().filter(|first| **first <= time).count()
    }

    /// Records why a member has ended.
    pub fn ended(&self, why: &DriveError) {
        *self.ended.lock().expect("no panic under the lock") = Some(why.to_string());
    }

    /// Returns why the last member ended.
    pub fn last_words(&self) -> String {
        self.ended.lock().expect("no panic under the lock").clone().unwrap_or_else(|| "none has ended".to_owned())
    }

    fn owned_by(&self, member: usize) -> BTreeSet<i32> {
        let owners = self.owners.lock().expect("no panic under the lock");
        owners.iter().filter(|&(_, owner)| *owner == member).map(|(&partition, _)| partition).collect()
    }
}

/// A member's end of the log.
pub struct ScriptedSource {
    log: Arc<Log>,
    group: Arc<Group>,
    member: usize,
    rng: ChaCha8Rng,
    nap: Duration,
    held: BTreeSet<i32>,
    /// Index of the next message to read in each partition.
    positions: BTreeMap<i32, usize>,
    /// Offset behind the last message that was read, by partition.
    offsets: BTreeMap<i32, i64>,
    caught_up: BTreeSet<i32>,
}

/// Returns the broker's error for an offset that retention has deleted.
fn dropped(partition: i32, offset: i64, start: i64) -> SourceError {
    SourceError::Refused(
        Code::OffsetsGone
            .because(format!("{partition}: offset {offset} is wanted, but kafka has dropped what is below {start}")),
    )
}

impl ScriptedSource {
    pub fn new(log: Arc<Log>, group: Arc<Group>, member: usize, seed: u64) -> Self {
        Self {
            log,
            group,
            member,
            rng: ChaCha8Rng::seed_from_u64(seed),
            nap: NAP,
            held: BTreeSet::new(),
            positions: BTreeMap::new(),
            offsets: BTreeMap::new(),
            caught_up: BTreeSet::new(),
        }
    }

    /// Returns the same source, of a member that sleeps so long with nothing to do.
    pub fn napping(self, nap: Duration) -> Self {
        Self { nap, ..self }
    }

    /// Returns the offset that a start leads to.
    fn begins(&self, partition: i32, from: Option<i64>) -> Result<i64, SourceError> {
        let start = self.log.start(partition);
        match from {
            Some(from) if from < start => Err(dropped(partition, from, start)),
            _ => Ok(from.unwrap_or(start)),
        }
    }

    fn control(&mut self) -> Option<Signal> {
        let owned = self.group.owned_by(self.member);
        let gained: Vec<_> = owned.difference(&self.held).copied().collect();
        if !gained.is_empty() {
            self.held.extend(&gained);
            return Some(Signal::Assigned(gained.into_iter().map(named).collect()));
        }
        let lost: Vec<_> = self.held.difference(&owned).copied().collect();
        if !lost.is_empty() && self.rng.random_ratio(1, 4) {
            self.held.retain(|partition| !lost.contains(partition));
            return Some(Signal::Revoked(lost.into_iter().map(named).collect()));
        }
        None
    }

    fn data(&mut self) -> Result<Option<Signal>, SourceError> {
        let log = Arc::clone(&self.log);
        let ended = |(&partition, &at): (&i32, &usize)| at >= log.messages(partition);
        if let Some((&partition, _)) =
            self.positions.iter().find(|&one| ended((one.0, one.1)) && !self.caught_up.contains(one.0))
        {
            self.caught_up.insert(partition);
            return Ok(Some(Signal::CaughtUp(named(partition))));
        }
        let readable = self.positions.iter_mut().filter(|one| !ended((one.0, one.1)));
        let Some((&partition, position)) = readable.choose(&mut self.rng) else { return Ok(None) };
        let (next, start) = (self.offsets[&partition], log.start(partition));
        if next < start {
            return Err(dropped(partition, next, start));
        }
        let messages = &log.partitions[partition as usize][*position..log.messages(partition)];
        let count = self.rng.random_range(1..=BATCH_MESSAGES_MAX).min(messages.len());
        let mut batch = BatchBuilder::new(named(partition), next, TIME_IN_FUTURE_MS);
        for message in &messages[..count] {
            batch.push(&Message {
                offset: message.offset,
                log_time: LogTime::from_millis(message.log_time_ms),
                key: None,
                payload: message.payload.as_deref(),
            });
        }
        *position += count;
        let mut reads = self.group.first_reads.lock().expect("no panic under the lock");
        reads.entry(partition).or_insert_with(Instant::now);
        self.caught_up.remove(&partition);
        self.offsets.insert(partition, messages[count - 1].offset + 1);
        Ok(Some(Signal::Batch(batch.finish())))
    }
}

fn number(partition: &TopicPartition) -> i32 {
    number_of(&partition.topic, partition.partition)
}

#[async_trait]
impl Source for ScriptedSource {
    async fn next(&mut self, room: Demand) -> Result<Signal, SourceError> {
        loop {
            if let Some(signal) = self.control() {
                return Ok(signal);
            }
            if room == Demand::ForAll
                && self.rng.random_ratio(3, 4)
                && let Some(signal) = self.data()?
            {
                return Ok(signal);
            }
            tokio::time::sleep(self.nap).await;
        }
    }

    async fn start(&mut self, starts: Vec<Start>) -> Result<(), SourceError> {
        for Start { partition, from, .. } in starts {
            let number = number(&partition);
            if !self.held.contains(&number) {
                continue;
            }
            let (messages, from) = (&self.log.partitions[number as usize], self.begins(number, from)?);
            let at = messages.partition_point(|message| message.offset < from);
            self.positions.insert(number, at);
            self.offsets.insert(number, from);
            self.caught_up.remove(&number);
        }
        Ok(())
    }

    async fn release(&mut self, partitions: &[TopicPartition]) -> Result<(), SourceError> {
        for partition in partitions {
            self.positions.remove(&number(partition));
        }
        Ok(())
    }

    async fn committed(&mut self, _: &[(TopicPartition, i64)]) {}
}

#[async_trait]
impl Live for ScriptedSource {
    async fn hold(&mut self, starts: Vec<Start>) -> Result<(), SourceError> {
        for Start { partition, from, .. } in starts {
            let number = number(&partition);
            self.begins(number, from)?;
            self.positions.remove(&number);
        }
        Ok(())
    }

    fn log(&self) -> Arc<dyn LiveLog> {
        Arc::clone(&self.log) as _
    }
}

impl LiveLog for Log {
    fn offsets<'a>(&'a self, partitions: &'a [TopicPartition]) -> BoxFuture<'a, BTreeMap<TopicPartition, OffsetRange>> {
        let offsets = partitions.iter().map(|partition| (partition.clone(), self.offsets_of(number(partition))));
        ready(offsets.collect::<BTreeMap<_, _>>()).boxed()
    }
}
