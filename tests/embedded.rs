//! The whole path over a broker in this process: librdkafka's groups, fetching and rebalancing, and real files.

use std::path::Path;
use std::time::Duration;

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use ingest::drive::{CommitPolicy, DriveError, Progress};
use ingest::kafka::KafkaOptions;
use ingest::{Run, Until};
use lake_schemas::Code;
use lake_store::Lake;
use localstack::broker::Broker;
use localstack::generate::{Counts, Generator, Settings};
use localstack::produce::{Load, produce};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::NOON_MS;

const TOPIC: &str = "clicks";
const PARTITIONS: i32 = 3;

/// Short sessions: when a group's last member leaves, the test broker keeps the next one waiting for a session.
pub const SESSION: [(&str, &str); 2] = [("session.timeout.ms", "3000"), ("heartbeat.interval.ms", "500")];

/// Messages a second: as many as the generator can make.
const RATE: u64 = 1_000_000;

/// A broker with the topic, and a lake in a folder of its own.
pub struct Stack {
    broker: Broker,
    folder: tempfile::TempDir,
}

impl Stack {
    pub fn start() -> Self {
        let broker = Broker::start().expect("the broker starts");
        broker.create_topic(TOPIC, PARTITIONS).expect("the topic is made");
        Self { broker, folder: tempfile::tempdir().expect("a folder") }
    }

    pub fn lake_path(&self) -> &Path {
        self.folder.path()
    }

    pub fn bootstrap_servers(&self) -> String {
        self.broker.bootstrap_servers()
    }

    fn lake(&self) -> Lake {
        Lake::at(self.folder.path().to_str().expect("UTF-8")).expect("a lake")
    }

    fn kafka(&self) -> KafkaOptions {
        KafkaOptions {
            bootstrap_servers: self.broker.bootstrap_servers(),
            topic: TOPIC.to_owned(),
            topic_as: None,
            group: None,
            instance: None,
            properties: SESSION.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
        }
    }

    /// Sends `count` messages, whose events happened about now by the broker's clock.
    pub async fn produce(&self, seed: u64, count: u64) -> Counts {
        let settings = Settings { seed, malformed: 0.02, ..Settings::default() };
        let load = Load { rate: RATE, count: Some(count), start_ms: NOON_MS };
        let (counts, produced) = watch::channel(Counts::default());
        let (config, stop) = (self.kafka().client(), CancellationToken::new());
        produce(&config, TOPIC, Generator::new(settings), load, stop, counts).await.expect("messages are sent");
        *produced.borrow()
    }

    pub async fn ingest(&self, until: Until, stop: CancellationToken) -> Result<Progress, DriveError> {
        self.ingest_as(&self.kafka(), until, stop).await
    }

    async fn ingest_as(
        &self,
        kafka: &KafkaOptions,
        until: Until,
        stop: CancellationToken,
    ) -> Result<Progress, DriveError> {
        let (progress, seen) = watch::channel(Progress::default());
        let run = Run { policy: CommitPolicy::every(Duration::from_millis(200)), until, stop, progress };
        ingest::ingest(&self.lake(), kafka, run).await?;
        let progress = seen.borrow().clone();
        Ok(progress)
    }

    /// Returns how many rows a table has, and how many different positions.
    async fn positions(&self, table: &str) -> (i64, i64) {
        let sql = format!("select count(*), count(distinct (kafka_partition, kafka_offset)) from {table}");
        let answer = query::run(&self.lake(), &sql).await.expect("the lake can be read");
        let figure = |column: usize| answer[0].column(column).as_primitive::<Int64Type>().value(0);
        (figure(0), figure(1))
    }

    /// Checks that the tables hold what was produced, each message once.
    pub async fn holds(&self, counts: &[Counts]) {
        let malformed: u64 = counts.iter().map(|counts| counts.malformed).sum();
        let all: u64 = counts.iter().map(Counts::total).sum();
        let events = i64::try_from(all - malformed).expect("few");
        let malformed = i64::try_from(malformed).expect("few");
        assert_eq!(self.positions("clicks").await, (events, events));
        assert_eq!(self.positions("clicks_rejected").await, (malformed, malformed));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_is_in_the_tables_and_the_next_start_goes_on() {
    let stack = Stack::start();
    let first = stack.produce(1, 20_000).await;
    let progress = stack.ingest(Until::CaughtUp, CancellationToken::new()).await.expect("ingest ends");
    assert_eq!(progress.read, 20_000);
    stack.holds(&[first]).await;
    let second = stack.produce(2, 5_000).await;
    let progress = stack.ingest(Until::CaughtUp, CancellationToken::new()).await.expect("ingest ends");
    assert_eq!(progress.read, 5_000, "the second start reads nothing again");
    stack.holds(&[first, second]).await;
    stack.ingest(Until::CaughtUp, CancellationToken::new()).await.expect("nothing to do is not an error");
    stack.holds(&[first, second]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn members_of_a_group_share_a_topic_exactly_once() {
    let stack = Stack::start();
    let (early, late) = (CancellationToken::new(), CancellationToken::new());
    let members = async {
        tokio::join!(stack.ingest(Until::Stopped, early.clone()), async {
            tokio::time::sleep(Duration::from_secs(4)).await;
            stack.ingest(Until::Stopped, late.clone()).await
        })
    };
    let load = async {
        let mut counts = Vec::new();
        for seed in 0..24 {
            counts.push(stack.produce(seed, 1_000).await);
            tokio::time::sleep(Duration::from_millis(500)).await;
            if seed == 20 {
                early.cancel();
            }
        }
        late.cancel();
        counts
    };
    let ((early, late), counts) = tokio::join!(members, load);
    early.expect("the first member leaves");
    late.expect("the second member leaves");
    stack.ingest(Until::CaughtUp, CancellationToken::new()).await.expect("the rest is read");
    stack.holds(&counts).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recreated_topic_is_refused_and_goes_on_under_another_name() {
    let stack = Stack::start();
    let first = stack.produce(1, 3_000).await;
    stack.ingest(Until::CaughtUp, CancellationToken::new()).await.expect("ingest ends");
    let recreated = Stack { broker: Stack::start().broker, folder: stack.folder };
    let error = recreated.ingest(Until::CaughtUp, CancellationToken::new()).await.expect_err("the topic is another");
    assert_eq!(error.code(), Some(Code::TopicAnew), "{error}");
    assert!(error.to_string().contains("--topic-as"), "{error}");
    let second = recreated.produce(2, 500).await;
    let renamed = KafkaOptions { topic_as: Some("clicks-2".to_owned()), ..recreated.kafka() };
    recreated.ingest_as(&renamed, Until::CaughtUp, CancellationToken::new()).await.expect("ingest ends");
    let (rows, _) = recreated.positions("clicks").await;
    assert_eq!(rows as u64, first.total() + second.total() - first.malformed - second.malformed);
}
