//! Law: an answer over HTTP equals the answer of SQL at the same version, and says rightly which clicks it counts,
//! whether it is final, and what it still waits for.
//!
//! Worlds are those of totals, with more partitions, whose watermarks advance at random.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use chrono::DateTime;
use lake_schemas::minute::Parameters;
use lake_schemas::table::Version;
use lake_schemas::{Stand, Table, TopicPartition};
use lake_store::Lake;
use lake_store::commit::TableView;
use rand::seq::IteratorRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::asked::{Asked, Moment, START_MS};
use super::server::Server;
use crate::by_hand::{MINUTE_MS, TOPIC, append};
use crate::simulation::{for_each_seed, simulate};
use crate::start_up::folder;
use crate::totals::world::World;

/// Seeds of a run of the tests.
const SEEDS: Range<u64> = 0..4;

/// Number of steps of a world, in each of which something happens to its tables.
const STEPS: usize = 10;

/// Number of questions that follow each step.
const QUESTIONS: usize = 4;

/// How soon committed clicks are in answers.
pub(super) const NEWS_MAX: Duration = Duration::from_secs(10);

/// Partitions that a world may have.
const PARTITIONS: Range<i32> = 0..4;

/// State of the table at a version.
struct There {
    stands: BTreeMap<TopicPartition, Stand>,
    allowed_lateness_ms: i64,
}

async fn there(lake: &Lake, version: Version) -> There {
    let newest = TableView::newest(lake, Table::ClicksMinute).await.expect("a disk").expect("a table");
    let view = newest.at(version).await.expect("it is there");
    let parameters = Parameters::recorded(Table::ClicksMinute, view.properties()).expect("they are recorded");
    There { stands: view.stands(), allowed_lateness_ms: parameters.allowed_lateness_ms }
}

/// Advances partitions: each has read more, and may have written more minutes.
async fn come_on(world: &mut World, rng: &mut ChaCha8Rng) {
    let now_ms = START_MS + rng.random_range(0..5 * 24 * 60) * MINUTE_MS;
    let mut stands = BTreeMap::new();
    let numbers: Vec<_> = PARTITIONS.filter(|_| rng.random()).collect();
    for number in numbers {
        let from = world.log.stand(&TopicPartition::new(TOPIC, number));
        let mut watermark_ms = from.watermark_ms;
        if rng.random_ratio(3, 4) {
            let event_ms = now_ms + rng.random_range(-20 * MINUTE_MS..20 * MINUTE_MS);
            watermark_ms = watermark_ms.max(Some(event_ms));
        }
        let cut = Some(from.cut.unwrap_or(0) + rng.random_range(1..1_000));
        stands.insert(number, Stand { cut, watermark_ms, ..from });
    }
    if !stands.is_empty() {
        append(&mut world.log, &[], &stands).await;
    }
}

/// Waits until answers are of the newest version.
pub(super) async fn has_heard_of(server: &Server, version: Version) {
    let began = Instant::now();
    while server.get("/v1/top?n=1", None).await.json()["version"] != version {
        assert!(began.elapsed() < NEWS_MAX, "version {version} is not heard of:\n{}", server.said());
        sleep(Duration::from_millis(20)).await;
    }
}

