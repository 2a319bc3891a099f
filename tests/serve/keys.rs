//! Law: no key sees another's campaign, whatever is asked and however it is written; and rows that a key may not see
//! look as if they did not exist.
//!
//! Counts of other campaigns are so large that no sum over visible rows comes near them.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use lake_schemas::minute::Parameters;
use lake_schemas::{Stand, Table};
use lake_store::Lake;
use serde_json::Value;

use super::server::{Answer, Server, encoded};
use super::tricks::{NAMES, QUERIES, TARGETS};
use crate::by_hand::{Row, append, minutes};
use crate::simulation::simulate;
use crate::start_up::folder;

/// A key that sees `spring`, one that sees everything, and the file with the SHA-256 of each.
pub const SPRING: &str = "spring-key";
pub const EVERYTHING: &str = "everything-key";
pub const KEYS: &str = "\
# Of the tests.
1be082a4fc22e386dbac58d743e0254e93a2fced7476e934f7bbde2165358661 spring
2c1f2f6b5fdd407c69bd78a042df97180397abbc0f255b2f1bd987b39fcec3bb *
";

/// Bound between counts: all of `spring` are far below it, and all others are above it.
const FOREIGN: i64 = 7_700_000;

/// Counts of `spring`: of its own ad, and of ads that also run elsewhere.
const OWN: [(&str, i64); 3] = [("own", 300), ("shared", 10), ("moved", 7)];

/// Routes that need a key, with the parameters that they require.
const ROUTES: [&str; 4] = [
    "/v1/total?",
    "/v1/series?granularity=day&",
    "/v1/series?granularity=minute&from=2026-03-07&to=2026-03-08&",
    "/plot.svg?width=400&from=2026-03-07&to=2026-03-08&",
];

/// Versions that the lake has, and none for the newest.
const AS_OF: [&str; 5] = ["", "&as_of=0", "&as_of=1", "&as_of=2", "&as_of=3"];

fn row(minute: i64, ad: &str, campaign: Option<&str>, clicks: i64) -> Row {
    let (ad, campaign) = (ad.to_owned(), campaign.map(str::to_owned));
    Row { minute, ad, campaign, clicks, cost_micros: clicks, ..Row::default() }
}

/// Writes a lake in which everyone has clicks: campaigns of all names, ads of all names, ads that run in several
/// campaigns, and in none.
async fn write(lake: &Lake) {
    let mut log = minutes(lake, Table::ClicksMinute, &Parameters::default()).await;
    let stand = |cut| BTreeMap::from([(0, Stand { cut: Some(cut), ..Stand::default() })]);
    let mut foreign = FOREIGN..;
    let mut other = |ad: &str, campaign| row(0, ad, campaign, foreign.next().expect("there is no end"));
    let mut rows: Vec<_> = NAMES.iter().map(|name| other("theirs", Some(*name))).collect();
    rows.extend(NAMES.iter().map(|name| other(name, Some("summer"))));
    rows.extend([other("foreign-ad", Some("summer")), other("shared", Some("summer")), other("shared", None)]);
    rows.extend([other("moved", Some("summer")), other("own", None), other("nobodys", None)]);
    rows.extend([row(0, "own", Some("spring"), 100), row(0, "shared", Some("spring"), 10)]);
    rows.sort_by(|one, next| (&one.ad, &one.campaign).cmp(&(&next.ad, &next.campaign)));
    append(&mut log, &rows, &stand(1)).await;
    append(&mut log, &[other("own", Some("summer")), row(1, "own", Some("spring"), 200)], &stand(2)).await;
    append(&mut log, &[row(2, "moved", Some("spring"), 7)], &stand(3)).await;
}

/// Starts a server of that lake.
pub fn server() -> (tempfile::TempDir, Server) {
    let (folder, path) = folder();
    simulate(async { write(&Lake::at(&path).expect("a lake")).await });
    let keys = folder.path().join("keys");
    std::fs::write(&keys, KEYS).expect("a disk");
    let server = Server::start(&path, &["--keys", keys.to_str().expect("UTF-8")]);
    (folder, server)
}

fn run(law: impl AsyncFnOnce(&Server)) {
    let (_folder, server) = server();
    tokio::runtime::Runtime::new().expect("a runtime").block_on(law(&server));
}

