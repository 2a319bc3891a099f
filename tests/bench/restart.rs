//! A restart with a full memory to rebuild: 76 minutes of 5,000 clicks a second in the raw table, as ingest would have
//! left them, and Kafka without any of them. Then the audit of the same lake, beside its SQL alone, and one count of
//! it, explained.
//!
//! Kafka's offsets are brought to the table's cut by messages that retention deletes at once.

use std::process::{Child, Stdio};
use std::time::Duration;

use lake_schemas::{EventTime, TopicPartition};
use lake_store::Lake;
use lake_store::commit::TableLog;
use query::verify::{Question, verify};
use rdkafka::Offset;
use rdkafka::admin::AdminOptions;
use rdkafka::producer::{BaseRecord, Producer, ThreadedProducer};
use rdkafka::topic_partition_list::TopicPartitionList;
use serde_json::{Value, json};

use crate::raw_lake::{RATE, RawLake, now, recount, seconds, timed};
use crate::stack::RealStack;
use crate::{NOON_MS, Scale};

/// Topics: the shorter ones show how a restart grows with what it has to remember.
const TOPIC: &str = "restarted";
const HALF: &str = "half-restarted";
const QUARTER: &str = "quarter-restarted";

const PARTITIONS: i32 = 12;

/// Returns a raw table as ingest leaves it.
const fn raw(topic: &'static str) -> RawLake {
    RawLake { topic, partitions: PARTITIONS, epoch_seconds: 5 }
}

/// Memory of a query, in bytes.
const MEMORY: usize = 12 << 30;

/// Measures everything, in one run.
pub fn measure(scale: Scale) -> Value {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let (stack, folder) = (RealStack::start(), tempfile::tempdir().expect("a folder"));
    let path = |topic: &str| folder.path().join(topic).to_str().expect("UTF-8").to_owned();
    let restart = |topic: &'static str, history_seconds: u64| {
        let (path, lake) = (path(topic), Lake::at(&path(topic)).expect("a lake"));
        runtime.block_on(stack.create_topic(topic, PARTITIONS, &[]));
        let (cuts, raw_files) = runtime.block_on(raw(topic).make(&lake, history_seconds));
        bring_kafka_to(&runtime, &stack, topic, &cuts);
        // Once from nothing: then the table stands at the cut, and a restart has all to rebuild.
        let from_nothing = timed(|| assert!(aggregate(&stack, topic, &path, true).wait().expect("it ends").success()));
        let first_commit = runtime.block_on(first_commit_of_a_restart(&stack, topic, &path));
        (cuts, raw_files, from_nothing, first_commit)
    };
    let (.., quarter) = restart(QUARTER, scale.history_seconds / 4);
    let (.., half) = restart(HALF, scale.history_seconds / 2);
    let (cuts, raw_files, from_nothing, first_commit) = restart(TOPIC, scale.history_seconds);
    let lake_path = path(TOPIC);
    let lake = Lake::at(&lake_path).expect("a lake");
    let audit = runtime.block_on(audit(&lake, &cuts));
    // The ad with the most clicks, in the middle of history.
    let minute_ms = NOON_MS + i64::try_from(scale.history_seconds / 120).expect("small") * 60_000;
    let explained = explain(&stack, &lake_path, EventTime::from_millis(minute_ms).expect("a time"));
    json!({
        "clicks": scale.history_seconds * RATE,
        "raw_files": raw_files,
        "seconds_from_nothing": seconds(from_nothing),
        "seconds_to_the_first_commit_of_a_quarter": seconds(quarter),
        "seconds_to_the_first_commit_of_a_half": seconds(half),
        "seconds_to_the_first_commit": seconds(first_commit),
        "seconds_to_the_first_commit_max": 20,
        "verify": audit,
        "explain": explained,
    })
}

