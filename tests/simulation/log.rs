//! The log of a simulated world: messages of all kinds, with gaps between their offsets.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use ingest::decode::Decoding;
use lake_schemas::table::TIME_IN_FUTURE_MS;
use lake_schemas::{Cut, LogTime, OffsetRange, TopicPartition};
use localstack::generate::{Generator, Settings};
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::json;
use tokio::time::Instant;

/// Topics of every simulated world. The name of one is a prefix of the other, so that code which compares only the
/// beginnings of names takes files of one for files of the other.
const TOPICS: [&str; 2] = ["clicks", "clicks-eu"];

/// Names a partition of a world. A world numbers its partitions; in turn they belong to the one topic and the other.
pub fn named(number: i32) -> TopicPartition {
    let topics = TOPICS.len() as i32;
    TopicPartition::new(TOPICS[(number % topics) as usize], number / topics)
}

/// Returns the number of a partition in its world: the inverse of [`named`].
pub fn number_of(topic: &str, partition: i32) -> i32 {
    let topic = TOPICS.iter().position(|known| *known == topic).expect("a topic of the world");
    partition * TOPICS.len() as i32 + topic as i32
}

/// Time at which worlds begin, 2026-03-31T23:59:00Z: hours, days and months change while they run.
pub const START_MS: i64 = 1_775_001_540_000;

/// Furthest that a clock may be ahead.
const SKEW_MS_MAX: i64 = 10 * 3_600_000;

/// Most bursts of a partition that grows.
const BURSTS_MAX: usize = 4;

/// A message of the log.
#[derive(Clone)]
pub struct LogMessage {
    pub offset: i64,
    pub log_time_ms: i64,
    pub payload: Option<Vec<u8>>,
}

impl LogMessage {
    pub fn is_rejected(&self) -> bool {
        Decoding::json(TIME_IN_FUTURE_MS)
            .decode(self.payload.as_deref(), LogTime::from_millis(self.log_time_ms))
            .is_err()
    }
}

/// All partitions of both topics, by their numbers in the world.
pub struct Log {
    pub partitions: Vec<Vec<LogMessage>>,
    /// First offset that retention has left, by partition.
    starts: Mutex<BTreeMap<i32, i64>>,
    /// Time at which the log began to grow, and after which time each message of each partition comes; `None`:
    /// everything was always there.
    growing: Option<(Instant, Vec<Vec<Duration>>)>,
}

impl Log {
    /// Makes the log of a seed.
    pub fn of_seed(seed: u64, partitions: usize, messages: usize) -> Self {
        Self::with_disorder(seed, partitions, messages, Settings::default().disorder)
    }

