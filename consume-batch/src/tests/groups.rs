//! Laws of a queue whose consumer is a member of a group: rebalances reach the consumer, and what moves is read once.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::CString;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use rdkafka::bindings::rd_kafka_resp_err_t;
use rdkafka::client::ClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::{ClientConfig, TopicPartitionList};

use super::cluster::{Cluster, PATIENCE, TOPIC, cluster, config, list, produce, text_of};
use crate::{DataQueue, Diverter};

/// Number of partitions of the topic.
const PARTITIONS: i32 = 4;

/// Number of short waits in vain after which a law fails: two minutes, as a rebalance takes some seconds.
const WAITS_MAX: u32 = 12_000;

/// Offset that is to be read next of each partition, by whichever member has it.
type Next = Arc<Mutex<BTreeMap<i32, i64>>>;

/// Context of a member, which diverts what it is assigned.
struct Member {
    next: Next,
    diverter: OnceLock<Diverter<Member>>,
    /// Whether a rebalance has run since somebody looked.
    was_rebalanced: AtomicBool,
}

impl ClientContext for Member {}

impl ConsumerContext for Member {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, event: rd_kafka_resp_err_t, moved: &mut TopicPartitionList) {
        self.was_rebalanced.store(true, Ordering::Relaxed);
        let partitions: Vec<_> = moved.elements().iter().map(|one| one.partition()).collect();
        if event == rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            let next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
            let topic = CString::new(TOPIC).expect("a text without zeros");
            let diverter = self.diverter.get().expect("it is set before the member subscribes");
            partitions.iter().for_each(|partition| diverter.divert(&topic, *partition).expect("the queue is there"));
            let positions: Vec<_> = partitions.iter().map(|partition| (*partition, next[partition])).collect();
            consumer.incremental_assign(&list(&positions)).expect("it is assigned");
        } else {
            consumer.incremental_unassign(moved).expect("it is unassigned");
        }
    }
}

/// A member that reads.
struct Reading {
    queue: DataQueue<Member>,
    consumer: Arc<BaseConsumer<Member>>,
    next: Next,
    /// Partitions that it had when it looked last.
    held: BTreeSet<i32>,
}

impl Reading {
    fn join(cluster: &Cluster, next: &Next) -> Self {
        let mut config: ClientConfig = config(cluster);
        // The group must hear soon that somebody joins, and the mocked cluster waits for nearly a session for the
        // others.
        config.set("heartbeat.interval.ms", "100").set("session.timeout.ms", "4000");
        let diverter = OnceLock::new();
        let context = Member { next: Arc::clone(next), diverter, was_rebalanced: AtomicBool::new(false) };
        let consumer = config.create_with_context(context).expect("a consumer");
        let consumer: Arc<BaseConsumer<Member>> = Arc::new(consumer);
        let queue = DataQueue::new(&consumer);
        assert!(consumer.context().diverter.set(queue.diverter()).is_ok(), "it is set once");
        consumer.subscribe(&[TOPIC]).expect("it subscribes");
        Self { queue, consumer, next: Arc::clone(next), held: BTreeSet::new() }
    }

    /// Polls once, and takes what is there: the very messages that are expected next.
    fn step(&mut self) {
        assert!(self.consumer.poll(Duration::ZERO).is_none(), "the consumer's own queue has a message");
        if self.consumer.context().was_rebalanced.swap(false, Ordering::Relaxed) {
            self.stay();
        }
        let batch = self.queue.take(50, Duration::from_millis(5));
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        for one in batch.iter().filter(|one| !one.is_end()) {
            let next = next.get_mut(&one.partition()).expect("a partition of the topic");
            let (partition, offset) = (one.partition(), one.offset());
            assert!(one.fault().is_none(), "{one:?}");
            assert_eq!(offset, *next, "partition {partition}");
            assert_eq!(one.payload(), text_of(partition, offset).as_deref().map(str::as_bytes));
            *next += 1;
        }
    }

