//! CPU seconds a million clicks of `clicklake ingest`, beside the floor: a bare drain of the same topic, a bare parse
//! of the same JSON, a bare Parquet encode of the same clicks.
//!
//! The broker and the producer are a process of their own, so that what they use is not counted.

use std::borrow::Cow;
use std::hint::black_box;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use ingest::decode::{BatchBuilder, Message};
use lake_schemas::table::TIME_IN_FUTURE_MS;
use lake_schemas::{LogTime, Table, TopicPartition, files};
use localstack::broker::Broker;
use localstack::generate::{Counts, Generator, Settings};
use localstack::produce::{Load, produce};
use parquet::arrow::ArrowWriter;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message as _;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::Scale;
use crate::process::{cpu_seconds, cpu_seconds_of_children, peak_memory_mb};

/// The first argument of this program when it is to be the broker.
pub const BROKER_ROLE: &str = "broker";

const TOPIC: &str = "clicks";

/// The test broker keeps 5 MiB a partition; compressed, that is some 40,000 clicks.
const CLICKS_A_PARTITION: u64 = 25_000;

/// 2026-03-07T12:00:00Z.
const NOON_MS: i64 = 1_772_884_800_000;

const BATCH_ROWS: usize = 8_192;

/// Rounds, of whose figures the median counts: the machine is shared.
const ROUNDS: usize = 5;

/// Be the broker: fill a topic, say where it is, stay until told otherwise.
pub fn broker(clicks: u64) {
    let broker = Broker::start().expect("the broker starts");
    let partitions = clicks.div_ceil(CLICKS_A_PARTITION).max(4);
    broker.create_topic(TOPIC, i32::try_from(partitions).expect("few")).expect("the topic is made");
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", broker.bootstrap_servers());
    config.set("compression.type", "lz4").set("partitioner", "murmur2_random");
    config.set("queue.buffering.max.messages", "100000");
    // Many ads of even weight, so that partitions are even and none outgrows the broker.
    let generator = Generator::new(Settings { ads: 100_000, ..Settings::default() });
    let load = Load { rate: 1_000_000_000, count: Some(clicks), start_ms: NOON_MS };
    let (counts, produced) = watch::channel(Counts::default());
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let sent = runtime.block_on(produce(&config, TOPIC, generator, load, CancellationToken::new(), counts));
    sent.expect("clicks are sent");
    assert_eq!(produced.borrow().total(), clicks);
    println!("{}", broker.bootstrap_servers());
    let mut until_closed = Vec::new();
    std::io::stdin().read_to_end(&mut until_closed).expect("stdin closes");
}

