//! Cost of the compactor: of file compaction, beside a plain rewrite of the same files; and of rolling up an hour of
//! many ads.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, Date32Array, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray, new_null_array,
};
use arrow::compute::cast;
use bytes::Bytes;
use compactor::{Compactor, Done, Plan};
use lake_schemas::Table;
use lake_schemas::minute::{Pane, Parameters};
use lake_store::commit::{Commit, Outcome, TableLog};
use lake_store::{Lake, files};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::{Value, json};

use crate::process::cpu_seconds;
use crate::raw_lake::{RATE, RawLake, write_away};
use crate::{NOON_MS, Scale};

/// Memory of the compactor, in bytes.
const MEMORY: usize = 4 << 30;

/// Number of ads that have clicks in an hour.
const ADS: usize = 100_000;

/// Number of minutes in the hour; each ad has clicks in each.
const MINUTES: i64 = 60;

const MINUTE_MS: i64 = 60_000;

/// Measures file compaction and a roll-up, each over a lake in a temporary folder.
pub fn measure(scale: Scale) -> Value {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async { json!({ "files": merge(scale).await, "hour": roll_up(scale).await }) })
}

/// Measures the merging of raw files that hold five seconds each.
async fn merge(scale: Scale) -> Value {
    let folder = tempfile::tempdir().expect("a folder");
    let lake = Lake::at(folder.path().to_str().expect("UTF-8")).expect("a lake");
    let (_, raw_files) =
        RawLake { topic: "clicks", partitions: 1, epoch_seconds: 5 }.make(&lake, scale.clicks / RATE).await;
    let floor = rewrite(&lake, folder.path()).await;
    let (mut rewritten, mut written, mut rounds) = (0, 0, 0);
    let (cpu, mut compactor) = (cpu_seconds(), Compactor::new(lake.clone(), MEMORY));
    loop {
        let mut merged = Vec::new();
        let mut tell = |done| {
            if let Done::Merged { bytes, .. } = done {
                merged.push(bytes);
            }
        };
        compactor.round(&Plan::default(), &mut tell).await.expect("a folder");
        if merged.is_empty() {
            break;
        }
        rounds += 1;
        rewritten += merged.iter().map(|(input, _)| input).sum::<u64>();
        written += merged.iter().map(|(_, output)| output).sum::<u64>();
    }
    let cpu = cpu_seconds() - cpu;
    let mut log = TableLog::open(&lake, Table::Clicks).await.expect("the table");
    let left = log.live_files().await.expect("a folder").len();
    json!({
        "files_before": raw_files,
        "files_after": left,
        "rounds": rounds,
        "mb": (rewritten as f64 / 1e5).round() / 10.0,
        "mb_after": (written as f64 / 1e5).round() / 10.0,
        "cpu_seconds": (cpu * 100.0).round() / 100.0,
        "floor_cpu_seconds": (floor * 100.0).round() / 100.0,
        "mb_a_core_second": (rewritten as f64 / 1e5 / cpu).round() / 10.0,
        "mb_a_core_second_min": 45,
    })
}

/// Returns the CPU seconds of reading the live raw files and encoding their rows as one file, with the same settings,
/// whose bytes are dropped: the floor for any compaction.
async fn rewrite(lake: &Lake, folder: &Path) -> f64 {
    let mut log = TableLog::open(lake, Table::Clicks).await.expect("the table");
    let paths = log.live_files().await.expect("a folder").into_iter().map(|file| folder.join("clicks").join(file.path));
    let files: Vec<Bytes> = paths.map(|path| std::fs::read(path).expect("a file").into()).collect();
    let began = cpu_seconds();
    write_away(files.into_iter().flat_map(|file| {
        let reader = ParquetRecordBatchReaderBuilder::try_new(file).expect("a file of parquet");
        reader.with_batch_size(8_192).build().expect("a reader").map(|rows| rows.expect("rows"))
    }));
    cpu_seconds() - began
}

