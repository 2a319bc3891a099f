//! Law: an answer over the PostgreSQL protocol equals that of `clicklake sql`, by both protocols, as text and in
//! binary; or the statement is refused.
//!
//! The statements are all queries of `tests/sql`, those that were once answered differently, and some hundred that are
//! made up by a seed.

use std::collections::BTreeMap;

use arrow::array::{Array, ArrayRef};
use arrow::datatypes::DataType;
use arrow::record_batch::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use chrono::{DateTime, NaiveDateTime, SubsecRound};
use lake_store::Lake;
use query::sql::Session;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};
use sqllogictest::{DefaultColumnType, Record, parse_file};

use super::{MEMORY, Served};
use crate::simulation::simulate;
use crate::sql::world;

/// Seed, unless `CLICKLAKE_SEED` gives another.
const SEED: u64 = 21;

/// Number of questions that are made up.
const QUESTIONS: usize = 300;

/// Ways in which questions are sent, and answers come.
const PROTOCOLS: [&str; 3] = ["simple", "extended", "binary"];

/// Statements that the PostgreSQL protocol once answered differently.
const FOUND: [&str; 18] = [
    "select (select max(clicks_minute.clicks) from clicks_minute)",
    "select (select sum(t.clicks) from (select * from clicks_minute) t)",
    "select now.ad_id, sum(now.clicks), (select sum(clicks) from clicks_minute VERSION AS OF 1 was where was.ad_id = \
     now.ad_id) from clicks_minute now group by 1",
    "select now.ad_id, (select sum(was.clicks) from clicks_minute was where was.ad_id = now.ad_id) from clicks_minute \
     now",
    "select (select clicks from clicks_minute)",
    "select (select clicks from clicks_minute) + 1",
    "select ad_id, * from clicks_minute",
    "select m.ad_id, m.* from clicks_minute m",
    "select m.* from clicks_minute m where clicks > 1 order by ad_id, window_start",
    "select count(*) from clicks_minute where ad_id = any(select ad_id from clicks)",
    "select (select max(d.clicks) from clicks_daily d), (select max(h.clicks) from clicks_hourly h)",
    "select case when (select count(*) from clicks c) > 1 then (select max(c.ad_id) from clicks c) end",
    "select abort from (select ad_id as abort from clicks_minute) order by 1",
    "select (select a.x from (values (1), (2)) a (x))",
    "select 1 as a union all select 2.5",
    "select sum(clicks) from clicks_minute where window_start >= '2026-03-07 12:00' and window_start < '2026-03-08 \
     00:00Z'",
    "select null as a union all select 7",
    "select clicks from clicks_minute union all select 0.5 order by 1",
];

/// A lake that is served, and asked in both ways.
struct Both {
    served: Served,
    session: Session,
    folder: tempfile::TempDir,
}

impl Both {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("lake");
        let lake = Lake::at(path.to_str().expect("UTF-8")).expect("a lake");
        simulate(async { world::write(&lake, &path).await });
        let served = Served::over(&lake, false, MEMORY);
        Self { served, session: Session::new(lake, None).expect("a session"), folder }
    }

    /// Compares the answers to queries. Returns how many of them were answered by PostgreSQL, and how many by SQL.
    fn compared(&self, queries: &[String]) -> (usize, usize) {
        let asks: Vec<_> = queries.iter().map(|text| (text.as_str(), Value::Null)).collect();
        let all = PROTOCOLS.map(|protocol| (protocol, self.served.asked("", protocol, &asks)));
        let (mut answered, mut answerable) = (0, 0);
        for (at, text) in queries.iter().enumerate() {
            let expected = self.served.runtime.block_on(self.session.rows(text)).map(|rows| sorted(shown(&rows)));
            answerable += usize::from(expected.is_ok());
            for (protocol, answer) in all.iter().map(|(protocol, answers)| (*protocol, &answers[at])) {
                let Some(rows) = answer["rows"].as_array() else {
                    assert!(answer["code"].as_str().is_some_and(|code| code.len() == 5), "{text}: {answer}");
                    continue;
                };
                let found = sorted(rows.iter().map(|row| row.as_array().expect("a row").iter().map(said).collect()));
                match &expected {
                    Ok(expected) => assert_eq!(&found, expected, "{protocol}: {text}"),
                    Err(why) => panic!("{protocol}: {text}: {answer}, and SQL says: {why}"),
                }
                answered += usize::from(protocol == "extended");
            }
        }
        (answered, answerable)
    }
}

