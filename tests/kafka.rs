//! Laws of the log's live end, on Apache Kafka: each committed message of the topic is a row, whatever its producers,
//! its brokers and its administrators do; and a topic that is not the one that the table knows is refused.

use std::time::Duration;

use lake_schemas::{Code, Stand, Table, TopicPartition};
use lake_store::commit::TableLog;
use localstack::produce::Load;
use rdkafka::admin::AdminOptions;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::{BaseRecord, Producer, ThreadedProducer};
use rdkafka::{Offset, TopicPartitionList};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::NOON_MS;
use crate::stack::member::{Member, NEWER_PROTOCOL, SESSION_TIMEOUT};
use crate::stack::proxy::{Fate, Proxy};
use crate::stack::{RealStack, Server};
use crate::start_up::the_error;

/// Messages a second: as many as the generator can make.
const RATE: u64 = 1_000_000;

/// How long the broker may take for a step of administration.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// How long a member may take until it has done what the test waits for.
pub const SOON: Duration = Duration::from_secs(30);

/// How long a rebalance may take on a busy machine, after the broker has noticed.
const REBALANCE_MAX: Duration = Duration::from_secs(3);

/// How long a process may take to have its partitions again on a busy machine: much less than a session lasts.
const AT_ONCE: Duration = Duration::from_secs(10);

fn load(count: u64) -> Load {
    Load { rate: RATE, count: Some(count), start_ms: NOON_MS }
}

pub async fn fill(stack: &RealStack, topic: &str, seed: u64, count: u64) {
    stack.produce(topic, seed, load(count), CancellationToken::new()).await;
}

async fn stand(stack: &RealStack, topic: &str, lake: &str, partition: i32) -> Stand {
    let log = TableLog::open(&stack.lake(lake), Table::Clicks).await.expect("the table opens");
    log.stand(&TopicPartition::new(topic, partition))
}

/// Returns where the log of a partition begins and ends.
fn watermarks(stack: &RealStack, topic: &str, partition: i32) -> (i64, i64) {
    let consumer: BaseConsumer = stack.client_config().create().expect("a client");
    consumer.fetch_watermarks(topic, partition, ANSWER_MAX).expect("kafka answers")
}

/// Drops everything below an offset, as retention would.
pub async fn truncate(stack: &RealStack, topic: &str, partition: i32, offset: Offset) {
    let mut offsets = TopicPartitionList::new();
    offsets.add_partition_offset(topic, partition, offset).expect("an offset");
    stack.admin().delete_records(&offsets, &AdminOptions::new()).await.expect("kafka answers");
}

/// Runs the program to its end, which must be a refusal in one line that has all these words.
async fn is_refused(stack: &RealStack, topic: &str, lake: &str, words: &[&str]) {
    let mut member = Member::start(stack, topic, lake, &["--until-caught-up"]);
    let status = member.ends(SOON).await;
    assert_eq!(status.code(), Some(4), "{}", member.log());
    let log = member.log();
    let error = the_error(&log);
    words.iter().for_each(|word| assert!(error.contains(word), "{word:?} is not in: {}", error));
}

