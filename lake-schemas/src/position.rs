//! The position of a message in the log: topic, partition, offset.
//!
//! Offsets of a partition may have gaps (transaction markers, compaction). So a stretch of the log is a range of
//! offsets *and* the number of messages read in it; neither follows from the other.

use std::collections::BTreeMap;
use std::fmt;

/// One partition of one topic, under the name by which its positions are recorded.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    /// Name of the topic, or what `--topic-as` calls it.
    pub topic: String,
    /// Number of the partition, from 0.
    pub partition: i32,
}

impl TopicPartition {
    /// Names a partition of a topic.
    pub fn new(topic: impl Into<String>, partition: i32) -> Self {
        Self { topic: topic.into(), partition }
    }
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.topic, self.partition)
    }
}

/// A prefix of the log: for each partition that it names, all messages below an offset.
pub type Cut = BTreeMap<TopicPartition, i64>;

/// Returns the positions of a cut for people: `clicks 0@1042 1@977`.
pub fn shown(cut: &Cut) -> String {
    let mut text = String::new();
    let mut topic = None;
    for (partition, next) in cut {
        if topic != Some(&partition.topic) {
            topic = Some(&partition.topic);
            text.push_str(if text.is_empty() { "" } else { ", " });
            text.push_str(&partition.topic);
        }
        text.push_str(&format!(" {}@{next}", partition.partition));
    }
    text
}

/// A stretch of one partition, half-open: from `first` up to, but without, `next`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OffsetRange {
    /// First offset in it.
    pub first: i64,
    /// First offset after it.
    pub next: i64,
}

impl fmt::Display for OffsetRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}..{}", self.first, self.next)
    }
}
