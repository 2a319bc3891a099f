//! Law: the Grafana dashboard asks only for metrics that exist, by labels that they have, and of a counter only how
//! fast it grows.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use ingest::Until;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::server::{Answer, Running, Server, exchange};
use crate::embedded::Stack;

/// Text of the dashboard.
const DASHBOARD: &str = include_str!("../../localstack/grafana/clicklake.json");

/// Prefix of our metrics.
const PREFIX: &str = "clicklake_";

/// Kind of a series, which decides how a panel may use it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Used by its value.
    Gauge,
    /// Used by how fast it grows.
    Counter,
}

/// Series that were scraped, with the types that their metrics declare, and all labels that any had.
#[derive(Debug, Default)]
struct Served {
    series: BTreeMap<String, Kind>,
    labels: BTreeSet<String>,
}

impl Served {
    fn add(&mut self, text: &str) {
        assert!(text.ends_with("# EOF\n"), "{text}");
        for line in text.lines() {
            if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|line| line.split_once(' ')) {
                let (suffixes, kind): (&[&str], _) = match kind {
                    "gauge" => (&[""], Kind::Gauge),
                    "counter" => (&["_total"], Kind::Counter),
                    "histogram" => (&["_bucket", "_sum", "_count"], Kind::Counter),
                    other => panic!("{name} is a {other}"),
                };
                self.series.extend(suffixes.iter().map(|suffix| (format!("{name}{suffix}"), kind)));
            }
            if let Some((_, labels)) = line.split_once('{').filter(|_| line.starts_with(PREFIX)) {
                let names = labels.split("\",").filter_map(|label| label.split_once("=\""));
                self.labels.extend(names.map(|(name, _)| name.to_owned()));
            }
        }
    }
}

/// Collects all expressions of a dashboard's panels.
fn expressions(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                match member.as_str() {
                    Some(text) if name == "expr" => found.push(text.to_owned()),
                    _ => expressions(member, found),
                }
            }
        }
        Value::Array(values) => values.iter().for_each(|value| expressions(value, found)),
        _ => {}
    }
}

/// Returns the names of series in an expression, each with the text before it.
fn names(expression: &str) -> Vec<(&str, &str)> {
    let is_of_name = |character: char| character.is_ascii_alphanumeric() || character == '_';
    let starts = expression.match_indices(PREFIX).map(|(at, _)| at);
    let name = |at: usize| expression[at..].split(|character| !is_of_name(character)).next().unwrap_or_default();
    starts.map(|at| (name(at), &expression[..at])).collect()
}

/// Returns the labels that an expression groups by.
fn grouped(expression: &str) -> impl Iterator<Item = &str> {
    let groups = expression.split("by (").skip(1).filter_map(|rest| rest.split_once(')'));
    groups.flat_map(|(labels, _)| labels.split(',').map(str::trim))
}

/// Starts a job. Returns it with the address of its metrics.
fn job(arguments: &[&str], stack: &Stack) -> (Running, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_clicklake"));
    command.args(arguments).args(["--metrics", "127.0.0.1:0", "--lake"]).arg(stack.lake_path());
    Running::start(command, |line| {
        let (_, after) = line.split_once("metrics address=")?;
        after.split_whitespace().next().map(str::to_owned)
    })
}

async fn scrape(address: &str) -> String {
    let question = format!("GET /metrics HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    let answer = Answer::of(&exchange(address, question.as_bytes()).await).expect("an answer");
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.body
}

/// Scrapes everything that the jobs and the server serve to Prometheus.
fn served() -> Served {
    let (runtime, stack) = (tokio::runtime::Runtime::new().expect("a runtime"), Stack::start());
    runtime.block_on(async {
        stack.produce(1, 5_000).await;
        stack.ingest(Until::CaughtUp, CancellationToken::new()).await.expect("ingest ends");
    });
    let servers = stack.bootstrap_servers();
    let kafka = ["--bootstrap-servers", &servers];
    let caught_up = Command::new(env!("CARGO_BIN_EXE_clicklake"))
        .args(["aggregate", "--until-caught-up", "--lake"])
        .arg(stack.lake_path())
        .args(kafka)
        .output();
    assert!(caught_up.expect("the program runs").status.success());
    let jobs = [[&["ingest"][..], &kafka].concat(), [&["aggregate"][..], &kafka].concat(), vec!["compact"]];
    let jobs = jobs.map(|arguments| job(&arguments, &stack));
    let server = Server::start(stack.lake_path().to_str().expect("UTF-8"), &[]);
    let mut served = Served::default();
    runtime.block_on(async {
        server.get("/v1/top", None).await.json();
        for address in jobs.iter().map(|(_, address)| address).chain([&server.address]) {
            served.add(&scrape(address).await);
        }
    });
    served
}

#[test]
fn the_dashboard_asks_for_what_is_served() {
    let (served, dashboard) = (served(), serde_json::from_str(DASHBOARD).expect("JSON"));
    let mut all = Vec::new();
    expressions(&dashboard, &mut all);
    assert!(all.len() >= 20, "{all:?}");
    // Those that Prometheus adds, and that of buckets; what partitions are labelled by, a job says once it has some.
    let known = ["instance", "le", "job", "topic", "partition", "reason", "table"];
    let mut asked = BTreeSet::new();
    for expression in &all {
        let names = names(expression);
        assert!(!names.is_empty(), "{expression}");
        for (name, before) in names {
            let kind = served.series.get(name).unwrap_or_else(|| panic!("nobody serves {name}: {expression}"));
            let is_rate = before.ends_with("rate(") || before.ends_with("increase(");
            assert_eq!(is_rate, *kind == Kind::Counter, "{name} is a {kind:?}: {expression}");
            asked.insert(name);
        }
        for label in grouped(expression) {
            assert!(served.labels.contains(label) || known.contains(&label), "nothing has {label}: {expression}");
        }
    }
    let of_histograms = |name: &str| ["_sum", "_count"].iter().any(|suffix| name.ends_with(suffix));
    let left: Vec<_> =
        served.series.keys().filter(|name| !asked.contains(name.as_str()) && !of_histograms(name)).collect();
    assert!(left.is_empty(), "the dashboard leaves out {left:?}");
}
