//! Laws of `clicklake aggregate` on Apache Kafka and S3: what it reads from where, what it refuses, what it reports.

use std::ops::Range;

use lake_schemas::Code;
use localstack::produce::Load;
use rdkafka::Offset;
use tokio_util::sync::CancellationToken;

use crate::NOON_MS;
use crate::audit::lose_the_first_day;
use crate::kafka::{SOON, fill, truncate};
use crate::stack::RealStack;
use crate::stack::member::{Job, Member};
use crate::start_up::the_error;

/// Runs a job to its end, which must be this refusal with that exit code, in one line that has all these words.
async fn refused(stack: &RealStack, topic: &str, more: &[&str], (code, exit): (Code, i32), words: &[&str]) {
    let mut member = Member::of(Job::Aggregate, stack, topic, topic, &[&["--until-caught-up"], more].concat());
    let status = member.ends(SOON).await;
    let log = member.log();
    assert_eq!(status.code(), Some(exit), "{log}");
    let error = the_error(&log);
    assert!(error.starts_with(&format!("error[{code}]: ")), "{error}");
    words.iter().for_each(|word| assert!(error.contains(word), "{word:?} is not in: {error}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn offsets_that_kafka_has_dropped_are_read_from_the_raw_table() {
    let (stack, topic) = (RealStack::shared(), "counted-from-raw");
    stack.create_topic(topic, 3, &[]).await;
    for seed in 0..3 {
        fill(&stack, topic, seed, 3_000).await;
        stack.catch_up(topic, topic, &[]).await;
        // Each time the minutes have to go on, or to begin, without what is gone.
        for partition in 0..3 {
            truncate(&stack, topic, partition, Offset::End).await;
        }
        stack.catch_up_with(Job::Aggregate, topic, topic, &[]).await;
        let said = stack.minutes_are_right(topic);
        assert!(said.starts_with("equal: "), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn both_jobs_at_once_do_not_take_partitions_from_each_other() {
    let (stack, topic) = (RealStack::shared(), "counted-beside");
    stack.create_topic(topic, 4, &[]).await;
    fill(&stack, topic, 1, 20_000).await;
    let mut members =
        [Job::Ingest, Job::Aggregate].map(|job| Member::of(job, &stack, topic, topic, &["--metrics", "127.0.0.1:0"]));
    fill(&stack, topic, 2, 20_000).await;
    for member in &mut members {
        member.commits_more_than(1, SOON).await;
        assert_eq!(member.partitions().await, 4, "{:?}", member.job);
    }
    for member in members {
        member.leaves().await;
    }
    for job in [Job::Ingest, Job::Aggregate] {
        stack.catch_up_with(job, topic, topic, &[]).await;
    }
    stack.minutes_are_right(topic);
}

#[tokio::test(flavor = "multi_thread")]
async fn offsets_that_neither_kafka_nor_the_raw_table_has_are_refused() {
    let (stack, topic) = (RealStack::shared(), "counted-nowhere");
    stack.create_topic(topic, 1, &[]).await;
    fill(&stack, topic, 1, 1_000).await;
    // Without a raw table, Kafka alone is read, and restored from.
    stack.catch_up_with(Job::Aggregate, topic, topic, &[]).await;
    stack.catch_up_with(Job::Aggregate, topic, topic, &[]).await;
    truncate(&stack, topic, 0, Offset::Offset(700)).await;
    refused(&stack, topic, &[], (Code::OffsetsGone, 4), &["counted-nowhere/0", "below 700", "--topic-as"]).await;
    stack.catch_up_with(Job::Aggregate, topic, topic, &["--topic-as", "counted-nowhere-2"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_was_made_again_is_refused() {
    let (stack, topic) = (RealStack::shared(), "counted-recreated");
    stack.create_topic(topic, 1, &[]).await;
    fill(&stack, topic, 1, 1_000).await;
    stack.catch_up(topic, topic, &[]).await;
    stack.catch_up_with(Job::Aggregate, topic, topic, &[]).await;
    stack.delete_topic(topic).await;
    stack.create_topic(topic, 1, &[]).await;
    fill(&stack, topic, 2, 2_000).await;
    refused(&stack, topic, &[], (Code::TopicAnew, 4), &["counted-recreated/0", "--topic-as"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn other_parameters_are_refused_and_so_is_more_memory_than_there_may_be() {
    let (stack, topic) = (RealStack::shared(), "counted-otherwise");
    stack.create_topic(topic, 1, &[]).await;
    fill(&stack, topic, 1, 20_000).await;
    stack.catch_up_with(Job::Aggregate, topic, topic, &["--dedup-horizon", "30m", "--dimensions", "country"]).await;
    // Parameters that the table records need not be given again.
    stack.catch_up_with(Job::Aggregate, topic, topic, &[]).await;
    let words = ["--dedup-horizon", "\"1h\"", "\"30m\"", "backfill --into", "promote"];
    refused(&stack, topic, &["--dedup-horizon", "1h"], (Code::SettingsDiffer, 4), &words).await;
    let words = ["--dimensions", "device", "country"];
    refused(&stack, topic, &["--dimensions", "device"], (Code::SettingsDiffer, 4), &words).await;
    let words = ["of 87500, ", "--memory-limit"];
    refused(&stack, topic, &["--memory-limit", "100kB"], (Code::MemoryLimit, 3), &words).await;
}

/// Fills a topic with some clicks of each of these minutes after noon.
async fn fill_minutes(stack: &RealStack, topic: &str, minutes: Range<u64>) {
    for minute in minutes {
        let start_ms = NOON_MS + i64::try_from(minute).expect("small") * 60_000;
        let load = Load { rate: 20_000, count: Some(2_000), start_ms };
        stack.produce(topic, minute, load, CancellationToken::new()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_lost_is_computed_again_beside_the_live_job() {
    let (stack, topic) = (RealStack::shared(), "counted-again");
    stack.create_topic(topic, 3, &[]).await;
    fill_minutes(&stack, topic, 0..5).await;
    stack.catch_up(topic, topic, &[]).await;
    stack.catch_up_with(Job::Aggregate, topic, topic, &["--allowed-lateness", "1m"]).await;
    lose_the_first_day(&stack.lake(topic)).await;
    let mut members = [Job::Ingest, Job::Aggregate].map(|job| Member::of(job, &stack, topic, topic, &[]));
    let lake = stack.lake_url(topic);
    let backfill = |arguments: &[&str]| {
        let arguments = [&["backfill", "--lake", &lake], arguments].concat();
        let output = stack.clicklake(&arguments).output().expect("it runs");
        let (said, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{arguments:?}: {said}{errors}");
        said.into_owned()
    };
    let said = backfill(&["--replace", "--dry-run"]);
    assert!(said.contains("would change") && said.contains("2026-03-07"), "{said}");
    fill_minutes(&stack, topic, 5..8).await;
    let said = backfill(&["--replace"]);
    assert!(said.contains("now version"), "{said}");
    for member in &mut members {
        member.commits_more_than(0, SOON).await;
    }
    for member in members {
        member.leaves().await;
    }
    for job in [Job::Ingest, Job::Aggregate] {
        stack.catch_up_with(job, topic, topic, &[]).await;
    }
    // Windows that were open when the table was lost are closed by now.
    backfill(&["--replace"]);
    let said = backfill(&["--replace"]);
    assert!(said.contains("nothing to change"), "{said}");
    stack.minutes_are_right(topic);
    let said = backfill(&["--into", "by_country", "--dimensions", "country", "--as-of-version", "3"]);
    assert!(said.contains("by_country is complete"), "{said}");
    for how in [&["--replay"][..], &[], &["--conservation"]] {
        let arguments = [&["verify", "--table", "by_country", "--lake", &lake], how].concat();
        let output = stack.clicklake(&arguments).output().expect("it runs");
        assert!(output.status.success(), "{how:?}: {}", String::from_utf8_lossy(&output.stdout));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn producers_clocks_are_warned_of() {
    let stack = RealStack::shared();
    for (topic, setting, warns) in [("counted-theirs", "CreateTime", true), ("counted-brokers", "LogAppendTime", false)]
    {
        stack.create_topic(topic, 1, &[("message.timestamp.type", setting)]).await;
        let mut member = Member::of(Job::Aggregate, &stack, topic, topic, &["--until-caught-up"]);
        assert!(member.ends(SOON).await.success(), "{}", member.log());
        assert_eq!(member.log().contains("producers set this topic's timestamps"), warns, "{}", member.log());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lag_tells_how_far_each_table_is_behind() {
    let (stack, topic) = (RealStack::shared(), "counted-lag");
    stack.create_topic(topic, 2, &[]).await;
    fill(&stack, topic, 1, 1_000).await;
    stack.catch_up(topic, topic, &[]).await;
    stack.catch_up_with(Job::Aggregate, topic, topic, &[]).await;
    fill(&stack, topic, 2, 500).await;
    stack.catch_up(topic, topic, &[]).await;
    let lake = stack.lake_url(topic);
    let arguments = ["lag", "--topic", topic, "--lake", &lake, "--format", "nd-json"];
    let output = stack.clicklake(&arguments).output().expect("it runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let rows: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(rows.len(), 2, "{text}");
    let sum = |name: &str| -> i64 { rows.iter().map(|row| row[name].as_i64().expect("a number")).sum() };
    assert_eq!((sum("log_end"), sum("clicks"), sum("clicks_minute")), (1_500, 1_500, 1_000), "{text}");
    assert_eq!((sum("clicks_lag"), sum("clicks_minute_lag")), (0, 500), "{text}");
    assert!(rows.iter().all(|row| row["complete_until"].is_string()), "{text}");
}
