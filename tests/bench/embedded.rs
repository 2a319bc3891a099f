//! Measurements on this machine alone: the test broker, as a process of its own, and a folder.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, Stdio};

use localstack::broker::Broker;
use localstack::generate::{Counts, Generator, Settings};
use localstack::produce::{Load, produce};
use rdkafka::ClientConfig;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::ingest::{self, OffsetPlace};
use crate::{NOON_MS, Scale};

/// First argument of this program when it is to be the broker.
pub const BROKER_ROLE: &str = "broker";

const TOPIC: &str = "clicks";

/// Clicks in each partition. The test broker keeps 5 MiB of each; compressed, that is some 40,000 clicks.
const CLICKS_A_PARTITION: u64 = 25_000;

/// Runs the broker: fills a topic, says where it is, and stays until told otherwise.
pub fn broker(clicks: u64) {
    let broker = Broker::start().expect("the broker starts");
    let partitions = clicks.div_ceil(CLICKS_A_PARTITION).max(4);
    broker.create_topic(TOPIC, i32::try_from(partitions).expect("few")).expect("the topic is made");
    fill(&broker.bootstrap_servers(), TOPIC, clicks, even(), NOON_MS);
    println!("{}", broker.bootstrap_servers());
    let mut until_closed = Vec::new();
    std::io::stdin().read_to_end(&mut until_closed).expect("stdin closes");
}

/// Number of ads of even weight, so that partitions are even.
const EVEN_ADS: u32 = 100_000;

/// Returns the settings of clicks when partitions must be even.
pub fn even() -> Settings {
    Settings { ads: EVEN_ADS, ..Settings::default() }
}

/// Fills a topic, as fast as possible.
pub fn fill(servers: &str, topic: &str, clicks: u64, settings: Settings, start_ms: i64) {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", servers);
    config.set("compression.type", "lz4").set("partitioner", "murmur2_random");
    config.set("queue.buffering.max.messages", "100000");
    let load = Load { rate: 1_000_000_000, count: Some(clicks), start_ms };
    let (counts, produced) = watch::channel(Counts::default());
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let generator = Generator::new(settings);
    let sent = runtime.block_on(produce(&config, topic, generator, load, CancellationToken::new(), counts));
    sent.expect("clicks are sent");
    assert_eq!(produced.borrow().total(), clicks);
}

/// Measures ingest from the test broker into a folder.
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
    let folder = tempfile::tempdir().expect("a folder");
    let lakes = folder.path().to_owned();
    let new_lake =
        move || (0..).map(|n| lakes.join(format!("{n}"))).find(|path| !path.exists()).map(text).expect("free");
    let place = OffsetPlace {
        servers: servers.trim().to_owned(),
        topic: TOPIC.to_owned(),
        clicks: scale.clicks,
        environment: Vec::new(),
        new_lake: Box::new(new_lake),
    };
    let mut figures = ingest::measure(&place);
    drop(child.stdin.take());
    child.wait().expect("the broker ends");
    let bytes = parquet_bytes(&folder.path().join("0")) as f64;
    figures["parquet_bytes_a_click"] = json!((bytes / scale.clicks as f64 * 10.0).round() / 10.0);
    figures
}

fn text(path: impl AsRef<Path>) -> String {
    path.as_ref().to_str().expect("UTF-8").to_owned()
}

fn parquet_bytes(folder: &Path) -> u64 {
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
