//! What was taken from a [`DataQueue`](crate::DataQueue) at once: messages, ends and faults, in plain memory of ours.

use std::collections::HashMap;
use std::sync::Arc;

use rdkafka::error::RDKafkaErrorCode;

/// Messages, ends and faults of partitions, in the order in which librdkafka handed them over. Those of one partition
/// are in the order of its log.
///
/// A message may come again, if a pause came while it was taken, so a caller keeps the offset that it expects next of
/// each partition, drops what lies before it, and seeks after a pause: see [`DataQueue::take`](crate::DataQueue::take).
#[derive(Debug, Default)]
pub struct Messages {
    bytes: Arc<Vec<u8>>,
    entries: Vec<Entry>,
}

/// One message, end or fault. Its key and payload are parts of the bytes.
#[derive(Debug)]
struct Entry {
    partition: i32,
    offset: i64,
    content: Content,
}

#[derive(Debug)]
enum Content {
    Message { timestamp_ms: Option<i64>, begin: usize, key: Option<usize>, payload: Option<usize> },
    Fault { code: RDKafkaErrorCode, text: Box<str> },
}

/// Messages that are being taken.
#[derive(Debug, Default)]
pub(crate) struct Taking {
    bytes: Vec<u8>,
    entries: Vec<Entry>,
}

impl Taking {
    /// Makes room for so many messages, and bytes in them.
    pub fn with_room((entries, bytes): (usize, usize)) -> Self {
        Self { bytes: Vec::with_capacity(bytes), entries: Vec::with_capacity(entries) }
    }

    /// Copies a message, to the end of those that were taken.
    pub fn push(
        &mut self,
        partition: i32,
        offset: i64,
        timestamp_ms: Option<i64>,
        key: Option<&[u8]>,
        payload: Option<&[u8]>,
    ) {
        let begin = self.bytes.len();
        for part in [key, payload].into_iter().flatten() {
            self.bytes.extend_from_slice(part);
        }
        let (key, payload) = (key.map(<[u8]>::len), payload.map(<[u8]>::len));
        self.entries.push(Entry { partition, offset, content: Content::Message { timestamp_ms, begin, key, payload } });
    }

    /// Copies an end or a fault.
    pub fn push_fault(&mut self, partition: i32, offset: i64, code: RDKafkaErrorCode, text: &str) {
        self.entries.push(Entry { partition, offset, content: Content::Fault { code, text: text.into() } });
    }

    /// Returns the number of messages, ends and faults.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Returns the number of bytes of keys and payloads.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Returns what was taken.
    pub fn finish(self) -> Messages {
        Messages { bytes: Arc::new(self.bytes), entries: self.entries }
    }
}

impl Messages {
    /// Returns the number of messages, ends and faults.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Returns whether nothing came.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Returns messages, ends and faults in their order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = MessageRef<'_>> {
        self.entries.iter().map(|entry| MessageRef { bytes: &self.bytes, entry })
    }

    /// Keeps those for which this is true, which is asked in their order. The bytes of the others stay until all are
    /// dropped.
    pub fn retain(&mut self, mut is_kept: impl FnMut(MessageRef<'_>) -> bool) {
        let Self { bytes, entries } = self;
        let bytes: &[u8] = bytes;
        entries.retain(|entry| is_kept(MessageRef { bytes, entry }));
    }

    /// Splits what came by the number of its partition: first the partition that came first. The parts share the bytes,
    /// which are freed with the last part.
    pub fn split_by_partition(self) -> Vec<(i32, Self)> {
        let Self { bytes, entries } = self;
        let mut parts: Vec<(i32, Self)> = Vec::new();
        let (mut places, mut last) = (HashMap::new(), None);
        for entry in entries {
            let partition = entry.partition;
            // An answer of a broker has many messages of one partition after each other.
            let place = match last {
                Some((number, place)) if number == partition => place,
                _ => *places.entry(partition).or_insert_with(|| {
                    parts.push((partition, Self { bytes: Arc::clone(&bytes), entries: Vec::new() }));
                    parts.len() - 1
                }),
            };
            last = Some((partition, place));
            parts[place].1.entries.push(entry);
        }
        parts
    }
}

/// One message, or the end or a fault of a partition.
#[derive(Clone, Copy, Debug)]
pub struct MessageRef<'a> {
    bytes: &'a [u8],
    entry: &'a Entry,
}

impl<'a> MessageRef<'a> {
    /// Returns the number of the partition.
    pub fn partition(&self) -> i32 {
        self.entry.partition
    }

    /// Returns the offset of the message, or the end of the log, or the offset at which reading failed; of a fault it
    /// is negative if librdkafka does not know it.
    pub fn offset(&self) -> i64 {
        self.entry.offset
    }