/// Measures rolling up an hour in which each ad has clicks in each minute, and again after one more minute.
async fn roll_up(scale: Scale) -> Value {
    let ads = if scale.clicks < 1_000_000 { ADS / 10 } else { ADS };
    let folder = tempfile::tempdir().expect("a folder");
    let lake = Lake::at(folder.path().to_str().expect("UTF-8")).expect("a lake");
    for minute in 0..MINUTES {
        append(&lake, &rows(minute, ads)).await;
    }
    let mut compactor = Compactor::new(lake.clone(), MEMORY);
    compactor.round(&Plan::default(), &mut |_| ()).await.expect("a folder");
    append(&lake, &rows(0, 1)).await;
    let (cpu, mut took) = (cpu_seconds(), Vec::new());
    let mut tell = |done| {
        if let Done::RolledUp { table, windows, took: time, .. } = done {
            took.push((table.to_string(), windows, (time.as_secs_f64() * 1e3).round()));
        }
    };
    compactor.round(&Plan::default(), &mut tell).await.expect("a folder");
    json!({
        "ads": ads,
        "rows": MINUTES * ads as i64,
        "rolled_up_windows_ms": took,
        "hour_ms": took.iter().map(|(_, _, millis)| *millis).next(),
        "hour_ms_max": 1_000,
        "cpu_seconds": ((cpu_seconds() - cpu) * 100.0).round() / 100.0,
    })
}

/// Makes one row of `clicks_minute` for each of `ads` ads, all of the same minute.
pub fn rows(minute: i64, ads: usize) -> RecordBatch {
    let schema = Parameters::default().schema(Table::ClicksMinute);
    let start_ms = NOON_MS + minute * MINUTE_MS;
    let (days, hour) = (start_ms.div_euclid(86_400_000), start_ms.rem_euclid(86_400_000) / 3_600_000);
    let repeated = |text: &str| -> ArrayRef { Arc::new(StringArray::from(vec![text; ads])) };
    let time = |ms: i64| -> ArrayRef { Arc::new(TimestampMicrosecondArray::from(vec![ms * 1_000; ads])) };
    let columns = schema.fields().iter().map(|field| {
        let values: ArrayRef = match field.name().as_str() {
            "window_start" => time(start_ms),
            "window_end" => time(start_ms + MINUTE_MS),
            "ad_id" => Arc::new(StringArray::from_iter_values((0..ads).map(|ad| format!("ad-{ad}")))),
            "campaign_id" => Arc::new(StringArray::from_iter_values((0..ads).map(|ad| format!("c-{}", ad / 100)))),
            "topic" => repeated("clicks"),
            "pane" => repeated(Pane::OnTime.as_str()),
            "date" => Arc::new(Date32Array::from_value(i32::try_from(days).expect("a date"), ads)),
            "hour" => Arc::new(Int32Array::from_value(i32::try_from(hour).expect("an hour"), ads)),
            "kafka_partition" => Arc::new(Int32Array::from_value(0, ads)),
            "clicks" | "offset_next" => Arc::new(Int64Array::from_value(minute + 1, ads)),
            "offset_first" => Arc::new(Int64Array::from_value(minute, ads)),
            _ if field.is_nullable() => new_null_array(field.data_type(), ads),
            _ => Arc::new(Int64Array::from_value(0, ads)),
        };
        cast(&values, field.data_type()).expect("values of its type")
    });
    RecordBatch::try_new(Arc::clone(&schema), columns.collect()).expect("rows")
}

/// Appends rows to `clicks_minute` in a commit of their own.
async fn append(lake: &Lake, rows: &RecordBatch) {
    let mut log = TableLog::open(lake, Table::ClicksMinute).await.expect("the table");
    let mut adds = Vec::new();
    for file in files::encode(Table::ClicksMinute, std::slice::from_ref(rows)).await.expect("files") {
        file.put(log.object_store().as_ref()).await.expect("a folder");
        adds.push(file.add);
    }
    let commit = Commit { adds, ..Commit::new("bench") };
    assert!(matches!(log.commit(&commit).await, Ok(Outcome::Committed(_))));
}
