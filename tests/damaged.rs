//! Laws of a log whose bytes have changed on the broker's disk: a message that cannot be read is refused with its
//! position, and never skipped.

use std::path::PathBuf;
use std::time::Duration;

use lake_schemas::{Code, Table, TopicPartition};
use lake_store::commit::TableLog;
use localstack::produce::Load;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::NOON_MS;
use crate::kafka::SOON;
use crate::stack::member::{Job, Member};
use crate::stack::{RealStack, Server};
use crate::start_up::the_error;

/// Places of the fields in a record batch.
const LENGTH_AT: usize = 8;
const MAGIC_AT: usize = 16;
const HEADER: usize = 61;

/// A version of the batch format that does not exist.
const MAGIC_UNKNOWN: u8 = 9;

/// The partition that is damaged, out of several.
const PARTITION: i32 = 1;

/// Returns the segment of the damaged partition of a topic: it has only one.
fn segment(stack: &RealStack, topic: &str) -> PathBuf {
    stack.path().join(format!("kafka/data/{topic}-{PARTITION}/00000000000000000000.log"))
}

/// Returns the batches of a segment: the place at which each begins, and its first offset.
fn batches(segment: &[u8]) -> Vec<(usize, i64)> {
    let (mut batches, mut at) = (Vec::new(), 0);
    // The end of the file may be reserved, and zero.
    while at + HEADER < segment.len() && segment[at + MAGIC_AT] == 2 {
        batches.push((at, i64::from_be_bytes(segment[at..at + LENGTH_AT].try_into().expect("8 bytes"))));
        let length = segment[at + LENGTH_AT..at + LENGTH_AT + 4].try_into().expect("4 bytes");
        at += LENGTH_AT + 4 + usize::try_from(i32::from_be_bytes(length)).expect("a length");
    }
    batches
}

/// Damages a batch in the middle of a topic's partition, while the broker is down. Returns the first offset of the
/// batch.
fn damage(stack: &RealStack, topic: &str, how: impl Fn(&mut [u8])) -> i64 {
    let mut bytes = std::fs::read(segment(stack, topic)).expect("a segment");
    let batches = batches(&bytes);
    assert!(batches.len() > 10, "{topic} has {} batches only", batches.len());
    let ((at, offset), (end, _)) = (batches[batches.len() / 2], batches[batches.len() / 2 + 1]);
    how(&mut bytes[at..end]);
    std::fs::write(segment(stack, topic), bytes).expect("a disk");
    offset
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_is_refused_with_its_position_and_never_passed_over() {
    let stack = RealStack::start();
    let topics = ["flipped", "compressed", "of-the-future"];
    for topic in topics {
        stack.create_topic(topic, 3, &[]).await;
        let mut config = stack.client_config();
        config.set("compression.type", if topic == "compressed" { "lz4" } else { "none" });
        config.set("batch.size", "4096");
        let load = Load { rate: 1_000_000, count: Some(3_000), start_ms: NOON_MS };
        stack.produce_with(&config, topic, 1, load, CancellationToken::new()).await;
    }
    // One that is killed looks through its files, and cuts off what is damaged.
    stack.stop(Server::Kafka).await;
    let flip = |batch: &mut [u8]| batch[HEADER + (batch.len() - HEADER) / 2] ^= 1;
    let [flipped, compressed, unknown] = topics;
    let damaged = [
        (flipped, damage(&stack, flipped, flip)),
        (compressed, damage(&stack, compressed, flip)),
        (unknown, damage(&stack, unknown, |batch| batch[MAGIC_AT] = MAGIC_UNKNOWN)),
    ];
    stack.up();
    for (topic, offset) in damaged {
        for job in [Job::Ingest, Job::Aggregate] {
            let began = Instant::now();
            let mut member = Member::of(job, &stack, topic, topic, &["--until-caught-up"]);
            let status = member.ends(SOON).await;
            let log = member.log();
            assert_eq!(status.code(), Some(4), "{log}");
            let error = the_error(&log);
            assert!(error.starts_with(&format!("error[{}]: ", Code::BatchUnreadable)), "{error}");
            for word in [&format!("{topic}/{PARTITION}"), &format!("offset {offset} "), "--topic-as"] {
                assert!(error.contains(word), "{word:?} is not in: {error}");
            }
            assert!(began.elapsed() < Duration::from_secs(20), "it took {:?}", began.elapsed());
        }
        let log = TableLog::open(&stack.lake(topic), Table::Clicks).await.expect("the table opens");
        let cut = log.stand(&TopicPartition::new(topic, PARTITION)).cut;
        assert!(cut.is_none_or(|cut| cut <= offset), "the cut {cut:?} is beyond {offset}");
    }
}

impl RealStack {
    /// Stops a server as an administrator does, with all its data on disk.
    async fn stop(&self, server: Server) {
        let process = self.process(server).expect("it has run");
        self.signal(server, "TERM");
        let began = Instant::now();
        // One that has ended and was not waited for has no command line.
        let runs = || std::fs::read(format!("/proc/{process}/cmdline")).is_ok_and(|line| !line.is_empty());
        while runs() {
            assert!(began.elapsed() < SOON, "{server:?} does not end");
            sleep(Duration::from_millis(50)).await;
        }
    }
}
