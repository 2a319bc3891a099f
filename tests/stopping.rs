//! Law: SIGTERM makes a job commit what was read, and leave within 20 seconds.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use ingest::Until;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::embedded::{SESSION, Stack};

/// Promised bound for leaving.
const STOP_MAX: Duration = Duration::from_secs(20);

const CLICKS: u64 = 5_000;

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::disallowed_methods, reason = "the law is about real time")]
async fn sigterm_commits_what_was_read_and_leaves() {
    let stack = Stack::start();
    let counts = stack.produce(3, CLICKS).await;
    // Nothing is committed by time: what is in the tables afterwards came there by the stop.
    let mut child = Command::new(env!("CARGO_BIN_EXE_clicklake"))
        .args(["ingest", "--commit-interval", "1h", "-v", "--log-format", "json"])
        .args(SESSION.iter().flat_map(|(key, value)| ["-X".to_owned(), format!("{key}={value}")]))
        .args(["--bootstrap-servers", &stack.bootstrap_servers(), "--lake"])
        .arg(stack.lake_path())
        .stderr(Stdio::piped())
        .spawn()
        .expect("clicklake starts");
    wait_until_read(&mut child, CLICKS);
    let told = Instant::now();
    let kill = Command::new("kill").args(["-TERM", &child.id().to_string()]).status().expect("kill runs");
    assert!(kill.success());
    let status = child.wait().expect("it ends");
    assert!(told.elapsed() < STOP_MAX, "it took {:?}", told.elapsed());
    assert!(status.success(), "{status}");
    stack.holds(&[counts]).await;
    let again = stack.ingest(Until::CaughtUp, CancellationToken::new()).await.expect("ingest ends");
    assert_eq!(again.read, 0, "nothing was left to read");
}

/// Reads the child's log until it has read `messages` messages. The rest of the log is discarded.
fn wait_until_read(child: &mut Child, messages: u64) {
    let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines();
    let mut read = 0;
    while read < messages {
        let line = lines.next().expect("the log goes on").expect("a line");
        let line: Value = serde_json::from_str(&line).expect("JSON");
        if line["fields"]["message"] == "read" {
            read += line["fields"]["read"].as_u64().expect("a number");
        }
    }
    std::thread::spawn(move || lines.for_each(drop));
}
