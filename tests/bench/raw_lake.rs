//! A raw table as ingest makes it, written without a broker: by the operator and the commits of ingest, one epoch at a
//! time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use ingest::append::Append;
use ingest::decode::{BatchBuilder, Message};
use lake_schemas::job::{Flush, Job, Operator};
use lake_schemas::minute::Parameters;
use lake_schemas::rejection::COST_MICROS_MAX;
use lake_schemas::table::TIME_IN_FUTURE_MS;
use lake_schemas::{LogTime, Stand, Table, TopicPartition};
use lake_store::commit::{Commit, Outcome, TableLog};
use lake_store::{Lake, files};
use localstack::generate::{Generator, Settings};
use parquet::arrow::ArrowWriter;

use crate::NOON_MS;

/// Clicks a second of event time.
pub const RATE: u64 = 5_000;

/// Shape of the raw table: its topic, its partitions, and how many seconds of clicks an epoch commits.
pub struct RawLake {
    pub topic: &'static str,
    pub partitions: i32,
    pub epoch_seconds: u64,
}

impl RawLake {
    /// Writes the raw table. Returns the end of each partition's offsets, and the number of data files.
    pub async fn make(&self, lake: &Lake, history_seconds: u64) -> (Vec<i64>, usize) {
        let mut logs = TableLog::open_all(lake, &Append.tables()).await.expect("tables");
        let partition = |number: i32| TopicPartition::new(self.topic, number);
        let mut builders: Vec<_> =
            (0..self.partitions).map(|number| BatchBuilder::new(partition(number), 0, TIME_IN_FUTURE_MS)).collect();
        let stands = [Stand::default(), Stand::default()];
        let mut operators: Vec<_> =
            (0..self.partitions).map(|number| Append.begin(&partition(number), &stands).0).collect();
        let mut generator = Generator::new(Settings::default());
        let (mut offsets, mut raw_files) = (vec![0_i64; self.partitions as usize], 0);
        for epoch in 0..history_seconds / self.epoch_seconds {
            for number in 0..RATE * self.epoch_seconds {
                let now_ms =
                    NOON_MS + i64::try_from(epoch * self.epoch_seconds * 1_000 + number * 1_000 / RATE).expect("small");
                let message = generator.next_at(now_ms);
                let at = message.key.bytes().fold(0_usize, |sum, byte| sum * 31 + usize::from(byte)) % offsets.len();
                let (offset, log_time) = (offsets[at], LogTime::from_millis(now_ms));
                builders[at].push(&Message { offset, log_time, key: None, payload: Some(&message.payload) });
                offsets[at] += 1;
            }
            for (builder, operator) in builders.iter_mut().zip(&mut operators) {
                operator.push(builder.finish()).expect("rows of the decoder");
            }
            let steps: Vec<_> = operators.iter_mut().flat_map(|operator| operator.flush(Flush::Closed)).collect();
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
}

/// Writes raw rows as one Parquet file with the settings of the table, and drops its bytes: the least work that any
/// writer of these rows has.
pub fn write_away(rows: impl Iterator<Item = RecordBatch>) {
    let mut rows = rows.peekable();
    let schema = rows.peek().expect("there are rows").schema();
    let properties = Some(files::properties(Table::Clicks));
    let mut writer = ArrowWriter::try_new(std::io::sink(), schema, properties).expect("a writer");
    rows.for_each(|rows| writer.write(&rows).expect("rows are written"));
    writer.close().expect("the file ends");
}

/// Counts the clicks of a partition below its cut by the SQL of `verify`.
pub async fn recount(lake: &Lake, partition: &TopicPartition, cut: i64) -> i64 {
    let parameters = Parameters::default();
    let filled = [
        ("{dimensions}", parameters.dimension_columns().join(", ")),
        ("{topic}", partition.topic.clone()),
        ("{partition}", partition.partition.to_string()),
        ("{since}", "0".to_owned()),
        ("{first}", "0".to_owned()),
        ("{cut}", cut.to_string()),
        ("{drained}", cut.to_string()),
        ("{emitted}", "to_timestamp_millis(0)".to_owned()),
        ("{out_of_orderness_ms}", parameters.out_of_orderness_ms.to_string()),
        ("{allowed_lateness_ms}", parameters.allowed_lateness_ms.to_string()),
        ("{from}", "to_timestamp_millis(0)".to_owned()),
        ("{cost_micros_max}", COST_MICROS_MAX.to_string()),
        ("{to}", "to_timestamp_millis(253402300799999)".to_owned()),
    ];
    let sql =
        concat!(include_str!("../../query/src/verify/recount.sql"), include_str!("../../query/src/verify/sums.sql"));
    let sql = filled.iter().fold(sql.to_owned(), |sql, (name, value)| sql.replace(name, value));
    let rows = query::run(lake, &sql).await.expect("the lake can be read");
    let clicks = |batch: &RecordBatch| {
        let column: Arc<dyn arrow::array::Array> = Arc::clone(batch.column_by_name("clicks").expect("a column"));
        arrow::array::AsArray::as_primitive::<arrow::datatypes::Int64Type>(&column).values().iter().sum::<i64>()
    };
    rows.iter().map(clicks).sum()
}

pub fn seconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 10.0).round() / 10.0
}

pub fn timed(work: impl FnOnce()) -> Duration {
    let began = now();
    work();
    began.elapsed()
}

#[expect(clippy::disallowed_methods, reason = "the figures are about real time")]
pub fn now() -> Instant {
    Instant::now()
}
