//! Law: nobody is billed by a sum that wrapped around. A sum that does not fit into 64 bits is an error that names
//! whose sum it is, for whoever asks for it; no job stops because of it, and other ads are answered as ever.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch};
use arrow::datatypes::Int64Type;
use ingest::decode::{BatchBuilder, Message};
use lake_schemas::job::Step;
use lake_schemas::minute::Parameters;
use lake_schemas::table::TIME_IN_FUTURE_MS;
use lake_schemas::{Code, Field, LogTime, Stand, Table, TopicPartition};
use lake_store::commit::{Commit, Outcome, TableLog};
use lake_store::{Lake, files};
use query::QueryError;
use query::totals::{Filter, Question, Totals};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::NOON_MS;
use crate::by_hand::{MINUTE_MS, Row, TOPIC, append, minutes};
use crate::simulation::simulate;
use crate::start_up::{clicklake, fails, folder, refused};

/// A little more than half of the largest number of 64 bits.
const BIG: i64 = 5_000_000_000_000_000_000;

/// Returns the stand of a partition that has come to an offset, with an event of nine minutes after noon, and that was
/// drained there.
fn stand(cut: i64) -> Stand {
    let watermark_ms = Some(NOON_MS + 9 * MINUTE_MS - Parameters::default().out_of_orderness_ms);
    Stand { cut: Some(cut), watermark_ms, drained: Some(cut), restore: Some(0), ..Stand::default() }
}

/// Makes the counts of an ad in a minute after noon.
fn row(minute: i64, ad: &str, clicks: i64, cost_micros: i64) -> Row {
    Row { minute, ad: ad.to_owned(), clicks, cost_micros, ..Row::default() }
}

/// Makes minutes of these rows, as of clicks up to an offset.
async fn minutes_of(lake: &Lake, rows: &[Row], cut: i64) {
    let mut log = minutes(lake, Table::ClicksMinute, &Parameters::default()).await;
    append(&mut log, rows, &[(0, stand(cut))].into()).await;
}

/// Makes minutes in which one ad has more than 64 bits hold, and another one has more clicks.
async fn overflowing(lake: &Lake) {
    minutes_of(lake, &[row(0, "big", 1, BIG), row(0, "fine", 3, 7), row(1, "big", 1, BIG)], 5).await;
}

/// Returns the cost of an ad, or of everyone, over all time.
async fn cost_of(totals: &Totals, filter: Vec<Filter>) -> Result<i64, QueryError> {
    let answer = totals.answer(&Question { filter, ..Question::default() }).await?;
    Ok(answer.rows[0]["cost_micros"].as_primitive::<Int64Type>().value(0))
}

fn ad(name: &str) -> Vec<Filter> {
    vec![Filter::one(Field::AdId, name)]
}

/// Holds totals of a lake to a law, before their files are added up, and after.
fn added_up_or_not(lake: Lake, law: impl AsyncFn(&Totals)) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let totals = Totals::new(lake).expect("a session");
        law(&totals).await;
        totals.look(Instant::now() + Duration::from_secs(60)).await.expect("the lake is there");
        law(&totals).await;
    });
}

