//! Laws of the lake's store, on a real S3 server: a fault that lasts is reported at once and in one line; a fault that
//! passes (throttling, errors, lost replies) is lived through; and readers that are not ours read the tables.

use std::process::{Command, Output};
use std::time::{Duration, Instant};

use localstack::produce::Load;
use object_store::path::Path;
use object_store::{Error as StoreError, ObjectStore, ObjectStoreExt, PutMode};
use tokio_util::sync::CancellationToken;

use crate::stack::RealStack;
use crate::stack::member::Member;
use crate::stack::proxy::{Fate, Proxy};
use crate::start_up::the_error;
use crate::{NOON_MS, readers};

/// Messages a second: as many as the generator can make.
const RATE: u64 = 1_000_000;

/// How soon a fault of the store must be reported.
const ERROR_MAX: Duration = Duration::from_secs(15);

/// Number of races on a server that commits may rely on: exactly one writer wins each.
const RACES: usize = 50;

/// Number of writers in each race.
const WRITERS: usize = 8;

async fn fill(stack: &RealStack, topic: &str, partitions: i32, count: u64) {
    stack.create_topic(topic, partitions, &[]).await;
    let load = Load { rate: RATE, count: Some(count), start_ms: NOON_MS };
    stack.produce(topic, 1, load, CancellationToken::new()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_several_that_put_a_key_if_absent_one_wins() {
    let stack = RealStack::shared();
    let store = stack.bucket();
    for race in 0..RACES {
        let key = Path::from(format!("race/{race}"));
        let puts = (0..WRITERS).map(|writer| {
            let (store, key) = (store.clone(), key.clone());
            tokio::spawn(async move { store.put_opts(&key, format!("{writer}").into(), PutMode::Create.into()).await })
        });
        let mut winners = Vec::new();
        for (writer, put) in (0..).zip(futures::future::join_all(puts).await) {
            match put.expect("no panic") {
                Ok(_) => winners.push(format!("{writer}")),
                Err(StoreError::AlreadyExists { .. }) => {}
                Err(error) => panic!("race {race}: {error}"),
            }
        }
        let found = store.get(&key).await.expect("somebody won").bytes().await.expect("bytes");
        assert_eq!(winners, [String::from_utf8_lossy(&found)], "race {race}");
    }
}

/// Runs ingest with some environment variables changed (`None`: removed), which must fail in one line with these words.
#[expect(clippy::disallowed_methods, reason = "the law is about real time")]
fn fails(stack: &RealStack, lake: &str, changes: &[(&str, Option<&str>)], words: &[&str]) {
    let began = Instant::now();
    let mut command = stack.clicklake(&["ingest", "--lake", lake, "--until-caught-up"]);
    for (key, value) in changes {
        match value {
            Some(value) => command.env(key, value),
            None => command.env_remove(key),
        };
    }
    let Output { status, stderr, .. } = command.output().expect("the program runs");
    let said = String::from_utf8_lossy(&stderr);
    assert!(began.elapsed() < ERROR_MAX, "{changes:?} took {:?}", began.elapsed());
    assert_eq!(status.code(), Some(3), "{changes:?}: {said}");
    let error = the_error(&said);
    for word in words.iter().chain(&[lake]) {
        assert!(error.contains(word), "{changes:?}: {word:?} is not in: {}", error);
    }
    assert!(error.len() < 250, "{changes:?}: {}", error);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_bucket_is_said_in_one_line() {
    let stack = RealStack::shared();
    let lake = "s3://clicklake/wrong";
    fails(&stack, lake, &[("AWS_SECRET_ACCESS_KEY", Some("wrong"))], &["AWS_SECRET_ACCESS_KEY"]);
    fails(&stack, lake, &[("AWS_ACCESS_KEY_ID", Some("nobody"))], &["AWS_ACCESS_KEY_ID"]);
    fails(&stack, "s3://nobody-made-it/lake", &[], &["no such bucket", "--lake"]);
    fails(&stack, lake, &[("AWS_ENDPOINT_URL", Some("http://127.0.0.1:1"))], &["AWS_ENDPOINT_URL"]);
    fails(&stack, lake, &[("AWS_ALLOW_HTTP", None)], &["AWS_ALLOW_HTTP=true"]);
    let nobody =
        [("AWS_ACCESS_KEY_ID", None), ("AWS_SECRET_ACCESS_KEY", None), ("AWS_EC2_METADATA_DISABLED", Some("true"))];
    fails(&stack, lake, &nobody, &["no credentials", "AWS_PROFILE"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_profile_is_as_good_as_keys() {
    let (stack, topic) = (RealStack::shared(), "profile");
    fill(&stack, topic, 1, 100).await;
    let credentials = stack.path().join("credentials");
    let (key, secret) = (stack.variable("AWS_ACCESS_KEY_ID"), stack.variable("AWS_SECRET_ACCESS_KEY"));
    let profile = format!("[clicks]\naws_access_key_id = {key}\naws_secret_access_key = {secret}\n");
    std::fs::write(&credentials, profile).expect("a file");
    let output = stack
        .clicklake(&["ingest", "--until-caught-up", "--topic", topic, "--lake", "s3://clicklake/profile"])
        .env_remove("AWS_ACCESS_KEY_ID")
        .env_remove("AWS_SECRET_ACCESS_KEY")
        .env("AWS_PROFILE", "clicks")
        .env("AWS_SHARED_CREDENTIALS_FILE", &credentials)
        .output()
        .expect("the program runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(stack.raw_is_the_log(topic, topic).await, 100);
}

/// Returns the documented policy, for the stack's bucket and another prefix.
fn documented_policy(lake: &str) -> String {
    let page = include_str!("../docs/operate.md");
    let section = page.lines().skip_while(|line| *line != "## Grant rights on the bucket");
    let policy = section.skip_while(|line| *line != "    {").take_while(|line| line.starts_with("    "));
    let policy = policy.collect::<Vec<_>>().join("\n");
    let policy =
        policy.replace(":::bucket", ":::clicklake").replace("lake\", \"lake/*", &format!("{lake}\", \"{lake}/*"));
    policy.replace("clicklake/lake/*", &format!("clicklake/{lake}/*"))
}

/// Runs the program as a user who has the rights of a policy and no others.
fn as_user(stack: &RealStack, user: &str, policy: &str, arguments: &[&str]) -> Output {
    let script = "tests/readers/grant.py";
    let mut grant = Command::new(readers::python());
    let granted = grant.args([script, user, "user-secret", policy]).envs(stack.environment()).output().expect("python");
    assert!(granted.status.success(), "{}", String::from_utf8_lossy(&granted.stderr));
    let mut command = stack.clicklake(arguments);
    command.env("AWS_ACCESS_KEY_ID", user).env("AWS_SECRET_ACCESS_KEY", "user-secret");
    command.output().expect("the program runs")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_documented_rights_are_enough_and_fewer_are_not() {
    let (stack, topic) = (RealStack::shared(), "rights");
    fill(&stack, topic, 2, 1_000).await;
    let (url, job) = (stack.lake_url(topic), documented_policy(topic));
    let reader = job.replace("\"s3:GetObject\", \"s3:PutObject\", \"s3:DeleteObject\"", "\"s3:GetObject\"");
    assert_ne!(job, reader);
    let said = |output: &Output| String::from_utf8_lossy(&output.stderr).into_owned();

    let ingest = ["ingest", "--until-caught-up", "--topic", topic, "--lake", &url];
    let output = as_user(&stack, "a-job", &job, &ingest);
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(stack.raw_is_the_log(topic, topic).await, 1_000);

    let output = as_user(&stack, "a-reader", &reader, &["sql", "select count(*) from clicks", "--lake", &url]);
    assert!(output.status.success(), "{}", said(&output));
    let output = as_user(&stack, "a-reader-who-writes", &reader, &ingest);
    assert_eq!(output.status.code(), Some(3));
    assert!(said(&output).contains("may not write there; docs/operate.md lists"), "{}", said(&output));
    // Another lake in the same bucket is none of its business.
    let output = as_user(&stack, "a-stranger", &documented_policy("elsewhere"), &ingest);
    assert_eq!(output.status.code(), Some(3), "{}", said(&output));
}

/// Decides the fate of a request: a third fail, each in one of the ways that S3 has.
fn a_third_goes_wrong(number: u64) -> Fate {
    match number % 15 {
        2 => Fate::Refused("503 Slow Down", "SlowDown"),
        5 => Fate::Refused("500 Internal Server Error", "InternalError"),
        8 => Fate::ReplyLost,
        10 => Fate::Refused("429 Too Many Requests", "TooManyRequests"),
        13 => Fate::Refused("503 Service Unavailable", "ServiceUnavailable"),
        _ => Fate::Answered,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn throttling_errors_and_lost_replies_are_lived_through() {
    let (stack, topic) = (RealStack::shared(), "throttled");
    let proxy = Proxy::start(stack.variable("AWS_ENDPOINT_URL"), a_third_goes_wrong).await;
    stack.create_topic(topic, 4, &[]).await;
    let stop = CancellationToken::new();
    let load = Load { rate: 2_000, count: None, start_ms: NOON_MS };
    let producing = stack.produce(topic, 1, load, stop.clone());
    let events = async {
        let url = proxy.url();
        let mut member = Member::start_at(&stack, &url, topic, topic, &[]);
        member.commits_more_than(5, Duration::from_secs(60)).await;
        stop.cancel();
        member.leaves().await;
    };
    let (counts, ()) = tokio::join!(producing, events);
    assert!(proxy.refused() > 10, "only {} requests went wrong", proxy.refused());
    stack.catch_up(topic, topic, &[]).await;
    assert_eq!(stack.raw_is_the_log(topic, topic).await as u64, counts.total());
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_that_are_not_ours_read_the_bucket() {
    let (stack, topic) = (RealStack::shared(), "readers");
    fill(&stack, topic, 3, 5_000).await;
    stack.catch_up(topic, topic, &[]).await;
    let messages = stack.raw_is_the_log(topic, topic).await;
    let mut python = Command::new(readers::python());
    python.args([readers::SCRIPT, &stack.lake_url(topic)]).envs(stack.environment());
    let found = readers::figures(&mut python);
    for (reader, tables) in found.as_object().expect("readers by name") {
        let rows = |table: &str| tables[table]["rows"].as_u64().expect("a number");
        assert_eq!(rows("clicks") + rows("clicks_rejected"), messages as u64, "{reader}: {found}");
        assert!(rows("clicks_rejected") > 0, "{reader}: {found}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sql_reads_the_lake_in_a_bucket_and_writes_elsewhere_in_it() {
    let stack = RealStack::shared();
    fill(&stack, "asked", 2, 2_000).await;
    let lake = stack.lake_url("asked");
    let ingest = ["ingest", "--topic", "asked", "--lake", &lake, "--until-caught-up"];
    let done = stack.clicklake(&ingest).output().expect("the program runs");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let sql = |sql: &str| {
        let output = stack.clicklake(&["sql", sql, "--format", "csv", "--lake", &lake]).output();
        let Output { status, stdout, stderr } = output.expect("the program runs");
        (status.code(), String::from_utf8(stdout).expect("UTF-8"), String::from_utf8(stderr).expect("UTF-8"))
    };
    let (code, before, said) =
        sql("select count(*) as n from clicks VERSION AS OF 0 union all select count(*) from clicks order by n");
    assert_eq!(code, Some(0), "{said}");
    let counts: Vec<u64> = before.lines().skip(1).map(|line| line.parse().expect("a number")).collect();
    assert!(counts[0] == 0 && counts[1] > 1_900, "{before}");
    let copy = |to: &str| format!("copy (select ad_id, kafka_offset from clicks) to '{to}' stored as parquet");
    for inside in ["/clicks/a.parquet", "/new/a.parquet"] {
        let (code, _, said) = sql(&copy(&format!("{lake}{inside}")));
        assert_eq!(code, Some(3), "{said}");
        assert!(the_error(&said).contains("lies in the lake, which SQL reads and does not write"), "{said}");
    }
    let outside = stack.lake_url("exports") + "/asked.parquet";
    let (code, copied, said) = sql(&copy(&outside));
    assert_eq!((code, copied), (Some(0), format!("count\n{}\n", counts[1])), "{said}");
    let read = format!("create external table e stored as parquet location '{outside}'; select count(*) as n from e");
    let (code, found, said) = sql(&read);
    assert_eq!((code, found), (Some(0), format!("n\n{}\n", counts[1])), "{said}");
}
