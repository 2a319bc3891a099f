//! Law: the tables open in Delta readers that are not ours, which find the same rows.
//!
//! The readers are Python packages of a fixed version; `tests/run` installs them before it runs the tests.

use std::path::PathBuf;
use std::process::Command;

use ingest::Until;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::embedded::Stack;

/// Script that runs the readers; its argument is a lake.
pub const SCRIPT: &str = "tests/readers/count.py";

/// Returns the Python that has the readers: `CLICKLAKE_READERS`, or where `tests/run` puts it.
pub fn python() -> PathBuf {
    let folder = std::env::var_os("CLICKLAKE_READERS").map(PathBuf::from).unwrap_or_else(|| {
        let home = std::env::var_os("HOME").expect("there is a home");
        PathBuf::from(home).join(".cache/clicklake/readers")
    });
    let python = folder.join("bin/python");
    assert!(python.exists(), "{} is missing; run the tests with tests/run, which makes it", python.display());
    python
}

/// Returns what the readers find, by reader and table.
pub fn figures(command: &mut Command) -> Value {
    let output = command.output().expect("python runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let found: Value = serde_json::from_slice(&output.stdout).expect("figures");
    assert_eq!(found.as_object().map(|readers| readers.len()), Some(3), "{found}");
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_that_are_not_ours_find_the_same_rows() {
    let stack = Stack::start();
    let counts = stack.produce(5, 10_000).await;
    stack.ingest(Until::CaughtUp, CancellationToken::new()).await.expect("ingest ends");
    let more = stack.produce(6, 10_000).await;
    stack.ingest(Until::CaughtUp, CancellationToken::new()).await.expect("ingest ends");

    let found = figures(Command::new(python()).arg(SCRIPT).arg(stack.lake_path()));

    let malformed = counts.malformed + more.malformed;
    let events = counts.total() + more.total() - malformed;
    let readers = found.as_object().expect("readers by name");
    for (reader, tables) in readers {
        assert_eq!(tables["clicks"]["rows"], events, "{reader}");
        assert_eq!(tables["clicks_rejected"]["rows"], malformed, "{reader}");
        assert_eq!(tables["clicks"], readers["duckdb"]["clicks"], "{reader}");
        assert_eq!(tables["clicks_rejected"], readers["duckdb"]["clicks_rejected"], "{reader}");
    }
}
