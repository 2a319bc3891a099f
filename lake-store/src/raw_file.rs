//! A data file of a raw table, with the offsets of the one partition that it holds, by its statistics.
//!
//! Each file holds rows of one topic and partition, in offset order. Files of a partition may overlap in offsets across
//! days of log time. Another program may put rows of several partitions into one file: that is no [`RawFile`], and
//! whoever must read it refuses it.

use deltalake::kernel::Add;
use lake_schemas::table::column;
use lake_schemas::{Code, EventTime, OffsetRange, Table, TopicPartition};
use object_store::path::Path;

use crate::error::LakeError;
use crate::path::path_of;
use crate::statistics::Statistics;

/// Lengths at which statistics cut off a topic's name, in bytes: those of Parquet, which clicklake's files have, and
/// those of Spark. Names of topics are ASCII, so a name that is cut has exactly such a length.
const CUT_AT: [usize; 2] = [64, 32];

/// A data file of a raw table.
#[derive(Clone, Debug)]
pub struct RawFile {
    /// Path of the file in the store of its table.
    pub path: Path,
    /// Size of the file, in bytes.
    pub size: u64,
    /// Number of rows in the file.
    pub rows: u64,
    /// Offsets of the rows, from the first up to the one after the last.
    pub offsets: OffsetRange,
    /// Smallest and largest event time of the rows, if the file's statistics state them.
    pub event_times: Option<(EventTime, EventTime)>,
    topic: Topic,
    partition: i64,
}

/// Topic of a file's rows, as far as it is known.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Topic {
    /// Whole name of the topic.
    Whole(String),
    /// Begin of the name: statistics have cut off the rest.
    Begins(String),
}

impl RawFile {
    /// Returns the file that a commit added. `None` if its statistics do not state one partition and its offsets, or if
    /// a deletion vector says that not all of its rows are there.
    pub fn of(add: &Add) -> Option<Self> {
        if add.deletion_vector.is_some() {
            return None;
        }
        Self::stated(&add.path, add.size, add.stats.as_deref()?)
    }

    /// Returns the file at a path as a table's log writes it, with its statistics in JSON.
    pub fn stated(path: &str, size: i64, statistics: &str) -> Option<Self> {
        let statistics = Statistics::parse(statistics)?;
        let number = |column: &str| Some((statistics.min(column).as_i64()?, statistics.max(column).as_i64()?));
        let (first, last) = number(column::KAFKA_OFFSET)?;
        let (partition, partition_last) = number(column::KAFKA_PARTITION)?;
        let offsets = OffsetRange { first, next: last.checked_add(1).filter(|next| first < *next)? };
        Some(Self {
            path: path_of(path)?,
            size: size.unsigned_abs(),
            rows: statistics.rows()?,
            offsets,
            event_times: statistics.times(column::EVENT_TIME),
            topic: Topic::stated(statistics.min(column::TOPIC).as_str()?, statistics.max(column::TOPIC).as_str()?)?,
            partition: (partition == partition_last).then_some(partition)?,
        })
    }

    /// Returns whether the file may have rows of this partition, by its statistics.
    pub fn may_be_of(&self, partition: &TopicPartition) -> bool {
        let is_of_topic = match &self.topic {
            Topic::Whole(name) => *name == partition.topic,
            Topic::Begins(name) => partition.topic.len() > name.len() && partition.topic.starts_with(name),
        };
        is_of_topic && i64::from(partition.partition) == self.partition
    }

    /// Returns what all files have in common that may be merged with it: the topic, as far as it is known, and the
    /// partition.
    pub fn partition(&self) -> (&str, i64) {
        let (Topic::Whole(name) | Topic::Begins(name)) = &self.topic;
        (name, self.partition)
    }

    /// Returns whether the file lies in this folder of the table, which is a day of log time.
    pub fn is_in(&self, folder: &str) -> bool {
        self.path.parts().next().is_some_and(|part| part.as_ref() == folder)
    }
}

impl Topic {
    /// Reads the topic from the smallest and the largest name that a file states; `None` if they are of several topics.
    fn stated(min: &str, max: &str) -> Option<Self> {
        if min == max {
            return Some(Self::Whole(min.to_owned()));
        }
        // Statistics increase a largest name that they cut, so that no row is beyond it; only the smallest one is a
        // true begin.
        CUT_AT.contains(&min.len()).then(|| Self::Begins(min.to_owned()))
    }
}

/// Error for a raw table with a file that cannot be read partition by partition.
pub(crate) fn not_of_one_partition(table: Table, path: &str) -> LakeError {
    LakeError::Refused(Code::FileForeign.because(format!(
        "{table}: the file {path} is not of one topic and partition, by its statistics, so its rows cannot be read in \
         the order of the log; another program wrote it (OPTIMIZE, DELETE, UPDATE and MERGE put rows of several \
         partitions together): run `clicklake compact`, which puts them apart again"
    )))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn stated(topics: (&str, &str), partitions: (i64, i64)) -> Option<RawFile> {
        let of = |topic: &str, partition: i64, offset: i64| {
            json!({
                "topic": topic, "kafka_partition": partition, "kafka_offset": offset
            })
        };
        let (min, max) = (of(topics.0, partitions.0, 5), of(topics.1, partitions.1, 9));
        let statistics = json!({ "numRecords": 5, "minValues": min, "maxValues": max }).to_string();
        RawFile::stated("log_date=2026-03-07/a.parquet", 1, &statistics)
    }

    fn of_one(topic: &str) -> RawFile {
        stated((topic, topic), (0, 0)).expect("a file")
    }

    #[test]
    fn a_topic_is_equal_or_it_is_not() {
        let of = |topic: &str| TopicPartition::new(topic, 0);
        let file = of_one("clicks");
        assert!(file.may_be_of(&of("clicks")) && !file.may_be_of(&TopicPartition::new("clicks", 1)));
        for other in ["clicks-eu", "clicks-2", "click", "clicksx"] {
            assert!(!file.may_be_of(&of(other)), "{other}");
            assert!(!of_one(other).may_be_of(&of("clicks")), "{other}");
        }
    }

    #[test]
    fn a_name_that_statistics_have_cut_is_known_by_its_beginning() {
        for at in CUT_AT {
            let (cut, after) = ("t".repeat(at), format!("{}u", "t".repeat(at - 1)));
            let file = stated((&cut, &after), (0, 0)).expect("a file");
            let of = |topic: String| file.may_be_of(&TopicPartition::new(&topic, 0));
            assert!(of(format!("{cut}-eu")) && !of(format!("s{cut}")));
            assert!(!of(cut.clone()), "a name that is not longer is not cut");
            assert!(of_one(&cut).may_be_of(&TopicPartition::new(&cut, 0)), "and states itself");
            assert!(!of_one(&cut).may_be_of(&TopicPartition::new(format!("{cut}-eu"), 0)));
        }
    }

    #[test]
    fn a_file_of_several_partitions_or_topics_is_of_none() {
        assert!(stated(("clicks", "clicks"), (0, 3)).is_none());
        assert!(stated(("clicks", "clicks-eu"), (0, 0)).is_none());
        let why = not_of_one_partition(Table::Clicks, "log_date=2026-03-07/a.parquet").to_string();
        assert!(why.starts_with("clicks: the file log_date=2026-03-07/a.parquet"), "{why}");
    }
}
