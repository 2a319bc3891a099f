//! Law: the server speaks HTTP as programs and browsers expect it, and no answer tells a key anything about campaigns
//! that are not its own.

use std::path::Path;
use std::time::Duration;

use lake_schemas::Table;
use lake_store::Lake;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::server::{Answer, Running, Server};
use crate::by_hand::{self, Row};
use crate::simulation::simulate;
use crate::start_up::folder;

/// Ads, with the campaign and the clicks of each.
const ADS: [(&str, &str, i64); 5] =
    [("a", "spring", 50), ("b", "spring", 40), ("c", "autumn", 30), ("=d,\"x\"", "autumn", 20), ("none", "autumn", 0)];

/// SHA-256 of `spring-key` and of `everything-key`.
const SPRING: &str = "1be082a4fc22e386dbac58d743e0254e93a2fced7476e934f7bbde2165358661";
const EVERYTHING: &str = "2c1f2f6b5fdd407c69bd78a042df97180397abbc0f255b2f1bd987b39fcec3bb";

/// Longest time until a change of the keys takes effect: the server checks their file each second.
const REVOKED_MAX: Duration = Duration::from_secs(15);

/// Writes a lake with one minute of clicks on [`ADS`].
fn write(path: &str) {
    simulate(async {
        let lake = Lake::at(path).expect("a lake");
        let mut log = by_hand::minutes(&lake, Table::ClicksMinute, &Default::default()).await;
        let mut rows = ADS.map(|(ad, campaign, clicks)| {
            let (ad, campaign) = (ad.to_owned(), Some(campaign.to_owned()));
            Row { ad, campaign, clicks, cost_micros: clicks << 52, ..Row::default() }
        });
        rows.sort_by(|one, next| one.ad.cmp(&next.ad));
        let stand = lake_schemas::Stand { cut: Some(77_123), ..Default::default() };
        by_hand::append(&mut log, &rows, &[(0, stand)].into()).await;
    });
}

/// Starts a server on a lake with [`ADS`], and runs the checks of a law against it.
fn serving(more: &[&str], law: impl AsyncFnOnce(&Server)) {
    let (_folder, path) = folder();
    write(&path);
    let server = Server::start(&path, more);
    tokio::runtime::Runtime::new().expect("a runtime").block_on(law(&server));
}

async fn asked(server: &Server, method: &str, target: &str, headers: &str) -> Answer {
    let host = &server.address;
    let head = format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{headers}\r\n");
    server.send(head.as_bytes()).await
}

/// Returns a name and the clicks of each row of an answer: the name is in the field `named`.
fn clicks(answer: &Answer, named: &str) -> Value {
    let rows = answer.json()["rows"].as_array().expect("rows").clone();
    rows.iter().map(|row| json!([row[named], row["clicks"]])).collect()
}

#[test]
fn a_request_names_its_host_once() {
    serving(&[], async |server| {
        let host = format!("Host: {}\r\n", server.address);
        for target in ["/v1/total?ad=a", "/", "/healthz", "/nowhere"] {
            let ask = async |version: &str, hosts: &str| {
                let head = format!("GET {target} HTTP/{version}\r\n{hosts}Connection: close\r\n\r\n");
                server.send(head.as_bytes()).await.status
            };
            let one = ask("1.1", &host).await;
            assert!(matches!(one, 200 | 404), "{target}");
            assert_eq!(ask("1.0", "").await, one, "{target}");
            assert_eq!(ask("1.1", "").await, 400, "{target}");
            assert_eq!(ask("1.1", &host.repeat(2)).await, 400, "{target}");
            assert_eq!(ask("1.0", &host.repeat(2)).await, 400, "{target}");
        }
    });
}

#[test]
fn an_answer_that_a_client_has_is_304_without_a_body() {
    serving(&[], async |server| {
        for target in ["/v1/total?ad=a", "/v1/top", "/v1/series?ad=a&granularity=day", "/v1/total?ad=a&as_of=1"] {
            let first = server.get(target, None).await;
            first.json();
            let tag = first.header("etag").unwrap_or_else(|| panic!("{target}: {first:?}")).to_owned();
            assert_eq!(first.header("cache-control"), Some("private, no-cache"), "{target}");
            let again = server.get_with(target, &format!("If-None-Match: {tag}\r\n")).await;
            assert_eq!((again.status, again.body.as_str()), (304, ""), "{target}");
            assert_eq!(again.header("etag"), Some(tag.as_str()));
            let other = server.get_with("/v1/total?ad=b", &format!("If-None-Match: {tag}\r\n")).await;
            assert_eq!(other.status, 200, "another answer has another tag");
        }
    });
}

