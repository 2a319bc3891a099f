//! Cost of a commit at a late version, beside one at version 100 of the same table in the same run.

use std::collections::HashMap;
use std::time::Duration;

use deltalake::kernel::Add;
use lake_schemas::job::Step;
use lake_schemas::{Stand, Table, TopicPartition};
use lake_store::Lake;
use lake_store::commit::{Commit, Outcome, TableLog};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::Scale;
use crate::process::cpu_seconds;

/// Commits that are timed together, around the version that is named.
const SAMPLE: u64 = 100;

/// Measures in a folder, with the log checkpoints that a writer makes.
pub fn measure(scale: Scale) -> Value {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let folder = tempfile::tempdir().expect("a folder");
        let lake = Lake::at(folder.path().to_str().expect("UTF-8")).expect("a lake");
        let mut log = TableLog::open(&lake, Table::Clicks).await.expect("the table opens");
        let [mut early, mut middle, mut late] = <[Sample; 3]>::default();
        for version in 1..=scale.last_version {
            let commit = commit(version);
            let (cpu, began) = (cpu_seconds(), Instant::now());
            let outcome = log.commit(&commit).await.expect("the store works");
            assert_eq!(outcome, Outcome::Committed(version));
            let sample = match version {
                51..=150 => Some(&mut early),
                _ if version > scale.last_version - SAMPLE => Some(&mut late),
                951..=1050 => Some(&mut middle),
                _ => None,
            };
            if let Some(sample) = sample {
                sample.wall += began.elapsed();
                sample.cpu += cpu_seconds() - cpu;
            }
            if let Some(checkpoint) = log.take_checkpoint_owed() {
                checkpoint.write().await.expect("the checkpoint is written");
            }
        }
        json!({
            "version_100_ms": early.wall_ms(),
            "version_1000_ms": middle.wall_ms(),
            format!("version_{}_ms", scale.last_version): late.wall_ms(),
            "ratio": (late.wall_ms() / early.wall_ms() * 100.0).round() / 100.0,
            "ratio_max": 1.5,
            "cpu_ms_early": early.cpu * 1e3 / SAMPLE as f64,
            "cpu_ms_late": late.cpu * 1e3 / SAMPLE as f64,
        })
    })
}

#[derive(Default)]
struct Sample {
    wall: Duration,
    cpu: f64,
}

impl Sample {
    fn wall_ms(&self) -> f64 {
        (self.wall.as_secs_f64() * 1e6 / SAMPLE as f64).round() / 1e3
    }
}

/// Makes an epoch of one partition with one file, which nobody reads.
fn commit(version: u64) -> Commit {
    let next = i64::try_from(version).expect("small");
    let at =
        |next: i64| Stand { cut: (next > 0).then_some(next), read: (next > 0).then_some(next), ..Stand::default() };
    let step = Step {
        table: Table::Clicks,
        partition: TopicPartition::new("clicks", 0),
        rows: Vec::new(),
        from: at(next - 1),
        to: at(next),
    };
    let add = Add {
        path: format!("log_date=2026-03-07/{version}.parquet"),
        partition_values: HashMap::from([("log_date".to_owned(), Some("2026-03-07".to_owned()))]),
        size: 1_000,
        data_change: true,
        stats: Some("{\"numRecords\":10}".to_owned()),
        ..Add::default()
    };
    Commit::epoch("bench", &[step], vec![add])
}
