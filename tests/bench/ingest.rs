//! CPU seconds a million clicks of `clicklake ingest`, beside the floor: a bare drain of the same topic, a bare parse
//! of the same JSON, and a bare Parquet encode of the same clicks. The CPU time of brokers and stores is not counted.

use std::borrow::Cow;
use std::hint::black_box;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use arrow::array::RecordBatch;
use ingest::decode::{BatchBuilder, Message};
use lake_schemas::table::TIME_IN_FUTURE_MS;
use lake_schemas::{LogTime, TopicPartition};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message as _;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::NOON_MS;
use crate::process::{cpu_seconds, cpu_seconds_of_children, peak_memory_mb};
use crate::raw_lake::write_away;

const BATCH_ROWS: usize = 8_192;

/// Number of rounds; the median of their figures counts, because the machine is shared.
const ROUNDS: usize = 5;

/// Source and destination of clicks.
pub struct OffsetPlace {
    /// Brokers that have the clicks.
    pub servers: String,
    /// Name of the topic.
    pub topic: String,
    /// Number of clicks in the topic.
    pub clicks: u64,
    /// Environment variables that ingest needs.
    pub environment: Vec<(String, String)>,
    /// Makes the address of a new lake.
    pub new_lake: Box<dyn Fn() -> String>,
}

/// Measures everything in one run, round by round.
pub fn measure(place: &OffsetPlace) -> Value {
    let payloads = payloads(place);
    let rounds: Vec<_> = (0..ROUNDS).map(|_| Round::measure(place, &payloads)).collect();
    let median = |figure: fn(&Round) -> f64| median(rounds.iter().map(figure).collect());
    let (drained, parsed, encoded) =
        (median(|round| round.drained), median(|round| round.parsed), median(|round| round.encoded));
    let (ingested, floor) = (median(|round| round.ingested), drained + parsed + encoded);
    let per_million = |seconds: f64| per_million(place, seconds);
    json!({
        "clicks": place.clicks,
        "bytes_a_message": payloads.iter().map(|payload| payload.bytes.len()).sum::<usize>() / payloads.len(),
        "cpu_seconds_a_million": {
            "ingest": per_million(ingested),
            "floor": per_million(floor),
            "of_which": {
                "drain": per_million(drained), "parse": per_million(parsed), "encode": per_million(encoded),
            },
        },
        "ratio": (ingested / floor * 100.0).round() / 100.0,
        "ratio_max": 1.3,
        "peak_memory_mb": median(|round| round.peak_mb).round(),
        "peak_memory_mb_max": 512,
    })
}

/// Returns the median of figures.
pub fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

/// Returns seconds for a million of a place's clicks.
pub fn per_million(place: &OffsetPlace, seconds: f64) -> f64 {
    (seconds / place.clicks as f64 * 1e6 * 1e3).round() / 1e3
}

/// Starts a job over the messages that are there, into a lake.
pub fn start_job(job: &str, place: &OffsetPlace, lake: &str) -> Child {
    Command::new(env!("CARGO_BIN_EXE_clicklake"))
        .args([job, "--until-caught-up", "--bootstrap-servers", &place.servers])
        .args(["--topic", &place.topic, "--lake", lake])
        .envs(place.environment.iter().cloned())
        .stderr(Stdio::null())
        .spawn()
        .expect("clicklake starts")
}

/// A message, with the parts that the floor and the batches need.
pub struct Payload {
    offset: i64,
    pub bytes: Vec<u8>,
}

/// Returns all messages of a place.
pub fn payloads(place: &OffsetPlace) -> Vec<Payload> {
    let mut payloads = Vec::new();
    each_message(place, |offset, bytes| payloads.push(Payload { offset, bytes: bytes.to_vec() }));
    payloads
}

/// Returns the CPU seconds of reading all messages of a place, and nothing else.
pub fn drain(place: &OffsetPlace) -> f64 {
    let began = cpu_seconds();
    each_message(place, |_, bytes| {
        black_box(bytes.len());
    });
    cpu_seconds() - began
}

