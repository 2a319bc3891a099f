//! A restart with a full memory to rebuild: 76 minutes of 5,000 clicks a second in the raw table, as ingest would have
//! left them, and Kafka without any of it. And the audit of the same lake, beside its SQL alone.
//!
//! The raw table is made here, by ingest's own operator and commits, an epoch of five seconds at a time: as many files
//! as live ones. Kafka's offsets are brought to the table's cut by messages that retention takes at once.

use std::process::{Child, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ingest::append::Append;
use ingest::decode::{BatchBuilder, Message};
use lake_schemas::commit::{Commit, Outcome, TableLog};
use lake_schemas::job::{Freeze, Job, Operator};
use lake_schemas::minute::Parameters;
use lake_schemas::table::TIME_IN_FUTURE_MS;
use lake_schemas::{Lake, LogTime, Stand, TopicPartition, files};
use localstack::generate::{Generator, Settings};
use query::verify::{Question, verify};
use rdkafka::Offset;
use rdkafka::admin::AdminOptions;
use rdkafka::producer::{BaseRecord, Producer, ThreadedProducer};
use rdkafka::topic_partition_list::TopicPartitionList;
use serde_json::{Value, json};

use crate::stack::RealStack;
use crate::{NOON_MS, Scale};

const TOPIC: &str = "restarted";
const PARTITIONS: i32 = 12;

/// Clicks a second of event time, and seconds of an epoch.
const RATE: u64 = 5_000;
const EPOCH_SECONDS: u64 = 5;

/// What a query may take.
const MEMORY: usize = 12 << 30;

/// Measures both, in one run.
pub fn measure(scale: Scale) -> Value {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let (stack, folder) = (RealStack::start(), tempfile::tempdir().expect("a folder"));
    let lake_path = folder.path().join("lake").to_str().expect("UTF-8").to_owned();
    let lake = Lake::at(&lake_path).expect("a lake");
    runtime.block_on(stack.create_topic(TOPIC, PARTITIONS, &[]));
    let (cuts, raw_files) = runtime.block_on(make_raw(&lake, scale.history_seconds));
    bring_kafka_to(&runtime, &stack, &cuts);
    // Once from nothing: then the table stands at the cut, and a restart has all to rebuild.
    let from_nothing = timed(|| assert!(aggregate(&stack, &lake_path, true).wait().expect("it ends").success()));
    let first_commit = runtime.block_on(first_commit_of_a_restart(&stack, &lake_path));
    let audit = runtime.block_on(audit(&lake, &cuts));
    json!({
        "clicks": scale.history_seconds * RATE,
        "raw_files": raw_files,
        "seconds_from_nothing": seconds(from_nothing),
        "seconds_to_the_first_commit_of_a_restart": seconds(first_commit),
        "seconds_to_the_first_commit_max": 20,
        "verify": audit,
    })
}

/// Writes the raw table; where each partition stands then, and how many files there are.
async fn make_raw(lake: &Lake, history_seconds: u64) -> (Vec<i64>, usize) {
    let mut logs = TableLog::open_all(lake, &Append.tables()).await.expect("tables");
    let partition = |number: i32| TopicPartition::new(TOPIC, number);
    let mut builders: Vec<_> =
        (0..PARTITIONS).map(|number| BatchBuilder::new(partition(number), 0, TIME_IN_FUTURE_MS)).collect();
    let stands = [Stand::default(), Stand::default()];
    let mut operators: Vec<_> = (0..PARTITIONS).map(|number| Append.begin(&partition(number), &stands).0).collect();
    let mut generator = Generator::new(Settings::default());
    let (mut offsets, mut raw_files) = (vec![0_i64; PARTITIONS as usize], 0);
    for epoch in 0..history_seconds / EPOCH_SECONDS {
        for number in 0..RATE * EPOCH_SECONDS {
            let now_ms = NOON_MS + i64::try_from(epoch * EPOCH_SECONDS * 1_000 + number * 1_000 / RATE).expect("small");
            let message = generator.next_at(now_ms);
            let at = message.key.bytes().fold(0_usize, |sum, byte| sum * 31 + usize::from(byte)) % offsets.len();
            let (offset, log_time) = (offsets[at], LogTime::from_millis(now_ms));
            builders[at].push(&Message { offset, log_time, key: None, payload: Some(&message.payload) });
            offsets[at] += 1;
        }
        for (builder, operator) in builders.iter_mut().zip(&mut operators) {
            operator.push(builder.finish());
        }
        let steps: Vec<_> = operators.iter_mut().flat_map(|operator| operator.freeze(Freeze::Closed)).collect();
        for log in &mut logs {
            let steps: Vec<_> = steps.iter().filter(|step| step.table == log.table()).cloned().collect();
            if steps.is_empty() {
                continue;
            }
            let mut adds = Vec::new();
            for step in &steps {
                for file in files::encode(log.table(), &step.rows).await.expect("files") {
                    file.put(log.object_store().as_ref()).await.expect("a folder");
                    adds.push(file.add);
                }
            }
            raw_files += adds.len();
            let commit = Commit::epoch(Append.name(), &steps, adds);
            assert!(matches!(log.commit(&commit).await, Ok(Outcome::Committed(_))));
            if let Some(checkpoint) = log.take_checkpoint_owed() {
                checkpoint.write().await.expect("a checkpoint");
            }
        }
    }
    (offsets, raw_files)
}

/// Fills Kafka up to these offsets, and lets retention take all of it.
fn bring_kafka_to(runtime: &tokio::runtime::Runtime, stack: &RealStack, cuts: &[i64]) {
    let mut config = stack.client_config();
    config.set("compression.type", "lz4").set("linger.ms", "50").set("enable.idempotence", "true");
    let producer: ThreadedProducer<rdkafka::producer::DefaultProducerContext> = config.create().expect("a producer");
    let mut all = TopicPartitionList::new();
    for (number, cut) in (0..).zip(cuts) {
        for _ in 0..*cut {
            let mut record = BaseRecord::<(), _>::to(TOPIC).partition(number).payload("x");
            while let Err((_, back)) = producer.send(record) {
                record = back;
                std::thread::park_timeout(Duration::from_millis(5));
            }
        }
        all.add_partition_offset(TOPIC, number, Offset::End).expect("an offset");
    }
    producer.flush(Duration::from_secs(60)).expect("kafka takes them");
    runtime.block_on(stack.admin().delete_records(&all, &AdminOptions::new())).expect("kafka answers");
}

fn aggregate(stack: &RealStack, lake: &str, until_caught_up: bool) -> Child {
    let mut arguments = vec!["aggregate", "--topic", TOPIC, "--lake", lake, "--commit-interval", "1s"];
    arguments.extend(until_caught_up.then_some("--until-caught-up"));
    stack.clicklake(&arguments).stderr(Stdio::null()).spawn().expect("it starts")
}

/// The time from the start of a process to the commit of what came after the restart.
async fn first_commit_of_a_restart(stack: &RealStack, lake: &str) -> Duration {
    let mut config = stack.client_config();
    config.set("linger.ms", "5");
    let producer: ThreadedProducer<rdkafka::producer::DefaultProducerContext> = config.create().expect("a producer");
    let click = format!("{{\"ad_id\":\"ad\",\"click_id\":\"after\",\"event_time\":{NOON_MS}}}");
    for number in 0..PARTITIONS {
        let record = BaseRecord::<(), _>::to(TOPIC).partition(number).payload(&click);
        producer.send(record).map_err(|(error, _)| error).expect("a message is queued");
    }
    producer.flush(Duration::from_secs(10)).expect("kafka takes them");
    let lake = (lake, Lake::at(lake).expect("a lake"));
    let mut log = TableLog::open_minutes(&lake.1, &Default::default()).await.expect("the table").0;
    let (before, began) = (log.version(), now());
    let mut job = aggregate(stack, lake.0, false);
    while log.version() == before {
        tokio::time::sleep(Duration::from_millis(20)).await;
        log.refresh().await.expect("a folder");
    }
    let took = began.elapsed();
    job.kill().expect("it runs");
    job.wait().expect("it ends");
    took
}

/// The time of an audit, and of its SQL alone.
async fn audit(lake: &Lake, cuts: &[i64]) -> Value {
    // What came after the restart is not in the raw table: the audit takes the version before.
    let began = now();
    let found = verify(lake, Question::default(), MEMORY).await.expect("an audit");
    let audit = began.elapsed();
    assert!(found.is_equal(), "{found}");
    let began = now();
    let mut clicks = 0;
    for (number, cut) in (0..).zip(cuts) {
        clicks += recount(lake, number, *cut).await;
    }
    let sql = began.elapsed();
    assert_eq!(clicks, found.clicks, "the SQL says the same");
    json!({
        "windows": found.windows,
        "clicks": found.clicks,
        "seconds": seconds(audit),
        "seconds_of_its_sql_alone": seconds(sql),
        "ratio": (audit.as_secs_f64() / sql.as_secs_f64() * 100.0).round() / 100.0,
        "ratio_max": 2,
    })
}

/// The recount of a partition as it stands in the repository, run as anyone would: the clicks it counts.
async fn recount(lake: &Lake, partition: i32, cut: i64) -> i64 {
    let parameters = Parameters::default();
    let filled = [
        ("{dimensions}", parameters.dimension_columns().join(", ")),
        ("{topic}", TOPIC.to_owned()),
        ("{partition}", partition.to_string()),
        ("{first}", "0".to_owned()),
        ("{cut}", cut.to_string()),
        ("{drained}", cut.to_string()),
        ("{emitted}", "to_timestamp_millis(0)".to_owned()),
        ("{out_of_orderness_ms}", parameters.out_of_orderness_ms.to_string()),
        ("{allowed_lateness_ms}", parameters.allowed_lateness_ms.to_string()),
        ("{from}", "to_timestamp_millis(0)".to_owned()),
        ("{to}", "to_timestamp_millis(253402300799999)".to_owned()),
    ];
    let sql =
        concat!(include_str!("../../query/src/verify/recount.sql"), include_str!("../../query/src/verify/sums.sql"));
    let sql = filled.iter().fold(sql.to_owned(), |sql, (name, value)| sql.replace(name, value));
    let rows = query::run(lake, &sql).await.expect("the lake can be read");
    let clicks = |batch: &arrow::array::RecordBatch| {
        let column: Arc<dyn arrow::array::Array> = Arc::clone(batch.column_by_name("clicks").expect("a column"));
        arrow::array::AsArray::as_primitive::<arrow::datatypes::Int64Type>(&column).values().iter().sum::<i64>()
    };
    rows.iter().map(clicks).sum()
}

fn seconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 10.0).round() / 10.0
}

fn timed(work: impl FnOnce()) -> Duration {
    let began = now();
    work();
    began.elapsed()
}

#[expect(clippy::disallowed_methods, reason = "the figures are about real time")]
fn now() -> Instant {
    Instant::now()
}