/// Returns all counts in an answer.
fn counts(rows: &Value) -> Vec<i64> {
    let rows = rows.as_array().expect("rows").iter();
    rows.flat_map(|row| row.as_object().expect("a row").values().filter_map(Value::as_i64)).collect()
}

/// Checks that an answer tells nothing about others than `spring`. The question may be repeated in it.
#[track_caller]
fn is_of_spring_alone(answer: &Answer, asked: &str) {
    assert!(answer.status < 500, "{asked}: {answer:?}");
    let Ok(body) = serde_json::from_str::<Value>(&answer.body) else { return };
    if answer.status == 200 && body["rows"].is_array() {
        assert!(counts(&body["rows"]).into_iter().all(|count| count < FOREIGN), "{asked}: {body}");
        for row in body["rows"].as_array().expect("rows") {
            for name in ["ad_id", "campaign_id"].into_iter().filter_map(|name| row.get(name)) {
                let name = name.as_str().unwrap_or_else(|| panic!("{asked}: {row}"));
                let is_own = name == "spring" || OWN.iter().any(|(ad, _)| *ad == name);
                let of_row = counts(&Value::Array(vec![row.clone()]));
                assert!(is_own || of_row.into_iter().all(|count| count == 0), "{asked}: {body}");
            }
        }
    }
}

#[test]
fn a_key_sees_its_campaign_and_nothing_else() {
    run(async |server| {
        let clicks = async |target: &str| {
            let answer = server.get(target, Some(SPRING)).await;
            is_of_spring_alone(&answer, target);
            let rows = answer.json()["rows"].as_array().expect("rows").clone();
            let named =
                |row: &Value| row.get("ad_id").or(row.get("campaign_id")).expect("a name").as_str().map(str::to_owned);
            rows.iter()
                .map(|row| (named(row).expect("a name"), row["clicks"].as_i64().expect("a number")))
                .collect::<Vec<_>>()
        };
        let of = |pairs: &[(&str, i64)]| {
            pairs.iter().map(|(name, clicks)| ((*name).to_owned(), *clicks)).collect::<Vec<_>>()
        };
        for (ad, own) in OWN {
            assert_eq!(clicks(&format!("/v1/total?ad={ad}")).await, of(&[(ad, own)]));
        }
        assert_eq!(clicks("/v1/total?campaign=spring").await, of(&[("spring", 317)]));
        assert_eq!(clicks("/v1/total?campaign=%73pring").await, of(&[("spring", 317)]), "it is the same name");
        assert_eq!(clicks("/v1/total?campaign=spring&as_of=1").await, of(&[("spring", 110)]));
        assert_eq!(clicks("/v1/total?ad=moved&as_of=2").await, of(&[("moved", 0)]));
        assert_eq!(clicks("/v1/top").await, of(&OWN));
        assert_eq!(clicks("/v1/top?n=1").await, of(&OWN[..1]));
        assert_eq!(clicks("/v1/top?by=campaign").await, of(&[("spring", 317)]));
        assert_eq!(clicks("/v1/top?by=campaign&n=100").await, of(&[("spring", 317)]));
        assert_eq!(clicks("/v1/top?as_of=1").await, of(&[("own", 100), ("shared", 10)]));
        assert_eq!(clicks("/v1/top?as_of=0").await, of(&[]));
        let all = server.get("/v1/top?by=campaign&n=100", Some(EVERYTHING)).await.json();
        assert!(all["rows"].as_array().expect("rows").len() > NAMES.len(), "{all}");
        assert!(counts(&all["rows"]).into_iter().max() > Some(FOREIGN), "{all}");
    });
}

#[test]
fn names_are_names_however_they_are_written() {
    run(async |server| {
        for name in NAMES {
            let earlier = AS_OF.map(|as_of| (ROUTES[0], as_of));
            for (route, as_of) in ROUTES[1..].iter().map(|route| (*route, "")).chain(earlier) {
                let target = format!("{route}campaign={}{as_of}", encoded(name));
                let answer = server.get(&target, Some(SPRING)).await;
                is_of_spring_alone(&answer, &target);
                let may_be_unspeakable = name.contains('\0') || name.is_empty();
                let status = if may_be_unspeakable && answer.status == 400 { 400 } else { 403 };
                answer.problem(status);
                let target = format!("{route}ad={}{as_of}", encoded(name));
                let answer = server.get(&target, Some(SPRING)).await;
                is_of_spring_alone(&answer, &target);
                assert!(answer.status == 200 || (may_be_unspeakable && answer.status == 400), "{target}: {answer:?}");
            }
        }
    });
}

