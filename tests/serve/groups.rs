//! Law: filters and groups over HTTP give what a plain loop makes of the rows that the key sees; and requests from
//! before there were groups are answered as they were, to the byte.

use std::collections::BTreeMap;

use lake_schemas::minute::{Dimension, Parameters};
use lake_schemas::{Field, Stand, Table};
use lake_store::Lake;
use rand::seq::{IndexedRandom, IteratorRandom, SliceRandom};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::Value;

use super::keys::{EVERYTHING, KEYS, SPRING};
use super::server::{Server, encoded};
use crate::by_hand::{Row, append, minutes};
use crate::simulation::simulate;
use crate::start_up::folder;

/// Number of questions of each route with each key.
const QUESTIONS: usize = 60;

/// Names that need quotes, and one with a letter beyond ASCII.
const ADS: [&str; 4] = ["a", "b,c", "say \"d\"", "\u{e9}"];
const CAMPAIGNS: [Option<&str>; 3] = [Some("spring"), Some("summer"), None];
const COUNTRIES: [Option<&str>; 5] = [Some("DE"), Some("AT"), Some("DE,AT"), Some(""), None];

/// Dimensions of the lake.
const DIMENSIONS: [&str; 3] = ["ad_id", "campaign_id", "country"];

/// Time at which the minutes of rows begin: 2026-03-07T12:00:00Z.
const NOON: &str = "2026-03-07T12:";

/// Makes rows of all ads, campaigns and countries, except some.
fn rows() -> Vec<Row> {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let mut rows = Vec::new();
    for minute in 0..3 {
        for (ad, campaign) in ADS.into_iter().flat_map(|ad| CAMPAIGNS.map(|campaign| (ad, campaign))) {
            for country in COUNTRIES {
                let clicks = rng.random_range(1..1_000);
                if rng.random() {
                    let (ad, campaign) = (ad.to_owned(), campaign.map(str::to_owned));
                    rows.push(Row { minute, ad, campaign, country, clicks, cost_micros: 7 });
                }
            }
        }
    }
    rows
}

fn value<'a>(row: &'a Row, dimension: &str) -> Option<&'a str> {
    match dimension {
        "ad_id" => Some(&row.ad),
        "campaign_id" => row.campaign.as_deref(),
        _ => row.country,
    }
}

/// Returns a value as it is written in a parameter.
fn written(value: Option<&str>) -> String {
    match value {
        None => String::new(),
        Some(value) if value.is_empty() || value.contains(['"', ',']) => format!("\"{}\"", value.replace('"', "\"\"")),
        Some(value) => value.to_owned(),
    }
}

/// A question: dimensions with the values that they may have, and those that are grouped by.
struct Asked {
    filter: Vec<(&'static str, Vec<Option<String>>)>,
    group_by: Vec<&'static str>,
}

impl Asked {
    fn of(rng: &mut ChaCha8Rng, rows: &[Row], may_be_grouped: bool) -> Self {
        let most = rng.random_range(0..=2);
        let filtered = DIMENSIONS.into_iter().choose_multiple(rng, most);
        let filter = filtered.into_iter().map(|dimension| {
            let one = |rng: &mut ChaCha8Rng| rows.choose(rng).and_then(|row| value(row, dimension)).map(str::to_owned);
            (dimension, (0..rng.random_range(1..4)).map(|_| one(rng)).collect())
        });
        let filter = filter.collect();
        let most = if may_be_grouped { rng.random_range(0..=3) } else { 0 };
        let mut group_by = DIMENSIONS.into_iter().choose_multiple(rng, most);
        group_by.shuffle(rng);
        Self { filter, group_by }
    }

    /// Returns whether the question asks for campaigns that the key `spring` does not see.
    fn is_of_others(&self) -> bool {
        let mut campaigns = self.filter.iter().filter(|(dimension, _)| *dimension == "campaign_id");
        campaigns.any(|(_, values)| values.iter().any(|value| value.as_deref() != Some("spring")))
    }

    fn parameters(&self) -> String {
        let mut parameters = String::new();
        for (dimension, values) in &self.filter {
            let values = values.iter().map(|value| written(value.as_deref())).collect::<Vec<_>>().join(",");
            parameters += &format!("&{dimension}={}", encoded(&values));
        }
        if !self.group_by.is_empty() {
            parameters += &format!("&group_by={}", self.group_by.join(","));
        }
        parameters
    }

    /// Returns the clicks of each group by a plain loop; for a series, in each minute.
    fn expected(&self, rows: &[Row], is_series: bool) -> Vec<(Vec<Option<String>>, i64)> {
        let mut sums: BTreeMap<Vec<Option<String>>, i64> = BTreeMap::new();
        if self.group_by.is_empty() && !is_series {
            sums.insert(Vec::new(), 0);
        }
        for row in rows {
            let holds = self
                .filter
                .iter()
                .all(|(dimension, values)| values.iter().any(|one| one.as_deref() == value(row, dimension)));
            if holds {
                let start = is_series.then(|| Some(format!("{NOON}{:02}:00Z", row.minute)));
                let group = self.group_by.iter().map(|dimension| value(row, dimension).map(str::to_owned));
                *sums.entry(start.into_iter().chain(group).collect()).or_default() += row.clicks;
            }
        }
        sums.into_iter().collect()
    }

