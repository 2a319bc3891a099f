//! Law: the PostgreSQL protocol answers what SQL answers, to whoever has a key and only from rows that the key sees;
//! and nothing that is sent to it changes anything, or takes it down.

mod copied;
mod drivers;
mod lake;
mod logged_in;
mod messages;
mod private;
mod processes;
mod same;
mod tools;

use std::process::{Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use lake_store::Lake;
use serde_json::{Value, json};
use serve::{Keys, Postgres};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use self::lake::Rows;
use crate::readers::python;

/// Memory of connections in tests, in bytes.
const MEMORY: usize = 64 << 20;

/// File of keys: `all-of-it`, which sees everything, `spring-key`, and `nothing-key`, which sees a campaign without
/// rows.
const KEYS: &str = "
294c04e5ac9dd23c5448c01a3bb266a553de650cc27d9a1ddc35e2765498c1fb *
1be082a4fc22e386dbac58d743e0254e93a2fced7476e934f7bbde2165358661 spring
7e0228d8b2dcc4558869ac4e2488b81c449404649445eb03e42b3b90d6a3337d winter
";

/// A lake that is served as long as this exists.
struct Served {
    port: u16,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
    runtime: Runtime,
}

impl Served {
    fn over(lake: &Lake, keys: bool, memory: usize) -> Self {
        let keys = keys.then(|| Arc::new(Keys::parse(KEYS).expect("keys")));
        Self::of(Postgres::new(lake.clone(), keys, memory).expect("a server"))
    }

    fn of(server: Postgres) -> Self {
        let runtime = Runtime::new().expect("a runtime");
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let stop = CancellationToken::new();
        let task = runtime.spawn(server.serve(listener, stop.clone()));
        Self { port, stop, task, runtime }
    }

    fn url(&self, key: &str) -> String {
        format!("postgresql://someone:{key}@127.0.0.1:{}/clicklake?connect_timeout=20", self.port)
    }

    /// Returns what psql prints, unaligned.
    fn psql(&self, key: &str, statements: &[&str]) -> Output {
        let mut psql = Command::new("psql");
        psql.args(["-X", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-v", "VERBOSITY=verbose", "-d", &self.url(key)]);
        for statement in statements {
            psql.args(["-c", statement]);
        }
        self.runtime.block_on(async { psql.output().await }).expect("psql runs; tests/run installs it")
    }

    fn printed(&self, key: &str, statements: &[&str]) -> String {
        let output = self.psql(key, statements);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{statements:?}: {said}");
        String::from_utf8(output.stdout).expect("UTF-8").trim_end().to_owned()
    }

    /// Returns the answers to a Python client.
    fn asked(&self, key: &str, protocol: &str, statements: &[(&str, Value)]) -> Vec<Value> {
        let script = "tests/serve/postgres/asks.py";
        let mut asks = Command::new(python());
        asks.arg(script).args([&self.url(key), protocol]);
        asks.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let output = self.runtime.block_on(async {
            let mut asks = asks.spawn().expect("Python runs");
            let mut input = asks.stdin.take().expect("a pipe");
            let text = json!(statements.iter().map(|(text, values)| json!([text, values])).collect::<Vec<_>>());
            input.write_all(text.to_string().as_bytes()).await.expect("it reads");
            drop(input);
            asks.wait_with_output().await.expect("it ends")
        });
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).expect("answers")
    }

    fn one(&self, key: &str, protocol: &str, statement: &str) -> Value {
        self.asked(key, protocol, &[(statement, Value::Null)]).remove(0)
    }

    /// Stops the server, and waits until it has stopped.
    fn end(self) {
        self.stop.cancel();
        let ended = self.runtime.block_on(async { tokio::time::timeout(Duration::from_secs(20), self.task).await });
        ended.expect("it stops in time").expect("it does not panic");
    }
}

/// Returns the rows of an answer in a fixed order.
fn sorted(answer: &Value) -> Value {
    let mut rows: Vec<String> = match answer["rows"].as_array() {
        Some(rows) => rows.iter().map(Value::to_string).collect(),
        None => return answer["code"].clone(),
    };
    rows.sort();
    json!(rows)
}

/// Statements that must be answered for a key as if there were no other campaigns, whatever the protocol.
const TRICKS: [&str; 50] = [
    "select count(*) from clicks",
    "select count(*), count(campaign_id), min(ad_id), max(ad_id), max(cost_micros) from clicks",
    "select count(*), min(clicks), max(clicks), sum(clicks) from clicks_minute",
    "select max(clicks) from clicks_hourly",
    "select max(clicks), min(ad_id) from clicks_daily",
    "select count(*) from clicks where cast(ad_id as int) > 0",
    "select count(*) from clicks_minute where cast(ad_id as int) = 1",
    "select count(*) from clicks_daily where cast(ad_id as int) = 1",
    "select sum(cast(ad_id as int)) from totals(null, null)",
    "select sum(clicks) from totals(null, null) where cast(ad_id as int) = 1",
    "select * from series(null, null, 'hour') where cast(ad_id as int) = 2",
    "select 1 / (case when campaign_id = 'spring' then 1 else 0 end) from clicks",
    "select count(*) from clicks where 1 / (case when campaign_id is null then 0 else 1 end) = 1",
    "select count(*) from clicks where arrow_cast(ad_id, 'Int32') >= 0",
    "select ad_id from clicks order by cost_micros desc limit 1",
    "select ad_id from clicks_minute order by clicks desc, window_start limit 3",
    "select count(*) from (select * from clicks limit 4)",
    "select count(*) from (select * from clicks_minute limit 3 offset 1)",
    "select distinct campaign_id from clicks",
    "select distinct campaign_id from clicks_minute",
    "select * from totals(null, null)",
    "select * from totals('2026-03-07T12:00:00Z', '2026-03-07T13:00:00Z')",
    "select * from series(null, null, 'minute')",
    "select * from series(null, null, 'day')",
    "select campaign_id, count(*) from changes('clicks', 0, 3) group by 1",
    "select campaign_id, count(*) from changes('clicks_minute', 1, 2) group by 1",
    "select sum(clicks) from clicks_minute where campaign_id = 'autumn'",
    "select sum(clicks) from clicks_minute where campaign_id in ('autumn', 'spring')",
    "select sum(clicks) from clicks_minute where campaign_id = 'autumn' or true",
    "select sum(clicks) from clicks_minute where not campaign_id = 'spring'",
    "select sum(clicks) from clicks_minute where campaign_id is null",
    "select sum(clicks) from clicks_minute where campaign_id like '%'",
    "select sum(clicks) from clicks_minute where lower(trim(campaign_id)) = 'spring'",
    "select sum(clicks) from clicks_minute where ad_id = 'secret-a'",
    "select sum(clicks) from totals(null, null) where ad_id = 'secret-a'",
    "select sum(clicks) from totals(null, null) where ad_id in ('1', 'secret-a', 'secret-d')",
    "select sum(clicks) from totals(null, null) where campaign_id is distinct from 'spring'",
    "select count(*) from clicks a join clicks b on a.campaign_id <> b.campaign_id",
    "select count(*) from clicks a left join clicks_minute b on a.ad_id = b.ad_id",
    "select count(*) from clicks a full join totals(null, null) b on b.ad_id = a.ad_id and b.clicks > 100",
    "select count(*) from clicks where ad_id in (select ad_id from clicks_minute where clicks > 100)",
    "select (select max(clicks) from clicks_minute) where exists (select 1 from clicks where cost_micros > 100)",
    "select count(*) from clicks_minute VERSION AS OF 1",
    "select sum(clicks) from clicks_minute TIMESTAMP AS OF '2030-01-01'",
    "with a as (select * from clicks) select count(*) from a union all select max(cost_micros) from a",
    "select ad_id, rank() over (order by cost_micros desc) from clicks",
    "select array_agg(ad_id order by ad_id) from clicks_hourly",
    "select approx_distinct(ad_id), string_agg(ad_id, ',' order by ad_id) from clicks_daily",
    "select count(*) from information_schema.tables where table_schema = 'public'",
    "select sum(reltuples) from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace where \
     nspname = 'public'",
];

#[test]
fn a_key_is_answered_as_if_there_were_no_others() {
    let (folder, alone) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let served = Served::over(&lake::write(folder.path(), Rows::All), true, MEMORY);
    let alone = Served::over(&lake::write(alone.path(), Rows::OfSpring), false, MEMORY);
    let statements = TRICKS.map(|text| (text, Value::Null));
    for protocol in ["simple", "extended"] {
        let seen = served.asked("spring-key", protocol, &statements);
        let expected = alone.asked("", protocol, &statements);
        for ((text, seen), expected) in TRICKS.iter().zip(&seen).zip(&expected) {
            assert!(expected["code"].is_null(), "{protocol}: {text}: {expected}");
            assert_eq!(sorted(seen), sorted(expected), "{protocol}: {text}: {seen}");
            assert!(!seen.to_string().contains("secret"), "{protocol}: {text}: {seen}");
        }
        let all = served.one("all-of-it", protocol, "select count(*), max(cost_micros) from clicks");
        assert_eq!(all["rows"], json!([[18, 4_000]]));
        let none = served.one("nothing-key", protocol, "select count(*), max(cost_micros) from clicks");
        assert_eq!(none["rows"], json!([[0, null]]));
    }
    served.end();
    alone.end();
}

#[test]
fn what_tells_of_everyone_is_refused_to_a_key_with_campaigns() {
    let folder = tempfile::tempdir().expect("a folder");
    let served = Served::over(&lake::write(folder.path(), Rows::All), true, MEMORY);
    for protocol in ["simple", "extended"] {
        for (text, code) in [
            ("select * from history('clicks')", "42501"),
            ("select * from clicks_rejected", "42501"),
            ("select * from changes('clicks_rejected', 0, 1)", "42501"),
            ("explain select * from clicks", "42501"),
            ("explain analyze select * from clicks", "42501"),
            ("explain verbose select * from clicks", "42501"),
        ] {
            let answer = served.one("spring-key", protocol, text);
            // A table that is not there yet is no secret.
            let is_missing = answer["said"].as_str().is_some_and(|said| said.contains("has no table"));
            assert!(answer["code"] == code || is_missing, "{protocol}: {text}: {answer}");
        }
        let rows = served.one("all-of-it", protocol, "select count(*) from history('clicks')");
        assert_eq!(rows["rows"], json!([[4]]), "{protocol}");
        assert!(served.one("all-of-it", protocol, "explain select 1")["rows"].is_array());
    }
    served.end();
}

#[test]
fn statements_that_do_more_than_ask_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let lake = lake::write(folder.path(), Rows::All);
    let served = Served::over(&lake, true, MEMORY);
    for protocol in ["simple", "extended"] {
        for (text, code) in [
            ("create external table p stored as csv location '/etc/passwd'", ""),
            ("create table a (b int)", "25006"),
            ("create view a as select * from clicks", "25006"),
            ("select * into a from clicks", "25006"),
            ("insert into clicks_minute select * from clicks_minute", "25006"),
            ("delete from clicks", "25006"),
            ("drop table clicks", "25006"),
            ("copy (select 1) to '/tmp/clicklake.csv'", "25006"),
            ("copy clicks from '/etc/passwd'", "25006"),
            ("select * from '/etc/passwd'", ""),
            ("select * from \"/etc/passwd\"", ""),
            ("select * from \"file:///etc/passwd\"", ""),
            ("select * from read_csv('/etc/passwd')", ""),
            ("select pg_read_file('/etc/passwd')", ""),
            ("set datafusion.catalog.information_schema = false", "0A000"),
            ("set datafusion.execution.batch_size = 1", "0A000"),
            ("prepare a as select 1", "0A000"),
            ("set role postgres", "0A000"),
            ("create function f() returns int language sql return 1", "25006"),
            ("vacuum", "25006"),
        ] {
            for key in ["spring-key", "all-of-it"] {
                let answer = served.one(key, protocol, text);
                let found = answer["code"].as_str().unwrap_or_else(|| panic!("{protocol}: {text}: {answer}"));
                assert!(code.is_empty() || code == found, "{protocol}: {text}: {answer}");
                let said = answer["said"].as_str().unwrap_or_default();
                assert!(!said.contains("root:") && !said.contains(folder.path().to_str().expect("UTF-8")), "{answer}");
            }
        }
    }
    let output = served.psql("all-of-it", &["select 1; drop table clicks; select 2"]);
    assert!(!output.status.success());
    assert_eq!(served.printed("all-of-it", &["select count(*) from clicks"]), "18");
    served.end();
}

#[test]
fn a_wrong_password_is_no_key() {
    let folder = tempfile::tempdir().expect("a folder");
    let served = Served::over(&lake::write(folder.path(), Rows::All), true, MEMORY);
    for key in ["wrong", "Spring-key", "*", "spring", "a%00b"] {
        let output = served.psql(key, &["select 1"]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && !said.contains("spring"), "{key}: {said}");
    }
    let said = served.psql("wrong", &["select 1"]).stderr;
    assert!(String::from_utf8_lossy(&said).contains("the password is no key of this server"));
    served.end();
}

#[test]
fn psql_and_python_list_tables_and_ask_as_the_readme_does() {
    let folder = tempfile::tempdir().expect("a folder");
    let served = Served::over(&lake::write(folder.path(), Rows::All), false, MEMORY);
    let tables = served.printed("", &["\\dt"]);
    for table in ["clicks", "clicks_minute", "clicks_hourly", "clicks_daily"] {
        assert!(tables.contains(&format!("public|{table}|table|")), "{tables}");
    }
    for command in ["\\d", "\\dn+", "\\l+", "\\dp", "\\dt+", "\\d+ clicks_minute"] {
        assert!(!served.printed("", &[command]).is_empty(), "{command}");
    }
    let columns = served.printed("", &["\\d clicks_minute"]);
    for column in ["window_start|timestamp with time zone", "ad_id|text", "clicks|bigint"] {
        assert!(columns.contains(column), "{columns}");
    }
    assert_eq!(
        served.printed("", &["show server_version", "select 1", "begin; select 2; commit"]).lines().last(),
        Some("COMMIT")
    );
    let readme = [
        "select version, time, operation, rows from history('clicks_minute') order by version desc limit 3",
        "select now.ad_id, now.clicks, was.clicks as was from totals(null, null) now join (select ad_id, sum(clicks) \
         as clicks from clicks_minute VERSION AS OF 2 group by ad_id) was on was.ad_id = now.ad_id order by now.clicks \
         desc limit 3",
        "select ad_id, sum(clicks) as clicks from clicks_minute group by ad_id order by clicks desc limit 2",
        "select * from series(null, null, 'hour') order by window_start, ad_id limit 3",
        "select * from changes('clicks_minute', 1, 1) limit 3",
        "select table_name from information_schema.tables where table_schema = 'public'",
        "select column_name, data_type from information_schema.columns where table_name = 'clicks_minute'",
    ];
    for text in readme {
        assert!(!served.printed("", &[text]).is_empty(), "{text}");
        for protocol in ["simple", "extended"] {
            let answer = served.one("", protocol, text);
            assert!(answer["rows"].as_array().is_some_and(|rows| !rows.is_empty()), "{protocol}: {text}: {answer}");
        }
    }
    let said = served.psql("", &["select * from clicks VERSION AS OF 99"]).stderr;
    assert!(String::from_utf8_lossy(&said).contains("clicks has no version 99; its newest is 3"));
    served.end();
}

#[test]
fn grafana_and_superset_find_what_there_is() {
    let folder = tempfile::tempdir().expect("a folder");
    let served = Served::over(&lake::write(folder.path(), Rows::All), true, MEMORY);
    let script = "tests/serve/postgres/describes.py";
    let described = served.runtime.block_on(async {
        Command::new(python()).arg(script).arg(served.url("spring-key")).output().await.expect("Python runs")
    });
    let expected = "\
information_schema public
clicks clicks_daily clicks_hourly clicks_minute
window_start TIMESTAMP, ad_id TEXT, clicks BIGINT
[] []
[] [] True
60 60
";
    let said = String::from_utf8_lossy(&described.stderr);
    assert_eq!(String::from_utf8_lossy(&described.stdout), expected, "{said}");
    // Statements as Grafana makes them of the time macros of a panel, and to find tables and columns.
    for (text, expected) in [
        (
            "SELECT floor(extract(epoch from window_start)/3600)*3600 AS \"time\", ad_id AS metric, sum(clicks) AS \
             clicks FROM clicks_minute WHERE window_start BETWEEN '2026-03-07T12:00:00Z' AND '2026-03-07T12:59:00Z' \
             GROUP BY 1, 2 ORDER BY 1, 2",
            json!([[1_772_884_800.0, "1", 20], [1_772_884_800.0, "2", 40]]),
        ),
        ("SELECT current_setting('server_version_num')::int/100 AS version", json!([[1600]])),
        (
            "SELECT quote_ident(table_name) AS \"table\" FROM information_schema.tables \
             WHERE quote_ident(table_schema) NOT IN ('information_schema', 'pg_catalog') ORDER BY 1 LIMIT 1",
            json!([["clicks"]]),
        ),
    ] {
        assert_eq!(served.one("spring-key", "extended", text)["rows"], expected, "{text}");
    }
    served.end();
}

#[test]
fn parameters_are_bound_and_answers_are_fresh() {
    let folder = tempfile::tempdir().expect("a folder");
    let lake = lake::write(folder.path(), Rows::All);
    let served = Served::over(&lake, true, MEMORY);
    let asks = [
        ("select sum(clicks) from clicks_minute where ad_id = %s", json!(["1"])),
        ("select sum(clicks) from totals(%s, %s) where ad_id = %s", json!(["2026-03-07T12:00:00Z", null, "1"])),
        (
            "select count(*) from clicks_minute where window_start >= %s and clicks > %s",
            json!(["2026-03-07T13:00:00Z", 10]),
        ),
        ("select count(*) from series(%s::timestamptz, %s::timestamptz, %s)", json!(["2026-03-07", null, "hour"])),
        ("select count(*) from changes(%s, %s, %s)", json!(["clicks", 1, 2])),
        (
            "select ad_id from clicks_minute where ad_id in (%s, %s) order by clicks desc limit %s",
            json!(["1", "secret-a", 1]),
        ),
        ("select %s::int + 1", json!([41])),
        ("select sum(clicks) from clicks_minute where ad_id = %s", json!(["1' or '1' = '1"])),
    ];
    let expected =
        [json!([[40]]), json!([[40]]), json!([[2]]), json!([[4]]), json!([[4]]), json!([["1"]]), json!([[42]])];
    for protocol in ["simple", "extended"] {
        let answers = served.asked("spring-key", protocol, &asks);
        for ((ask, answer), expected) in asks.iter().zip(&answers).zip(expected.iter().chain([&json!([[null]])])) {
            assert_eq!(answer["rows"], *expected, "{protocol}: {ask:?}: {answer}");
        }
    }
    let before = served.printed("all-of-it", &["select sum(clicks) from totals(null, null) where ad_id = '1'"]);
    lake::append(&lake, 62);
    let after = served.printed("all-of-it", &["select sum(clicks) from totals(null, null) where ad_id = '1'"]);
    assert_eq!((before.as_str(), after.as_str()), ("40", "50"));
    served.end();
}

#[test]
fn a_prepared_statement_and_a_cursor_see_what_they_should() {
    let folder = tempfile::tempdir().expect("a folder");
    let lake = lake::write(folder.path(), Rows::All);
    let served = Served::over(&lake, true, MEMORY);
    let script = "tests/serve/postgres/holds.py";
    let output = served.runtime.block_on(async {
        let mut holds = Command::new(python());
        holds.arg(script).arg(served.url("spring-key")).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut holds = holds.spawn().expect("Python runs");
        let (mut input, mut output) = (holds.stdin.take().expect("a pipe"), holds.stdout.take().expect("a pipe"));
        let mut first = vec![0; "sum 120\n".len()];
        output.read_exact(&mut first).await.expect("it has asked once");
        let lake = lake.clone();
        tokio::task::spawn_blocking(move || lake::append(&lake, 62)).await.expect("a minute more");
        input.write_all(b"\n").await.expect("it reads");
        let mut rest = String::new();
        output.read_to_string(&mut rest).await.expect("it ends");
        assert!(holds.wait().await.expect("it ends").success());
        String::from_utf8(first).expect("UTF-8") + &rest
    });
    let expected =
        ["sum 120", "sum 150", "rows 8 8 8", "prepared 1100", "portal 3 8", "closed 34000", "25P02", "42703", "22P02"];
    assert_eq!(output.split('\n').map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>(), expected);
    served.end();
}

#[test]
fn who_hangs_or_floods_takes_nothing_from_others() {
    let folder = tempfile::tempdir().expect("a folder");
    let served = Served::over(&lake::write(folder.path(), Rows::All), true, 8 << 20);
    let address = ("127.0.0.1", served.port);
    let held = served.runtime.block_on(async {
        let mut held = Vec::new();
        for bytes in [&b""[..], b"\0\0", b"\0\0\0\x08\x04\xd2\x16\x2f", b"GET / HTTP/1.1\r\n\r\n", &[0xff; 64]] {
            let mut socket = TcpStream::connect(address).await.expect("a connection");
            socket.write_all(bytes).await.expect("it takes it");
            held.push(socket);
        }
        held
    });
    let deep = |link: &str| format!("select 1 {}", link.repeat(20_000));
    let doubled = (0..40).map(|at| format!(", a{} as (select 1 from a{at} x, a{at} y)", at + 1));
    for (text, code) in [
        (deep("+ 1"), "54000"),
        (deep("union all select 1"), "54000"),
        (format!("select {}1{}", "(".repeat(20_000), ")".repeat(20_000)), "54000"),
        (format!("select '{}'", "x".repeat(300_000)), "54000"),
        (format!("select {}1{}", "abs(".repeat(40), ")".repeat(40)), "54000"),
        (format!("select {}'1'", "interval ".repeat(28_000)), "54000"),
        (format!("select 1{}", "#1".repeat(100_000)), "54000"),
        (format!("select ''{}", "XOR''".repeat(50_000)), "54000"),
        (format!("select 1{}", " notnull".repeat(30_000)), "54000"),
        (format!("select q'[', {}']'", "abs(".repeat(40)), "54000"),
        (format!("select {}", "interval -abs(".repeat(15)), "54000"),
        (format!("select {}", "interval(".repeat(16)), "54000"),
        (format!("select {}", "not -abs(".repeat(20)), "54000"),
        (format!("select 1 from clicks_minute where (clicks > 0) {}", "between false and true ".repeat(30)), "54000"),
        (format!("with a0 as (select 1){} select 1 from a40", doubled.collect::<String>()), "54000"),
        (
            "select count(distinct a.value::text || b.value::text) from generate_series(1, 3000) a, \
             generate_series(1, 3000) b"
                .to_owned(),
            "53200",
        ),
        (
            "set statement_timeout = '300ms'; select count(*) from generate_series(1, 1000000000000) \
             where value % 7 = 8"
                .to_owned(),
            "57014",
        ),
    ] {
        let answer = served.one("spring-key", "simple", &text);
        assert_eq!(answer["code"], code, "{}: {answer}", &text[..40]);
    }
    // No plan may deal rows out to queues: they grow without a bound if one reader is slower than the others.
    let endless = "explain select count(*) from generate_series(1, 1000000000000) where value % 7 = 8";
    let plan = served.one("all-of-it", "simple", endless).to_string();
    assert!(plan.contains("AggregateExec") && !plan.contains("RoundRobin"), "{plan}");
    assert_eq!(served.printed("spring-key", &["select count(*) from clicks"]), "6");
    // Expressions that nest, up to the depth at which they are refused.
    let nested = format!("select sum(clicks{}) from clicks_minute", " + clicks".repeat(990));
    assert!(served.one("spring-key", "simple", &nested)["rows"].is_array());
    let nested = format!("select 1 where 1 = 1{}", " or 1 = 2".repeat(450));
    assert!(served.one("spring-key", "extended", &nested)["rows"].is_array());
    let nested = format!("select 1{}", " union all select 1".repeat(60));
    assert!(served.one("spring-key", "simple", &nested)["rows"].is_array());
    let nested = format!("select count(*) from clicks_daily{}", ", (values (1))".repeat(60));
    assert_ne!(served.one("spring-key", "simple", &nested)["code"], "XX000");
    assert_eq!(served.printed("spring-key", &["select count(*) from clicks"]), "6");
    drop(held);
    served.end();
}
