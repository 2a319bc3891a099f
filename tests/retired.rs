//! Law: an answer that is said to be final does not change, and a topic that is over is not waited for.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ingest::drive::CommitPolicy;
use lake_schemas::minute::Parameters;
use lake_schemas::{Code, EventTime, Stand, Table, TopicPartition};
use lake_store::Lake;
use lake_store::commit::{Commit, Move, Outcome, TableLog, TableView};
use lake_store::retire::{Topic, retire, waiting_for};
use object_store::memory::InMemory;
use query::totals::{AsOf, Question, StandsAt, Totals};
use serde_json::json;

use crate::NOON_MS;
use crate::by_hand::{self, MINUTE_MS};
use crate::simulation::{Computation, Log, START_MS, lake_on, named, simulate};
use crate::start_up::{clicklake, fails, folder};

/// Allowed lateness of clicks in these lakes.
const LATENESS_MS: i64 = 15 * MINUTE_MS;

/// Makes a lake whose minutes have these stands.
async fn lake_of(stands: &[(&str, Stand)]) -> Lake {
    let lake = lake_on(Arc::new(InMemory::new()));
    let mut minutes = by_hand::minutes(&lake, Table::ClicksMinute, &Parameters::default()).await;
    come_on(&mut minutes, stands).await;
    lake
}

/// Moves partition 0 of topics to these stands.
async fn come_on(minutes: &mut TableLog, stands: &[(&str, Stand)]) {
    let table = Table::ClicksMinute;
    let moves = stands.iter().flat_map(|(topic, to)| {
        let partition = TopicPartition::new(*topic, 0);
        let from = minutes.stand(&partition).encode(table, &partition).into_iter();
        from.zip(to.encode(table, &partition)).map(|((app_id, from), (_, to))| Move { app_id, from, to })
    });
    let commit = Commit { moves: moves.collect(), ..Commit::new("aggregate") };
    assert!(matches!(minutes.commit(&commit).await, Ok(Outcome::Committed(_))));
}

/// Returns the stand of a partition that is drained up to an offset, and whose minutes up to one after noon are
/// complete.
fn complete(cut: i64, minute: i64) -> Stand {
    let watermark_ms = Some(NOON_MS + minute * MINUTE_MS);
    Stand { cut: Some(cut), watermark_ms, drained: Some(cut), restore: Some(cut), ..Stand::default() }
}

/// Returns the state of the tables behind an answer.
async fn at(lake: &Lake, as_of: AsOf) -> StandsAt {
    let totals = Totals::new(lake.clone()).expect("a session");
    totals.answer(&Question { as_of, ..Question::default() }).await.expect("an answer").at
}

fn minute(minute: i64) -> Option<EventTime> {
    EventTime::from_millis(NOON_MS + minute * MINUTE_MS)
}

async fn is_final(lake: &Lake, until: i64) -> bool {
    at(lake, AsOf::Newest).await.is_final(minute(until))
}

#[test]
fn nothing_is_final_where_nothing_was_counted() {
    simulate(async {
        let lake = lake_of(&[("clicks", complete(5, 60))]).await;
        for to in [None, minute(0)] {
            let nothing = at(&lake, AsOf::Version(0)).await;
            assert!(!nothing.is_final(to) && nothing.complete_until().is_none());
        }
        assert!(is_final(&lake, 45).await && !is_final(&lake, 46).await);
    });
}