    /// Returns the rows of an answer.
    fn rows(&self, answer: &Value, is_series: bool) -> Vec<(Vec<Option<String>>, i64)> {
        let start = is_series.then_some("window_start");
        let columns: Vec<_> = start.into_iter().chain(self.group_by.iter().copied()).collect();
        let row = |row: &Value| {
            let of = columns.iter().map(|column| {
                let value = row.get(column).unwrap_or_else(|| panic!("no {column}: {row}"));
                assert!(value.is_string() || value.is_null(), "{row}");
                value.as_str().map(str::to_owned)
            });
            (of.collect(), row["clicks"].as_i64().expect("a number"))
        };
        answer["rows"].as_array().unwrap_or_else(|| panic!("no rows: {answer}")).iter().map(row).collect()
    }
}

/// Starts a server of these rows.
pub(super) fn server() -> (tempfile::TempDir, Server) {
    let (folder, path) = folder();
    simulate(async {
        let parameters = Parameters { dimensions: vec![Dimension::of(Field::Country)], ..Parameters::default() };
        let lake = Lake::at(&path).expect("a lake");
        let mut log = minutes(&lake, Table::ClicksMinute, &parameters).await;
        let mut rows = rows();
        rows.sort_by(|one, next| {
            (&one.ad, &one.campaign, one.country, one.minute).cmp(&(
                &next.ad,
                &next.campaign,
                next.country,
                next.minute,
            ))
        });
        append(&mut log, &rows, &BTreeMap::from([(0, Stand { cut: Some(1), ..Stand::default() })])).await;
    });
    let keys = folder.path().join("keys");
    std::fs::write(&keys, KEYS).expect("a disk");
    let server = Server::start(&path, &["--keys", keys.to_str().expect("UTF-8")]);
    (folder, server)
}

#[test]
fn groups_are_what_a_plain_loop_makes_of_what_the_key_sees() {
    let (runtime, (_folder, server)) = (tokio::runtime::Runtime::new().expect("a runtime"), server());
    let (all, mut rng) = (rows(), ChaCha8Rng::seed_from_u64(2));
    let is_spring = |row: &Row| row.campaign.as_deref() == Some("spring");
    let spring: Vec<_> = all.iter().filter(|row| is_spring(row)).cloned().collect();
    runtime.block_on(async {
        for (key, seen) in [(EVERYTHING, &all), (SPRING, &spring)] {
            for number in 0..QUESTIONS {
                let is_series = number % 2 == 1;
                let asked = Asked::of(&mut rng, &all, true);
                let route = if is_series { "series?granularity=minute" } else { "total?as_of=1" };
                let range = "&from=2026-03-07T12:00:00Z&to=2026-03-07T13:00:00Z";
                let target = format!("/v1/{route}{range}{}", asked.parameters());
                let answer = server.get(&target, Some(key)).await;
                if key == SPRING && asked.is_of_others() {
                    answer.problem(403);
                    continue;
                }
                let found = asked.rows(&answer.json(), is_series);
                assert_eq!(found, asked.expected(seen, is_series), "{target}");
            }
            for _ in 0..QUESTIONS {
                let mut asked = Asked::of(&mut rng, &all, false);
                asked.group_by = vec![*DIMENSIONS.choose(&mut rng).expect("some")];
                let target = format!("/v1/top?n=1000{}", asked.parameters());
                let answer = server.get(&target, Some(key)).await;
                if key == SPRING && asked.is_of_others() {
                    answer.problem(403);
                    continue;
                }
                let mut expected = asked.expected(seen, false);
                expected.sort_by_key(|(_, clicks)| -clicks);
                assert_eq!(asked.rows(&answer.json(), false), expected, "{target}");
                let same = target.replace("group_by=", "by=");
                assert_eq!(server.get(&same, Some(key)).await.body, answer.body, "{same}");
            }
        }
    });
}

#[test]
fn what_was_asked_before_is_answered_as_it_was() {
    let (runtime, (_folder, server)) = (tokio::runtime::Runtime::new().expect("a runtime"), server());
    let all = rows();
    let sum = |is_of: &dyn Fn(&Row) -> bool| all.iter().filter(|row| is_of(row)).map(|row| row.clicks).sum::<i64>();
    let cost = |is_of: &dyn Fn(&Row) -> bool| 7 * all.iter().filter(|row| is_of(row)).count();
    let row = |name: &str, is_of: &dyn Fn(&Row) -> bool| {
        let (clicks, cost) = (sum(is_of), cost(is_of));
        format!("{{{name}\"clicks\":{clicks},\"cost_micros\":{cost},\"duplicates\":0,\"late\":0,\"filtered\":0}}")
    };
    let of_ad = |ad: &'static str| row(&format!("\"ad_id\":\"{ad}\","), &|row: &Row| row.ad == ad);
    let spring = row("\"campaign_id\":\"spring\",", &|row: &Row| row.campaign.as_deref() == Some("spring"));
    let nothing = row("\"campaign_id\":\"nobody\",", &|_: &Row| false);
    runtime.block_on(async {
        for (target, rows) in [
            ("/v1/total", row("", &|_: &Row| true)),
            ("/v1/total?ad=a", of_ad("a")),
            ("/v1/total?ad=b%2Cc&ad=a", [of_ad("b,c"), of_ad("a")].join(",")),
            ("/v1/total?campaign=nobody&campaign=spring", [nothing, spring.clone()].join(",")),
            ("/v1/total?campaign=spring", spring),
        ] {
            let answer = server.get(target, Some(EVERYTHING)).await;
            assert_eq!(answer.status, 200, "{target}: {answer:?}");
            assert!(answer.body.starts_with(&format!("{{\"rows\":[{rows}],\"cut\":")), "{target}: {}", answer.body);
        }
        let csv = async |target: &str| {
            let headers = format!("Authorization: Bearer {EVERYTHING}\r\nAccept: text/csv\r\n");
            let answer = server.get_with(target, &headers).await;
            (answer.body.lines().next().expect("a header").to_owned(), answer.body)
        };
        let measures = "clicks,cost_micros,duplicates,late,filtered";
        assert_eq!(csv("/v1/total").await.0, measures);
        assert_eq!(csv("/v1/top?by=campaign").await.0, format!("campaign_id,{measures}"));
        assert_eq!(csv("/v1/series?ad=a").await.0, format!("window_start,{measures}"));
        let (header, body) = csv("/v1/series?granularity=day&group_by=country,ad_id").await;
        assert_eq!(header, format!("window_start,country,ad_id,{measures}"));
        assert!(
            body.contains("Z,,a,") && body.contains("Z,\"\",a,") && body.contains("Z,\"DE,AT\",\"b,c\","),
            "{body}"
        );
    });
}

#[test]
fn a_tag_is_of_all_that_is_filtered_and_grouped_by() {
    let (runtime, (_folder, server)) = (tokio::runtime::Runtime::new().expect("a runtime"), server());
    runtime.block_on(async {
        let mut tags = BTreeMap::new();
        for target in [
            "/v1/total",
            "/v1/total?ad=a",
            "/v1/total?ad_id=a",
            "/v1/total?country=DE",
            "/v1/total?country=AT",
            "/v1/total?country=",
            "/v1/total?country=%22%22",
            "/v1/total?country=DE,AT",
            "/v1/total?country=%22DE,AT%22",
            "/v1/total?group_by=country",
            "/v1/total?group_by=country,ad_id",
            "/v1/total?group_by=ad_id,country",
            "/v1/series?group_by=country",
            "/v1/series?country=DE",
            "/v1/top?by=country",
        ] {
            let answer = server.get(target, Some(EVERYTHING)).await;
            let tag = answer.header("etag").unwrap_or_else(|| panic!("{target}: {answer:?}")).to_owned();
            let headers = format!("Authorization: Bearer {EVERYTHING}\r\nIf-None-Match: {tag}\r\n");
            assert_eq!(server.get_with(target, &headers).await.status, 304, "{target}");
            assert_eq!(tags.insert(tag, target), None, "{target}");
        }
    });
}

#[test]
fn what_the_lake_does_not_count_by_is_said_with_what_it_counts_by() {
    let (runtime, (_folder, server)) = (tokio::runtime::Runtime::new().expect("a runtime"), server());
    runtime.block_on(async {
        let counts_by = "this lake does not count by device; it counts by ad_id, campaign_id, country";
        for key in [EVERYTHING, SPRING] {
            for target in [
                "/v1/total?device=tv",
                "/v1/series?group_by=device",
                "/v1/top?by=country,device",
                "/plot.svg?device=tv",
            ] {
                assert_eq!(server.get(target, Some(key)).await.problem(400), counts_by, "{target}");
            }
            for target in ["/v1/total?ip=x", "/v1/total?group_by=ip", "/v1/top?by=user_id", "/plot.svg?group_by=ad_id"]
            {
                server.get(target, Some(key)).await.problem(400);
            }
        }
        let told = server.get("/v1/dimensions", Some(SPRING)).await.json();
        let names: Vec<_> = told["dimensions"].as_array().expect("dimensions").iter().map(|one| &one["name"]).collect();
        assert_eq!(names, DIMENSIONS, "{told}");
        server.get("/v1/dimensions?ad=a", Some(SPRING)).await.problem(400);
        let about = server.get("/openapi.json", None).await.json();
        for path in ["/v1/total", "/v1/series", "/v1/top"] {
            let parameters = about["paths"][path]["get"]["parameters"].as_array().expect("parameters");
            let names: Vec<_> = parameters.iter().filter_map(|parameter| parameter["name"].as_str()).collect();
            for name in ["ad", "campaign", "publisher_id", "country", "device", "group_by"] {
                assert!(names.contains(&name), "{path} has {names:?}");
            }
        }
    });
}
