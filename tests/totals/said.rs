//! Laws of messages and output: how questions without an answer are refused, and what SQL and the commands make of
//! answers.

use std::sync::Arc;

use chrono::DateTime;
use lake_schemas::minute::Dimension;
use lake_schemas::{Code, EventTime, Field, Width};
use lake_store::Lake;
use object_store::memory::InMemory;
use query::totals::{Filter, Question, Totals};

use super::MINUTE_MS;
use super::questions::{contents, expected};
use super::world::World;
use crate::simulation::{compact, lake_on, simulate};
use crate::start_up::{clicklake, fails, folder, refused};

#[test]
fn impossible_questions_are_refused_in_one_line() {
    simulate(async {
        let mut world = World::of_seed(1).await;
        world.append().await;
        let error = async |sql: &str| query::run(&world.lake, sql).await.expect_err("it cannot be").to_string();
        let signature = "series(from, to, 'minute'|'hour'|'day')";
        for (sql, expected) in [
            ("select * from totals('2026-03-31')", "totals(from, to): wrong number of arguments".to_owned()),
            (
                "select * from totals('2026-03-31T00:00:30Z', null)",
                "totals(from, to): 2026-03-31T00:00:30.000Z is no whole minute; windows start with minutes".to_owned(),
            ),
            (
                "select * from totals('2026-04-01', '2026-03-31')",
                "totals(from, to): no window starts from 2026-04-01T00:00:00.000Z on and before \
                 2026-03-31T00:00:00.000Z; exchange the two"
                    .to_owned(),
            ),
            (
                "select * from totals(null, timestamp '2026-03-31 00:00:00.000001')",
                "totals(from, to): to is 2026-03-31T00:00:00.000Z, no whole minute; windows start with minutes"
                    .to_owned(),
            ),
            (
                "select * from totals(1, null)",
                "totals(from, to): from is 1; give a time such as '2026-03-07T12:00:00Z', a day such as '2026-03-07', \
                 or null"
                    .to_owned(),
            ),
            (
                "select * from series(null, 'soon', 'day')",
                format!(
                    "{signature}: to is 'soon'; give a time such as '2026-03-07T12:00:00Z', a day such as \
                     '2026-03-07', or null"
                ),
            ),
            (
                "select * from series(null, null, 'week')",
                format!("{signature}: 'week' is no width; give 'minute', 'hour' or 'day'"),
            ),
        ] {
            assert_eq!(error(sql).await, expected, "{sql}");
        }
        let (argument, range) = (Code::ArgumentImpossible, Code::RangeImpossible);
        for (called, code) in [
            ("totals('2026-03-31')", argument),
            ("totals(1, null)", argument),
            ("totals('2026-03-31T00:00:30Z', null)", range),
            ("totals(null, timestamp '2026-03-31 00:00:30')", range),
            ("totals('2026-04-01', '2026-03-31')", range),
            ("changes('clicks_minute', 1, 0)", range),
            ("changes('clicks_minute', 'a', 1)", argument),
        ] {
            let error = query::run(&world.lake, &format!("select * from {called}")).await.expect_err("it cannot be");
            assert_eq!(error.code(), Some(code), "{called}: {error}");
        }
        for (from, to) in [(1, 2 * MINUTE_MS), (2 * MINUTE_MS, MINUTE_MS)] {
            let (from, to) = (EventTime::from_millis(from), EventTime::from_millis(to));
            let totals = Totals::new(world.lake.clone()).expect("a session");
            assert!(totals.answer(&Question { from, to, ..Question::default() }).await.is_err());
        }
        let nothing = Totals::new(lake_on(Arc::new(InMemory::new()))).expect("a session");
        let error = nothing.answer(&Question::default()).await.expect_err("there is nothing");
        assert_eq!(error.code(), Some(Code::TableMissing), "{error}");
    });
}

#[test]
fn times_of_sql_are_bounds_too() {
    simulate(async {
        let mut world = World::of_seed(2).await;
        for _ in 0..6 {
            world.append().await;
        }
        let rows = async |bounds: &str| {
            let sql = format!("select * from totals({bounds}) order by ad_id nulls first, campaign_id nulls first");
            query::run(&world.lake, &sql).await.expect("an answer")
        };
        let texts = rows("'2026-03-30', '2026-04-01T00:00:00Z'").await;
        assert!(texts.iter().any(|rows| rows.num_rows() > 0));
        for bounds in [
            "date '2026-03-30', date '2026-04-01'",
            "timestamp '2026-03-30 00:00:00', timestamp '2026-04-01 00:00:00'",
            "'2026-03-30T02:00:00+02:00', date '2026-03-31' + interval '1 day'",
            "to_timestamp_millis(1774828800000), arrow_cast('2026-04-01T00:00:00Z', 'Timestamp(Second, \
             Some(\"UTC\"))')",
        ] {
            assert_eq!(rows(bounds).await, texts, "{bounds}");
        }
    });
}