    /// Returns the time of the message in milliseconds, if it has one.
    pub fn timestamp_ms(&self) -> Option<i64> {
        match self.entry.content {
            Content::Message { timestamp_ms, .. } => timestamp_ms,
            Content::Fault { .. } => None,
        }
    }

    /// Returns the key of the message, if it has one.
    pub fn key(&self) -> Option<&'a [u8]> {
        match self.entry.content {
            Content::Message { begin, key, .. } => key.map(|length| &self.bytes[begin..begin + length]),
            Content::Fault { .. } => None,
        }
    }

    /// Returns the payload of the message, if it has one.
    pub fn payload(&self) -> Option<&'a [u8]> {
        match self.entry.content {
            Content::Message { begin, key, payload, .. } => {
                let begin = begin + key.unwrap_or_default();
                payload.map(|length| &self.bytes[begin..begin + length])
            }
            Content::Fault { .. } => None,
        }
    }

    /// Returns why there is no message here, and what librdkafka says of it: the end of a partition
    /// (`RDKafkaErrorCode::PartitionEOF`), or a fault.
    pub fn fault(&self) -> Option<(RDKafkaErrorCode, &'a str)> {
        match &self.entry.content {
            Content::Message { .. } => None,
            Content::Fault { code, text } => Some((*code, text)),
        }
    }

    /// Returns whether this is the end of a partition: Kafka has nothing at this offset yet.
    pub fn is_end(&self) -> bool {
        matches!(self.fault(), Some((RDKafkaErrorCode::PartitionEOF, _)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(entries: &[(i32, i64)]) -> Messages {
        let mut taking = Taking::default();
        for (partition, offset) in entries {
            let payload = format!("{partition}:{offset}");
            taking.push(*partition, *offset, Some(*offset), None, Some(payload.as_bytes()));
        }
        taking.finish()
    }

    #[test]
    fn nothing_an_empty_text_and_a_text_differ() {
        let mut taking = Taking::default();
        let parts: [Option<&[u8]>; 3] = [None, Some(b""), Some(b"text")];
        let all: Vec<_> = parts.into_iter().flat_map(|key| parts.map(|payload| (key, payload))).collect();
        for (key, payload) in &all {
            taking.push(1, 2, None, *key, *payload);
        }
        taking.push_fault(1, 9, RDKafkaErrorCode::PartitionEOF, "the end");
        let messages = taking.finish();
        let read: Vec<_> = messages.iter().map(|one| (one.key(), one.payload())).collect();
        assert_eq!(read[..9], all);
        let end = messages.iter().last().expect("there are ten");
        assert_eq!(
            (end.is_end(), end.offset(), end.key(), end.payload(), end.timestamp_ms()),
            (true, 9, None, None, None)
        );
    }

    #[test]
    fn parts_have_the_messages_of_a_partition_in_their_order() {
        let messages = taken(&[(7, 1), (7, 2), (3, 1), (7, 3), (0, 1), (3, 2)]);
        let parts = messages.split_by_partition();
        let offsets = |(partition, part): &(i32, Messages)| {
            assert!(part.iter().all(|one| one.partition() == *partition));
            (*partition, part.iter().map(|one| one.offset()).collect::<Vec<_>>())
        };
        let offsets: Vec<_> = parts.iter().map(offsets).collect();
        assert_eq!(offsets, [(7, vec![1, 2, 3]), (3, vec![1, 2]), (0, vec![1])]);
    }

    #[test]
    fn those_that_are_kept_have_their_own_bytes_and_their_order() {
        let mut messages = taken(&[(7, 1), (7, 2), (7, 3), (7, 4)]);
        let mut asked = Vec::new();
        messages.retain(|one| {
            asked.push(one.offset());
            one.offset() % 2 == 0
        });
        assert_eq!(asked, [1, 2, 3, 4]);
        let kept: Vec<_> = messages.iter().map(|one| (one.offset(), one.payload())).collect();
        assert_eq!(kept, [(2, Some(b"7:2".as_slice())), (4, Some(b"7:4".as_slice()))]);
    }

    #[test]
    fn a_part_is_there_after_the_others_are_dropped_and_on_another_thread() {
        let mut parts = taken(&[(7, 1), (3, 1), (7, 2)]).split_by_partition();
        let (_, last) = parts.pop().expect("there are two");
        drop(parts);
        let read =
            std::thread::spawn(move || last.iter().map(|one| one.payload().map(<[u8]>::to_vec)).collect::<Vec<_>>());
        assert_eq!(read.join().expect("it reads"), [Some(b"3:1".to_vec())]);
    }
}