#[test]
fn malformed_questions_are_refused_and_tell_nothing_of_others() {
    run(async |server| {
        for (route, query) in ROUTES.into_iter().flat_map(|route| QUERIES.map(|query| (route, query))) {
            let target = format!("{route}{query}");
            let answer = server.get(&target, Some(SPRING)).await;
            is_of_spring_alone(&answer, &target);
            assert!([400, 403].contains(&answer.status), "{target}: {answer:?}");
        }
        for (query, status) in [
            ("by=campaign&campaign=summer", 403),
            ("campaign=summer", 403),
            ("campaign=spring&campaign=summer", 403),
            ("by=campaign&by=campaign", 400),
            ("ad=own&ad=foreign-ad", 400),
            ("by=campaign_ids", 400),
            ("by=campaign_id&campaign_id=summer", 403),
            ("group_by=campaign_id&campaign_id=spring,summer", 403),
        ] {
            let target = format!("/v1/top?{query}");
            server.get(&target, Some(SPRING)).await.problem(status);
        }
        for query in ["ad=own&ad=foreign-ad&ad=theirs", "", "campaign=spring"] {
            let target = format!("/v1/total?{query}");
            is_of_spring_alone(&server.get(&target, Some(SPRING)).await, &target);
        }
        // Longer than any name, and than what a server need take.
        for length in [1_025, 8_000, 60_000, 65_536, 200_000] {
            for (route, name) in
                ROUTES.into_iter().flat_map(|route| ["ad", "campaign", "as_of", "from"].map(|name| (route, name)))
            {
                let target = format!("{route}{name}={}", "a".repeat(length));
                let answer = server.get(&target, Some(SPRING)).await;
                assert!([200, 400, 403, 414, 431].contains(&answer.status), "{length} of {name}: {}", answer.status);
                is_of_spring_alone(&answer, name);
            }
        }
        server.get("/v1/total?campaign=spring", Some(SPRING)).await.json();
    });
}

#[test]
fn what_a_key_may_not_see_looks_like_what_is_not_there() {
    run(async |server| {
        for (there, nowhere, of) in [("summer", "nobody", "campaign"), ("foreign-ad", "missing-ad", "ad")] {
            for (route, as_of) in ROUTES.into_iter().flat_map(|route| AS_OF.map(|as_of| (route, as_of))) {
                let ask = async |name: &str| {
                    let answer = server.get(&format!("{route}{of}={name}{as_of}"), Some(SPRING)).await;
                    // A tag names the question, which is another one.
                    let is_told =
                        |line: &&str| !["date:", "etag:"].iter().any(|name| line.to_lowercase().starts_with(name));
                    let headers = answer.head.lines().filter(is_told);
                    let head = headers.collect::<Vec<_>>().join("\n");
                    (answer.status, head.replace(name, "NAME"), answer.body.replace(name, "NAME"))
                };
                assert_eq!(ask(there).await, ask(nowhere).await, "{route}{of}={there}{as_of}");
            }
        }
    });
}