/// Returns the rows of an answer, with each value in the form in which it is compared.
fn shown(batches: &[RecordBatch]) -> impl Iterator<Item = Vec<String>> {
    batches.iter().flat_map(|rows| {
        let columns: Vec<Vec<String>> = rows.columns().iter().map(values).collect();
        (0..rows.num_rows()).map(move |row| columns.iter().map(|column| column[row].clone()).collect())
    })
}

fn values(column: &ArrayRef) -> Vec<String> {
    let options = FormatOptions::default().with_null("null");
    let shown = ArrayFormatter::try_new(column.as_ref(), &options).expect("a type that is shown");
    let is_span = matches!(column.data_type(), DataType::Interval(_) | DataType::Duration(_));
    let value = |row: usize| match (column.is_null(row), is_span) {
        (true, _) => "null".to_owned(),
        // Everyone writes these otherwise.
        (false, true) => "a span".to_owned(),
        (false, false) => normal(&shown.value(row).to_string()),
    };
    (0..column.len()).map(value).collect()
}

/// Returns a value of the protocol in the form in which it is compared.
fn said(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::String(text) => normal(text),
        value => normal(&value.to_string()),
    }
}

/// Returns a value in one form: times in UTC to the microsecond, numbers as numbers, lists without quotes.
fn normal(text: &str) -> String {
    let time = text.replacen('T', " ", 1);
    let zoned = DateTime::parse_from_str(&time, "%Y-%m-%d %H:%M:%S%.f%:z").ok();
    let zoned = zoned.or_else(|| DateTime::parse_from_rfc3339(text).ok());
    if let Some(zoned) = zoned {
        return format!("{} UTC", zoned.naive_utc().trunc_subsecs(6));
    }
    if let Ok(plain) = NaiveDateTime::parse_from_str(&time, "%Y-%m-%d %H:%M:%S%.f") {
        return plain.trunc_subsecs(6).to_string();
    }
    if text.contains(" day") || text.contains(" month") {
        return "a span".to_owned();
    }
    if let Ok(whole) = text.parse::<i128>() {
        return whole.to_string();
    }
    match text.parse::<f64>() {
        Ok(number) if number.fract() == 0.0 && number.abs() < 1e15 => format!("{number:.0}"),
        Ok(number) => format!("{number:.9e}"),
        Err(_) if text.starts_with('[') => text.replace(['\'', '"'], "").replace("None", "null"),
        Err(_) => text.to_owned(),
    }
}

fn sorted(rows: impl Iterator<Item = Vec<String>>) -> Vec<Vec<String>> {
    let mut rows: Vec<_> = rows.collect();
    rows.sort();
    rows
}

/// Table that gives the types of columns: to clients of PostgreSQL in PostgreSQL's names, and so differently.
const OTHERWISE: &str = "information_schema.columns";

/// Name in the files for the folder that the lake is in. Unless it is replaced, statements would write where the tests
/// run.
const FOLDER: &str = "${FOLDER}";

/// Returns the queries of the files, over a lake in a folder.
fn of_files(folder: &str) -> Vec<String> {
    let mut queries = Vec::new();
    for entry in std::fs::read_dir("tests/sql").expect("a folder").map(|entry| entry.expect("an entry").path()) {
        if entry.extension().is_some_and(|kind| kind == "slt") {
            let records = parse_file::<DefaultColumnType>(&entry).expect("a file of queries");
            queries.extend(records.into_iter().filter_map(|record| match record {
                Record::Query { sql, .. } if !sql.contains(OTHERWISE) => Some(sql.replace(FOLDER, folder)),
                _ => None,
            }));
        }
    }
    queries
}

#[test]
fn every_query_of_the_files_is_answered_as_sql_answers_it_or_refused() {
    let both = Both::new();
    let queries = of_files(both.folder.path().to_str().expect("UTF-8"));
    assert!(queries.len() > 50, "{}", queries.len());
    let (answered, answerable) = both.compared(&queries);
    // Some are of views and files, which the wire does not make.
    assert!(2 * answered > answerable, "{answered} of {answerable} are answered");
    both.served.end();
}

