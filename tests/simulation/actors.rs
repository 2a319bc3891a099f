//! Who else writes to a lake: backfills in place, and rewriters of files, as compaction will be one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow::compute::{concat_batches, sort_to_indices, take_record_batch};
use arrow::record_batch::RecordBatch;
use deltalake::kernel::Add;
use ingest::backfill::{Range, Replace, Replaced, Work, Writes};
use lake_schemas::commit::{Commit, CommitId, Outcome, TableLog, TableView};
use lake_schemas::{Cut, EventTime, Lake, RawFile, Table, Windows, files};
use object_store::ObjectStoreExt;
use object_store::path::Path;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use rand::seq::IteratorRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use stream_agg::job::Aggregate;
use tokio_util::sync::CancellationToken;

use super::log::START_MS;

const MINUTE_MS: i64 = 60_000;

/// What an actor does, again and again.
#[derive(Clone, Copy, Debug)]
pub enum Actor {
    /// Computes windows of `clicks_minute` again, whether that is needed or not.
    Backfill,
    /// Puts one file of a table in the place of several.
    Rewrite(Table),
}

impl Actor {
    /// Acts until it is dropped. Whatever fails, it tries something else.
    pub async fn act(self, lake: &Lake, seed: u64) {
        let mut rng = ChaCha8Rng::seed_from_u64(seed ^ 0xac7);
        loop {
            tokio::time::sleep(Duration::from_millis(rng.random_range(100..4_000))).await;
            let _ = match self {
                Self::Backfill => backfill(lake, &mut rng).await.map(|_| ()),
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
    // Of the raw table, neighbours in the log.
    group.sort_by_key(|file| RawFile::of(file).map_or(0, |file| file.offsets.first));
    let count = rng.random_range(2..=group.len().min(5));
    let first = rng.random_range(0..=group.len() - count);
    let inputs: Vec<_> = group.drain(first..first + count).collect();
    let mut rows = Vec::new();
    for input in &inputs {
        rows.extend(read(&log, input).await?);
    }
    let rows = concat_batches(&rows[0].schema(), &rows).expect("the same columns");
    let rows = if table.is_minutes() { rows } else { in_order(&rows) };
    let mut adds = Vec::new();
    for file in files::encode(table, &[complete(table, &rows, &inputs[0])]).await? {
        file.put(log.object_store().as_ref()).await?;
        adds.push(file.add);
    }
    let commit = Commit {
        id: CommitId::unique(),
        job: "rewrite",
        moves: Vec::new(),
        adds,
        removes: inputs,
        data_change: false,
        onto: None,
        cut: Cut::new(),
    };
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

async fn read(log: &TableLog, file: &Add) -> lake_schemas::Result<Vec<RecordBatch>> {
    let what = |error: object_store::Error| lake_schemas::LakeError::store("reading", error);
    let found = log.object_store().get(&Path::from_url_path(&file.path).expect("a path")).await.map_err(what)?;
    let bytes = found.bytes().await.map_err(what)?;
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes).expect("Parquet").build().expect("a reader");
    Ok(reader.map(|batch| batch.expect("rows")).collect())
}

fn in_order(rows: &RecordBatch) -> RecordBatch {
    let order = sort_to_indices(&rows["kafka_offset"], None, None).expect("numbers");
    take_record_batch(rows, &order).expect("rows")
}

/// Rows with the columns that their table is partitioned by.
fn complete(table: Table, rows: &RecordBatch, file: &Add) -> RecordBatch {
    let mut columns: Vec<_> =
        rows.schema().fields().iter().map(|field| field.name().clone()).zip(rows.columns().to_vec()).collect();
    for name in table.partition_columns() {
        let value = file.partition_values[*name].clone().expect("a value");
        let text = arrow::array::StringArray::from(vec![value; rows.num_rows()]);
        let kind = if *name == "hour" { arrow::datatypes::DataType::Int32 } else { arrow::datatypes::DataType::Date32 };
        columns.push(((*name).to_owned(), arrow::compute::cast(&text, &kind).expect("a value of its type")));
    }
    RecordBatch::try_from_iter(columns).expect("columns")
}