#[tokio::test(flavor = "multi_thread")]
async fn aborted_messages_are_never_ingested_and_gaps_are_no_loss() {
    let (stack, topic) = (RealStack::shared(), "transactions");
    stack.create_topic(topic, 2, &[]).await;
    let mut config = stack.client_config();
    config.set("transactional.id", "clicks-producer");
    let producer: ThreadedProducer<rdkafka::producer::DefaultProducerContext> = config.create().expect("a producer");
    producer.init_transactions(ANSWER_MAX).expect("kafka answers");
    for transaction in 0..10 {
        producer.begin_transaction().expect("a transaction");
        for number in 0..100 {
            let click =
                format!("{{\"ad_id\":\"ad\",\"click_id\":\"{transaction}-{number}\",\"event_time\":{NOON_MS}}}");
            let record = BaseRecord::<(), _>::to(topic).partition(number % 2).payload(&click);
            producer.send(record).map_err(|(error, _)| error).expect("a message is queued");
        }
        // The last one, too.
        let aborts = transaction % 3 == 0;
        let ended = if aborts {
            producer.flush(ANSWER_MAX).and_then(|()| producer.abort_transaction(ANSWER_MAX))
        } else {
            producer.commit_transaction(ANSWER_MAX)
        };
        ended.expect("the transaction ends");
    }
    stack.catch_up(topic, topic, &[]).await;
    assert_eq!(stack.raw_is_the_log(topic, topic).await, 600);
    for partition in 0..2 {
        let (_, end) = watermarks(&stack, topic, partition);
        let stand = stand(&stack, topic, topic, partition).await;
        assert_eq!((stand.cut, stand.read), (Some(end), Some(300)), "the cut is behind the markers");
        // Retention takes all of it, markers included: nothing is lost by that.
        truncate(&stack, topic, partition, Offset::End).await;
    }
    stack.catch_up(topic, topic, &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_compression_is_read() {
    let (stack, topic) = (RealStack::shared(), "compressions");
    stack.create_topic(topic, 3, &[]).await;
    for (seed, compression) in (0..).zip(["none", "gzip", "snappy", "lz4", "zstd"]) {
        let mut config = stack.client_config();
        config.set("compression.type", compression);
        stack.produce_with(&config, topic, seed, load(2_000), CancellationToken::new()).await;
    }
    stack.catch_up(topic, topic, &[]).await;
    assert_eq!(stack.raw_is_the_log(topic, topic).await, 10_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_that_are_added_are_read_from_their_beginning() {
    let (stack, topic) = (RealStack::shared(), "growing");
    stack.create_topic(topic, 2, &[]).await;
    fill(&stack, topic, 1, 1_000).await;
    let refresh = ["-X", "topic.metadata.refresh.interval.ms=500"];
    let mut member = Member::start(&stack, topic, topic, &refresh);
    member.says("partition=growing/1", SOON).await;
    stack.grow_topic(topic, 5).await;
    fill(&stack, topic, 2, 2_000).await;
    member.says("partition=growing/4", SOON).await;
    fill(&stack, topic, 3, 2_000).await;
    member.leaves().await;
    stack.catch_up(topic, topic, &[]).await;
    assert_eq!(stack.raw_is_the_log(topic, topic).await, 5_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recreated_topic_is_refused_even_when_it_has_outgrown_the_cut() {
    let (stack, topic) = (RealStack::shared(), "recreated");
    stack.create_topic(topic, 1, &[]).await;
    fill(&stack, topic, 1, 1_000).await;
    stack.catch_up(topic, topic, &[]).await;
    let before = stack.kcat(topic);
    stack.delete_topic(topic).await;
    stack.create_topic(topic, 1, &[]).await;
    fill(&stack, topic, 2, 500).await;
    is_refused(&stack, topic, topic, &["recreated/0", "offset 1000", "ends at 500", "--topic-as"]).await;
    fill(&stack, topic, 3, 1_500).await;
    is_refused(&stack, topic, topic, &["recreated/0", "offset 999", "another message", "--topic-as"]).await;
    stack.raw_is(&before, topic, topic).await;
    stack.catch_up(topic, topic, &["--topic-as", "recreated-2"]).await;
    stack.raw_is(&before, topic, topic).await;
    stack.raw_is(&stack.kcat(topic), "recreated-2", topic).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_retention_took_is_refused_and_begins_again_under_another_name() {
    let (stack, topic) = (RealStack::shared(), "retention");
    stack.create_topic(topic, 1, &[]).await;
    fill(&stack, topic, 1, 1_000).await;
    stack.catch_up(topic, topic, &[]).await;
    // Kafka may delete messages that the table has read.
    truncate(&stack, topic, 0, Offset::Offset(700)).await;
    fill(&stack, topic, 2, 1_000).await;
    stack.catch_up(topic, topic, &[]).await;
    fill(&stack, topic, 3, 1_000).await;
    truncate(&stack, topic, 0, Offset::Offset(2_001)).await;
    is_refused(&stack, topic, topic, &["retention/0", "offset 2000", "below 2001", "--topic-as"]).await;
    stack.catch_up(topic, topic, &["--topic-as", "retention-2"]).await;
    stack.raw_is(&stack.kcat(topic), "retention-2", topic).await;
}

/// Retention is faster than a job that stands still: the message names the offset that it would have read next.
#[tokio::test(flavor = "multi_thread")]
async fn what_retention_takes_from_a_running_job_is_refused_by_partition_and_offset() {
    let (stack, topic) = (RealStack::shared(), "overtaken");
    stack.create_topic(topic, 2, &[]).await;
    fill(&stack, topic, 1, 1_000).await;
    let mut member = Member::start(&stack, topic, topic, &["-X", "session.timeout.ms=45000"]);
    member.says("committed", SOON).await;
    let ((_, next), began) = (watermarks(&stack, topic, 1), Instant::now());
    while stand(&stack, topic, topic, 1).await.cut != Some(next) {
        assert!(began.elapsed() < SOON, "{}", member.log());
        sleep(Duration::from_millis(100)).await;
    }
    member.signal("STOP");
    // Wait until the requests that the member had sent are answered, before there are more messages.
    sleep(Duration::from_secs(2)).await;
    fill(&stack, topic, 2, 1_000).await;
    truncate(&stack, topic, 1, Offset::End).await;
    member.signal("CONT");
    let status = member.ends(SOON).await;
    let log = member.log();
    assert_eq!(status.code(), Some(4), "{log}");
    let (error, offset) = (the_error(&log), format!("offset {next} must be read next"));
    for word in ["overtaken/1", offset.as_str(), "kafka has dropped", "--topic-as"] {
        assert!(error.contains(word), "{word:?} is not in: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_is_deleted_while_it_is_read_is_named_with_what_to_do() {
    let (stack, topic) = (RealStack::shared(), "deleted");
    stack.create_topic(topic, 1, &[]).await;
    fill(&stack, topic, 1, 1_000).await;
    // News of the topic travel fast, and are believed soon.
    let soon = ["-X", "topic.metadata.refresh.interval.ms=500", "-X", "topic.metadata.propagation.max.ms=1000"];
    let mut member = Member::start(&stack, topic, topic, &soon);
    member.says("committed", SOON).await;
    stack.delete_topic(topic).await;
    let status = member.ends(SOON).await;
    let log = member.log();
    assert_eq!(status.code(), Some(3), "{log}");
    let error = the_error(&log);
    for word in ["topic deleted", "does not exist at", "create it", "--topic"] {
        assert!(error.contains(word), "{word:?} is not in: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_group_is_told_what_is_committed_and_nothing_depends_on_it() {
    let (stack, topic, group) = (RealStack::shared(), "told", "lag-tools-look-here");
    stack.create_topic(topic, 2, &[]).await;
    fill(&stack, topic, 1, 1_000).await;
    stack.catch_up(topic, topic, &["--group", group]).await;
    let consumer: BaseConsumer = stack.client_config().set("group.id", group).create().expect("a client");
    let mut offsets = TopicPartitionList::new();
    for partition in 0..2 {
        offsets.add_partition(topic, partition);
    }
    let told = consumer.committed_offsets(offsets.clone(), ANSWER_MAX).expect("kafka answers");
    for partition in 0..2 {
        let (_, end) = watermarks(&stack, topic, partition);
        let told = told.find_partition(topic, partition).map(|told| told.offset());
        assert_eq!(told, Some(Offset::Offset(end)), "{topic}/{partition}");
    }
    // Whatever the group says, the table knows better.
    for (wrong, more) in [(Offset::Offset(3), 500), (Offset::Offset(1_000_000), 500)] {
        offsets.set_all_offsets(wrong).expect("an offset");
        consumer.commit(&offsets, rdkafka::consumer::CommitMode::Sync).expect("kafka takes it");
        fill(&stack, topic, 2, more).await;
        stack.catch_up(topic, topic, &["--group", group]).await;
    }
    assert_eq!(stack.raw_is_the_log(topic, topic).await, 2_000);
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::print_stdout, reason = "a figure")]
async fn two_share_the_work_and_one_takes_over_from_the_dead() {
    let (stack, topic) = (RealStack::shared(), "shared");
    stack.create_topic(topic, 12, &[]).await;
    fill(&stack, topic, 1, 6_000).await;
    let mut members = [0, 1].map(|_| Member::start(&stack, topic, topic, &["--metrics", "127.0.0.1:0"]));
    let began = Instant::now();
    loop {
        let [one, other] = [members[0].partitions().await, members[1].partitions().await];
        if one == 6 && other == 6 {
            break;
        }
        assert!(began.elapsed() < SOON, "one has {one} of 12, the other {other}");
        sleep(Duration::from_millis(100)).await;
    }
    fill(&stack, topic, 2, 6_000).await;
    let [dying, living] = &mut members;
    dying.kill();
    let died = Instant::now();
    while living.partitions().await < 12 {
        assert!(died.elapsed() < SESSION_TIMEOUT + REBALANCE_MAX, "{}", living.log());
        sleep(Duration::from_millis(50)).await;
    }
    println!("the other had all after {:?}", died.elapsed());
    let [_, living] = members;
    living.leaves().await;
    stack.catch_up(topic, topic, &[]).await;
    assert_eq!(stack.raw_is_the_log(topic, topic).await, 12_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn those_who_catch_up_together_end_when_all_is_there() {
    let (stack, topic) = (RealStack::shared(), "together");
    stack.create_topic(topic, 12, &[]).await;
    fill(&stack, topic, 1, 200_000).await;
    // With sessions of the default length: nobody waits for one to end.
    let long = ["--until-caught-up", "-X", "session.timeout.ms=45000"];
    let members = [0, 1, 2].map(|_| Member::start(&stack, topic, topic, &long));
    for mut member in members {
        let status = member.ends(SOON).await;
        assert!(status.success(), "{status}:\n{}", member.log());
    }
    assert_eq!(stack.raw_is_the_log(topic, topic).await, 200_000);
}

/// In this protocol the brokers assign partitions, and a member is told to give up one before another has it.
#[tokio::test(flavor = "multi_thread")]
async fn the_newer_protocol_of_groups_shares_the_work_and_takes_over_from_the_dead() {
    let (stack, topic) = (RealStack::shared(), "kip-848");
    stack.create_topic(topic, 4, &[]).await;
    fill(&stack, topic, 1, 2_000).await;
    let newer = ["-X", NEWER_PROTOCOL, "--metrics", "127.0.0.1:0"];
    let mut dying = Member::start(&stack, topic, topic, &newer);
    dying.owns(4, SOON).await;
    let mut living = Member::start(&stack, topic, topic, &newer);
    living.owns(2, SOON).await;
    dying.owns(2, SOON).await;
    fill(&stack, topic, 2, 2_000).await;
    dying.kill();
    living.owns(4, SESSION_TIMEOUT + SOON).await;
    fill(&stack, topic, 3, 2_000).await;
    living.leaves().await;
    stack.catch_up(topic, topic, &["-X", NEWER_PROTOCOL]).await;
    assert_eq!(stack.raw_is_the_log(topic, topic).await, 6_000);
}

/// Nobody waits until the session of the dead one is over, and the others are not interrupted.
#[tokio::test(flavor = "multi_thread")]
async fn a_process_killed_and_started_under_its_name_has_its_partitions_at_once() {
    let (stack, topic) = (RealStack::shared(), "named");
    stack.create_topic(topic, 6, &[]).await;
    fill(&stack, topic, 1, 6_000).await;
    let start = |name| {
        let named = ["--instance", name, "--metrics", "127.0.0.1:0", "-X", "session.timeout.ms=45000"];
        Member::start(&stack, topic, topic, &named)
    };
    let [mut killed, mut other] = ["one", "two"].map(start);
    killed.owns(3, SOON).await;
    other.owns(3, SOON).await;
    let releases = |member: &Member| member.log().matches("released").count();
    let before = releases(&other);
    killed.kill();
    fill(&stack, topic, 2, 6_000).await;
    let mut again = start("one");
    again.owns(3, AT_ONCE).await;
    again.commits_more_than(0, AT_ONCE).await;
    assert_eq!(releases(&other), before, "the other was interrupted:\n{}", other.log());

    // A name is of one process: whoever begins under it later has the partitions, and the one before it ends.
    let mut third = start("one");
    third.owns(3, AT_ONCE).await;
    let status = again.ends(SOON).await;
    let log = again.log();
    assert_eq!(status.code(), Some(4), "{log}");
    let error = the_error(&log);
    for word in [&format!("error[{}]", Code::Fenced), "another process", "--instance one"] {
        assert!(error.contains(word), "{word:?} is not in: {error}");
    }
    third.leaves().await;
    other.leaves().await;
    // Members with names do not leave their group: it keeps their partitions for them. Another group reads the rest.
    stack.catch_up(topic, topic, &["--group", "named-2"]).await;
    assert_eq!(stack.raw_is_the_log(topic, topic).await, 12_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn scram_over_tls_works_and_a_wrong_password_is_one_line() {
    let (stack, topic) = (RealStack::shared(), "secure");
    stack.create_topic(topic, 2, &[]).await;
    fill(&stack, topic, 1, 1_000).await;
    let (servers, properties) = (stack.secure_servers(), stack.secure_properties());
    let properties = properties.to_str().expect("UTF-8");
    let secure = ["--bootstrap-servers", &servers, "-F", properties];
    stack.catch_up(topic, topic, &secure).await;
    assert_eq!(stack.raw_is_the_log(topic, topic).await, 1_000);

    let wrong = stack.path().join("wrong.properties");
    let right = std::fs::read_to_string(properties).expect("a file");
    std::fs::write(&wrong, right.replace("sasl.password=", "sasl.password=not-")).expect("a file");
    let wrong = wrong.to_str().expect("UTF-8");
    let began = Instant::now();
    let mut member = Member::start(&stack, topic, topic, &["--bootstrap-servers", &servers, "-F", wrong, "-vv"]);
    let status = member.ends(SOON).await;
    assert!(began.elapsed() < Duration::from_secs(5), "it took {:?}", began.elapsed());
    let log = member.log();
    assert_eq!(status.code(), Some(3), "{log}");
    let error = the_error(&log);
    assert!(error.contains(&servers) && error.contains("invalid credentials"), "{}", error);
    assert!(!log.contains("clicklake-secret"), "a secret is logged");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_without_room_stays_a_member() {
    let (stack, topic) = (RealStack::start(), "paused");
    stack.create_topic(topic, 4, &[]).await;
    let mut member = Member::start(&stack, topic, topic, &[]);
    member.says("begins", SOON).await;
    stack.kill(Server::S3);
    // More than an epoch and the batches on their way to the next.
    fill(&stack, topic, 1, 400_000).await;
    member.says("no room; partitions paused", SOON).await;
    sleep(SESSION_TIMEOUT * 2).await;
    stack.up();
    member.commits_more_than(3, SOON).await;
    assert!(!member.log().contains("released"), "the group took its partitions:\n{}", member.log());
    member.leaves().await;
    stack.catch_up(topic, topic, &[]).await;
    assert_eq!(stack.raw_is_the_log(topic, topic).await, 400_000);
}

/// A decision of the group while a member has no room takes effect with the next message. This member's S3 fails for so
/// long that it gives an epoch up when another member takes half of its partitions; and they come back before it has
/// room again.
#[tokio::test(flavor = "multi_thread")]
async fn a_job_whose_partitions_return_while_it_has_no_room_reads_nothing_twice() {
    let (stack, topic) = (RealStack::start(), "again");
    stack.create_topic(topic, 4, &[]).await;
    let (fails, failing) = watch::channel(false);
    let fate = move |_| if *failing.borrow() { Fate::Refused("503 Slow Down", "SlowDown") } else { Fate::Answered };
    let proxy = Proxy::start(stack.variable("AWS_ENDPOINT_URL"), fate).await;
    let mut member = Member::start_at(&stack, &proxy.url(), topic, topic, &[]);
    member.says("begins", SOON).await;
    fails.send_replace(true);
    fill(&stack, topic, 1, 400_000).await;
    member.says("no room; partitions paused", SOON).await;
    let mut other = Member::start(&stack, topic, topic, &[]);
    other.says("begins", SOON).await;
    other.kill();
    sleep(SESSION_TIMEOUT * 2).await;
    fails.send_replace(false);
    let commits = member.commits();
    member.commits_more_than(commits + 1, SOON).await;
    let log = member.log();
    assert!(log.contains("epoch abandoned"), "{log}");
    member.leaves().await;
    stack.catch_up(topic, topic, &[]).await;
    assert_eq!(stack.raw_is_the_log(topic, topic).await, 400_000);
}

/// At the live end each partition yields the messages of a tenth of a second as one batch, and not a batch for every
/// few messages, however often the broker says that it has no more for now.
#[tokio::test(flavor = "multi_thread")]
async fn a_followed_partition_makes_ten_batches_a_second_at_most() {
    let (stack, topic, partitions, seconds) = (RealStack::shared(), "followed", 12, 5);
    stack.create_topic(topic, partitions, &[]).await;
    for more in [&["-X", "fetch.min.bytes=1", "-X", "fetch.wait.max.ms=500"][..], &[]] {
        let lake = format!("{topic}-{}", more.len());
        let mut member = Member::start(&stack, topic, &lake, &[more, &["-v"]].concat());
        member.says("begins", SOON).await;
        let began = Instant::now();
        let load = Load { rate: 1_000, count: Some(1_000 * seconds), start_ms: NOON_MS };
        stack.produce(topic, 1, load, CancellationToken::new()).await;
        let tenths = began.elapsed().as_millis() / 100 + 1;
        let log = member.log();
        member.leaves().await;
        let batches = log.lines().filter(|line| line.contains(" read ")).count();
        assert!(batches >= 12, "{log}");
        assert!(
            batches as u128 <= tenths * partitions.unsigned_abs() as u128 * 12 / 10,
            "{batches} in {tenths} tenths"
        );
        stack.catch_up(topic, &lake, &[]).await;
        stack.raw_is_the_log(topic, &lake).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_that_die_are_waited_for_aloud() {
    let (stack, topic) = (RealStack::start(), "waiting");
    stack.create_topic(topic, 4, &[]).await;
    let stop = CancellationToken::new();
    let load = Load { rate: 2_000, count: None, start_ms: NOON_MS };
    let producing = stack.produce(topic, 1, load, stop.clone());
    let events = async {
        let mut member = Member::start(&stack, topic, topic, &[]);
        member.says("committed", SOON).await;
        stack.kill(Server::Kafka);
        member.says("kafka broker does not answer; waiting", SOON).await;
        stack.up();
        member.says("kafka answers again", SOON).await;
        stack.kill(Server::S3);
        member.says("trying again", SOON).await;
        let commits = member.commits();
        stack.up();
        member.commits_more_than(commits, SOON).await;
        assert!(!member.log().contains("panicked"), "{}", member.log());
        stop.cancel();
        member.leaves().await;
    };
    let (counts, ()) = tokio::join!(producing, events);
    stack.catch_up(topic, topic, &[]).await;
    assert_eq!(stack.raw_is_the_log(topic, topic).await as u64, counts.total());
}
