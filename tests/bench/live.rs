//! A log that is followed: clicks come at a steady rate for as long as a job runs, as they do day and night. It
//! measures the cost of a click, and the time from its acknowledgement by Kafka to the version of the table that has
//! it.
//!
//! All rates, jobs and commit intervals run side by side, each job into a lake of its own in a folder. A table has a
//! click once the cut of its partition is beyond it, which is read off the table's log.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use localstack::generate::{Generator, Settings};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::message::{DeliveryResult, Message as _};
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer};
use rdkafka::{ClientConfig, ClientContext};
use serde_json::{Map, Value, json};
use tokio_util::sync::CancellationToken;

use crate::process::cpu_seconds_of;
use crate::stack::{RealStack, signal};
use crate::{NOON_MS, Scale};

/// Partitions of each topic.
const PARTITIONS: i32 = 12;

/// Clicks a second, and for each commit interval the most CPU seconds that a million of them may cost.
const RATES: [(u64, [f64; 2]); 2] = [(5_000, [8.0, 4.0]), (1_000, [20.0, 10.0])];

/// Seconds between two commits.
const INTERVALS: [u64; 2] = [1, 5];

/// Jobs, each with the table that shows how far it has come.
const JOBS: [(&str, &str); 2] = [("ingest", "clicks"), ("aggregate", "clicks_minute")];

/// Most time beyond the commit interval until 99 of 100 clicks are visible, in milliseconds.
const BEYOND_INTERVAL_MS: u64 = 300;

/// Interval at which messages are sent.
const SEND_EVERY: Duration = Duration::from_millis(10);

/// Interval at which tables are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// How long a job may take until its first commits.
const STARTED_MAX: Duration = Duration::from_secs(60);

/// Measures both jobs at each rate and interval, all of which run at the same time.
pub fn measure(scale: Scale) -> Value {
    let (stack, folder) = (RealStack::start(), tempfile::tempdir().expect("a folder"));
    let topics = RATES.map(|(rate, _)| Topic::start(&stack, rate));
    let mut runs: Vec<Run> = Vec::new();
    for (at, topic) in topics.iter().enumerate() {
        for ((job, table), interval) in JOBS.into_iter().flat_map(|job| INTERVALS.map(|interval| (job, interval))) {
            let lake = folder.path().join(format!("{job}-{}-{interval}", RATES[at].0));
            runs.push(Run::start(&stack, job, table, &topic.name, interval, &lake));
        }
    }
    // Until each is in its stride: joining a group and the first file of everything are not what is measured.
    let strides = |run: &Run| run.seen.len() > 2;
    let started = now();
    while !runs.iter().all(strides) {
        assert!(started.elapsed() < STARTED_MAX, "a job does not commit");
        look(&mut runs);
    }
    let (began, cpu) = (now(), runs.iter().map(Run::cpu_seconds).collect::<Vec<_>>());
    while began.elapsed().as_secs() < scale.live_seconds {
        look(&mut runs);
    }
    let (ended, used) = (now(), runs.iter().zip(&cpu).map(|(run, before)| run.cpu_seconds() - before));
    let used: Vec<f64> = used.collect();
    let last = now();
    while last.elapsed().as_secs() < INTERVALS[1] + 2 {
        look(&mut runs);
    }
    let mut figures = Map::new();
    for (topic, (rate, aims)) in topics.iter().zip(RATES) {
        let acknowledged = topic.acknowledged(began, ended);
        for (run, used) in runs.iter().zip(&used).filter(|(run, _)| run.topic == topic.name) {
            let of_interval = figures.entry(run.name()).or_insert_with(|| json!({}));
            let aim = aims[INTERVALS.iter().position(|interval| *interval == run.interval).expect("one of them")];
            let seconds = used / acknowledged.len() as f64 * 1e6;
            of_interval[format!("cpu_seconds_a_million_at_{rate}")] = json!((seconds * 100.0).round() / 100.0);
            of_interval[format!("cpu_seconds_a_million_at_{rate}_max")] = json!(aim);
            let waits = run.waits_ms(&acknowledged);
            of_interval[format!("visible_median_ms_at_{rate}")] = json!(waits[waits.len() / 2]);
            let p99 = waits[waits.len() * 99 / 100];
            of_interval[format!("visible_p99_ms_at_{rate}")] = json!(p99);
            // Keep the slower of both rates.
            let slower = of_interval["visible_p99_ms"].as_u64().unwrap_or(0).max(p99);
            of_interval["visible_p99_ms"] = json!(slower);
            of_interval["visible_p99_ms_max"] = json!(run.interval * 1_000 + BEYOND_INTERVAL_MS);
        }
    }
    runs.into_iter().for_each(Run::end);
    Value::Object(figures)
}

