//! A data file of a raw table, and the stretch of one partition's log that it holds, by its statistics.
//!
//! Each file holds rows of one topic and partition, in offset order. Files of a partition may overlap in offsets across
//! days of log time.

use deltalake::kernel::Add;
use object_store::path::Path;

use crate::position::{OffsetRange, TopicPartition};
use crate::statistics::Statistics;
use crate::table::column;
use crate::time::EventTime;

/// A data file of a raw table.
#[derive(Clone, Debug)]
pub struct RawFile {
    /// Where it is, in the store of its table.
    pub path: Path,
    /// Its size in bytes.
    pub size: u64,
    /// How many rows it has.
    pub rows: u64,
    /// From its first row to behind its last.
    pub offsets: OffsetRange,
    /// The smallest and the largest event time of its rows, if it states them.
    pub event_times: Option<(EventTime, EventTime)>,
    /// The beginning of the topic's name: statistics may cut off the rest.
    topic: String,
    partition: i64,
}

impl RawFile {
    /// The file that a commit added; `None` if it does not state what it holds.
    pub fn of(add: &Add) -> Option<Self> {
        Self::stated(&add.path, add.size, add.stats.as_deref()?)
    }

    /// The file at a path as a table's log has it, with its statistics in JSON.
    pub fn stated(path: &str, size: i64, statistics: &str) -> Option<Self> {
        let statistics = Statistics::parse(statistics)?;
        let offset = column::KAFKA_OFFSET;
        let (first, last) = (statistics.min(offset).as_i64()?, statistics.max(offset).as_i64()?);
        let offsets = OffsetRange { first, next: last.checked_add(1).filter(|next| first < *next)? };
        Some(Self {
            path: Path::from_url_path(path).ok()?,
            size: size.unsigned_abs(),
            rows: statistics.rows()?,
            offsets,
            event_times: statistics.times(column::EVENT_TIME),
            topic: statistics.min(column::TOPIC).as_str()?.to_owned(),
            partition: statistics.min(column::KAFKA_PARTITION).as_i64()?,
        })
    }

    /// Whether its rows are of that partition, as far as its statistics tell.
    pub fn may_be_of(&self, partition: &TopicPartition) -> bool {
        partition.topic.starts_with(&self.topic) && i64::from(partition.partition) == self.partition
    }

    /// Whether its rows lie in a folder of the table: that of a day of log time.
    pub fn is_in(&self, folder: &str) -> bool {
        self.path.parts().next().is_some_and(|part| part.as_ref() == folder)
    }
}
