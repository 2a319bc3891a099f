//! Who else writes to a lake: backfills in place, and rewriters of files, as compaction will be one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow::compute::{concat_batches, sort_to_indices, take_record_batch};
use arrow::record_batch::RecordBatch;
use chrono::DateTime;
use compactor::{CompactError, Compactor, Plan};
use deltalake::kernel::Add;
use ingest::backfill::{Promote, Range, Replace, Replaced, Shadow, What, Work, Writes};
use lake_schemas::commit::{Commit, Outcome, TableLog, TableView};
use lake_schemas::minute::{Dimension, Requested};
use lake_schemas::{EventTime, Lake, RawFile, Table, Windows, files, read};
use rand::seq::IteratorRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use stream_agg::job::Aggregate;
use tokio_util::sync::CancellationToken;

use super::asker::{Read, ask};
use super::foreign::Engine;
use super::log::START_MS;

const MINUTE_MS: i64 = 60_000;

/// What a compactor may take.
const MEMORY: usize = 1 << 28;

/// What an actor does, again and again.
#[derive(Clone, Copy, Debug)]
pub enum Actor {
    /// Computes windows of `clicks_minute` again, whether that is needed or not.
    Backfill,
    /// Puts one file of a table in the place of several.
    Rewrite(Table),
    /// Does rounds of compaction, history left alone.
    Compact,
    /// Computes all of history into a table of its own, and promotes it; or takes that back.
    Promote,
    /// Asks for totals.
    Ask,
    /// Is another engine.
    Foreign(Table),
}

impl Actor {
    /// Acts until it is dropped. Whatever fails, it tries something else. What it finds is compared with another view
    /// of the lake, which has no faults.
    pub async fn act(self, lake: &Lake, clean: &Lake, seed: u64) {
        let (mut rng, mut read) = (ChaCha8Rng::seed_from_u64(seed ^ 0xac7), Read::new());
        let mut engine = match self {
            Self::Foreign(table) => Some(Engine::of(lake, table)),
            _ => None,
        };
        loop {
            tokio::time::sleep(Duration::from_millis(rng.random_range(100..4_000))).await;
            let _ = match self {
                Self::Backfill => backfill(lake, &mut rng).await.map(|_| ()),
                Self::Compact => compact(lake, rng.random_range(1..5)).await.map_err(|error| error.to_string()),
                Self::Promote => promote(lake, &mut rng).await,
                Self::Ask => ask(lake, clean, &mut read, &mut rng).await,
                Self::Foreign(_) => engine.as_mut().expect("it is one").act(&mut rng).await,
                Self::Rewrite(table) => rewrite(lake, table, &mut rng).await.map_err(|error| error.to_string()),
            };
        }
    }
}

/// A part of history: all of it, some minutes, or what some versions added.
async fn range(lake: &Lake, rng: &mut ChaCha8Rng) -> Option<Range> {
    let minute = |number: i64| EventTime::from_millis(START_MS - START_MS.rem_euclid(MINUTE_MS) + number * MINUTE_MS);
    Some(match rng.random_range(0..4) {
        0 => Range::All,
        1 => {
            let newest = TableView::newest(lake, Table::Clicks).await.ok()??.version();
            let first = rng.random_range(0..=newest);
            Range::Versions(Some(first), Some(rng.random_range(first..=newest)))
        }
        _ => {
            let from = rng.random_range(-30..5);
            let (from, to) = (minute(from), minute(from + rng.random_range(1..30)));
            Range::Windows(Windows::between(from, to).ok()?)
        }
    })
}

async fn backfill(lake: &Lake, rng: &mut ChaCha8Rng) -> Result<Replaced, String> {
    let range = range(lake, rng).await.ok_or("no range")?;
    let (at_a_time, meter, stop) = (rng.random_range(1..4), Arc::default(), CancellationToken::new());
    let work = Work { lake, range, at_a_time, meter, stop };
    let wait = Duration::from_millis(rng.random_range(0..5_000));
    let replace = Replace { work, writes: Writes::Always, wait };
    replace.run(Aggregate::over).await.map_err(|error| error.to_string())
}