#[test]
fn a_topic_that_is_over_is_not_waited_for_until_it_brings_something() {
    simulate(async {
        let lake = lake_of(&[("up-1", complete(5, 0)), ("up-2", complete(7, 60))]).await;
        let newest = at(&lake, AsOf::Newest).await;
        assert!(!newest.is_final(minute(30)) && newest.complete_until() == minute(0));
        let pending: Vec<_> = newest.pending(minute(30)).map(|of| of.topic.clone()).collect();
        assert_eq!(pending, ["up-1"]);
        let version = retire(&lake, "up-1", Topic::Over).await.expect("all of it is written out");
        assert_eq!(version, Some(2));
        assert_eq!(retire(&lake, "up-1", Topic::Over).await.expect("it was so"), None);
        let retired = at(&lake, AsOf::Newest).await;
        assert!(
            retired.is_final(minute(30)) && !retired.is_final(minute(50)) && retired.complete_until() == minute(60)
        );
        assert_eq!(retired.complete_until_by_topic(), BTreeMap::from([("up-2", minute(60))]));
        assert_eq!(retired.cut(), newest.cut(), "what it counted stays counted");
        assert!(!at(&lake, AsOf::Version(1)).await.is_final(minute(30)), "it was not over then");
        // A message comes all the same.
        let mut minutes = TableLog::open(&lake, Table::ClicksMinute).await.expect("memory");
        come_on(&mut minutes, &[("up-1", complete(6, 1))]).await;
        assert!(!is_final(&lake, 30).await);
        assert_eq!(retire(&lake, "up-1", Topic::Over).await.expect("that is written out too"), Some(4));
        assert!(is_final(&lake, 30).await);
        assert_eq!(retire(&lake, "up-1", Topic::WaitedFor).await.expect("it is taken back"), Some(5));
        assert!(!is_final(&lake, 30).await);
        assert_eq!(retire(&lake, "up-1", Topic::WaitedFor).await.expect("it was so"), None);
    });
}

#[test]
fn a_topic_is_not_over_while_clicks_of_it_are_not_counted() {
    simulate(async {
        let open = Stand { drained: Some(4), ..complete(5, 0) };
        let lake = lake_of(&[("clicks", open)]).await;
        let refused = async |topic: &str| {
            let error = retire(&lake, topic, Topic::Over).await.expect_err("it is refused");
            (error.code(), error.to_string())
        };
        let (code, why) = refused("clicks").await;
        assert_eq!(code, Some(Code::TopicNotCounted), "{why}");
        assert!(why.contains("clicks/0") && why.contains("--until-caught-up") && why.contains("promote"), "{why}");
        let (code, why) = refused("others").await;
        assert_eq!(code, Some(Code::NothingThere), "{why}");
        assert!(why.contains("others; it knows clicks"), "{why}");
        let mut minutes = TableLog::open(&lake, Table::ClicksMinute).await.expect("memory");
        come_on(&mut minutes, &[("clicks", complete(5, 1))]).await;
        let mut clicks = TableLog::open(&lake, Table::Clicks).await.expect("memory");
        let click = json!({ "ad_id": "a", "event_time": NOON_MS });
        by_hand::append_clicks(&mut clicks, 0, [(5, click)], 6).await;
        let (code, why) = refused("clicks").await;
        assert_eq!(code, Some(Code::TopicNotCounted), "{why}");
        assert!(why.contains("below offset 6") && why.contains("below 5"), "{why}");
        come_on(&mut minutes, &[("clicks", complete(6, 1))]).await;
        retire(&lake, "clicks", Topic::Over).await.expect("all is counted");
        let all = at(&lake, AsOf::Newest).await;
        assert!(all.is_final(None), "nothing is waited for");
        assert_eq!(all.complete_until(), minute(1));
    });
}

#[test]
fn a_partition_that_a_job_was_given_is_waited_for_before_its_first_message() {
    simulate(async {
        let lake = lake_on(Arc::new(InMemory::new()));
        // Two hours of one partition, and nothing of the other, which is of the other topic.
        let times = (0..240).map(|number| (START_MS + number * 30_000, START_MS + number * 30_000)).collect();
        let log = Arc::new(Log::of_times([times, Vec::new()].into_iter()));
        let minutes = Computation::Minutes(Parameters::default());
        minutes.read_all(&lake, &log).await.expect("aggregate ends");
        let newest = at(&lake, AsOf::Newest).await;
        let to = EventTime::from_millis(START_MS + MINUTE_MS);
        let pending: Vec<_> = newest.pending(to).cloned().collect();
        assert_eq!(pending, [named(1)], "its first click will not be late");
        assert!(!newest.is_final(to) && newest.complete_until().is_some());
        let watermark_ms = newest.partitions.stands[&named(0)].watermark_ms;
        assert!(watermark_ms >= Some(START_MS + MINUTE_MS + LATENESS_MS), "{watermark_ms:?}");
        // It is said once: whoever begins again has nothing to say.
        let versions =
            || async { TableView::newest(&lake, Table::ClicksMinute).await.map(|view| view.map(|it| it.version())) };
        let before = versions().await.expect("memory");
        let policy = CommitPolicy::every(Duration::from_millis(300));
        minutes.run_for(&lake, &log, policy, Duration::from_secs(5)).await;
        assert_eq!(versions().await.expect("memory"), before);
        // A job that reads a retired topic again takes back its retirement.
        retire(&lake, &named(1).topic, Topic::Over).await.expect("it has had nothing");
        assert!(at(&lake, AsOf::Newest).await.is_final(to));
        minutes.run_for(&lake, &log, policy, Duration::from_secs(5)).await;
        assert!(!at(&lake, AsOf::Newest).await.is_final(to));
    });
}