/// Checks that an answer says rightly which clicks it counts.
fn says_what_it_is_of(answer: &Value, there: &There, to_ms: Option<i64>, what: &str) {
    let cuts = there.stands.iter().filter_map(|(partition, stand)| Some((partition.partition.to_string(), stand.cut?)));
    let cuts: BTreeMap<_, _> = cuts.collect();
    let cut = if cuts.is_empty() { json!({}) } else { json!({ TOPIC: cuts }) };
    assert_eq!(answer["cut"], cut, "{what}");
    let reached = |stand: &Stand| {
        let needed = to_ms.map(|to_ms| to_ms + there.allowed_lateness_ms);
        needed.is_some_and(|needed| stand.watermark_ms >= Some(needed))
    };
    let pending = there.stands.iter().filter(|(_, stand)| !reached(stand));
    let pending: Vec<_> = pending.map(|(partition, _)| partition.partition).collect();
    let by_topic = if pending.is_empty() { json!({}) } else { json!({ TOPIC: pending }) };
    assert_eq!(answer["pending"], by_topic, "{what}");
    // Where there is no partition, nothing is final.
    let is_final = pending.is_empty() && !there.stands.is_empty();
    assert_eq!(answer["final"], json!(is_final), "{what}: {answer}");
    let emitted: Option<Vec<_>> = there.stands.values().map(|stand| stand.watermark_ms).collect();
    let complete_ms = emitted.and_then(|emitted| emitted.into_iter().min());
    let said = answer["complete_until"].as_str().map(|text| DateTime::parse_from_rfc3339(text).expect("a time"));
    assert_eq!(said.map(|time| time.timestamp_millis()), complete_ms, "{what}");
    assert!(complete_ms.is_some() || !is_final, "{what}: what no partition has written is not final: {answer}");
}

/// Checks that a question is answered as SQL answers it.
async fn is_answered_as_by_sql(server: &Server, lake: &Lake, asked: &Asked, moment: Moment, newest: Version) {
    let target = asked.target(moment);
    let answer = server.get(&target, None).await;
    let Some(version) = moment.version(lake, newest).await else {
        assert!((400..500).contains(&answer.status), "{target} is answered by {answer:?}");
        answer.problem(answer.status);
        return;
    };
    let (answer, what) = (answer.json(), format!("{target} of version {version}"));
    assert_eq!(answer["version"], version, "{what}");
    assert_eq!(asked.rows(&answer), asked.by_sql(lake, version, newest).await, "{what}");
    says_what_it_is_of(&answer, &there(lake, version).await, asked.to_ms, &what);
}

#[test]
fn http_says_what_sql_says_of_the_same_version() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    for_each_seed(SEEDS, |seed| {
        let (_folder, path) = folder();
        let lake = Lake::at(&path).expect("a lake");
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut world = simulate(async {
            let mut world = World::of_seed(seed).await.moved_to(lake.clone()).await;
            world.append().await;
            come_on(&mut world, &mut rng).await;
            world
        });
        let server = Server::start(&path, &[]);
        for _ in 0..STEPS {
            simulate(async {
                world.step().await;
                come_on(&mut world, &mut rng).await;
                world.log.refresh().await.expect("a disk");
            });
            let newest = world.log.version();
            runtime.block_on(async {
                has_heard_of(&server, newest).await;
                let stands = there(&lake, newest).await;
                let edges = stands.stands.values().filter_map(|stand| stand.watermark_ms);
                let edges: Vec<_> = edges.flat_map(|edge| [edge, edge + stands.allowed_lateness_ms]).collect();
                for _ in 0..QUESTIONS {
                    let asked = Asked::of(&mut rng, &edges);
                    is_answered_as_by_sql(&server, &lake, &asked, Moment::Newest, newest).await;
                    let version = (0..=newest + 1).choose(&mut rng).expect("some");
                    is_answered_as_by_sql(&server, &lake, &asked, Moment::Version(version), newest).await;
                    let moment = Moment::some_time(&mut rng, &lake).await;
                    is_answered_as_by_sql(&server, &lake, &asked, moment, newest).await;
                }
            });
        }
    });
}

#[test]
fn a_series_has_windows_that_are_short_enough_to_see_and_few_enough_to_show() {
    let (_folder, path) = folder();
    simulate(async {
        let world = World::of_seed(4).await;
        let mut world = world.moved_to(Lake::at(&path).expect("a lake")).await;
        for _ in 0..6 {
            world.append().await;
        }
    });
    let (runtime, server) = (tokio::runtime::Runtime::new().expect("a runtime"), Server::start(&path, &[]));
    runtime.block_on(async {
        for (to, granularity) in [
            ("2026-03-30T03:00:00Z", "minute"),
            ("2026-03-30T03:01:00Z", "hour"),
            ("2026-04-06", "hour"),
            ("2026-04-06T00:01:00Z", "day"),
        ] {
            let target = format!("/v1/series?ad=ad_id-a&from=2026-03-30&to={to}");
            let [default, named] = [target.clone(), format!("{target}&granularity={granularity}")];
            let [default, named] = [server.get(&default, None).await, server.get(&named, None).await];
            assert_eq!(default.json()["rows"], named.json()["rows"], "{to}");
        }
        let last = server.get("/v1/total?ad=ad_id-a&last=1h", None).await.json();
        assert_eq!(last["rows"].as_array().map(Vec::len), Some(1), "a total has a row, whatever is there");
    });
}