/// Some rounds of one compactor.
pub async fn compact(lake: &Lake, rounds: usize) -> Result<(), CompactError> {
    let mut compactor = Compactor::new(lake.clone(), MEMORY);
    for _ in 0..rounds {
        compactor.round(&Plan::default(), &mut |_| ()).await?;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    Ok(())
}

async fn promote(lake: &Lake, rng: &mut ChaCha8Rng) -> Result<(), String> {
    let stop = CancellationToken::new();
    let now = DateTime::from_timestamp_millis(START_MS).expect("a time");
    let what = if rng.random_ratio(1, 3) {
        What::Before
    } else {
        let table = Table::Shadow(format!("shadow_{}", rng.random::<u32>()).parse().expect("a name"));
        let dimensions = rng.random_ratio(1, 3).then(|| Dimension::ALL[..rng.random_range(0..=3)].to_vec());
        let allowed_lateness_ms = rng.random_ratio(1, 3).then(|| rng.random_range(0..60) * 1_000);
        let requested = Requested { dimensions, allowed_lateness_ms, ..Requested::default() };
        let work = Work { lake, range: Range::All, at_a_time: 2, meter: Arc::default(), stop: stop.clone() };
        let shadow = Shadow { work, table, requested };
        shadow.run(Aggregate::over).await.map_err(|error| error.to_string())?;
        What::Shadow(table)
    };
    let promote = Promote { lake, what, now, stop };
    promote.run().await.map(|_| ()).map_err(|error| error.to_string())
}

async fn rewrite(lake: &Lake, table: Table, rng: &mut ChaCha8Rng) -> lake_schemas::Result<()> {
    let Some(mut log) = TableLog::find(lake, table).await? else { return Ok(()) };
    let mut groups: BTreeMap<_, Vec<Add>> = BTreeMap::new();
    for file in log.live_files().await? {
        let values: BTreeMap<_, _> = file.partition_values.clone().into_iter().collect();
        let of = if table.is_minutes() { String::new() } else { partition_of(&file) };
        groups.entry((values, of)).or_default().push(file);
    }
    let Some((_, mut group)) = groups.into_iter().filter(|(_, group)| group.len() > 1).choose(rng) else {
        return Ok(());
    };
    // Of the raw table, neighbours in the log; else, any order that does not hang on names, which nobody foresees.
    group.sort_by_key(|file| (RawFile::of(file).map_or(0, |file| file.offsets.first), file.stats.clone()));
    let count = rng.random_range(2..=group.len().min(5));
    let first = rng.random_range(0..=group.len() - count);
    let inputs: Vec<_> = group.drain(first..first + count).collect();
    let schema = log.schema();
    let mut rows = Vec::new();
    for input in inputs.iter().cloned() {
        rows.extend(read::all_rows(log.object_store(), table, schema.clone(), input).await?);
    }
    let rows = concat_batches(&schema, &rows).expect("the same columns");
    let rows = if table.is_minutes() { rows } else { in_order(&rows) };
    let mut adds = Vec::new();
    for file in files::encode(table, &[rows]).await? {
        file.put(log.object_store().as_ref()).await?;
        adds.push(file.add);
    }
    let commit = Commit { adds, removes: inputs, data_change: false, ..Commit::new("rewrite") };
    let outcome = log.commit(&commit).await?;
    assert!(matches!(outcome, Outcome::Committed(_) | Outcome::InputGone { .. }), "{outcome:?}");
    Ok(())
}

/// A raw file's Kafka partition, by its statistics.
fn partition_of(file: &Add) -> String {
    let statistics: serde_json::Value =
        file.stats.as_deref().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    statistics["minValues"]["kafka_partition"].to_string()
}

fn in_order(rows: &RecordBatch) -> RecordBatch {
    let order = sort_to_indices(&rows["kafka_offset"], None, None).expect("numbers");
    take_record_batch(rows, &order).expect("rows")
}