/// Figures of one round, in CPU seconds and MB.
struct Round {
    drained: f64,
    parsed: f64,
    encoded: f64,
    ingested: f64,
    peak_mb: f64,
}

impl Round {
    fn measure(place: &OffsetPlace, payloads: &[Payload]) -> Self {
        let (drained, parsed, encoded) = (drain(place), parse(payloads), encode(payloads));
        let (ingested, peak_mb) = run_job("ingest", place);
        Self { drained, parsed, encoded, ingested, peak_mb }
    }
}

fn each_message(place: &OffsetPlace, mut each: impl FnMut(i64, &[u8])) {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &place.servers).set("group.id", "floor").set("enable.auto.commit", "false");
    let consumer: BaseConsumer = config.create().expect("a consumer");
    let metadata = consumer.fetch_metadata(Some(&place.topic), Duration::from_secs(10)).expect("metadata");
    let mut positions = TopicPartitionList::new();
    for partition in metadata.topics()[0].partitions() {
        positions.add_partition_offset(&place.topic, partition.id(), Offset::Beginning).expect("a position");
    }
    consumer.assign(&positions).expect("assigned");
    let mut seen = 0;
    while seen < place.clicks {
        let message = consumer.poll(Duration::from_secs(20)).expect("the topic has more").expect("a message");
        each(message.offset(), message.payload().unwrap_or_default());
        seen += 1;
    }
}

/// Struct into which a hand-written consumer would parse.
#[derive(Deserialize)]
#[allow(dead_code, reason = "it is parsed for its own sake")]
struct Click<'a> {
    #[serde(borrow)]
    ad_id: Cow<'a, str>,
    #[serde(borrow)]
    click_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    event_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    event_type: Option<Cow<'a, str>>,
    #[serde(borrow)]
    timestamp: Option<Cow<'a, str>>,
    event_time: Option<i64>,
    #[serde(borrow)]
    user_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    campaign_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    country: Option<Cow<'a, str>>,
    #[serde(borrow)]
    device: Option<Cow<'a, str>>,
    cost_micros: Option<i64>,
}

fn parse(payloads: &[Payload]) -> f64 {
    let began = cpu_seconds();
    for payload in payloads {
        // A payload that cannot be parsed costs time, too.
        let _ = black_box(serde_json::from_slice::<Click<'_>>(&payload.bytes));
    }
    cpu_seconds() - began
}

/// Returns the CPU seconds of writing the same rows as one file, with the same settings, to nowhere.
fn encode(payloads: &[Payload]) -> f64 {
    let mut builder = BatchBuilder::new(TopicPartition::new("clicks", 0), 0, TIME_IN_FUTURE_MS);
    let batches: Vec<RecordBatch> = payloads
        .chunks(BATCH_ROWS)
        .map(|chunk| {
            for (at, payload) in (0..).zip(chunk) {
                builder.push(&Message {
                    offset: payload.offset,
                    log_time: LogTime::from_millis(NOON_MS + at),
                    key: None,
                    payload: Some(&payload.bytes),
                });
            }
            let batch = builder.finish().events;
            let columns: Vec<_> = (0..batch.num_columns() - 1).collect();
            batch.project(&columns).expect("the columns of the file")
        })
        .collect();
    let began = cpu_seconds();
    write_away(batches.iter().cloned());
    cpu_seconds() - began
}

/// Returns the CPU seconds and the peak memory in MB of a job.
pub fn run_job(job: &str, place: &OffsetPlace) -> (f64, f64) {
    let began = cpu_seconds_of_children();
    let mut child = start_job(job, place, &(place.new_lake)());
    let mut peak_mb = 0.0;
    let status = loop {
        if let Some(status) = child.try_wait().expect("it can be waited for") {
            break status;
        }
        peak_mb = peak_memory_mb(child.id()).unwrap_or(peak_mb).max(peak_mb);
        std::thread::park_timeout(Duration::from_millis(20));
    };
    assert!(status.success(), "{job} failed");
    (cpu_seconds_of_children() - began, peak_mb)
}