/// Measures both, in one run.
pub fn measure(scale: Scale) -> Value {
    let mut child = Command::new(std::env::current_exe().expect("a program"))
        .args([BROKER_ROLE, &scale.clicks.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the broker starts");
    let mut servers = String::new();
    let stdout = child.stdout.take().expect("piped");
    BufReader::new(stdout).read_line(&mut servers).expect("the broker says where it is");
    let servers = servers.trim();

    let mut payloads = Vec::new();
    each_message(servers, scale.clicks, |offset, bytes| payloads.push(Payload { offset, bytes: bytes.to_vec() }));
    let rounds: Vec<_> = (0..ROUNDS).map(|_| Round::measure(servers, scale.clicks, &payloads)).collect();
    stop(child);
    let median = |figure: fn(&Round) -> f64| {
        let mut figures: Vec<_> = rounds.iter().map(figure).collect();
        figures.sort_by(f64::total_cmp);
        figures[ROUNDS / 2]
    };
    let (drained, parsed, encoded) =
        (median(|round| round.drained), median(|round| round.parsed), median(|round| round.encoded));
    let (ingested, floor) = (median(|round| round.ingested), drained + parsed + encoded);
    let (peak_mb, bytes) = (median(|round| round.peak_mb), median(|round| round.bytes));

    let per_million = |seconds: f64| (seconds / scale.clicks as f64 * 1e6 * 1e3).round() / 1e3;
    json!({
        "clicks": scale.clicks,
        "cpu_seconds_a_million": {
            "ingest": per_million(ingested),
            "floor": per_million(floor),
            "of_which": {
                "drain": per_million(drained), "parse": per_million(parsed), "encode": per_million(encoded),
            },
        },
        "ratio": (ingested / floor * 100.0).round() / 100.0,
        "ratio_max": 1.3,
        "peak_memory_mb": peak_mb.round(),
        "peak_memory_mb_max": 512,
        "parquet_bytes_a_click": (bytes / scale.clicks as f64 * 10.0).round() / 10.0,
    })
}

fn stop(mut broker: Child) {
    drop(broker.stdin.take());
    broker.wait().expect("the broker ends");
}

/// A message, as far as the floor and the batches need it.
struct Payload {
    offset: i64,
    bytes: Vec<u8>,
}

/// Everything once, in CPU seconds, MB and bytes.
struct Round {
    drained: f64,
    parsed: f64,
    encoded: f64,
    ingested: f64,
    peak_mb: f64,
    bytes: f64,
}

impl Round {
    fn measure(servers: &str, clicks: u64, payloads: &[Payload]) -> Self {
        let began = cpu_seconds();
        each_message(servers, clicks, |_, bytes| {
            black_box(bytes.len());
        });
        let drained = cpu_seconds() - began;
        let (parsed, encoded) = (parse(payloads), encode(payloads));
        let (ingested, peak_mb, bytes) = ingest(servers);
        Self { drained, parsed, encoded, ingested, peak_mb, bytes: bytes as f64 }
    }
}

fn each_message(servers: &str, clicks: u64, mut each: impl FnMut(i64, &[u8])) {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", servers).set("group.id", "floor").set("enable.auto.commit", "false");
    let consumer: BaseConsumer = config.create().expect("a consumer");
    let metadata = consumer.fetch_metadata(Some(TOPIC), Duration::from_secs(10)).expect("metadata");
    let mut positions = TopicPartitionList::new();
    for partition in metadata.topics()[0].partitions() {
        positions.add_partition_offset(TOPIC, partition.id(), Offset::Beginning).expect("a position");
    }
    consumer.assign(&positions).expect("assigned");
    let mut seen = 0;
    while seen < clicks {
        let message = consumer.poll(Duration::from_secs(20)).expect("the topic has more").expect("a message");
        each(message.offset(), message.payload().unwrap_or_default());
        seen += 1;
    }
}

/// What a hand-written consumer would parse into.
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
        // What cannot be parsed costs as well.
        let _ = black_box(serde_json::from_slice::<Click<'_>>(&payload.bytes));
    }
    cpu_seconds() - began
}

/// The CPU seconds of writing the same rows as one file, with the same settings, into nothing.
fn encode(payloads: &[Payload]) -> f64 {
    let mut builder = BatchBuilder::new(TopicPartition::new(TOPIC, 0), 0, TIME_IN_FUTURE_MS);
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
    let schema = batches[0].schema();
    let mut writer = ArrowWriter::try_new(std::io::sink(), Arc::clone(&schema), Some(files::properties(Table::Clicks)))
        .expect("a writer");
    for batch in &batches {
        writer.write(batch).expect("rows are written");
    }
    writer.close().expect("the file ends");
    cpu_seconds() - began
}

/// The CPU seconds and the peak memory in MB of `clicklake ingest`, and the bytes of the files it wrote.
fn ingest(servers: &str) -> (f64, f64, u64) {
    let folder = tempfile::tempdir().expect("a folder");
    let began = cpu_seconds_of_children();
    let mut child = Command::new(env!("CARGO_BIN_EXE_clicklake"))
        .args(["ingest", "--until-caught-up", "--bootstrap-servers", servers, "--lake"])
        .arg(folder.path())
        .stderr(Stdio::null())
        .spawn()
        .expect("clicklake starts");
    let mut peak_mb = 0.0;
    let status = loop {
        if let Some(status) = child.try_wait().expect("it can be waited for") {
            break status;
        }
        peak_mb = peak_memory_mb(child.id()).unwrap_or(peak_mb).max(peak_mb);
        std::thread::park_timeout(Duration::from_millis(20));
    };
    assert!(status.success(), "ingest failed");
    std::io::stderr().flush().expect("stderr");
    (cpu_seconds_of_children() - began, peak_mb, parquet_bytes(folder.path()))
}

fn parquet_bytes(folder: &std::path::Path) -> u64 {
    let entries = std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    entries
        .map(|path| {
            if path.is_dir() {
                parquet_bytes(&path)
            } else if path.extension().is_some_and(|extension| extension == "parquet") {
                path.metadata().expect("a file").len()
            } else {
                0
            }
        })
        .sum()
}