#[test]
fn statements_that_were_once_answered_wrongly_are_answered_as_by_sql() {
    let both = Both::new();
    let (answered, answerable) = both.compared(&FOUND.map(str::to_owned));
    assert_eq!(answered, answerable);
    both.served.end();
}

#[test]
#[expect(clippy::print_stdout, reason = "the seed, for those who look for why")]
fn what_is_made_up_is_answered_as_sql_answers_it_or_refused() {
    let seed = std::env::var("CLICKLAKE_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(SEED);
    println!("seed {seed}");
    let mut made_up = MadeUp(ChaCha8Rng::seed_from_u64(seed));
    let queries: Vec<_> = (0..QUESTIONS).map(|_| made_up.query(2)).collect();
    let both = Both::new();
    let (answered, answerable) = both.compared(&queries);
    assert!(answerable > QUESTIONS / 2, "seed {seed}: SQL answers {answerable}");
    assert!(10 * answered > 9 * answerable, "seed {seed}: {answered} of {answerable} are answered");
    both.served.end();
}

/// Makes up queries over the tables of the lake.
struct MadeUp(ChaCha8Rng);

/// Tables that have an ad, clicks and a start, with the expressions for these.
const TABLES: [&str; 6] = [
    "clicks_minute",
    "clicks_hourly",
    "clicks_daily",
    "clicks_minute VERSION AS OF 2",
    "series(null, null, 'minute')",
    "(select * from clicks_minute)",
];

impl MadeUp {
    fn one<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of.choose(&mut self.0).copied().expect("there are some")
    }

    fn is(&mut self) -> bool {
        self.0.random_bool(0.5)
    }

    /// Makes up a query that gives the same rows each time, in some order.
    fn query(&mut self, depth: usize) -> String {
        let table = self.one(&TABLES);
        let alias = self.one(&["a", "now", "\"T\""]);
        let condition = if self.is() { format!(" where {}", self.condition(alias, depth)) } else { String::new() };
        match self.0.random_range(0..5) {
            0 => {
                let number = self.number(alias, depth);
                format!("select {alias}.ad_id, {number} from {table} {alias}{condition}")
            }
            1 => {
                let sum = self.one(&["sum(clicks)", "count(*)", "max(clicks)", "min(window_start)", "avg(clicks)"]);
                let by = self.one(&["ad_id", "ad_id, campaign_id", "date_trunc('hour', window_start)"]);
                let having = self.one(&["", " having count(*) > 1", " having sum(clicks) > 1"]);
                format!("select {by}, {sum} from {table} {alias}{condition} group by {by}{having}")
            }
            2 => {
                let (one, other) = (self.value(depth), self.value(depth));
                format!("select {one} as x, {other} as y")
            }
            3 => {
                let limit = self.0.random_range(1..5);
                format!(
                    "select ad_id, window_start, clicks from {table} {alias}{condition} order by 1, 2, 3 limit {limit}"
                )
            }
            _ => {
                let (one, other) = (self.condition(alias, depth), self.number(alias, depth));
                let joined = self.one(&["union", "union all", "except", "intersect"]);
                format!(
                    "with w as (select * from {table}) select ad_id, clicks from w {alias} where {one} {joined} \
                     select ad_id, {other} from w {alias}"
                )
            }
        }
    }

    /// Makes up a subquery for a value, of one row or, now and then, of more.
    fn value(&mut self, depth: usize) -> String {
        let table = self.one(&TABLES);
        let (sum, column) = (self.one(&["max", "sum", "count", "min"]), self.one(&["clicks", "b.clicks"]));
        let many = self.0.random_bool(0.1);
        let condition =
            if depth > 0 && self.is() { format!(" where {}", self.condition("b", depth - 1)) } else { String::new() };
        match many {
            true => format!("(select {column} from {table} b{condition})"),
            false => format!("(select {sum}({column}) from {table} b{condition})"),
        }
    }

    /// Makes up a number, from a row of a table with this alias.
    fn number(&mut self, alias: &str, depth: usize) -> String {
        let choice = if depth == 0 { self.0.random_range(0..4) } else { self.0.random_range(0..8) };
        match choice {
            0 => "clicks".to_owned(),
            1 => format!("{alias}.clicks"),
            2 => self.0.random_range(-3..10).to_string(),
            3 => "length(ad_id)".to_owned(),
            4 => {
                let (one, other) = (self.number(alias, depth - 1), self.number(alias, depth - 1));
                let operator = self.one(&["+", "-", "*"]);
                format!("({one} {operator} {other})")
            }
            5 => {
                let (when, then) = (self.condition(alias, depth - 1), self.number(alias, depth - 1));
                format!("case when {when} then {then} else 0 end")
            }
            6 => format!("coalesce({}, 0)", self.value(depth - 1)),
            _ => {
                let sum = self.one(&["sum", "max", "count"]);
                format!("(select {sum}(c.clicks) from clicks_minute c where c.ad_id = {alias}.ad_id)")
            }
        }
    }

    /// Makes up a condition on a row of a table with this alias.
    fn condition(&mut self, alias: &str, depth: usize) -> String {
        let choice = if depth == 0 { self.0.random_range(0..5) } else { self.0.random_range(0..9) };
        match choice {
            0 => format!("{alias}.ad_id = '{}'", self.one(&["ad-a", "ad-b", "it''s", ""])),
            1 => format!("{alias}.ad_id in ('ad-a', 'ad-c')"),
            2 => format!("{alias}.clicks {} {}", self.one(&["=", "<>", "<", ">="]), self.0.random_range(0..4)),
            3 => format!("campaign_id is {}null", self.one(&["", "not "])),
            4 => "window_start >= '2026-03-07T12:01:00Z'".to_owned(),
            5 => {
                let (one, other) = (self.condition(alias, depth - 1), self.condition(alias, depth - 1));
                let operator = self.one(&["and", "or"]);
                format!("({one}) {operator} not ({other})")
            }
            6 => format!("{alias}.ad_id {}in (select ad_id from clicks d)", self.one(&["", "not "])),
            7 => format!("exists (select 1 from clicks d where d.ad_id = {alias}.ad_id)"),
            _ => format!("{} > {}", self.number(alias, depth - 1), self.value(depth - 1)),
        }
    }
}