#[test]
fn new_partitions_are_recorded_though_another_job_recorded_some_of_them_first() {
    simulate(async {
        let lake = lake_on(Arc::new(InMemory::new()));
        by_hand::minutes(&lake, Table::ClicksMinute, &Parameters::default()).await;
        let open = || async { TableLog::open(&lake, Table::ClicksMinute).await.expect("memory") };
        let (mut first, mut second) = (open().await, open().await);
        let partitions = |numbers: [i32; 2]| numbers.map(|number| TopicPartition::new("clicks", number));
        let commit = waiting_for(&first, &partitions([0, 1])).expect("both are new");
        assert!(matches!(first.commit(&commit).await, Ok(Outcome::Committed(_))));
        // The other one has not seen that.
        let commit = waiting_for(&second, &partitions([1, 2])).expect("both are new to it");
        assert!(matches!(second.commit(&commit).await, Ok(Outcome::Fenced { .. })));
        let commit = waiting_for(&second, &partitions([1, 2])).expect("one of them is");
        assert_eq!(commit.moves.len(), 1);
        assert!(matches!(second.commit(&commit).await, Ok(Outcome::Committed(_))));
        assert_eq!(waiting_for(&second, &partitions([1, 2])).map(|commit| commit.moves), None);
        let waited_for = at(&lake, AsOf::Newest).await.partitions.stands.into_keys().map(|of| of.partition);
        assert_eq!(waited_for.collect::<Vec<_>>(), [0, 1, 2]);
    });
}

#[test]
fn topics_that_up_leaves_are_retired() {
    let (_folder, lake) = folder();
    for run in 1..=2 {
        let output = clicklake(&["up", "--for", "3s", "--rate", "1000", "--lake", &lake]);
        assert!(output.status.success(), "run {run}: {}", String::from_utf8_lossy(&output.stderr));
    }
    simulate(async {
        let lake = Lake::at(&lake).expect("a lake");
        let at = at(&lake, AsOf::Newest).await;
        assert!(at.is_final(None) && at.complete_until().is_some(), "{at}");
        assert_eq!(at.partitions.retired.len(), at.partitions.stands.len());
    });
    let said = clicklake(&["status", "--lake", &lake]);
    let said = String::from_utf8_lossy(&said.stdout);
    assert!(said.contains("the end: all topics are retired\nretired          up-"), "{said}");
    let topic = said.split_whitespace().find(|word| word.starts_with("up-")).expect("a topic");
    let topic = topic.trim_end_matches(',');
    let steps: [(&[&str], String); 4] = [
        (&["retire", topic], format!("{topic} was retired already; nothing was changed")),
        (&["retire", topic, "--undo"], format!("{topic} is waited for again since version ")),
        (&["retire", topic, "--undo"], format!("{topic} was not retired; nothing was changed")),
        (&["retire", topic], format!("{topic} is retired since version ")),
    ];
    for (arguments, expected) in steps {
        let output = clicklake(&[arguments, &["--lake", &lake]].concat());
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && said.starts_with(&expected), "{arguments:?}: {said}");
    }
    fails(&["retire", "no-such-topic", "--lake", &lake], 4, &["no-such-topic", "it knows up-"]);
}
