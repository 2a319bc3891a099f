//! A topic of the real Kafka: made, filled, read by `kcat`, and compared with the raw tables position by position.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int32Type, Int64Type, TimestampMicrosecondType};
use lake_schemas::{Table, TopicPartition};
use lake_store::commit::TableLog;
use localstack::generate::{Counts, Generator, Settings};
use localstack::produce::{Load, produce};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use serde_json::Value;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::RealStack;
use super::member::{Job, Member};

/// How long a last ingest may take for the remaining messages.
const CATCH_UP_MAX: Duration = Duration::from_secs(120);

/// A message, as `kcat` prints it.
#[derive(Debug, PartialEq, Eq)]
pub struct Message {
    timestamp_ms: i64,
    payload: Option<Vec<u8>>,
}

/// Messages by partition and offset.
pub type Messages = BTreeMap<(i32, i64), Message>;

/// A row of the raw tables, with the parts that can be compared with its message.
#[derive(Debug, PartialEq, Eq)]
enum Row {
    Event { timestamp_ms: i64, event: [String; 2] },
    Rejected(Message),
}

impl RealStack {
    pub fn admin(&self) -> AdminClient<DefaultClientContext> {
        self.client_config().create().expect("a client")
    }

    pub fn client_config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", self.bootstrap_servers());
        config
    }

    pub async fn create_topic(&self, name: &str, partitions: i32, settings: &[(&str, &str)]) {
        let topic = NewTopic::new(name, partitions, TopicReplication::Fixed(1));
        let topic = settings.iter().fold(topic, |topic, (key, value)| topic.set(key, value));
        let made = self.admin().create_topics([&topic], &AdminOptions::new()).await.expect("kafka answers");
        made.into_iter().for_each(|topic| drop(topic.expect("the topic is made")));
    }

    pub async fn delete_topic(&self, name: &str) {
        let gone = self.admin().delete_topics(&[name], &AdminOptions::new()).await.expect("kafka answers");
        gone.into_iter().for_each(|topic| drop(topic.expect("the topic is deleted")));
    }

    pub async fn grow_topic(&self, name: &str, partitions: usize) {
        let grown = NewPartitions::new(name, partitions);
        let done = self.admin().create_partitions([&grown], &AdminOptions::new()).await.expect("kafka answers");
        done.into_iter().for_each(|topic| drop(topic.expect("the topic grows")));
    }

    /// Sends generated messages.
    pub async fn produce(&self, topic: &str, seed: u64, load: Load, stop: CancellationToken) -> Counts {
        self.produce_with(&self.client_config(), topic, seed, load, stop).await
    }

    pub async fn produce_with(
        &self,
        config: &ClientConfig,
        topic: &str,
        seed: u64,
        load: Load,
        stop: CancellationToken,
    ) -> Counts {
        let generator = Generator::new(Settings { seed, malformed: 0.01, ..Settings::default() });
        let (counts, produced) = watch::channel(Counts::default());
        produce(config, topic, generator, load, stop, counts).await.expect("messages are sent");
        *produced.borrow()
    }

    /// Reads a topic from its beginning to its end, with a client that is not ours.
    pub fn kcat(&self, topic: &str) -> Messages {
        let output = Command::new("kcat")
            .args(["-C", "-q", "-e", "-o", "beginning", "-X", "isolation.level=read_committed"])
            .args(["-b", &self.bootstrap_servers(), "-t", topic, "-f", "%p %o %T %S %s\n"])
            .output()
            .expect("kcat runs; tests/run installs it");
        assert!(output.status.success(), "kcat: {}", String::from_utf8_lossy(&output.stderr));
        let mut rest = &output.stdout[..];
        let mut messages = Messages::new();
        while !rest.is_empty() {
            let [partition, offset, timestamp_ms, size] = std::array::from_fn(|_| {
                let end = rest.iter().position(|&byte| byte == b' ').expect("four numbers");
                let number = std::str::from_utf8(&rest[..end]).expect("digits").parse().expect("a number");
                rest = &rest[end + 1..];
                number
            });
            let payload = usize::try_from(size).ok().map(|size| rest[..size].to_vec());
            // Payload, and the end of the line.
            rest = &rest[payload.as_ref().map_or(0, Vec::len) + 1..];
            let position = (i32::try_from(partition).expect("a partition"), offset);
            let doubled = messages.insert(position, Message { timestamp_ms, payload });
            assert!(doubled.is_none(), "kcat prints {position:?} twice");
        }
        messages
    }

    /// Ingests the rest of a topic.
    pub async fn catch_up(&self, topic: &str, lake: &str, more: &[&str]) {
        self.catch_up_with(Job::Ingest, topic, lake, more).await;
    }

    /// Runs a job until it has caught up.
    pub async fn catch_up_with(&self, job: Job, topic: &str, lake: &str, more: &[&str]) {
        let mut last = Member::of(job, self, topic, lake, &[&["--until-caught-up"], more].concat());
        let status = last.ends(CATCH_UP_MAX).await;
        assert!(status.success(), "{status}:\n{}", last.log());
    }

    /// Holds the law that the minutes of a lake are what its raw clicks say. Returns the output of `verify`.
    pub fn minutes_are_right(&self, lake: &str) -> String {
        let lake = self.lake_url(lake);
        let said = |arguments: &[&str]| {
            let output = self.clicklake(&[arguments, &["--lake", &lake]].concat()).output().expect("it runs");
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            let errors = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{arguments:?}: {said}{errors}");
            said
        };
        let conserved = said(&["verify", "--conservation"]);
        assert_eq!(conserved.matches("conserved: ").count(), 2, "{conserved}");
        let replayed = said(&["verify", "--replay"]);
        let recounted = said(&["verify"]);
        assert_eq!(replayed.lines().next(), recounted.lines().next());
        recounted
    }

    /// Holds the law that each message of the topic is one row, as what it is, that nothing else is there, and that it
    /// is counted. Returns the number of messages.
    pub async fn raw_is_the_log(&self, topic: &str, lake: &str) -> usize {
        let messages = self.kcat(topic);
        self.raw_is(&messages, topic, lake).await;
        messages.len()
    }

    /// Holds the same law for messages that were read from the topic earlier.
    pub async fn raw_is(&self, messages: &Messages, topic: &str, lake: &str) {
        let mut rows = self.rows(topic, lake).await;
        for (position, message) in messages {
            let expected = expected(message);
            let found = rows.remove(position).unwrap_or_default();
            assert_eq!(found, [expected], "{position:?} of {topic}");
        }
        assert!(rows.is_empty(), "rows without a message: {rows:?}");
        let log = TableLog::open(&self.lake(lake), Table::Clicks).await.expect("the table opens");
        let partitions: std::collections::BTreeSet<_> = messages.keys().map(|(partition, _)| *partition).collect();
        for partition in partitions {
            let stand = log.stand(&TopicPartition::new(topic, partition));
            let of_partition = messages.range((partition, 0)..(partition + 1, 0));
            let (read, last) = of_partition.fold((0, 0), |(read, _), ((_, offset), _)| (read + 1, *offset));
            assert_eq!(stand.read, Some(read), "messages counted of {topic}/{partition}");
            assert!(
                stand.cut > Some(last),
                "{topic}/{partition} stands at {:?}, its last message at {last}",
                stand.cut
            );
        }
    }

    /// Returns all rows of a topic, by position.
    async fn rows(&self, topic: &str, lake: &str) -> BTreeMap<(i32, i64), Vec<Row>> {
        let mut rows: BTreeMap<_, Vec<Row>> = BTreeMap::new();
        let position = "kafka_partition, kafka_offset, kafka_timestamp";
        let sql = format!("select {position}, ad_id, click_id from clicks where topic = '{topic}'");
        for batch in query::run(&self.lake(lake), &sql).await.expect("the lake can be read") {
            let [ads, clicks] = [3, 4].map(|column| cast(batch.column(column), &DataType::Utf8).expect("text"));
            for row in 0..batch.num_rows() {
                let event = [&ads, &clicks].map(|column| column.as_string::<i32>().value(row).to_owned());
                let (position, timestamp_ms) = position_of(&batch, row);
                rows.entry(position).or_default().push(Row::Event { timestamp_ms, event });
            }
        }
        let sql = format!("select {position}, payload from clicks_rejected where topic = '{topic}'");
        for batch in query::run(&self.lake(lake), &sql).await.expect("the lake can be read") {
            let payloads = cast(batch.column(3), &DataType::Binary).expect("bytes");
            for row in 0..batch.num_rows() {
                let payload = payloads.is_valid(row).then(|| payloads.as_binary::<i32>().value(row).to_vec());
                let (position, timestamp_ms) = position_of(&batch, row);
                rows.entry(position).or_default().push(Row::Rejected(Message { timestamp_ms, payload }));
            }
        }
        rows
    }
}

fn position_of(batch: &RecordBatch, row: usize) -> ((i32, i64), i64) {
    let partition = batch.column(0).as_primitive::<Int32Type>().value(row);
    let offset = batch.column(1).as_primitive::<Int64Type>().value(row);
    let micros = batch.column(2).as_primitive::<TimestampMicrosecondType>().value(row);
    ((partition, offset), micros / 1_000)
}

/// Returns the row that a generated message must become. A message with an ad and an id is an event: nonsense has no
/// id.
fn expected(message: &Message) -> Row {
    let Message { timestamp_ms, payload } = message;
    let json: Option<Value> = payload.as_deref().and_then(|payload| serde_json::from_slice(payload).ok());
    let text = |names: &[&str]| {
        let json = json.as_ref()?;
        names.iter().find_map(|name| json.get(name)?.as_str().map(str::to_owned))
    };
    match (text(&["ad_id"]), text(&["click_id", "event_id"])) {
        (Some(ad), Some(click)) => Row::Event { timestamp_ms: *timestamp_ms, event: [ad, click] },
        _ => Row::Rejected(Message { timestamp_ms: *timestamp_ms, payload: payload.clone() }),
    }
}