#[test]
fn an_etag_of_one_lake_is_not_valid_for_another() {
    let (target, runtime) = ("/v1/total?as_of=0", tokio::runtime::Runtime::new().expect("a runtime"));
    let mut shown = "\"none\"".to_owned();
    for _ in 0..2 {
        let (_folder, path) = folder();
        simulate(async {
            let world = World::of_seed(1).await;
            world.moved_to(Lake::at(&path).expect("a lake")).await.append().await;
        });
        let server = Server::start(&path, &[]);
        let get = |tag: &str| runtime.block_on(server.get_with(target, &format!("If-None-Match: {tag}\r\n")));
        // The version is the same, and so is the question.
        let answer = get(&shown);
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.header("etag").expect("a tag").clone_into(&mut shown);
        assert_eq!((get(&shown).status, get("*").status), (304, 304));
        let gone = format!("GET {target}9999 HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n", server.address);
        let gone = runtime.block_on(server.send(format!("{gone}If-None-Match: *\r\n\r\n").as_bytes()));
        gone.problem(400);
    }
}

#[test]
fn impossible_questions_are_refused_with_the_reason() {
    let (_folder, path) = folder();
    simulate(async {
        let world = World::of_seed(1).await;
        world.moved_to(Lake::at(&path).expect("a lake")).await.append().await;
    });
    let (runtime, server) = (tokio::runtime::Runtime::new().expect("a runtime"), Server::start(&path, &[]));
    runtime.block_on(async {
        for target in [
            "/v1/total?ad=a&campaign=b",
            "/v1/total?ad=a&ad=a",
            "/v1/total?ad=a&last=1h&from=2026-03-30",
            "/v1/total?ad=a&last=soon",
            "/v1/total?ad=a&last=0s",
            "/v1/total?ad=a&last=99999999999999999999d",
            "/v1/total?ad=a&from=2026-03-30T00:00:30Z",
            "/v1/total?ad=a&from=2026-03-31&to=2026-03-30",
            "/v1/total?ad=a&from=2026-03-31&to=2026-03-31",
            "/v1/total?ad=a&from=noon",
            "/v1/total?ad=a&to=2026-02-30",
            "/v1/total?ad=a&to=+275760-09-13T00:00:00Z",
            "/v1/total?ad=a&as_of=-1",
            "/v1/total?ad=a&as_of=99999999999999999999",
            "/v1/total?ad=a&as_of=1.5",
            "/v1/total?ad=a&from_=2026-03-30",
            "/v1/total?ad=a&granularity=day",
            "/v1/series?ad=a&granularity=minute",
            "/v1/series?ad=a&granularity=minute&from=2020-01-01&to=2026-01-01",
            "/v1/series?ad=a&granularity=week",
            "/v1/series?ad=a&granularity=day&granularity=day",
            "/v1/top?ad=a&ad=b",
            "/v1/top?offset=-1",
            "/v1/top?by=user",
            "/v1/top?n=0",
            "/v1/top?n=-1",
            "/v1/top?n=99999999999999999999",
            "/v1/top?n=ten",
            "/plot.svg?ad=a&width=wide",
            "/plot.svg?ad=a&width=99999999999",
        ] {
            let detail = server.get(target, None).await.problem(400);
            assert!(!detail.is_empty() && !detail.contains('\n'), "{target}: {detail}");
        }
        server.get("/v1/nothing", None).await.problem(404);
        let host = &server.address;
        let posted = format!("POST /v1/total?ad=a HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        server.send(posted.as_bytes()).await.problem(405);
    });
}