#[test]
fn the_commands_print_what_an_advertiser_asks_for() {
    let (_folder, path) = folder();
    let lake = Lake::at(&path).expect("a lake");
    refused(&["total", "--ad", "ad_id-a", "--lake", &path], Code::TableMissing, 4, &["clicks_minute", "aggregate"]);
    let (contents, question) = simulate(async {
        let mut world = World::of_seed(4).await.moved_to(lake).await;
        for _ in 0..6 {
            world.append().await;
        }
        compact(&world.lake, 1).await.expect("a disk");
        world.append().await;
        let filter = vec![Filter::one(Field::AdId, "ad_id-a")];
        (contents(&world.lake).await, Question { filter, ..Question::default() })
    });
    let newest = contents.last().expect("a version");
    let said = |arguments: &[&str]| {
        let output = clicklake(&[arguments, &["--lake", &path]].concat());
        let stderr = String::from_utf8(output.stderr).expect("UTF-8");
        assert!(output.status.success(), "{arguments:?}: {stderr}");
        (String::from_utf8(output.stdout).expect("UTF-8"), stderr)
    };
    let text = |sums: &[i64]| sums.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    let (shown, stands) = said(&["total", "--ad", "ad_id-a", "--format", "csv"]);
    let [sums] = expected(newest, &question).into_values().collect::<Vec<_>>()[..] else { panic!() };
    assert_eq!(shown, format!("ad_id,clicks,cost_micros,duplicates,late,filtered\nad_id-a,{}\n", text(&sums)));
    let [all] = expected(newest, &Question::default()).into_values().collect::<Vec<_>>()[..] else { panic!() };
    assert_eq!(
        said(&["total", "--format", "csv"]).0,
        format!("clicks,cost_micros,duplicates,late,filtered\n{}\n", text(&all))
    );
    let version = contents.len() - 1;
    assert!(stands.starts_with(&format!("at clicks_minute version {version}, clicks_hourly version ")), "{stands}");
    assert!(stands.contains("; cut clicks 0@7; clicks that are not committed yet are not in it"), "{stands}");
    assert!(stands.trim_end().ends_with("; not final: more may come of clicks 0"), "{stands}");
    assert_eq!(stands.lines().count(), 1, "{stands}");
    let (nobody, _) = said(&["total", "--campaign", "nobody", "--last", "90s", "--format", "csv"]);
    assert_eq!(nobody, "campaign_id,clicks,cost_micros,duplicates,late,filtered\nnobody,0,0,0,0,0\n");
    let (nobody, _) = said(&["series", "--ad", "nobody", "--format", "csv"]);
    assert_eq!(nobody, "window_start,clicks,cost_micros,duplicates,late,filtered\n");
    for width in Width::OF_WINDOWS {
        let by = width.word();
        let (shown, _) = said(&["series", "--ad", "ad_id-a", "--by", by, "--format", "tsv"]);
        let question = Question { granularity: Some(width), ..question.clone() };
        let lines = expected(newest, &question).into_iter().map(|((start, _), sums)| {
            let start = DateTime::from_timestamp_millis(start.expect("a window")).expect("a time");
            format!("{}\t{}", start.format("%Y-%m-%dT%H:%M:%SZ"), text(&sums).replace(',', "\t"))
        });
        assert_eq!(shown.lines().skip(1).collect::<Vec<_>>(), lines.collect::<Vec<_>>(), "{by}");
    }
    // Up to three hours by minute, up to seven days by hour, then by day.
    for (to, by) in [("2026-03-30T03:00:00Z", "minute"), ("2026-04-06", "hour"), ("2026-04-06T00:01:00Z", "day")] {
        let span = ["series", "--ad", "ad_id-a", "--from", "2026-03-30", "--to", to];
        assert_eq!(said(&span).0, said(&[&span[..], &["--by", by]].concat()).0, "{to}");
    }
    fails(&["total", "--ad", "a", "--campaign", "b", "--lake", &path], 2, &["--campaign"]);
    fails(&["total", "--ad", "a", "--last", "1h", "--from", "2026-03-30", "--lake", &path], 2, &["--last", "--from"]);
    for (to, words) in [("2026-03-30", "exchange the two"), ("2026-03-31", "the end is not included")] {
        let arguments = ["total", "--ad", "a", "--from", "2026-03-31", "--to", to, "--lake", &path];
        refused(&arguments, Code::RangeImpossible, 2, &[words]);
        let sql = format!("select * from totals('2026-03-31', '{to}')");
        refused(&["sql", &sql, "--lake", &path], Code::RangeImpossible, 2, &[words]);
    }
    fails(&["series", "--ad", "a", "--from", "2026-03-31T00:00:01Z", "--lake", &path], 2, &["whole minute"]);
}