#[test]
fn answers_are_of_all_ads_of_several_or_a_page_at_a_time() {
    serving(&[], async |server| {
        let get = async |target: &str| server.get(target, None).await;
        let all = get("/v1/total").await.json();
        assert_eq!(all["rows"][0]["clicks"], 140, "{all}");
        assert!(get("/v1/series?granularity=day").await.json()["rows"][0]["clicks"] == 140);
        let several = get("/v1/total?ad=c&ad=nobody&ad=a").await;
        assert_eq!(clicks(&several, "ad_id"), json!([["c", 30], ["nobody", 0], ["a", 50]]));
        let several = get("/v1/total?campaign=spring&campaign=autumn").await;
        assert_eq!(clicks(&several, "campaign_id"), json!([["spring", 90], ["autumn", 50]]));
        assert_eq!(clicks(&get("/v1/top?campaign=autumn").await, "ad_id"), json!([["c", 30], ["=d,\"x\"", 20]]));
        assert_eq!(clicks(&get("/v1/top?by=campaign&ad=a").await, "campaign_id"), json!([["spring", 50]]));
        assert_eq!(clicks(&get("/v1/top?n=2&offset=1").await, "ad_id"), json!([["b", 40], ["c", 30]]));
        assert_eq!(clicks(&get("/v1/top?n=2&offset=4").await, "ad_id"), json!([]), "who has no click is not on top");
        assert_eq!(get("/v1/total?ad=a&_=1699&utm_source=mail").await.status, 200);
    });
}

#[test]
fn numbers_that_javascript_would_round_are_text() {
    serving(&[], async |server| {
        let row = server.get("/v1/total?ad=b", None).await.json()["rows"][0].clone();
        assert_eq!((&row["clicks"], &row["cost_micros"]), (&json!(40), &json!((40_i64 << 52).to_string())));
    });
}

#[test]
fn an_answer_is_csv_if_the_client_accepts_csv() {
    serving(&[], async |server| {
        let answer = server.get_with("/v1/top?n=5", "Accept: text/csv\r\n").await;
        assert!(answer.header("content-type").is_some_and(|kind| kind.starts_with("text/csv")), "{answer:?}");
        assert_eq!(answer.header("clicklake-version"), Some("1"));
        assert_eq!(answer.header("clicklake-final"), Some("false"));
        let lines: Vec<_> = answer.body.split("\r\n").collect();
        assert_eq!(lines[0], "ad_id,clicks,cost_micros,duplicates,late,filtered");
        assert_eq!(lines[4], format!("\"=d,\"\"x\"\"\",20,{},0,0,0", 20_i64 << 52));
        let total = server.get_with("/v1/total", "Accept: text/csv\r\n").await;
        assert!(total.body.starts_with("clicks,cost_micros,duplicates,late,filtered\r\n140,"), "{total:?}");
    });
}

#[test]
fn pages_of_named_origins_may_ask() {
    serving(&["--cors-origin", "https://a.example,http://localhost:3000"], async |server| {
        let preflight = "Access-Control-Request-Method: GET\r\nAccess-Control-Request-Headers: authorization\r\n";
        for origin in ["https://a.example", "http://localhost:3000"] {
            let headers = format!("Origin: {origin}\r\n");
            let may = asked(server, "OPTIONS", "/v1/top", &format!("{headers}{preflight}")).await;
            assert_eq!(may.status, 204, "{may:?}");
            assert!(may.header("access-control-allow-headers").is_some_and(|names| names.contains("authorization")));
            assert_eq!(may.header("access-control-allow-origin"), Some(origin));
            assert_eq!(may.header("access-control-allow-credentials"), None);
            let answer = asked(server, "GET", "/v1/top", &headers).await;
            answer.json();
            assert_eq!(answer.header("access-control-allow-origin"), Some(origin));
        }
        for origin in ["https://b.example", "https://a.example.evil", "null"] {
            let headers = format!("Origin: {origin}\r\n");
            assert_eq!(asked(server, "OPTIONS", "/v1/top", &format!("{headers}{preflight}")).await.status, 405);
            assert_eq!(asked(server, "GET", "/v1/top", &headers).await.header("access-control-allow-origin"), None);
        }
    });
}

