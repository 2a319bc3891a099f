//! Law: the page shows in a real browser what is in the lake, on a desktop and on a phone, updates itself, and contacts
//! nobody else; filters that are set in it give the numbers of the API. Its looks are for people to judge.

use std::process::Command;

use serde_json::{Value, json};
use url::form_urlencoded;

use super::groups;
use super::keys::{EVERYTHING, SPRING};
use super::server::{Server, encoded};
use crate::readers::python;
use crate::start_up::{clicklake, folder};

/// Script that opens a page in Chromium.
const SCRIPT: &str = "tests/serve/page.py";

/// Script that uses the page's controls, with the keyboard alone.
const FILTERS: &str = "tests/serve/filters.py";

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
        let top = server.get("/v1/top?last=1h&n=5", None).await.json();
        (total["rows"][0]["clicks"].as_i64().expect("a number"), top)
    });
    let top = top["rows"].as_array().expect("rows").iter();
    let top: Vec<_> = top.map(|row| row["ad_id"].as_str().expect("a name").to_owned()).collect();
    assert!(total > 0 && top.len() == 5, "{total} clicks, and on top {top:?}");
    let total = total.to_string();
    let words: Vec<_> = std::iter::once(total.as_str()).chain(top.iter().map(String::as_str)).collect();
    is_well(&seen(&server, &folder, "?ad=ad-0&last=1h", &words));
}

/// Returns the numbers in what the page shows, in which a comma stands at thousands.
fn number(shown: &Value) -> Option<i64> {
    shown.as_str()?.replace(',', "").parse().ok()
}

/// Returns the clicks of each row of an answer.
fn clicks(answer: &Value) -> Vec<i64> {
    let rows = answer["rows"].as_array().unwrap_or_else(|| panic!("no rows: {answer}"));
    rows.iter().map(|row| row["clicks"].as_i64().expect("a number")).collect()
}

/// Checks what the page shows against what the API says to the parameters in the page's address.
async fn is_as_the_api_says(server: &Server, key: &str, seen: &Value) {
    let address = seen["address"].as_str().expect("an address").trim_start_matches('?');
    let pairs: Vec<_> = form_urlencoded::parse(address.as_bytes()).into_owned().collect();
    let of = |name: &str| pairs.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str());
    let target = |route: &str, without: &[&str], more: &str| {
        let mut target = format!("/v1/{route}?{more}");
        for (name, value) in pairs.iter().filter(|(name, _)| !without.contains(&name.as_str())) {
            target += &format!("&{name}={}", encoded(value));
        }
        target
    };
    let get = async |target: String| server.get(&target, Some(key)).await.json();

    let total = get(target("total", &["group_by", "granularity"], "")).await;
    assert_eq!(number(&seen["clicks"]), clicks(&total).first().copied(), "{seen}");

    let by = of("group_by").unwrap_or("ad_id");
    let top = get(target("top", &["group_by", "granularity", by], &format!("by={by}"))).await;
    let name = |row: &Value| match row[by].as_str() {
        None => "null".to_owned(),
        Some("") => "\"\"".to_owned(),
        Some(name) => name.to_owned(),
    };
    let rows = top["rows"].as_array().expect("rows").iter();
    let top: Vec<_> = rows.map(|row| (name(row), row["clicks"].as_i64())).collect();
    let shown = seen["top"].as_array().expect("rows").iter();
    let shown: Vec<_> = shown.map(|row| (row[0].as_str().expect("a name").to_owned(), number(&row[1]))).collect();
    assert_eq!(shown, top, "{seen}");

    let series = clicks(&get(target("series", &["group_by"], "")).await);
    let bars = seen["bars"].as_array().expect("bars").iter().map(|bar| {
        let (_, count) = bar.as_str().and_then(|bar| bar.split_once("UTC: ")).expect("a window and its count");
        number(&json!(count.split(' ').next()))
    });
    assert_eq!(bars.collect::<Option<Vec<_>>>(), Some(series), "{seen}");
}