/// Parses what a command prints as CSV: its rows by their first columns, with windows as they are written.
fn rows_of(shown: &str, of: usize) -> Vec<(Vec<String>, String)> {
    let row = |line: &str| {
        let columns: Vec<_> = line.split(',').collect();
        (columns[..of].iter().map(|text| (*text).to_owned()).collect(), columns[of..].join(","))
    };
    shown.lines().skip(1).map(row).collect()
}

#[test]
fn the_commands_filter_and_group_by_what_the_lake_counts_by_and_by_nothing_else() {
    let (_folder, path) = folder();
    let lake = Lake::at(&path).expect("a lake");
    let contents = simulate(async {
        let mut world = World::of_seed(4).await;
        world.parameters.dimensions = vec![Dimension::of(Field::Country)];
        let mut world = world.moved_to(lake).await;
        for _ in 0..6 {
            world.append().await;
        }
        contents(&world.lake).await
    });
    let newest = contents.last().expect("a version");
    let said = |arguments: &[&str]| {
        let output = clicklake(&[arguments, &["--format", "csv", "--lake", &path]].concat());
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("UTF-8")
    };
    let text = |sums: &[i64]| sums.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    let values = |values: &[Option<&str>]| values.iter().map(|value| value.map(str::to_owned)).collect::<Vec<_>>();
    let of_countries = |all: &[Option<&str>]| Filter { dimension: Field::Country, values: values(all) };
    let of_ad = || Filter::one(Field::AdId, "ad_id-a");
    for (arguments, filter, group_by) in [
        (&["--where", "country=country-a"][..], vec![of_countries(&[Some("country-a")])], vec![]),
        (&["--where", "country=country-a,"], vec![of_countries(&[Some("country-a"), None])], vec![]),
        (&["--where", "country=", "--group-by", "campaign"], vec![of_countries(&[None])], vec![Field::CampaignId]),
        (
            &["--ad", "ad_id-a", "--where", "country=country-b,country-c", "--group-by", "country,campaign_id"],
            vec![of_ad(), of_countries(&[Some("country-b"), Some("country-c")])],
            vec![Field::Country, Field::CampaignId],
        ),
        (
            &["--where", "ad_id=ad_id-a", "--where", "country=country-b"],
            vec![of_ad(), of_countries(&[Some("country-b")])],
            vec![],
        ),
    ] {
        let question = Question { filter, group_by, ..Question::default() };
        let rows: Vec<(Vec<String>, String)> = expected(newest, &question)
            .into_iter()
            .map(|((_, group), sums)| (group.into_iter().map(Option::unwrap_or_default).collect(), text(&sums)))
            .collect();
        let shown = said(&[&["total"][..], arguments].concat());
        assert_eq!(rows_of(&shown, question.group_by.len()), rows, "{arguments:?}");
        assert!(rows.len() == 1 || !question.group_by.is_empty(), "{arguments:?}");
        let series = Question { granularity: Some(Width::Day), ..question };
        let shown = said(&[&["series", "--granularity", "day"][..], arguments].concat());
        let found = rows_of(&shown, 1 + series.group_by.len()).len();
        assert_eq!(found, expected(newest, &series).len(), "{arguments:?}");
    }
    let top = said(&["top", "--by", "country", "--campaign", "campaign_id-a"]);
    assert!(
        top.starts_with("country,clicks,")
            && top == said(&["top", "--group-by", "country", "--where", "campaign_id=campaign_id-a"]),
        "{top}"
    );
    let counted_by = "this lake does not count by device; it counts by ad_id, campaign_id, country";
    for arguments in
        [&["total", "--where", "device=tv"][..], &["series", "--group-by", "device"], &["top", "--by", "device"]]
    {
        refused(&[arguments, &["--lake", &path]].concat(), Code::DimensionNotCounted, 2, &[counted_by]);
    }
    for (arguments, words) in [
        (&["total", "--group-by", "ip"], &["\"ip\" is no dimension", "publisher_id"]),
        (&["total", "--where", "country"], &["expected DIMENSION=VALUE", "country=DE,AT"]),
        (&["total", "--where", "country=\"DE"], &["a quote has no end", "--where"]),
        (&["series", "--granularity", "month"], &["minute", "day"]),
        (&["top", "--by", "user"], &["\"user\" is no dimension", "campaign_id"]),
    ] {
        fails(&[&arguments[..], &["--lake", &path]].concat(), 2, words);
    }
}
