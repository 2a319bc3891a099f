//! The files of the raw table, kept up to date: listed once, then updated with what each version adds and removes.
//!
//! A restart asks for the files of every partition, one after the other, and all replays share one listing. Files of
//! one partition are therefore kept together.

use std::collections::{BTreeMap, HashMap};

use lake_schemas::{OffsetRange, TopicPartition};
use lake_store::RawFile;
use lake_store::commit::VersionFiles;
use lake_store::path::path_of;
use object_store::path::Path;

/// Key by which files are grouped: the number of their partition, and its topic, as far as statistics tell it.
type Of = (i64, String);

/// Live files of a raw table at one version.
#[derive(Debug, Default)]
pub(super) struct Listing {
    files: BTreeMap<Of, HashMap<Path, RawFile>>,
}

impl Listing {
    pub fn new(files: Vec<RawFile>) -> Self {
        let mut listing = Self::default();
        files.into_iter().for_each(|file| listing.add(file));
        listing
    }

    fn add(&mut self, file: RawFile) {
        let (topic, number) = file.partition();
        self.files.entry((number, topic.to_owned())).or_default().insert(file.path.clone(), file);
    }

    /// Applies the next version. Returns `false` if its entry does not tell enough about a file: then all must be
    /// listed again, which reports what is wrong with it.
    #[must_use]
    pub fn follow(&mut self, version: &VersionFiles) -> bool {
        for path in &version.removes {
            let Some(path) = path_of(path) else { return false };
            // A remove names its file by path alone, so all groups are searched.
            let _ = self.files.values_mut().find_map(|files| files.remove(&path));
        }
        for add in &version.adds {
            let Some(file) = RawFile::of(add) else { return false };
            self.add(file);
        }
        true
    }

    /// Returns the files that may hold rows of a stretch of a partition.
    pub fn of(&self, partition: &TopicPartition, stretch: OffsetRange) -> Vec<RawFile> {
        let holds = |file: &&RawFile| file.offsets.first < stretch.next && stretch.first < file.offsets.next;
        self.all_of(partition).filter(holds).cloned().collect()
    }

    /// Returns the file with the last rows of a partition below an offset, among those that end there or earlier.
    pub fn last_below(&self, partition: &TopicPartition, next: i64) -> Option<RawFile> {
        let below = self.all_of(partition).filter(|file| file.offsets.next <= next);
        below.max_by_key(|file| file.offsets.next).cloned()
    }

    /// Returns the smallest offset of which there is a row of a partition.
    pub fn first(&self, partition: &TopicPartition) -> Option<i64> {
        self.all_of(partition).map(|file| file.offsets.first).min()
    }

    /// Yields the files that may be of a partition: the statistics of some have only the beginning of their topic's
    /// name.
    fn all_of<'a>(&'a self, partition: &'a TopicPartition) -> impl Iterator<Item = &'a RawFile> {
        let number = i64::from(partition.partition);
        let of_number = self.files.range((number, String::new())..).take_while(move |((of, _), _)| *of == number);
        let of_topic = of_number.filter(move |((_, topic), _)| partition.topic.starts_with(topic.as_str()));
        of_topic.flat_map(|(_, files)| files.values()).filter(move |file| file.may_be_of(partition))
    }
}

#[cfg(test)]
mod tests {
    use std::ops::Range;

    use deltalake::kernel::Add;
    use lake_schemas::table::TIME_IN_FUTURE_MS;
    use lake_schemas::{LogTime, Table};
    use lake_store::files;

    use super::*;
    use crate::decode::{BatchBuilder, Message};

    /// A file of partition 0 that holds these offsets.
    async fn file(offsets: Range<i64>) -> Add {
        file_of(TopicPartition::new("clicks", 0), offsets).await
    }

