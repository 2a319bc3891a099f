//! More than a day of commits, beside a compactor: measures whether the cost of opening and committing, memory, and the
//! number of files stay as they were at the beginning.
//!
//! A commit stands for five seconds; a round of compaction comes every twelfth commit, and old versions expire every
//! 720th. Versions of the last tenth of the run are kept.

use std::collections::HashMap;
use std::time::Duration;

use compactor::{Compactor, Keep, Plan};
use futures::TryStreamExt;
use lake_schemas::job::Step;
use lake_schemas::{Stand, Table, TopicPartition};
use lake_store::commit::{Commit, Outcome, TableLog};
use lake_store::{Lake, files};
use object_store::ObjectStore;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::Scale;
use crate::compact::rows;
use crate::process::memory_mb;

/// Memory of the compactor, in bytes.
const MEMORY: usize = 1 << 30;

/// Number of ads that have clicks in each minute.
const ADS: usize = 50;

/// Number of commits between two rounds of compaction.
const COMMITS_A_ROUND: u64 = 12;

/// Number of commits between two clean-ups.
const COMMITS_A_CLEAN_UP: u64 = 720;

/// Number of samples in the whole run.
const SAMPLES: u64 = 20;

/// Runs the commits over a lake in a temporary folder, and returns the samples.
pub fn measure(scale: Scale) -> Value {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let folder = tempfile::tempdir().expect("a folder");
        let lake = Lake::at(folder.path().to_str().expect("UTF-8")).expect("a lake");
        let mut log = TableLog::open(&lake, Table::ClicksMinute).await.expect("the table opens");
        let mut compactor = Compactor::new(lake.clone(), MEMORY);
        let (mut curve, mut commits, mut rounds) = (Vec::new(), Duration::ZERO, Duration::ZERO);
        let began = Instant::now();
        for number in 1..=scale.upkeep_commits {
            let time = Instant::now();
            commit(&mut log, number).await;
            commits += time.elapsed();
            if number % COMMITS_A_ROUND == 0 {
                let time = Instant::now();
                let keep = Keep { now: now(), keep: began.elapsed() / 10, orphans: false };
                let plan = Plan { keep: (number % COMMITS_A_CLEAN_UP == 0).then_some(keep), ..Plan::default() };
                compactor.round(&plan, &mut |_| ()).await.expect("a folder");
                rounds += time.elapsed();
            }
            let every = scale.upkeep_commits / SAMPLES;
            if number % every == 0 {
                let ms = |time: Duration, times: u64| (time.as_secs_f64() * 1e5 / times as f64).round() / 100.0;
                let mut sample = sample(&lake).await;
                sample.insert("commits".to_owned(), json!(number));
                sample.insert("commit_ms".to_owned(), json!(ms(commits, every)));
                sample.insert("round_ms".to_owned(), json!(ms(rounds, every / COMMITS_A_ROUND)));
                curve.push(Value::Object(sample));
                (commits, rounds) = (Duration::ZERO, Duration::ZERO);
            }
        }
        json!({ "minutes": began.elapsed().as_secs_f64() / 60.0, "curve": curve })
    })
}

/// Commits an epoch of one partition, of five seconds: rows of the current minute, and of the hour before for late
/// clicks.
async fn commit(log: &mut TableLog, number: u64) {
    let number = i64::try_from(number).expect("small");
    let minute = number / 12;
    let mut batches = vec![rows(minute, ADS)];
    if number % 100 == 0 {
        batches.push(rows((minute - 60).max(0), 1));
    }
    let mut adds = Vec::new();
    for file in files::encode(Table::ClicksMinute, &batches).await.expect("files") {
        file.put(log.object_store().as_ref()).await.expect("a folder");
        adds.push(file.add);
    }
    let at = |number: i64| {
        let value = (number > 0).then_some(number);
        let watermark_ms = value.map(|number| crate::NOON_MS + number * 5_000);
        Stand { cut: value, watermark_ms, drained: value, restore: value, ..Stand::default() }
    };
    let step = Step {
        table: Table::ClicksMinute,
        partition: TopicPartition::new("clicks", 0),
        rows: Vec::new(),
        from: at(number - 1),
        to: at(number),
    };
    let outcome = log.commit(&Commit::epoch("aggregate", &[step], adds)).await.expect("a folder");
    assert!(matches!(outcome, Outcome::Committed(_)), "{outcome:?}");
    if let Some(checkpoint) = log.take_checkpoint_owed() {
        checkpoint.write().await.expect("a checkpoint");
    }
}

/// Samples how long it takes to open the table, and what lies in its folder.
async fn sample(lake: &Lake) -> serde_json::Map<String, Value> {
    let began = Instant::now();
    let mut log = TableLog::open(lake, Table::ClicksMinute).await.expect("the table opens");
    let open_ms = began.elapsed().as_secs_f64() * 1e3;
    let live = log.live_files().await.expect("a folder").len();
    let all: Vec<_> = log.object_store().list(None).try_collect().await.expect("a folder");
    let (log_files, data_files): (Vec<_>, Vec<_>) =
        all.into_iter().partition(|file| file.location.as_ref().contains("_delta_log"));
    let figures = HashMap::from([
        ("version", json!(log.version())),
        ("open_ms", json!((open_ms * 10.0).round() / 10.0)),
        ("live_files", json!(live)),
        ("data_files", json!(data_files.len())),
        ("log_files", json!(log_files.len())),
        ("log_mb", json!(log_files.iter().map(|file| file.size).sum::<u64>() as f64 / 1e6)),
        ("rss_mb", json!(memory_mb())),
    ]);
    figures.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

#[expect(clippy::disallowed_methods, reason = "versions have the time at which they are committed")]
fn now() -> chrono::DateTime<chrono::Utc> {
    chrono::Utc::now()
}