#[test]
fn without_a_key_there_is_nothing() {
    run(async |server| {
        let targets = [
            "/v1/total?campaign=spring",
            "/v1/series?ad=own",
            "/v1/top",
            "/v1/dimensions",
            "/plot.svg?ad=own",
            "/v1/total?campaign=summer",
        ];
        let hash = KEYS.lines().nth(1).and_then(|line| line.split(' ').next()).expect("a hash");
        let wrong = [
            String::new(),
            "Authorization: Bearer\r\n".to_owned(),
            "Authorization: Bearer \r\n".to_owned(),
            "Authorization: Bearer *\r\n".to_owned(),
            "Authorization: Bearer spring\r\n".to_owned(),
            "Authorization: Bearer Spring-Key\r\n".to_owned(),
            "Authorization: Bearer spring-keyy\r\n".to_owned(),
            "Authorization: Bearer spring-ke\r\n".to_owned(),
            "Authorization: Bearer spring-key,\r\n".to_owned(),
            "Authorization: Bearer spring-key everything-key\r\n".to_owned(),
            "Authorization: Bearer \"spring-key\"\r\n".to_owned(),
            "Authorization: spring-key\r\n".to_owned(),
            "Authorization: Basic c3ByaW5nLWtleTo=\r\n".to_owned(),
            "Authorization: Basic OnNwcmluZy1rZXk=\r\n".to_owned(),
            "Authorization: Token spring-key\r\n".to_owned(),
            "Authorization: Bearerspring-key\r\n".to_owned(),
            "Proxy-Authorization: Bearer spring-key\r\n".to_owned(),
            "X-Api-Key: spring-key\r\n".to_owned(),
            "Cookie: key=spring-key\r\n".to_owned(),
            "X-Forwarded-For: 127.0.0.1\r\n".to_owned(),
            format!("Authorization: Bearer {hash}\r\n"),
            format!("Authorization: Bearer {}\r\n", "k".repeat(7_000)),
        ];
        let mut bodies = BTreeSet::new();
        for (target, headers) in
            targets.into_iter().flat_map(|target| wrong.iter().map(move |headers| (target, headers)))
        {
            let answer = server.get_with(target, headers).await;
            answer.problem(401);
            let challenge =
                answer.header("www-authenticate").unwrap_or_else(|| panic!("{target} {headers}: {answer:?}"));
            assert!(challenge.starts_with("Bearer"), "{challenge}");
            bodies.insert(answer.body);
        }
        assert!(bodies.len() <= 2, "no key, and a wrong one, are all that is told apart: {bodies:?}");
        for headers in [
            "Authorization: Bearer spring-key\r\nAuthorization: Bearer everything-key\r\n",
            "Authorization: Bearer \u{e9}\r\n",
        ] {
            let answer = server.get_with(targets[0], headers).await;
            assert!([400, 401].contains(&answer.status), "{headers}: {answer:?}");
        }
        for scheme in ["bearer", "BEARER", "bEaReR"] {
            server.get_with(targets[0], &format!("authorization: {scheme} spring-key\r\n")).await.json();
        }
    });
}

#[test]
fn no_other_way_leads_past_the_keys() {
    run(async |server| {
        for target in TARGETS {
            for method in ["GET", "HEAD", "POST", "OPTIONS", "TRACE", "QUERY"] {
                let host = &server.address;
                let head = format!(
                    "{method} {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
                );
                let answer = server.send(head.as_bytes()).await;
                assert!(answer.status >= 300 && answer.status < 500, "{method} {target}: {answer:?}");
                for name in ["theirs", "summer\"", "spring\"", "foreign-ad", "clicks\":"] {
                    assert!(!answer.body.contains(name), "{method} {target}: {answer:?}");
                }
            }
        }
        // Open to everyone, and silent about names.
        for target in ["/", "/openapi.json", "/healthz", "/readyz"] {
            let answer = server.get(target, None).await;
            assert_eq!(answer.status, 200, "{target}: {answer:?}");
            for name in ["theirs", "foreign-ad", SPRING, EVERYTHING] {
                assert!(!answer.body.contains(name), "{name} in {target}");
            }
        }
        // Metrics, which tell how much everyone asks, are not served where clients ask.
        server.get("/metrics", None).await.problem(404);
        assert!(!server.said().contains(SPRING) && !server.said().contains(EVERYTHING), "keys are not logged");
    });
}

#[test]
fn without_keys_only_this_machine_is_served() {
    let (_folder, path) = folder();
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0"] {
        // By itself, a server that is wrong here would not end.
        let mut command = Command::new("timeout");
        command.args(["20", env!("CARGO_BIN_EXE_clicklake"), "serve", "--lake", &path, "--listen", address]);
        let output = command.output().expect("the program runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(matches!(output.status.code(), Some(2 | 4)), "{address}: {:?}: {said}", output.status);
        assert!(said.contains("--keys"), "{address}: {said}");
    }
}

#[test]
fn without_keys_no_name_but_its_own_leads_here() {
    let (_folder, path) = folder();
    simulate(async { write(&Lake::at(&path).expect("a lake")).await });
    let server = Server::start(&path, &[]);
    let ask = async |host: &str| {
        let head = format!("GET /v1/top HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        server.send(head.as_bytes()).await
    };
    tokio::runtime::Runtime::new().expect("a runtime").block_on(async {
        // A page of somebody else, in a browser on this machine, may ask under a name of its own that leads here.
        for host in ["evil.example", "127.0.0.1.evil.example:8080", "localhost.evil.example"] {
            ask(host).await.problem(403);
        }
        for host in ["127.0.0.1", "localhost:8080", "[::1]:8080"] {
            ask(host).await.json();
        }
    });
}
