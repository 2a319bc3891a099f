//! A small world as a function of a seed: a log, members that read it into one lake, and everything that can go wrong.
//!
//! The real loop, the real operators and the real commit protocol run over real Delta tables. The log, the group that
//! assigns partitions, and the store's faults are scripted. Time is paused and jumps to whatever comes next; nothing
//! changes within a millisecond of it, whatever threads read meanwhile.

mod actors;
mod asker;
mod clock;
mod disaster;
mod foreign;
mod history;
mod kept;
mod log;
mod member;
mod seeds;
mod source;
mod statements;
mod store;
mod turns;

pub use actors::{Actor, Around, clean_up_once, cleaned, compact, upgrade_all};
pub use asker::answers;
pub use clock::{Clock, DAY, KEEP};
pub use disaster::{Survivors, survive, survive_beside, survive_in_part, survive_on};
pub use foreign::Engine;
pub use history::{Version, contents, live_files, versions};
pub use kept::what_is_kept_is_whole;
pub use log::{Log, LogMessage, START_MS, named, number_of};
pub use member::{Computation, Member, Outage};
pub use seeds::{for_all_seeds, for_each_seed, for_seeds, share_of_this_run};
pub use source::{Group, ScriptedSource};
pub use statements::{Does, FOREIGN_COLUMN, Statements};
pub use store::{HeldUp, WorldStore};
pub use turns::MOMENT;

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int32Type, Int64Type};
use lake_schemas::Table;
use lake_store::Lake;
use lake_store::commit::TableLog;
use object_store::ObjectStore;
use url::Url;

/// Runs one simulated world on a thread with a time of its own.
pub fn simulate<T>(world: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .expect("a runtime")
        .block_on(world)
}

/// Makes a lake on a store in memory.
pub fn lake_on(store: Arc<dyn ObjectStore>) -> Lake {
    Lake::on(store, Url::parse("memory:///lake").expect("a URL"))
}

/// Row that a raw table has for a position.
#[derive(Debug, PartialEq, Eq)]
enum Row {
    Event,
    Rejected(Option<Vec<u8>>),
}

/// All rows of the raw tables, by the number of their partition and their offset.
type Found = BTreeMap<(i32, i64), Vec<Row>>;

/// Checks that the raw tables are the log at every version: each position once, as what it is, byte for byte, and
/// counted.
pub async fn check_raw_is_the_log(lake: &Lake, log: &Log) -> Result<(), String> {
    raw_is_the_log(lake, log).await?;
    raw_is_conserved(lake, log).await
}

/// Checks that the raw tables are the log at their newest version: each position once, byte for byte.
pub async fn raw_is_the_log(lake: &Lake, log: &Log) -> Result<(), String> {
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
    let clicks = TableLog::open(lake, Table::Clicks).await.map_err(|error| error.to_string())?;
    for (partition, messages) in (0..).zip(&log.partitions) {
        let stand = clicks.stand(&named(partition));
        if stand.read.unwrap_or(0) != messages.len() as i64 {
            return Err(format!("partition {partition}: {} messages, but {stand:?}", messages.len()));
        }
    }
    Ok(())
}

/// Checks at every version of `clicks` that the messages read below each cut are the rows of both raw tables below it.
pub async fn raw_is_conserved(lake: &Lake, log: &Log) -> Result<(), String> {
    // Rejected rows are committed before the cut that covers them; those that are in the newest version were in all.
    let mut rejected = Vec::new();
    for version in versions(lake, Table::ClicksRejected).await {
        rejected.extend(version.rows.iter().flat_map(positions));
        for moved in version.removed.iter().flat_map(positions) {
            let at = rejected.iter().position(|one| *one == moved).expect("what is removed was there");
            rejected.swap_remove(at);
        }
    }
    let clicks = versions(lake, Table::Clicks).await;
    let mut rows = vec![0; log.partitions.len()];
    for (number, version) in clicks.iter().enumerate() {
        for (partition, _) in version.rows.iter().flat_map(positions) {
            rows[partition as usize] += 1;
        }
        for (partition, _) in version.removed.iter().flat_map(positions) {
            rows[partition as usize] -= 1;
        }
        for (partition, rows) in (0..).zip(&rows) {
            let stand = version.stand(&named(partition));
            let is_below = |&&(of, offset): &&(i32, i64)| of == partition && Some(offset) < stand.cut;
            let rejected = rejected.iter().filter(is_below).count() as i64;
            if stand.read.unwrap_or(0) != rows + rejected {
                return Err(format!("version {number}, {partition}: {stand:?}, but {rows} and {rejected} rows"));
            }
        }
    }
    Ok(())
}

/// Returns for each position how many more or fewer rows it has since a version.
pub fn net_positions(version: &Version) -> BTreeMap<(i32, i64), i64> {
    let mut net = BTreeMap::new();
    for (batches, rows) in [(&version.rows, 1), (&version.removed, -1)] {
        batches.iter().flat_map(positions).for_each(|position| *net.entry(position).or_default() += rows);
    }
    net.retain(|_, rows| *rows != 0);
    net
}

/// Checks that rows are the events of the log, each once.
pub fn are_events(rows: &BTreeMap<(i32, i64), i64>, log: &Log) -> Result<(), String> {
    let events = (0..).zip(&log.partitions).flat_map(|(partition, messages)| {
        let events = messages.iter().filter(|message| !message.is_rejected());
        events.map(move |message| ((partition, message.offset), 1))
    });
    let events: BTreeMap<_, _> = events.collect();
    let differing = rows.iter().find(|(position, count)| events.get(*position) != Some(*count));
    let lacking = events.keys().find(|position| !rows.contains_key(*position));
    match (differing, lacking) {
        (None, None) => Ok(()),
        (differing, lacking) => Err(format!("rows are there as {differing:?}, and lack {lacking:?}")),
    }
}

async fn events(lake: &Lake, found: &mut Found) {
    for batch in select(lake, "select topic, kafka_partition, kafka_offset from clicks").await {
        for position in positions(&batch) {
            found.entry(position).or_default().push(Row::Event);
        }
    }
}

async fn rejected(lake: &Lake, found: &mut Found) {
    for batch in select(lake, "select topic, kafka_partition, kafka_offset, payload from clicks_rejected").await {
        let payloads = cast(&batch["payload"], &DataType::Binary).expect("bytes are bytes");
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

/// Returns the positions of rows of a raw table: the number of their partition, and their offset.
pub fn positions(batch: &RecordBatch) -> Vec<(i32, i64)> {
    let topics = cast(&batch["topic"], &DataType::Utf8).expect("text is text");
    let partitions = batch["kafka_partition"].as_primitive::<Int32Type>();
    let offsets = batch["kafka_offset"].as_primitive::<Int64Type>();
    let numbers = topics.as_string::<i32>().iter().zip(partitions.values());
    let numbers = numbers.map(|(topic, partition)| number_of(topic.expect("a topic"), *partition));
    numbers.zip(offsets.values().iter().copied()).collect()
}
