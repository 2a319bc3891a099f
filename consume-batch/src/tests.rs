//! Laws of the queue, on the cluster that librdkafka mocks. `.ci/long unsafe` runs them under valgrind.

mod cluster;
mod groups;

use rdkafka::Offset;
use rdkafka::consumer::Consumer;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

use crate::Messages;
use cluster::{PATIENCE, Reader, TOPIC, cluster, list, produce, text_of};

#[test]
fn all_messages_come_in_the_order_of_their_partitions_with_all_that_they_have() {
    let cluster = cluster(3);
    produce(&cluster, 0..3, 0..400);
    let mut reader = Reader::new(&cluster);
    reader.assign(&[(0, 0), (1, 0), (2, 0)]);
    let mut next = [0; 3];
    let mut ends = 0;
    reader.until(4_096, |one| {
        let at = &mut next[usize::try_from(one.partition()).expect("it is one of three")];
        assert_eq!(one.offset(), *at, "partition {}", one.partition());
        if one.is_end() {
            ends += 1;
        } else {
            let offset = one.offset();
            assert_eq!(one.key(), (offset % 2 == 0).then_some(b"key".as_slice()));
            assert_eq!(one.payload().map(<[u8]>::to_vec), text_of(one.partition(), offset).map(String::into_bytes));
            assert_eq!(one.timestamp_ms(), Some(1_000 + offset));
            assert!(one.fault().is_none());
            *at += 1;
        }
        ends == 3
    });
    assert_eq!(next, [400; 3]);
}

#[test]
fn no_more_come_than_fit_and_the_others_come_next() {
    let cluster = cluster(1);
    produce(&cluster, 0..1, 0..500);
    let mut reader = Reader::new(&cluster);
    reader.assign(&[(0, 0)]);
    let (mut next, mut sizes) = (0, Vec::new());
    while next < 500 {
        // By turns no more than seven, and no more than one byte: then the first message with a payload is the last.
        let is_by_number = sizes.len() % 2 == 0;
        let (most, bytes) = if is_by_number { (7, usize::MAX) } else { (usize::MAX, 1) };
        let batch = reader.queue.take_within(most, bytes, PATIENCE);
        let sized = batch.iter().filter(|one| one.key().or(one.payload()).is_some_and(|part| !part.is_empty())).count();
        assert!(if is_by_number { batch.len() <= 7 } else { sized <= 1 }, "{} of them came", batch.len());
        for one in batch.iter().filter(|one| !one.is_end()) {
            assert_eq!(one.offset(), next);
            next += 1;
        }
        sizes.push(batch.len());
    }
    assert!(sizes.contains(&7), "{sizes:?}");
    assert!(reader.queue.take(0, PATIENCE).is_empty());
}

#[test]
fn half_of_a_batch_is_there_after_the_other_half_and_the_consumer_are_dropped() {
    let cluster = cluster(2);
    produce(&cluster, 0..2, 0..50);
    let mut reader = Reader::new(&cluster);
    reader.assign(&[(0, 0), (1, 0)]);
    let (mut batches, mut ends) = (Vec::new(), 0);
    while ends < 2 {
        let batch = reader.queue.take(4_096, PATIENCE);
        ends += batch.iter().filter(|one| one.is_end()).count();
        batches.push(batch);
    }
    let parts = batches.into_iter().flat_map(Messages::split_by_partition);
    let (kept, dropped): (Vec<_>, Vec<_>) = parts.partition(|(partition, _)| *partition == 1);
    drop(dropped);
    drop(reader);
    let read = std::thread::spawn(move || {
        let all = kept.iter().flat_map(|(_, part)| part.iter()).filter(|one| !one.is_end());
        all.map(|one| one.payload().map(<[u8]>::to_vec)).collect::<Vec<_>>()
    });
    let expected: Vec<_> = (0..50).map(|offset| text_of(1, offset).map(String::into_bytes)).collect();
    assert_eq!(read.join().expect("it reads"), expected);
}

#[test]
fn a_queue_that_is_dropped_with_messages_in_it_frees_them() {
    let cluster = cluster(1);
    produce(&cluster, 0..1, 0..2_000);
    let mut reader = Reader::new(&cluster);
    reader.assign(&[(0, 0)]);
    while reader.queue.take(1, PATIENCE).is_empty() {}
    let Reader { consumer, queue } = reader;
    drop(queue);
    // What is fetched from now on has nowhere to go, and is not given by the consumer either.
    assert!(consumer.poll(PATIENCE).is_none());
}