#[test]
fn words_of_postgresql_are_right_or_refused() {
    let both = Both::new();
    let answers: BTreeMap<&str, Value> = BTreeMap::from([
        ("select count(*) from clicks_minute where campaign_id = any('{\"spring\"}'::text[])", json!([[5]])),
        ("select count(*) from clicks_minute where ad_id = any('{ad-a,\"b,c\"}')", json!([[3]])),
        ("select count(*) from clicks_minute where ad_id <> all(array['ad-a'])", json!([[2]])),
        ("select count(*) from clicks_minute where clicks = any('{1,2}'::int[])", json!([[5]])),
        ("select array(select distinct ad_id from clicks_minute order by ad_id)::text", json!("0A000")),
        ("select distinct to_char(window_start, 'YYYY-MM-DD') from clicks_minute", json!([["2026-03-07"]])),
        ("select distinct to_char(window_start, 'Month') from clicks_minute", json!("22023")),
        ("select to_date('07.03.2026', 'DD.MM.YYYY')::text", json!([["2026-03-07"]])),
        ("select ad_id from clicks_minute order by ad_id desc fetch first 1 rows only", json!([["ad-b"]])),
        ("select encode('\\x01Ff'::bytea, 'hex')", json!([["01ff"]])),
        ("select '\\x012'::bytea", json!("22023")),
        ("select generate_series(1, 3)", json!([[1], [2], [3]])),
        ("select generate_series(1, 2) union all select generate_series(3, 4) order by 1", json!([[1], [2], [3], [4]])),
        ("select case when clicks < 0 then interval '1 day' end from clicks_minute limit 1", json!([[null]])),
        ("select distinct to_char(window_start, 'SSSS') from clicks_minute", json!("22023")),
        ("select count(*) from clicks_minute where ad_id similar to 'ad-%'", json!("0A000")),
        (
            "select m.ad_id from clicks_minute m join clicks c on m.ad_id = c.ad_id order by ad_id limit 1",
            json!([["ad-a"]]),
        ),
        ("unlisten *", json!([])),
        ("set session authorization default", json!([])),
        ("select pg_advisory_unlock_all()", json!([[""]])),
        ("set time zone 'Europe/Berlin'", json!("22023")),
        ("set timezone to 'America/New_York'", json!("22023")),
        ("set time zone 'UTC'", json!([])),
        ("select count(*) from clicks_minute where window_start at time zone 'Europe/Berlin' > now()", json!("0A000")),
        ("set client_encoding to 'latin1'", json!("22023")),
        ("select pg_is_in_recovery(), current_setting('nothing', true)", json!([[false, null]])),
        ("select count(*) > 0 from pg_class where relnamespace = 'public'::regnamespace", json!([[true]])),
        (
            "select count(*) > 0 from pg_class where relnamespace = (select oid from pg_namespace where nspname = \
             'public')",
            json!([[true]]),
        ),
        ("select 'text'::regtype::int as a, 'integer'::regtype::int as b", json!([[25, 23]])),
        ("select to_regclass('nothing') is null, to_regclass('clicks') is null", json!([[true, false]])),
        ("select to_regclass('nothing')", json!([[null]])),
        ("select exists(select 1 from pg_class), not exists(select 1 from pg_attrdef)", json!([[true, true]])),
        // A query in the place of a value is that value, or an error.
        ("select (select nspname from pg_namespace)", json!("21000")),
        (
            "select (select c.relname from pg_class c where c.relnamespace = n.oid) from pg_namespace n where \
             n.nspname = 'public'",
            json!("21000"),
        ),
        (
            "select (select c.relname from pg_class c where c.relnamespace = n.oid order by 1 limit 1) from \
             pg_namespace n where n.nspname = 'public'",
            json!([["by_country"]]),
        ),
        (
            "select (select n.nspname from pg_namespace n where n.oid = relnamespace) from pg_class where relname = \
             'clicks'",
            json!([["public"]]),
        ),
        ("select (select n.nspname from pg_namespace n where n.oid < c.oid) from pg_class c", json!("0A000")),
        (
            "select (select t.typname from pg_type t left join pg_attrdef d on d.oid = t.oid where t.typname = 'int4')",
            json!([["int4"]]),
        ),
        ("select count(*) from pg_stat_activity", json!([[0]])),
        ("select count(*), count(*), null, null, 1, 1 from (values (1)) a", json!([[1, 1, null, null, 1, 1]])),
        // A value that cannot be written is an error, and not null.
        ("select from_unixtime(99999999999999)", json!("22008")),
        ("select array_agg(from_unixtime(99999999999999))", json!("22008")),
        ("select arrow_cast(2147483647, 'Date32')", json!("22008")),
        ("select arrow_cast(9223372036854775807, 'Duration(Second)')", json!("22008")),
        (
            "select data_type, udt_name from information_schema.columns where table_name = 'clicks_minute' and \
             column_name = 'window_start'",
            json!([["timestamp with time zone", "timestamptz"]]),
        ),
        ("select min(ordinal_position) from information_schema.columns where table_name = 'clicks'", json!([[1]])),
    ]);
    for protocol in PROTOCOLS {
        for (text, expected) in &answers {
            let answer = both.served.one("", protocol, text);
            let found = if expected.is_string() { &answer["code"] } else { &answer["rows"] };
            assert_eq!(found, expected, "{protocol}: {text}: {answer}");
        }
    }
    let lists = [
        ("select count(*) from clicks_minute where ad_id = any(%s)", json!([["ad-a", "nothing"]])),
        ("select count(*) from clicks_minute where clicks = any(%s)", json!([[1]])),
        ("select count(*) from clicks_minute where not ad_id = any(%s::text[])", json!([["ad-a"]])),
        ("select count(*) from clicks_minute where %(a)s is null or ad_id = any(%(a)s)", json!({"a": ["ad-a"]})),
        (
            "select count(*) from clicks_minute where %(a)s::text[] is null or ad_id = any(%(a)s::text[])",
            json!({"a": null}),
        ),
    ];
    let expected = [json!([[3]]), json!([[4]]), json!([[2]]), json!([[3]]), json!([[5]])];
    for protocol in ["simple", "extended"] {
        for (answer, expected) in both.served.asked("", protocol, &lists).iter().zip(&expected) {
            assert_eq!(answer["rows"], *expected, "{protocol}: {answer}");
        }
    }
    let setting = both.served.printed("", &["show all"]);
    assert!(setting.lines().any(|line| line.starts_with("timezone|UTC|")), "{setting}");
    both.served.end();
}