/// Looks at all tables, and waits a little.
fn look(runs: &mut [Run]) {
    runs.iter_mut().for_each(Run::look);
    std::thread::park_timeout(LOOK_EVERY);
}

/// A message that Kafka has acknowledged.
#[derive(Clone, Copy)]
struct Acknowledged {
    partition: i32,
    offset: i64,
    at: Instant,
}

/// Records which messages Kafka acknowledges, and when.
#[derive(Clone, Default)]
struct Notes(Arc<Mutex<Vec<Acknowledged>>>);

impl ClientContext for Notes {}

impl ProducerContext for Notes {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let message = result.as_ref().expect("kafka takes it");
        let noted = Acknowledged { partition: message.partition(), offset: message.offset(), at: now() };
        self.0.lock().expect("nobody panics").push(noted);
    }
}

/// A topic that receives clicks for as long as this lives.
struct Topic {
    name: String,
    notes: Notes,
    stop: CancellationToken,
    sender: Option<std::thread::JoinHandle<()>>,
}

impl Topic {
    /// Makes a topic, and begins to send.
    fn start(stack: &RealStack, rate: u64) -> Self {
        let name = format!("live-{rate}");
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        runtime.block_on(stack.create_topic(&name, PARTITIONS, &[]));
        let (notes, stop) = (Notes::default(), CancellationToken::new());
        let (config, topic, noted, stopped) = (stack.client_config(), name.clone(), notes.clone(), stop.clone());
        let sender = std::thread::spawn(move || send(config, &topic, rate, noted, &stopped));
        Self { name, notes, stop, sender: Some(sender) }
    }

    /// Returns the messages that were acknowledged in a stretch of time, by partition and offset.
    fn acknowledged(&self, began: Instant, ended: Instant) -> Vec<Acknowledged> {
        let all = self.notes.0.lock().expect("nobody panics");
        let mut some: Vec<_> = all.iter().filter(|one| one.at >= began && one.at < ended).copied().collect();
        some.sort_by_key(|one| (one.partition, one.offset));
        some
    }
}

impl Drop for Topic {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(sender) = self.sender.take() {
            sender.join().expect("messages are sent");
        }
    }
}

/// Sends clicks at a rate, as `clicklake generate` does.
fn send(mut config: ClientConfig, topic: &str, rate: u64, notes: Notes, stop: &CancellationToken) {
    config.set("linger.ms", "5").set("enable.idempotence", "true");
    let producer: ThreadedProducer<_> = config.create_with_context(notes).expect("a producer");
    let (mut generator, began, mut sent) = (Generator::new(Settings::default()), now(), 0);
    while !stop.is_cancelled() {
        let elapsed = began.elapsed();
        let now_ms = NOON_MS + i64::try_from(elapsed.as_millis()).expect("small");
        while sent < (elapsed.as_secs_f64() * rate as f64) as u64 {
            let message = generator.next_at(now_ms);
            let mut record = BaseRecord::to(topic).key(&message.key).payload(&message.payload);
            while let Err((error, back)) = producer.send(record) {
                assert_eq!(error.rdkafka_error_code(), Some(RDKafkaErrorCode::QueueFull), "{error}");
                record = back;
                std::thread::park_timeout(SEND_EVERY);
            }
            sent += 1;
        }
        std::thread::park_timeout(SEND_EVERY);
    }
    producer.flush(STARTED_MAX).expect("kafka answers");
}