    /// Seeks partitions that a rebalance has paused and left where they were, to the offset that is expected next.
    fn stay(&mut self) {
        let assigned = self.consumer.assignment().expect("an assignment");
        let assigned: BTreeSet<_> = assigned.elements().iter().map(|one| one.partition()).collect();
        let next = self.next.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let stay: Vec<_> = assigned.intersection(&self.held).map(|partition| (*partition, next[partition])).collect();
        self.held = assigned;
        if !stay.is_empty() {
            let done = self.consumer.seek_partitions(list(&stay), PATIENCE).expect("it seeks");
            assert!(done.elements().iter().all(|one| one.error().is_ok()), "{done:?}");
        }
    }

    fn partitions(&self) -> usize {
        self.consumer.assignment().expect("an assignment").count()
    }
}

fn beginning() -> Next {
    Arc::new(Mutex::new((0..PARTITIONS).map(|partition| (partition, 0)).collect()))
}

fn all_are_at(next: &Next, offset: i64) -> bool {
    next.lock().unwrap_or_else(PoisonError::into_inner).values().all(|at| *at == offset)
}

/// Lets members read until something is so.
fn until(members: &mut [Reading], is_so: impl Fn(&[Reading]) -> bool) {
    for _ in 0..WAITS_MAX {
        if is_so(members) {
            return;
        }
        members.iter_mut().for_each(Reading::step);
    }
    let partitions: Vec<_> = members.iter().map(Reading::partitions).collect();
    panic!("it never came to be: members have {partitions:?} partitions");
}

#[test]
fn partitions_move_to_another_member_and_back_and_each_message_is_read_once() {
    let (cluster, next) = (cluster(PARTITIONS), beginning());
    produce(&cluster, 0..PARTITIONS, 0..200);
    let mut members = vec![Reading::join(&cluster, &next)];
    until(&mut members, |_| all_are_at(&next, 200));
    produce(&cluster, 0..PARTITIONS, 200..400);
    members.push(Reading::join(&cluster, &next));
    until(&mut members, |members| members.iter().all(|member| member.partitions() == 2));
    // What stays was paused by the rebalance while it stood at its end, and goes on with the very next message.
    produce(&cluster, 0..PARTITIONS, 400..401);
    until(&mut members, |_| all_are_at(&next, 401));
    drop(members.pop());
    produce(&cluster, 0..PARTITIONS, 401..600);
    until(&mut members, |_| all_are_at(&next, 600));
    assert_eq!(members[0].partitions(), 4);
}

#[test]
fn messages_are_there_after_their_consumer_has_left_its_group() {
    let (cluster, next) = (cluster(PARTITIONS), beginning());
    produce(&cluster, 0..PARTITIONS, 0..20);
    let mut member = Reading::join(&cluster, &next);
    let mut batch = member.queue.take(4_096, Duration::ZERO);
    for _ in 0..WAITS_MAX {
        if batch.iter().any(|one| !one.is_end()) {
            break;
        }
        assert!(member.consumer.poll(Duration::ZERO).is_none(), "the consumer's own queue has a message");
        batch = member.queue.take(4_096, Duration::from_millis(10));
    }
    member.consumer.unsubscribe();
    for _ in 0..WAITS_MAX {
        if member.partitions() == 0 {
            break;
        }
        assert!(member.consumer.poll(Duration::from_millis(10)).is_none(), "the consumer's own queue has a message");
    }
    assert_eq!(member.partitions(), 0);
    // What was fetched before is not given after it.
    assert!(member.queue.take(4_096, Duration::ZERO).is_empty());
    drop(member);
    let first = batch.iter().find(|one| !one.is_end()).expect("it was waited for");
    assert_eq!((first.offset(), first.payload()), (0, text_of(first.partition(), 0).as_deref().map(str::as_bytes)));
}