    /// A file of a partition that holds these offsets.
    async fn file_of(partition: TopicPartition, offsets: Range<i64>) -> Add {
        let mut batch = BatchBuilder::new(partition, offsets.start, TIME_IN_FUTURE_MS);
        for offset in offsets {
            let (log_time, payload) =
                (LogTime::from_millis(1_772_884_800_000), br#"{"ad_id":"a","event_time":1772884800000}"#);
            batch.push(&Message { offset, log_time, key: None, payload: Some(payload) });
        }
        let files = files::encode(Table::Clicks, &[batch.finish().events]).await.expect("it is encoded in memory");
        files.into_iter().next().expect("one day").add
    }

    fn ends(files: &[RawFile]) -> Vec<i64> {
        let mut ends: Vec<_> = files.iter().map(|file| file.offsets.next).collect();
        ends.sort_unstable();
        ends
    }

    #[tokio::test]
    async fn files_that_versions_add_and_remove_are_followed() {
        let (partition, all) = (TopicPartition::new("clicks", 0), OffsetRange { first: 0, next: 100 });
        let (a, b, both) = (file(0..10).await, file(10..20).await, file(0..20).await);
        let mut listing = Listing::new(vec![RawFile::of(&a).expect("statistics")]);
        assert!(listing.follow(&VersionFiles { adds: vec![b.clone()], ..VersionFiles::default() }));
        assert_eq!(ends(&listing.of(&partition, all)), [10, 20]);
        assert_eq!(ends(&listing.of(&partition, OffsetRange { first: 10, next: 100 })), [20]);
        assert_eq!(listing.last_below(&partition, 19).map(|file| file.offsets.next), Some(10));
        assert_eq!(listing.first(&partition), Some(0));
        // A compaction: one file in the place of two.
        let removes = vec![a.path, b.path];
        assert!(listing.follow(&VersionFiles { adds: vec![both], removes, ..VersionFiles::default() }));
        assert_eq!(ends(&listing.of(&partition, all)), [20]);
        assert!(listing.of(&TopicPartition::new("clicks", 1), all).is_empty());
        assert_eq!(listing.first(&TopicPartition::new("clicks", 1)), None);
    }

    #[tokio::test]
    async fn a_file_that_does_not_say_what_it_holds_ends_the_following() {
        let foreign = Add { stats: None, ..file(0..10).await };
        let version = VersionFiles { adds: vec![foreign], ..VersionFiles::default() };
        assert!(!Listing::default().follow(&version));
    }

    #[tokio::test]
    async fn each_partition_has_its_own_files_whatever_its_topic_begins_like() {
        // Statistics cut the last of these names to 64 characters, which makes it equal to the one before it.
        let topics = ["clicks".to_owned(), "clicks-eu".to_owned(), "t".repeat(64), "t".repeat(65)];
        let partitions = topics.iter().flat_map(|topic| [0, 1, 10].map(|number| TopicPartition::new(topic, number)));
        let partitions: Vec<_> = partitions.collect();
        let (mut listing, mut adds) = (Listing::default(), Vec::new());
        for (first, partition) in (0..).step_by(100).zip(&partitions) {
            adds.push(file_of(partition.clone(), first..first + 10).await);
        }
        assert!(listing.follow(&VersionFiles { adds: adds.clone(), ..VersionFiles::default() }));
        let all = OffsetRange { first: 0, next: i64::MAX };
        for (first, partition) in (0..).step_by(100).zip(&partitions) {
            assert_eq!(ends(&listing.of(partition, all)), [first + 10], "{partition}");
            assert_eq!(listing.last_below(partition, i64::MAX).map(|file| file.offsets.first), Some(first));
        }
        let removes = adds.iter().step_by(2).map(|add| add.path.clone()).collect();
        assert!(listing.follow(&VersionFiles { removes, ..VersionFiles::default() }));
        for (number, partition) in partitions.iter().enumerate() {
            assert_eq!(listing.of(partition, all).len(), number % 2, "{partition}");
        }
    }
}