#[test]
fn a_key_learns_nothing_of_others_and_nobody_where_the_lake_is() {
    let (folder, path) = folder();
    let keys = folder.path().join("keys");
    std::fs::write(&keys, format!("{SPRING} spring\n{EVERYTHING} *\n")).expect("a disk");
    let keys = keys.to_str().expect("UTF-8");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let server = Server::begin(&path, &["--keys", keys]);
    runtime.block_on(async {
        // There is no table yet: that is a fault of the server, not of the request.
        for (target, key) in [("/readyz", None), ("/v1/top", Some("spring-key"))] {
            let answer = server.get(target, key).await;
            let why = answer.problem(503);
            assert!(!answer.body.contains(&path) && !answer.body.contains("file:"), "{target}: {why}");
            assert_eq!(answer.header("retry-after"), Some("1"));
        }
    });
    drop(server);
    write(&path);
    let server = Server::start(&path, &["--keys", keys]);
    runtime.block_on(async {
        let [own, all] = ["spring-key", "everything-key"].map(|key| server.get("/v1/total?campaign=spring", Some(key)));
        let (own, all) = (own.await, all.await);
        assert_eq!(own.json()["rows"], all.json()["rows"]);
        assert_eq!(all.json()["cut"], json!({ "clicks": { "0": 77_123 } }));
        assert!(own.json()["cut"].is_string() && !own.body.contains("77123"), "{}", own.body);
        for as_of in ["99", "2000-01-01"] {
            let answer = server.get(&format!("/v1/total?campaign=spring&as_of={as_of}"), Some("spring-key")).await;
            let why = answer.problem(400);
            assert!(!why.contains(&path) && !why.contains("clicks_minute"), "{why}");
        }
        let wrong = server.get("/v1/top", Some("nobodys-key")).await;
        wrong.problem(401);
        assert_eq!(wrong.header("www-authenticate"), Some("Bearer error=\"invalid_token\""));
    });
}

#[test]
fn a_key_that_is_taken_out_of_the_file_opens_nothing_any_more() {
    let (folder, path) = folder();
    write(&path);
    let keys = folder.path().join("keys");
    std::fs::write(&keys, format!("{SPRING} spring\n{EVERYTHING} *\n")).expect("a disk");
    let server = Server::start(&path, &["--keys", keys.to_str().expect("UTF-8")]);
    let becomes = async |key: &str, status: u16| {
        let began = Instant::now();
        while server.get("/v1/top", Some(key)).await.status != status {
            assert!(began.elapsed() < REVOKED_MAX, "it is never {status}:\n{}", server.said());
            sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::runtime::Runtime::new().expect("a runtime").block_on(async {
        becomes("spring-key", 200).await;
        std::fs::write(&keys, format!("{EVERYTHING} *\n")).expect("a disk");
        becomes("spring-key", 401).await;
        // A malformed file changes nothing, and is logged.
        std::fs::write(&keys, "nonsense\n").expect("a disk");
        let began = Instant::now();
        while !server.said().contains("the keys stay as they were") {
            assert!(began.elapsed() < REVOKED_MAX, "{}", server.said());
            sleep(Duration::from_millis(50)).await;
        }
        becomes("everything-key", 200).await;
        std::fs::write(&keys, format!("{SPRING} spring\n")).expect("a disk");
        becomes("spring-key", 200).await;
        becomes("everything-key", 401).await;
    });
}

#[test]
fn metrics_have_an_address_of_their_own() {
    let (_folder, path) = folder();
    write(&path);
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_clicklake"));
    command.args(["serve", "--listen", "127.0.0.1:0", "--metrics", "127.0.0.1:0", "--lake", &path]);
    let (running, address) = Running::start(command, |line| {
        let (_, after) = line.split_once("metrics address=")?;
        after.split_whitespace().next().map(str::to_owned)
    });
    assert!(Path::new(&path).exists());
    tokio::runtime::Runtime::new().expect("a runtime").block_on(async {
        let question = format!("GET /metrics HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        let answer = Answer::of(&super::server::exchange(&address, question.as_bytes()).await).expect("an answer");
        assert!(answer.status == 200 && answer.body.contains("clicklake_in_flight"), "{answer:?}\n{}", running.said());
    });
}
