//! Law: many clients ask while clicks come in, are counted, rolled up and merged: nobody gets an error, numbers only
//! grow, and memory stays bounded.

use std::process::Command;
use std::time::Duration;

use futures::future::join_all;
use reqwest::Client;
use serde_json::Value;
use tokio::time::{Instant, interval, sleep};

use super::server::{Running, Server};
use crate::start_up::folder;

/// Seconds of the load, unless `CLICKLAKE_SECONDS` says otherwise.
const SECONDS: u64 = 10;

/// Number of clients, unless `CLICKLAKE_CLIENTS` says otherwise.
const CLIENTS: u64 = 50;

/// Pause of a client between an answer and the next question.
const THINKS: Duration = Duration::from_millis(100);

/// How soon there are first minutes to ask for.
const FIRST_MAX: Duration = Duration::from_secs(60);

/// How much more memory may be held at the end than after some time of asking, in kB: less than a minute of such
/// questions would leave behind if each left its answer.
const GROWTH_KB_MAX: u64 = 100_000;

/// Questions that are asked in turn.
const TARGETS: [&str; 8] = [
    "/v1/total?campaign=campaign-0",
    "/v1/total?ad=ad-0&last=1h",
    "/v1/series?ad=ad-1&last=15m",
    "/v1/series?campaign=campaign-1&last=3h&granularity=hour",
    "/v1/top?last=5m",
    "/v1/top?last=1h&by=campaign&n=5",
    "/v1/total?ad=ad-2&as_of=1",
    "/plot.svg?ad=ad-0&last=1h&width=600",
];

/// Reads a number from the environment.
pub(super) fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |value| value.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

/// Asks in turn until the time is over. Returns how many answers came.
async fn asks(client: &Client, server: &Server, number: usize, until: Instant) -> usize {
    let (mut answers, mut version, mut clicks, mut before) = (0, 0, 0, Value::Null);
    while Instant::now() < until {
        let target = TARGETS[(number + answers) % TARGETS.len()];
        let answer = client.get(format!("http://{}{target}", server.address)).send().await;
        let answer = answer.unwrap_or_else(|error| panic!("{target}: {error}:\n{}", server.said()));
        let (status, body) = (answer.status(), answer.text().await.unwrap_or_else(|error| panic!("{target}: {error}")));
        assert_eq!(status, 200, "{target}: {body}");
        answers += 1;
        if target.starts_with("/v1/") {
            let body: Value = serde_json::from_str(&body).unwrap_or_else(|error| panic!("{target}: {error}: {body}"));
            let found = body["version"].as_u64().expect("a version");
            if !target.contains("as_of") {
                assert!(found >= version, "{target}: version {found} after {version}");
                version = found;
            }
            if target == TARGETS[0] {
                let found = body["rows"][0]["clicks"].as_i64().expect("a number");
                assert!(found >= clicks, "{target}: {body} after {before}");
                (clicks, before) = (found, body);
            }
        }
        sleep(THINKS).await;
    }
    answers
}

/// Returns the memory of the server, second by second.
async fn memory(server: &Server, until: Instant) -> Vec<u64> {
    let (mut held, mut ticks) = (Vec::new(), interval(Duration::from_secs(1)));
    while Instant::now() < until {
        ticks.tick().await;
        held.push(server.memory_kb("VmRSS"));
    }
    held
}

#[test]
fn many_ask_while_everything_runs() {
    let (seconds, clients) = (setting("CLICKLAKE_SECONDS", SECONDS), setting("CLICKLAKE_CLIENTS", CLIENTS));
    let (_folder, path) = folder();
    let mut up = Command::new(env!("CARGO_BIN_EXE_clicklake"));
    up.args(["up", "--lake", &path, "--rate", "2000"]);
    let (mut up, _) = Running::start(up, |line| line.starts_with("lake ").then(String::new));
    let mut server = Server::begin(&path, &[]);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let (answers, held) = runtime.block_on(async {
        let began = Instant::now();
        // Wait until the version that the questions name exists.
        while server.get(TARGETS[6], None).await.status != 200 {
            assert!(began.elapsed() < FIRST_MAX, "nothing is there after {FIRST_MAX:?}:\n{}", server.said());
            sleep(Duration::from_millis(100)).await;
        }
        let (client, until) = (Client::new(), Instant::now() + Duration::from_secs(seconds));
        let ask = (0..clients as usize).map(|number| asks(&client, &server, number, until));
        tokio::join!(join_all(ask), memory(&server, until))
    });
    assert!(server.is_running() && up.is_running(), "it has ended:\n{}\n{}", server.said(), up.said());
    assert!(answers.iter().all(|answers| *answers >= 2), "somebody is not answered: {answers:?}");
    let (warm, end) = (held[held.len() / 3], held[held.len() - 1]);
    assert!(end < warm + GROWTH_KB_MAX, "{end} kB are held, after {warm}: {held:?}");
}
