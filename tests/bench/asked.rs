//! How long people wait on the command line for an answer about a lake that nobody has opened yet: the number of rows
//! in a table of many versions, and the top of the last minutes.

use std::process::{Command, Stdio};

use ingest::decode::{BatchBuilder, Message};
use lake_schemas::job::Step;
use lake_schemas::table::TIME_IN_FUTURE_MS;
use lake_schemas::{EventTime, LogTime, Stand, Table, TopicPartition};
use lake_store::commit::{Commit, Outcome, TableLog};
use lake_store::{Lake, files};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::process::cpu_seconds_of_children;
use crate::totals::Made;
use crate::{NOON_MS, Scale};

/// Number of rows that each version adds to the raw table.
const ROWS: i64 = 20;

/// Number of versions after the last log checkpoint: half of those between two checkpoints.
const BESIDE_A_CHECKPOINT: u64 = 50;

/// How often each question is asked.
const QUESTIONS: usize = 9;

/// Length, in days, of the lake whose last minutes are asked for.
const DAYS: i64 = 40;

/// Makes the two lakes, asks each its question, and returns the times.
pub fn measure(scale: Scale) -> Value {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let (clicks, minutes) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let lake_in = |folder: &tempfile::TempDir| Lake::at(folder.path().to_str().expect("UTF-8")).expect("a lake");
    let versions = scale.last_version + BESIDE_A_CHECKPOINT;
    // Half of the ads of this lake have clicks in five minutes.
    let made = Made::of(2 * scale.ads, DAYS);
    let last = runtime.block_on(async {
        write_clicks(&lake_in(&clicks), versions).await;
        made.make(&lake_in(&minutes)).await;
        made.ends_ms()
    });
    let time = |millis: i64| EventTime::from_millis(millis).expect("a time").to_string();
    let (from, to) = (time(last - 5 * 60_000), time(last));
    let count = ["sql", "-c", "select count(*) from clicks", "--format", "csv"];
    let (count, said) = ask(&clicks, &count);
    assert_eq!(said, format!("count(*)\n{}\n", versions.cast_signed() * ROWS));
    let (top, said) = ask(&minutes, &["top", "--from", &from, "--to", &to, "--format", "csv"]);
    assert_eq!(said.lines().count(), 11, "{said}");
    json!({
        "versions": versions,
        "count_median_ms": count.0,
        "count_median_ms_max": 1_000,
        "count_cpu_ms": count.1,
        "ads": scale.ads,
        "top_median_ms": top.0,
        "top_median_ms_max": 100,
        "top_cpu_ms": top.1,
    })
}

/// Runs the program [`QUESTIONS`] times with these arguments. Returns its median time and its mean CPU time, in
/// milliseconds, and its output.
fn ask(folder: &tempfile::TempDir, arguments: &[&str]) -> ((f64, f64), String) {
    let (mut times, mut said, cpu) = (Vec::new(), String::new(), cpu_seconds_of_children());
    for _ in 0..QUESTIONS {
        let began = Instant::now();
        let mut command = Command::new(env!("CARGO_BIN_EXE_clicklake"));
        command.args(arguments).arg("--lake").arg(folder.path()).stderr(Stdio::null());
        let output = command.output().expect("the program runs");
        assert!(output.status.success(), "{arguments:?}");
        times.push(began.elapsed().as_secs_f64() * 1e3);
        said = String::from_utf8(output.stdout).expect("UTF-8");
    }
    times.sort_by(f64::total_cmp);
    let cpu_ms = (cpu_seconds_of_children() - cpu) * 1e3 / QUESTIONS as f64;
    ((times[QUESTIONS / 2].round(), cpu_ms.round()), said)
}

/// Writes a raw table of `versions` versions, each with a file of its own, as it is before any file compaction.
async fn write_clicks(lake: &Lake, versions: u64) {
    let mut log = TableLog::open(lake, Table::Clicks).await.expect("the table opens");
    let partition = TopicPartition::new("clicks", 0);
    for _ in 0..versions {
        let from = log.stand(&partition);
        let first = from.cut.unwrap_or(0);
        let mut batch = BatchBuilder::new(partition.clone(), first, TIME_IN_FUTURE_MS);
        for offset in first..first + ROWS {
            let payload =
                format!("{{\"ad_id\":\"ad-{}\",\"event_time\":{NOON_MS},\"event_id\":\"{offset}\"}}", offset % 100);
            let log_time = LogTime::from_millis(NOON_MS);
            batch.push(&Message { offset, log_time, key: None, payload: Some(payload.as_bytes()) });
        }
        let next = Some(first + ROWS);
        let to = Stand { cut: next, read: next, ..Stand::default() };
        let rows = vec![batch.finish().events];
        let step = Step { table: Table::Clicks, partition: partition.clone(), rows, from, to };
        let mut adds = Vec::new();
        for file in files::encode(Table::Clicks, &step.rows).await.expect("files") {
            file.put(log.object_store().as_ref()).await.expect("a folder");
            adds.push(file.add);
        }
        let outcome = log.commit(&Commit::epoch("bench", &[step], adds)).await.expect("a folder");
        assert!(matches!(outcome, Outcome::Committed(_)), "{outcome:?}");
        if let Some(checkpoint) = log.take_checkpoint_owed() {
            checkpoint.write().await.expect("the checkpoint is written");
        }
    }
}