/// A job that follows a topic, with what its table has been seen to have.
struct Run {
    job: &'static str,
    interval: u64,
    topic: String,
    child: Child,
    log: PathBuf,
    /// Prefix of the `txn` that are cuts.
    cuts: String,
    /// For each version, from the first: when it was seen, and the cuts that it moved.
    seen: Vec<(Instant, HashMap<i32, i64>)>,
}

impl Run {
    fn start(stack: &RealStack, job: &'static str, table: &str, topic: &str, interval: u64, lake: &Path) -> Self {
        let lake_path = lake.to_str().expect("UTF-8");
        let child = Command::new(env!("CARGO_BIN_EXE_clicklake"))
            .args([job, "--bootstrap-servers", &stack.bootstrap_servers(), "--topic", topic, "--lake", lake_path])
            .args(["--commit-interval", &format!("{interval}s")])
            .stderr(Stdio::null())
            .spawn()
            .expect("clicklake starts");
        let (log, cuts) = (lake.join(table).join("_delta_log"), format!("clicklake/{table}/{topic}/"));
        Self { job, interval, topic: topic.to_owned(), child, log, cuts, seen: Vec::new() }
    }

    /// Returns the name of the job among the figures.
    fn name(&self) -> String {
        format!("{}_every_{}s", self.job, self.interval)
    }

    fn cpu_seconds(&self) -> f64 {
        cpu_seconds_of(self.child.id())
    }

    /// Records the versions that are there now. Version 0 makes the table.
    fn look(&mut self) {
        while let Ok(entry) = std::fs::read_to_string(self.log.join(format!("{:020}.json", self.seen.len() + 1))) {
            let at = now();
            let cut = |line: &str| {
                let action: Value = serde_json::from_str(line).expect("an entry is lines of JSON");
                let partition = action["txn"]["appId"].as_str()?.strip_prefix(&self.cuts)?.parse().ok()?;
                Some((partition, action["txn"]["version"].as_i64()?))
            };
            let cuts = entry.lines().filter_map(cut).collect();
            self.seen.push((at, cuts));
        }
    }

    /// Returns how long messages took, in milliseconds, from their acknowledgement to the version that has them, the
    /// shortest first. The messages are given by partition and offset.
    fn waits_ms(&self, acknowledged: &[Acknowledged]) -> Vec<u64> {
        let mut waits: Vec<_> = acknowledged
            .chunk_by(|one, other| one.partition == other.partition)
            .flat_map(|of_partition| {
                let cut =
                    |(at, cuts): &(Instant, HashMap<i32, i64>)| Some((*at, *cuts.get(&of_partition[0].partition)?));
                let mut cuts = self.seen.iter().filter_map(cut).peekable();
                let wait = move |one: &Acknowledged| {
                    while cuts.peek().expect("all of it is there in the end").1 <= one.offset {
                        cuts.next();
                    }
                    let (at, _) = cuts.peek().expect("it was just looked at");
                    u64::try_from(at.saturating_duration_since(one.at).as_millis()).expect("short")
                };
                of_partition.iter().map(wait).collect::<Vec<_>>()
            })
            .collect();
        waits.sort_unstable();
        waits
    }

    fn end(mut self) {
        signal(self.child.id(), "TERM");
        assert!(self.child.wait().expect("it ends").success(), "{} failed", self.job);
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        // It has ended, unless something failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[expect(clippy::disallowed_methods, reason = "the figures are about real time")]
fn now() -> Instant {
    Instant::now()
}