/// Returns what a command prints, as JSON.
fn said(arguments: &[&str], lake: &str) -> Vec<Value> {
    let output = clicklake(&[arguments, &["--format", "json", "--lake", lake]].concat());
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// Returns what a command prints that must succeed, and what it writes to stderr.
fn done(arguments: &[&str], lake: &str) -> (String, String) {
    let output = clicklake(&[arguments, &["--lake", lake]].concat());
    let (shown, said) = (String::from_utf8(output.stdout), String::from_utf8(output.stderr));
    let (shown, said) = (shown.expect("UTF-8"), said.expect("UTF-8"));
    assert!(output.status.success(), "{arguments:?}: {shown}{said}");
    (shown, said)
}

#[test]
fn a_sum_that_64_bits_do_not_hold_is_an_error_that_names_the_ad_and_nobody_elses() {
    let (_folder, path) = folder();
    simulate(overflowing(&Lake::at(&path).expect("a lake")));
    let exact = "10000000000000000000";
    for is_rolled_up in [false, true] {
        if is_rolled_up {
            done(&["compact", "--once"], &path);
        }
        let fails = |arguments: &[&str], words: &[&str]| {
            refused(&[arguments, &["--lake", &path]].concat(), Code::SumOverflow, 3, words);
        };
        fails(&["total", "--ad", "big"], &["ad big", "cost_micros", exact, "for all time"]);
        let hour = ["--from", "2026-03-07T12:00:00Z", "--to", "2026-03-07T13:00:00Z"];
        fails(&[&["total", "--ad", "big"][..], &hour].concat(), &["ad big", exact, "from 2026-03-07T12:00:00"]);
        fails(&["series", "--ad", "big", "--by", "hour"], &["ad big", "window_start 2026-03-07T12:00:00", exact]);
        fails(&["top", "-n", "2"], &["ad_id big", exact]);
        fails(&["sql", "select ad_id, cost_micros from totals(null, null)"], &["ad_id big", exact]);
        for table in
            if is_rolled_up { &["clicks_minute", "clicks_hourly", "clicks_daily"][..] } else { &["clicks_minute"] }
        {
            let sql = format!("select sum(cost_micros) from {table}");
            fails(&["sql", &sql], &[&format!("sum({table}.cost_micros)"), "64 bits"]);
        }
        let fine =
            json!([{ "ad_id": "fine", "clicks": 3, "cost_micros": 7, "duplicates": 0, "late": 0, "filtered": 0 }]);
        assert_eq!(json!(said(&["total", "--ad", "fine"], &path)), fine);
        assert_eq!(json!(said(&["top", "-n", "1"], &path)), fine, "what is not shown is of any size");
        let series = said(&["series", "--ad", "big", "--by", "minute"], &path);
        assert_eq!(series.iter().map(|row| row["cost_micros"].as_i64()).collect::<Vec<_>>(), [Some(BIG); 2]);
        for sql in [
            "select sum(cost_micros) as c from totals(null, null) where ad_id = 'fine'",
            "select 7 as c from totals(null, null) where ad_id = 'big' and clicks = 2",
            "select sum(cost_micros) as c from clicks_minute where ad_id = 'fine'",
        ] {
            assert_eq!(said(&["sql", sql], &path)[0]["c"], json!(7), "{sql}");
        }
        let sql = "select cast(sum(cast(cost_micros as decimal(38, 0))) as varchar) as c from clicks_minute \
                   where ad_id = 'big'";
        assert_eq!(said(&["sql", sql], &path)[0]["c"], json!(exact));
    }
    // Sums are the same in each roll-up.
    for table in ["clicks_hourly", "clicks_daily"] {
        let sql = format!("select cost_micros, clicks from {table} where ad_id = 'big' order by 1 desc");
        let rows = said(&["sql", &sql], &path);
        let sum = |name: &str| rows.iter().filter_map(|row| row[name].as_i64()).map(i128::from).sum::<i128>();
        assert_eq!((rows.len(), sum("cost_micros"), sum("clicks")), (2, 2 * i128::from(BIG), 2), "{rows:?}");
    }
}

/// The sums that `serve` keeps, and those that it computes for a question, are the same.
#[test]
fn an_overflow_of_one_ad_in_sums_added_up_beforehand_leaves_others_answered() {
    let (_folder, path) = folder();
    let lake = Lake::at(&path).expect("a lake");
    simulate(overflowing(&lake));
    done(&["compact", "--once"], &path);
    added_up_or_not(lake, async |totals| {
        let big = cost_of(totals, ad("big")).await.expect_err("it does not fit");
        assert!(matches!(&big, QueryError::Overflow(_)) && big.to_string().contains("ad big"), "{big:?}");
        assert_eq!(cost_of(totals, ad("fine")).await.expect("it fits"), 7);
        let all = cost_of(totals, Vec::new()).await.expect_err("it does not fit").to_string();
        assert!(all.contains("all ads") && all.contains("10000000000000000007"), "{all}");
    });
}

/// Commits clicks of partition 0 as an earlier version accepted them, one for each offset: any cost was allowed.
async fn clicks_of_old(lake: &Lake, clicks: &[(&str, i64, i64)]) {
    let mut log = TableLog::open_or_make(lake, &Table::Clicks.definition()).await.expect("a table");
    let partition = TopicPartition::new(TOPIC, 0);
    let mut batch = BatchBuilder::new(partition.clone(), 0, TIME_IN_FUTURE_MS);
    for (offset, (ad, minute, _)) in (0..).zip(clicks) {
        let time = NOON_MS + minute * MINUTE_MS;
        let payload = json!({ "ad_id": ad, "timestamp": time, "click_id": offset.to_string(), "cost_micros": 1 });
        let (log_time, payload) = (LogTime::from_millis(NOON_MS + 11 * MINUTE_MS), payload.to_string());
        batch.push(&Message { offset, log_time, key: None, payload: Some(payload.as_bytes()) });
    }
    let decoded = batch.finish().events;
    let costs: ArrayRef = Arc::new(Int64Array::from_iter_values(clicks.iter().map(|(_, _, cost)| *cost)));
    let mut columns = decoded.columns().to_vec();
    columns[decoded.schema().index_of("cost_micros").expect("a column")] = costs;
    let rows = vec![RecordBatch::try_new(decoded.schema(), columns).expect("the same columns")];
    let next = i64::try_from(clicks.len()).expect("few");
    let to = Stand { cut: Some(next), read: Some(next), ..Stand::default() };
    let step = Step { table: Table::Clicks, from: log.stand(&partition), partition, rows, to };
    let mut adds = Vec::new();
    for file in files::encode(Table::Clicks, &step.rows).await.expect("a file") {
        file.put(log.object_store().as_ref()).await.expect("a disk");
        adds.push(file.add);
    }
    let outcome = log.commit(&Commit::epoch("ingest", &[step], adds)).await.expect("a disk");
    assert!(matches!(outcome, Outcome::Committed(_)), "{outcome:?}");
}

#[test]
fn clicks_from_before_the_bound_count_without_their_cost_and_that_is_said() {
    let (_folder, path) = folder();
    let huge = 9_000_000_000_000_000_000;
    let clicks = [("old", 0, huge), ("old", 0, huge), ("old", 0, 5), ("fine", 1, 1_000_000_000_000), ("fine", 9, 1)];
    simulate(async {
        let lake = Lake::at(&path).expect("a lake");
        clicks_of_old(&lake, &clicks).await;
        minutes(&lake, Table::ClicksMinute, &Parameters::default()).await;
    });
    let (_, said) = done(&["backfill", "--into", "again"], &path);
    assert!(said.contains("count with a cost of null"), "{said}");
    assert!(said.contains("first=0") && said.contains("events=2"), "{said}");
    let sql = "select ad_id, sum(clicks) as n, sum(cost_micros) as c from again group by ad_id order by ad_id";
    let rows = self::said(&["sql", sql], &path);
    let expected = json!([{ "ad_id": "fine", "n": 2, "c": 1_000_000_000_001_i64 }, { "ad_id": "old", "n": 3, "c": 5 }]);
    assert_eq!(json!(rows), expected);
    for by in [&["verify", "--table", "again"][..], &["verify", "--table", "again", "--replay"]] {
        let (shown, _) = done(by, &path);
        assert!(shown.starts_with("equal: ") && shown.contains("2 clicks of the raw table with a cost"), "{shown}");
        assert!(shown.contains("clicks/0: 2 clicks, the first at offset 0"), "{shown}");
    }
    let (later, _) = done(&["verify", "--table", "again", "--from", "2026-03-07T12:01:00Z"], &path);
    assert!(later.starts_with("equal: ") && !later.contains("have a cost"), "{later}");
    done(&["promote", "again"], &path);
    let noon = "2026-03-07T12:00:00Z";
    let explained = self::said(&["explain", "--ad", "old", "--minute", noon], &path);
    let costs: Vec<_> = explained.iter().map(|line| line["cost_micros"].as_i64()).collect();
    assert_eq!(costs, [None, None, Some(5)], "{explained:?}");
    assert_eq!(self::said(&["total", "--ad", "old"], &path)[0]["cost_micros"], json!(5));
    fails(&["sql", "select sum(cost_micros) from clicks where ad_id = 'old'", "--lake", &path], 3, &["64 bits"]);
}

#[test]
fn a_minute_that_an_earlier_version_let_wrap_around_is_told_and_mended() {
    let (_folder, path) = folder();
    let clicks = [("old", 0, 6), ("old", 0, 5), ("fine", 1, 7), ("fine", 9, 1)];
    simulate(async {
        let lake = Lake::at(&path).expect("a lake");
        clicks_of_old(&lake, &clicks).await;
        minutes_of(&lake, &[row(0, "old", 2, -11), row(1, "fine", 1, 7), row(9, "fine", 1, 1)], 4).await;
    });
    fails(
        &["total", "--ad", "old", "--lake", &path],
        3,
        &["ad old", "-11", "below zero", "verify", "backfill --replace"],
    );
    assert_eq!(said(&["total", "--ad", "fine"], &path)[0]["cost_micros"], json!(8));
    let audited = clicklake(&["verify", "--lake", &path]);
    let shown = String::from_utf8_lossy(&audited.stdout);
    assert!(
        audited.status.code() == Some(1) && shown.contains("ad_id=old") && shown.contains("-11, recounted 11"),
        "{shown}"
    );
    done(&["backfill", "--replace"], &path);
    assert_eq!(said(&["total", "--ad", "old"], &path)[0]["cost_micros"], json!(11));
    assert!(done(&["verify"], &path).0.starts_with("equal: "));
}

/// A sum that contains such a row is wrong even if it is not below zero.
#[test]
fn a_minute_that_wrapped_around_is_told_where_the_sum_is_not_below_zero() {
    let (_folder, path) = folder();
    let lake = Lake::at(&path).expect("a lake");
    simulate(minutes_of(&lake, &[row(0, "old", 2, -11), row(1, "fine", 1, 7), row(1, "old", 1, 100)], 4));
    let words = ["cost_micros adds up to 89, with -11 in it", "below zero", "verify", "backfill --replace"];
    let hour = ["--from", "2026-03-07T12:00:00Z", "--to", "2026-03-07T13:00:00Z"];
    for (arguments, whose) in [
        (&["total", "--ad", "old"][..], ["ad old", "for all time"]),
        (&[&["total", "--ad", "old"][..], &hour].concat(), ["ad old", "from 2026-03-07T12:00:00"]),
        (&["series", "--ad", "old", "--by", "hour"], ["ad old", "window_start 2026-03-07T12:00:00"]),
        (&["series", "--ad", "old", "--by", "day"], ["ad old", "window_start 2026-03-07T00:00:00"]),
        (&["top", "-n", "2"], ["ad_id old", "for all time"]),
        (&["sql", "select ad_id, cost_micros from totals(null, null)"], ["ad_id old", "totals"]),
    ] {
        // SQL says which ad, and no time: that stands in the statement.
        let whose = if arguments[0] == "sql" { &whose[..1] } else { &whose[..] };
        let arguments = [arguments, &["--lake", &path]].concat();
        refused(&arguments, Code::SumOverflow, 3, &[&words[..], whose].concat());
    }
    let minute = ["ad old", "window_start 2026-03-07T12:00:00", "adds up to -11, with -11 in it"];
    fails(&["series", "--ad", "old", "--by", "minute", "--lake", &path], 3, &minute);
    // Other measures of that ad, and the sums of other ads, are still right.
    let clicks = said(&["sql", "select clicks from totals(null, null) where ad_id = 'old'"], &path);
    assert_eq!(clicks[0]["clicks"], json!(3));
    assert_eq!(said(&["total", "--ad", "fine"], &path)[0]["cost_micros"], json!(7));
    added_up_or_not(lake, async |totals| {
        for filter in [ad("old"), Vec::new()] {
            let error = cost_of(totals, filter).await.expect_err("a row is below zero");
            assert!(matches!(&error, QueryError::Overflow(_)) && error.to_string().contains("-11 in it"), "{error:?}");
        }
        assert_eq!(cost_of(totals, ad("fine")).await.expect("its rows are right"), 7);
    });
}