#[test]
fn filters_of_the_page_give_the_numbers_of_the_api_and_a_link_shows_the_same() {
    let (runtime, (_folder, server)) = (tokio::runtime::Runtime::new().expect("a runtime"), groups::server());
    let page = format!("http://{}/?from=2026-03-07T12:00:00Z&to=2026-03-07T13:00:00Z", server.address);
    let actions = json!([
        ["filter", "country", "DE,AT"],
        ["filter", "country", ""],
        ["filter", "ad_id", "say \"d\""],
        ["follow", "Take out the filter country = null"],
        ["pick", "group", "country"],
        ["pick", "granularity", "hour"],
        ["other"],
        ["back"],
        ["share"],
    ]);
    for key in [EVERYTHING, SPRING] {
        let mut command = Command::new(python());
        command.args([FILTERS, &page, key, &actions.to_string()]);
        let output = command.output().expect("python runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let found: Value = serde_json::from_slice(&output.stdout).expect("what is seen");
        assert_eq!((&found["errors"], &found["nameless"]), (&json!([]), &json!([])), "{found}");
        let seen = found["seen"].as_array().expect("what is seen");
        assert_eq!(seen.len(), 10, "{found}");
        for seen in seen {
            runtime.block_on(is_as_the_api_says(&server, key, seen));
            assert_eq!(seen["is_too_wide"], false, "{seen}");
        }
        let address = |at: usize| seen[at]["address"].as_str().expect("an address");
        assert!(address(1).contains("country=%22DE%2CAT%22&"), "a value with a comma is one: {}", address(1));
        let filters = ["country = DE,AT", "or country = null", "ad = say \"d\""];
        assert_eq!(seen[3]["filters"], json!(filters), "{found}");
        assert_eq!(seen[4]["filters"], json!([filters[0], filters[2]]), "{found}");
        assert!(address(6).ends_with("&group_by=country&granularity=hour"), "{}", address(6));
        assert_ne!(address(7), address(6));
        for same in ["address", "title", "clicks", "filters", "top", "bars"] {
            assert_eq!(seen[8][same], seen[6][same], "the way back: {found}");
            assert_eq!(seen[9][same], seen[8][same], "the link: {found}");
        }
    }
}

/// Returns what is seen of a page of a server, at first and after each action.
fn used(server: &Server, query: &str, actions: &Value) -> Value {
    let page = format!("http://{}/?{query}", server.address);
    let mut command = Command::new(python());
    command.args([FILTERS, &page, EVERYTHING, &actions.to_string()]);
    let output = command.output().expect("python runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let found: Value = serde_json::from_slice(&output.stdout).expect("what is seen");
    found["seen"].clone()
}

#[test]
fn what_cannot_be_asked_is_said_and_can_be_taken_out() {
    let (_folder, server) = groups::server();
    let cases = [
        ("device=tv", "device = tv", ["does not count by device", "country"]),
        ("ad=", "ad = \"\"", ["ad is empty", "give its name"]),
    ];
    for (query, filter, words) in cases {
        let actions = json!([["refused"], ["follow", format!("Take out the filter {filter}")]]);
        let seen = used(&server, &format!("{query}&from=2026-03-07"), &actions);
        let said = seen[0]["status"].as_str().expect("a text");
        assert!(words.into_iter().all(|word| said.contains(word)), "{seen}");
        assert_eq!(seen[1]["status"], "", "{seen}");
    }
}

#[test]
fn a_page_that_was_opened_before_a_promotion_comes_to_know_what_the_lake_counts_by() {
    let (_folder, server) = groups::server();
    let actions = json!([["before", "country"], ["filter", "country", "DE,AT"]]);
    let seen = used(&server, "from=2026-03-07", &actions);
    assert_eq!(seen[1]["filters"], json!(["country = DE,AT"]), "{seen}");
}

#[test]
fn a_page_that_sees_a_new_version_in_each_round_asks_only_once_what_the_lake_counts_by() {
    let (_folder, server) = groups::server();
    let seen = used(&server, "from=2026-03-07", &json!([["versions", 4]]));
    assert_eq!(seen[0]["learned"], 1, "{seen}");
}
