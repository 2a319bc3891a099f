//! A small world: a log, members that read it into one lake, and all that can go wrong, as a function of a seed.
//!
//! What runs is the real loop, the real operators and the real commit protocol over real Delta tables. Scripted are the
//! log, the group that hands out partitions, the store's faults, and time, which is paused and jumps to what is next.

mod actors;
mod asker;
mod disaster;
mod history;
mod log;
mod member;
mod seeds;
mod source;

pub use actors::{Actor, compact};
pub use asker::answers;
pub use disaster::{survive, survive_beside};
pub use history::{Version, contents, versions};
pub use log::{Log, LogMessage, START_MS, TOPIC};
pub use member::{Computation, Member, Outage};
pub use seeds::{for_all_seeds, for_seeds};
pub use source::{Group, ScriptedSource};

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int32Type, Int64Type};
use lake_schemas::commit::TableLog;
use lake_schemas::{Lake, Table, TopicPartition};
use object_store::ObjectStore;
use url::Url;

/// Runs one simulated world on a thread of its own time.
pub fn simulate<T>(world: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .expect("a runtime")
        .block_on(world)
}

/// A lake on a store in memory.
pub fn lake_on(store: Arc<dyn ObjectStore>) -> Lake {
    Lake::on(store, Url::parse("memory:///lake").expect("a URL"))
}

/// What a table says of a position.
#[derive(Debug, PartialEq, Eq)]
enum Row {
    Event,
    Rejected(Option<Vec<u8>>),
}

/// All rows of the raw tables, by position.
type Found = BTreeMap<(i32, i64), Vec<Row>>;

/// Whether the raw tables are the log: each position once, as what it is, byte for byte, and counted.
pub async fn check_raw_is_the_log(lake: &Lake, log: &Log) -> Result<(), String> {
    let mut found = Found::new();
    events(lake, &mut found).await;
    rejected(lake, &mut found).await;
    for (partition, messages) in (0..).zip(&log.partitions) {
        for message in messages {
            let expected = if message.is_rejected() { Row::Rejected(message.payload.clone()) } else { Row::Event };
            match found.remove(&(partition, message.offset)).as_deref() {
                Some([one]) if *one == expected => {}
                other => return Err(format!("{partition}@{}: {expected:?} is there as {other:?}", message.offset)),
            }
        }
    }
    if let Some((position, _)) = found.first_key_value() {
        return Err(format!("{position:?} is in the tables and not in the log"));
    }
    raw_is_conserved(lake, log).await?;
    let clicks = TableLog::open(lake, Table::Clicks).await.map_err(|error| error.to_string())?;
    for (partition, messages) in (0..).zip(&log.partitions) {
        let stand = clicks.stand(&TopicPartition::new(TOPIC, partition));
        if stand.read.unwrap_or(0) != messages.len() as i64 {
            return Err(format!("partition {partition}: {} messages, but {stand:?}", messages.len()));
        }
    }
    Ok(())
}

/// Whether, at every version of `clicks`, the messages read below each cut are the rows of both raw tables below it.
pub async fn raw_is_conserved(lake: &Lake, log: &Log) -> Result<(), String> {
    // Rejected rows are committed before the cut that covers them; those that are in the newest version were in all.
    let mut rejected = Vec::new();
    for version in versions(lake, Table::ClicksRejected).await {
        rejected.extend(version.rows.iter().flat_map(positions_by_name));
        for moved in version.removed.iter().flat_map(positions_by_name) {
            let at = rejected.iter().position(|one| *one == moved).expect("what is removed was there");
            rejected.swap_remove(at);
        }
    }
    let clicks = versions(lake, Table::Clicks).await;
    let mut rows = vec![0; log.partitions.len()];
    for (number, version) in clicks.iter().enumerate() {
        for (partition, _) in version.rows.iter().flat_map(positions_by_name) {
            rows[partition as usize] += 1;
        }
        for (partition, _) in version.removed.iter().flat_map(positions_by_name) {
            rows[partition as usize] -= 1;
        }
        for (partition, rows) in (0..).zip(&rows) {
            let stand = version.stand(&TopicPartition::new(TOPIC, partition));
            let is_below = |&&(of, offset): &&(i32, i64)| of == partition && Some(offset) < stand.cut;
            let rejected = rejected.iter().filter(is_below).count() as i64;
            if stand.read.unwrap_or(0) != rows + rejected {
                return Err(format!("version {number}, {partition}: {stand:?}, but {rows} and {rejected} rows"));
            }
        }
    }
    Ok(())
}

fn positions_by_name(batch: &RecordBatch) -> Vec<(i32, i64)> {
    let partitions = batch["kafka_partition"].as_primitive::<Int32Type>();
    let offsets = batch["kafka_offset"].as_primitive::<Int64Type>();
    partitions.values().iter().copied().zip(offsets.values().iter().copied()).collect()
}

async fn events(lake: &Lake, found: &mut Found) {
    for batch in select(lake, "select kafka_partition, kafka_offset from clicks").await {
        for position in positions(&batch) {
            found.entry(position).or_default().push(Row::Event);
        }
    }
}

async fn rejected(lake: &Lake, found: &mut Found) {
    for batch in select(lake, "select kafka_partition, kafka_offset, payload from clicks_rejected").await {
        let payloads = cast(batch.column(2), &DataType::Binary).expect("bytes are bytes");
        let payloads = payloads.as_binary::<i32>();
        for (row, position) in positions(&batch).into_iter().enumerate() {
            let payload = payloads.is_valid(row).then(|| payloads.value(row).to_vec());
            found.entry(position).or_default().push(Row::Rejected(payload));
        }
    }
}

async fn select(lake: &Lake, sql: &str) -> Vec<RecordBatch> {
    query::run(lake, sql).await.expect("the lake can be read")
}

fn positions(batch: &RecordBatch) -> Vec<(i32, i64)> {
    let partitions = batch.column(0).as_primitive::<Int32Type>();
    let offsets = batch.column(1).as_primitive::<Int64Type>();
    partitions.values().iter().copied().zip(offsets.values().iter().copied()).collect()
}