    /// Makes the log of a seed, with events that lie up to so far behind their messages.
    pub fn with_disorder(seed: u64, partitions: usize, messages: usize, disorder: Duration) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let settings = Settings { seed, ads: 20, disorder, malformed: 0.05, duplicates: 0.1, ..Settings::default() };
        let mut generator = Generator::new(settings);
        let partitions = (0..partitions).map(|_| {
            let (mut offset, mut log_time_ms) = (rng.random_range(0..5), START_MS);
            // Partitions are uneven; one may be empty.
            let length = rng.random_range(0..=messages);
            let messages = (0..length).map(|_| {
                offset += if rng.random_ratio(1, 10) { rng.random_range(2..6) } else { 1 };
                log_time_ms += rng.random_range(0..2_000);
                let payload = (!rng.random_ratio(1, 50)).then(|| generator.next_at(log_time_ms).payload);
                LogMessage { offset, log_time_ms, payload }
            });
            messages.collect()
        });
        Self { partitions: partitions.collect(), starts: Mutex::default(), growing: None }
    }

    /// Returns the same log while nothing of it is there yet: its messages come within so much time, one by one and in
    /// bursts.
    pub fn growing_for(self, seed: u64, time: Duration) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed ^ 0xb5);
        let arrivals = self.partitions.iter().map(|messages| {
            let bursts: Vec<_> = (0..rng.random_range(0..=BURSTS_MAX)).map(|_| rng.random_range(0.0..1.0)).collect();
            let share_in_bursts = rng.random_range(0.0..1.0);
            let arrival = |_| {
                let burst = bursts.choose(&mut rng).copied().filter(|_| rng.random_bool(share_in_bursts));
                time.mul_f64(burst.unwrap_or_else(|| rng.random_range(0.0..1.0)))
            };
            let mut arrivals: Vec<_> = messages.iter().map(arrival).collect();
            arrivals.sort_unstable();
            arrivals
        });
        let arrivals = arrivals.collect();
        Self { growing: Some((Instant::now(), arrivals)), ..self }
    }

    /// Returns the same log while nothing of it is there yet: each message comes after a time, by its partition and its
    /// number. In a partition, none comes before an earlier one.
    pub fn coming(self, after: impl Fn(usize, usize) -> Duration) -> Self {
        let arrivals = self.partitions.iter().enumerate();
        let arrivals = arrivals.map(|(partition, all)| (0..all.len()).map(|number| after(partition, number)).collect());
        let arrivals = arrivals.collect();
        Self { growing: Some((Instant::now(), arrivals)), ..self }
    }

    /// Makes a log of these messages: in each partition a click for each pair of times, in milliseconds, of the click
    /// and of its message.
    pub fn of_times(partitions: impl Iterator<Item = Vec<(i64, i64)>>) -> Self {
        let partitions = partitions.enumerate().map(|(partition, times)| {
            let message = |(offset, (event_time, log_time_ms)): (usize, (i64, i64))| {
                let id = format!("{partition}-{offset}");
                let payload = json!({"ad_id": "ad", "click_id": id, "event_time": event_time}).to_string();
                LogMessage { offset: offset as i64, log_time_ms, payload: Some(payload.into_bytes()) }
            };
            times.into_iter().enumerate().map(message).collect()
        });
        Self { partitions: partitions.collect(), starts: Mutex::default(), growing: None }
    }

    /// Reads a log that was recorded, a message a line: the number of its partition, of the first topic, its offset,
    /// its log time in milliseconds, and its payload as hexadecimal digits or null.
    pub fn recorded(lines: &str) -> Self {
        let mut partitions: Vec<Vec<LogMessage>> = Vec::new();
        for line in lines.lines() {
            let (partition, offset, log_time_ms, payload): (usize, i64, i64, Option<String>) =
                serde_json::from_str(line).expect("a recorded message");
            let byte = |at: usize, digits: &str| u8::from_str_radix(&digits[at..at + 2], 16).expect("two digits");
            let bytes = |digits: String| (0..digits.len()).step_by(2).map(|at| byte(at, &digits)).collect();
            // The partitions of a world belong to its topics in turn.
            let number = partition * TOPICS.len();
            partitions.resize_with(partitions.len().max(number + 1), Vec::new);
            partitions[number].push(LogMessage { offset, log_time_ms, payload: payload.map(bytes) });
        }
        Self { partitions, starts: Mutex::default(), growing: None }
    }

    /// Returns how many messages of a partition are there by now.
    pub fn messages(&self, partition: i32) -> usize {
        match &self.growing {
            None => self.partitions[partition as usize].len(),
            Some((since, arrivals)) => {
                let elapsed = since.elapsed();
                arrivals[partition as usize].partition_point(|arrival| *arrival <= elapsed)
            }
        }
    }

    /// Makes the log of a seed with skewed clocks.
    pub fn skewed(seed: u64, partitions: usize, messages: usize) -> Self {
        Self::of_seed(seed, partitions, messages).with_skew(seed)
    }

    /// Returns the same log, with some messages whose producer's clock is hours ahead: the event is from the future,
    /// and its message, too.
    pub fn with_skew(mut self, seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed ^ 0x5c);
        let mut generator = Generator::new(Settings { seed: seed ^ 0x5c, ads: 20, ..Settings::default() });
        for message in self.partitions.iter_mut().flatten() {
            if !rng.random_ratio(1, 200) {
                continue;
            }
            message.log_time_ms += SKEW_MS_MAX / (1 << rng.random_range(0..10));
            message.payload = Some(generator.next_at(message.log_time_ms).payload);
        }
        self
    }

    /// Returns the log as it was earlier: as many messages of each partition as are asked for.
    pub fn earlier(&self, messages: impl Fn(usize, usize) -> usize) -> Self {
        let partitions = self.partitions.iter().enumerate();
        let partitions = partitions.map(|(number, all)| all[..messages(number, all.len())].to_vec());
        Self { partitions: partitions.collect(), starts: Mutex::default(), growing: None }
    }

    /// Makes two partitions with copies of one click far apart in event time, and of another click in both partitions.
    pub fn with_copies_far_apart() -> Self {
        let message = |offset: i64, id: &str, after_ms: i64| LogMessage {
            offset,
            log_time_ms: START_MS + after_ms,
            payload: Some(
                json!({"ad_id": "ad", "click_id": id, "event_time": START_MS + after_ms}).to_string().into_bytes(),
            ),
        };
        let hour_ms = 3_600_000;
        let first = vec![
            message(0, "far-apart", 0),
            message(1, "near", 1_000),
            message(2, "near", 2_000),
            message(3, "in-two-partitions", 3_000),
            message(4, "far-apart", 2 * hour_ms),
            message(5, "far-apart", 2 * hour_ms + 1_000),
        ];
        let second = vec![message(0, "in-two-partitions", 3_000), message(1, "alone", 4_000)];
        Self { partitions: vec![first, second], starts: Mutex::default(), growing: None }
    }

    /// Lets retention delete everything below an offset.
    pub fn drop_below(&self, partition: i32, offset: i64) {
        let mut starts = self.starts.lock().expect("no panic under the lock");
        let start = starts.entry(partition).or_default();
        *start = offset.max(*start);
    }

    /// Returns the first offset of a partition.
    pub fn start(&self, partition: i32) -> i64 {
        self.starts.lock().expect("no panic under the lock").get(&partition).copied().unwrap_or(0)
    }

    /// Returns the offsets that a partition has by now.
    pub fn offsets_of(&self, partition: i32) -> OffsetRange {
        let there = &self.partitions[partition as usize][..self.messages(partition)];
        let (first, next) = (self.start(partition), there.last().map_or(0, |last| last.offset + 1));
        OffsetRange { first, next: next.max(first) }
    }

    /// Returns the ends of all partitions that have anything to read.
    pub fn ends(&self) -> Cut {
        let partitions = (0..).take(self.partitions.len());
        partitions.filter_map(|number| Some((named(number), self.end(number)?))).collect()
    }

    /// Returns the end of a partition, which is its cut when all is read; `None` if there is nothing to read.
    pub fn end(&self, partition: i32) -> Option<i64> {
        self.partitions[partition as usize].last().map(|last| last.offset + 1)
    }
}
