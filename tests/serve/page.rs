//! Law: the page shows in a real browser what is in the lake, on a desktop and on a phone, updates itself, and contacts
//! nobody else. Its looks are for people to judge.

use std::process::Command;

use serde_json::Value;

use super::server::Server;
use crate::readers::python;
use crate::start_up::{clicklake, folder};

/// Script that opens a page in Chromium.
const SCRIPT: &str = "tests/serve/page.py";

/// Fewest different lines of pixels in a picture: with fewer, there is little on it.
const LINES_MIN: u64 = 100;

/// Makes a lake with clicks of the last seconds.
pub(super) fn lake() -> (tempfile::TempDir, String) {
    let (folder, path) = folder();
    let output = clicklake(&["up", "--lake", &path, "--rate", "2000", "--for", "4s"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    (folder, path)
}

/// Returns what the browser shows of a page, by view; the page must contain these words.
fn seen(server: &Server, folder: &tempfile::TempDir, query: &str, words: &[&str]) -> Value {
    let mut command = Command::new(python());
    command.args([SCRIPT, &format!("http://{}/{query}", server.address)]).arg(folder.path()).args(words);
    let output = command.output().expect("python runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("what is seen")
}

fn is_well(seen: &Value) {
    for (view, seen) in seen.as_object().expect("views") {
        assert_eq!(seen["errors"], Value::Array(Vec::new()), "{view}");
        assert_eq!(seen["foreign"], Value::Array(Vec::new()), "{view} asks somebody else");
        assert_eq!(seen["missing"], Value::Array(Vec::new()), "{view} shows: {}", seen["text"]);
        assert_eq!(seen["is_too_wide"], false, "{view} must be moved sideways");
        assert!(seen["plots"].as_u64() >= Some(1), "{view} has no plot: {}", seen["text"]);
        assert!(seen["updates"].as_u64() >= Some(1), "{view} does not update itself");
        assert!(seen["lines"].as_u64() >= Some(LINES_MIN), "{view} is blank");
    }
    assert_ne!(seen["desk"]["background"], seen["phone"]["background"], "the one is light, the other dark");
}

#[test]
fn the_page_shows_the_total_the_minutes_and_who_is_on_top() {
    let (folder, path) = lake();
    let server = Server::start(&path, &[]);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let (total, top) = runtime.block_on(async {
        let total = server.get("/v1/total?ad=ad-0&last=1h", None).await.json();
        let top = server.get("/v1/top?last=5m&n=5", None).await.json();
        (total["rows"][0]["clicks"].as_i64().expect("a number"), top)
    });
    let top = top["rows"].as_array().expect("rows").iter();
    let top: Vec<_> = top.map(|row| row["ad_id"].as_str().expect("a name").to_owned()).collect();
    assert!(total > 0 && top.len() == 5, "{total} clicks, and on top {top:?}");
    let total = total.to_string();
    let words: Vec<_> = std::iter::once(total.as_str()).chain(top.iter().map(String::as_str)).collect();
    is_well(&seen(&server, &folder, "?ad=ad-0&last=1h", &words));
}