/// Fills Kafka up to these offsets, and lets retention delete all of it.
fn bring_kafka_to(runtime: &tokio::runtime::Runtime, stack: &RealStack, topic: &str, cuts: &[i64]) {
    let mut config = stack.client_config();
    config.set("compression.type", "lz4").set("linger.ms", "50").set("enable.idempotence", "true");
    let producer: ThreadedProducer<rdkafka::producer::DefaultProducerContext> = config.create().expect("a producer");
    let mut all = TopicPartitionList::new();
    for (number, cut) in (0..).zip(cuts) {
        for _ in 0..*cut {
            let mut record = BaseRecord::<(), _>::to(topic).partition(number).payload("x");
            while let Err((_, back)) = producer.send(record) {
                record = back;
                std::thread::park_timeout(Duration::from_millis(5));
            }
        }
        all.add_partition_offset(topic, number, Offset::End).expect("an offset");
    }
    producer.flush(Duration::from_secs(60)).expect("kafka takes them");
    runtime.block_on(stack.admin().delete_records(&all, &AdminOptions::new())).expect("kafka answers");
}

fn aggregate(stack: &RealStack, topic: &str, lake: &str, until_caught_up: bool) -> Child {
    let mut arguments = vec!["aggregate", "--topic", topic, "--lake", lake, "--commit-interval", "1s"];
    arguments.extend(until_caught_up.then_some("--until-caught-up"));
    stack.clicklake(&arguments).stderr(Stdio::null()).spawn().expect("it starts")
}

/// Returns the time from the start of a process to the commit of what came after the restart.
async fn first_commit_of_a_restart(stack: &RealStack, topic: &str, lake: &str) -> Duration {
    let mut config = stack.client_config();
    config.set("linger.ms", "5");
    let producer: ThreadedProducer<rdkafka::producer::DefaultProducerContext> = config.create().expect("a producer");
    let click = format!("{{\"ad_id\":\"ad\",\"click_id\":\"after\",\"event_time\":{NOON_MS}}}");
    for number in 0..PARTITIONS {
        let record = BaseRecord::<(), _>::to(topic).partition(number).payload(&click);
        producer.send(record).map_err(|(error, _)| error).expect("a message is queued");
    }
    producer.flush(Duration::from_secs(10)).expect("kafka takes them");
    let lake = (lake, Lake::at(lake).expect("a lake"));
    let mut log = TableLog::open_minutes(&lake.1, &Default::default()).await.expect("the table").0;
    let (before, began) = (log.version(), now());
    let mut job = aggregate(stack, topic, lake.0, false);
    while log.version() == before {
        tokio::time::sleep(Duration::from_millis(20)).await;
        log.refresh().await.expect("a folder");
    }
    let took = began.elapsed();
    job.kill().expect("it runs");
    job.wait().expect("it ends");
    took
}

/// Returns the time that the program takes to explain a count.
fn explain(stack: &RealStack, lake: &str, minute: EventTime) -> Value {
    let arguments = ["explain", "--ad", "ad-0", "--minute", &minute.to_string(), "--lake", lake, "--format", "nd-json"];
    let mut lines = 0;
    let took = timed(|| {
        let output = stack.clicklake(&arguments).output().expect("it runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        lines = output.stdout.iter().filter(|byte| **byte == b'\n').count();
    });
    json!({ "events": lines, "milliseconds": took.as_millis() as u64, "milliseconds_max": 1_000 })
}

/// Returns the time of an audit, and of its SQL alone.
async fn audit(lake: &Lake, cuts: &[i64]) -> Value {
    // Clicks that came after the restart are not in the raw table: the audit takes the version before.
    let began = now();
    let found = verify(lake, Question::default(), MEMORY).await.expect("an audit");
    let audit = began.elapsed();
    assert!(found.is_equal(), "{found}");
    let began = now();
    let mut clicks = 0;
    for (number, cut) in (0..).zip(cuts) {
        clicks += recount(lake, &TopicPartition::new(TOPIC, number), *cut).await;
    }
    let sql = began.elapsed();
    assert_eq!(i128::from(clicks), found.clicks, "the SQL says the same");
    json!({
        "windows": found.windows,
        "clicks": found.clicks,
        "seconds": seconds(audit),
        "seconds_of_its_sql_alone": seconds(sql),
        "ratio": (audit.as_secs_f64() / sql.as_secs_f64() * 100.0).round() / 100.0,
        "ratio_max": 2,
    })
}