#[test]
fn a_seek_drops_what_was_fetched_before_it() {
    let cluster = cluster(1);
    produce(&cluster, 0..1, 0..300);
    let mut reader = Reader::new(&cluster);
    reader.assign(&[(0, 0)]);
    reader.until(10, |one| one.offset() == 150);
    for to in [20, 290, 0] {
        let done = reader.consumer.seek_partitions(list(&[(0, to)]), PATIENCE).expect("it seeks");
        assert!(done.elements().iter().all(|one| one.error().is_ok()));
        let mut next = to;
        reader.until(10, |one| {
            assert_eq!(one.offset(), next, "after a seek to {to}");
            next += i64::from(!one.is_end());
            one.is_end() || next == to + 100
        });
    }
}

#[test]
fn an_end_says_where_it_is() {
    let cluster = cluster(2);
    produce(&cluster, 1..2, 0..5);
    let mut reader = Reader::new(&cluster);
    reader.assign(&[(0, 0), (1, 2)]);
    let mut ends = Vec::new();
    reader.until(4_096, |one| {
        if let Some((code, _)) = one.fault() {
            assert_eq!((code, one.is_end()), (RDKafkaErrorCode::PartitionEOF, true));
            assert!(one.payload().is_none() && one.key().is_none() && one.timestamp_ms().is_none());
            ends.push((one.partition(), one.offset()));
        }
        ends.len() == 2
    });
    ends.sort_unstable();
    assert_eq!(ends, [(0, 0), (1, 5)]);
}

/// `rd_kafka_consume_batch_queue` fails here: it counts the end as a message, and the pause goes on behind the next
/// one.
#[test]
fn a_pause_at_the_end_skips_nothing() {
    let cluster = cluster(1);
    produce(&cluster, 0..1, 0..10);
    let mut reader = Reader::new(&cluster);
    reader.assign(&[(0, 0)]);
    for end in 10..13 {
        reader.until(4_096, |one| one.is_end());
        let position = reader.consumer.position().expect("a position");
        assert_eq!(position.find_partition(TOPIC, 0).map(|one| one.offset()), Some(Offset::Offset(end)));
        reader.consumer.pause(&list(&[(0, 0)])).expect("it pauses");
        produce(&cluster, 0..1, end..end + 1);
        reader.consumer.resume(&list(&[(0, 0)])).expect("it goes on");
        let mut first = None;
        reader.until(1, |one| {
            first = (!one.is_end()).then_some(one.offset());
            first.is_some()
        });
        assert_eq!(first, Some(end));
    }
}

#[test]
fn a_fault_says_where_it_is_and_skips_nothing() {
    let cluster = cluster(1);
    produce(&cluster, 0..1, 0..10);
    let mut reader = Reader::new(&cluster);
    reader.assign(&[(0, 0)]);
    reader.until(4_096, |one| one.is_end());
    cluster.request_errors(RDKafkaApiKey::Fetch, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED]);
    let mut said = None;
    reader.until(4_096, |one| {
        said = one.fault().filter(|_| !one.is_end()).map(|(code, text)| (code, text.to_owned(), one.offset()));
        said.is_some()
    });
    let (code, text, offset) = said.expect("it was waited for");
    assert_eq!((code, offset), (RDKafkaErrorCode::TopicAuthorizationFailed, 10));
    assert!(text.contains("authorization"), "{text}");
    reader.consumer.pause(&list(&[(0, 0)])).expect("it pauses");
    produce(&cluster, 0..1, 10..11);
    reader.consumer.resume(&list(&[(0, 0)])).expect("it goes on");
    reader.until(4_096, |one| {
        assert_eq!(one.offset(), 10);
        one.fault().is_none()
    });
}

#[test]
fn an_offset_that_the_log_does_not_have_is_a_fault_of_its_partition() {
    let cluster = cluster(2);
    produce(&cluster, 0..2, 0..10);
    let mut reader = Reader::new(&cluster);
    reader.assign(&[(0, 0), (1, 1_000)]);
    reader.until(4_096, |one| {
        let is_fault = one.fault().is_some() && !one.is_end();
        assert!(!is_fault || (one.partition(), one.offset()) == (1, 1_000), "{one:?}");
        is_fault
    });
}

#[test]
fn what_cannot_be_diverted_is_refused() {
    let cluster = cluster(1);
    let reader = Reader::new(&cluster);
    let said = reader.queue.divert(c"clicks", -1).expect_err("there is no such partition").to_string();
    assert!(said.starts_with("partition -1 "), "{said}");
    let long = std::ffi::CString::new("c".repeat(1_000)).expect("a text without zeros");
    reader.queue.divert(&long, 0).expect_err("no topic has such a name");
    let diverter = reader.queue.diverter();
    diverter.divert(c"clicks", 0).expect("the queue is there");
    drop(reader);
    let said = diverter.divert(c"clicks", 0).expect_err("the queue is gone").to_string();
    assert!(said.contains("gone"), "{said}");
}
