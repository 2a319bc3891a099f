//! The partitions that a table of minutes knows, and the ones among them that it waits for.
//!
//! A partition is known as soon as a job owns it, and not only from its first message: until that message, nothing that
//! the partition may bring is late. It is waited for until its topic is retired. A message that comes all the same
//! undoes that.

use std::collections::{BTreeMap, BTreeSet};

use lake_schemas::stand::{is_over, retirement_of};
use lake_schemas::{EventTime, Stand, Table, TopicPartition};

use super::head::Head;
use super::{TableLog, TableView};

/// All partitions that a table of minutes knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Partitions {
    /// Stand of each partition. It is empty for a partition that has had no message yet.
    pub stands: BTreeMap<TopicPartition, Stand>,
    /// Partitions of retired topics, which are no longer waited for.
    pub retired: BTreeSet<TopicPartition>,
}

impl Partitions {
    /// Iterates over the partitions that may still bring clicks, with the stand of each.
    pub fn waited_for(&self) -> impl Iterator<Item = (&TopicPartition, Stand)> {
        let waited_for = self.stands.iter().filter(|(partition, _)| !self.retired.contains(*partition));
        waited_for.map(|(partition, stand)| (partition, *stand))
    }

    /// Returns the event time up to which all windows are written, over all topics that are waited for; `None` if there
    /// is no topic yet, or one of which no window is. If no topic is waited for, returns the time of the last one.
    pub fn complete_until(&self) -> Option<EventTime> {
        let topics = self.complete_until_by_topic().into_values();
        if self.is_over() { topics.max().flatten() } else { topics.min().flatten() }
    }

    /// Returns the event time up to which all windows of a topic are written, for each topic that is waited for: the
    /// earliest time of its partitions that have had messages. If no topic is waited for, returns it for all topics.
    pub fn complete_until_by_topic(&self) -> BTreeMap<&str, Option<EventTime>> {
        let is_over = self.is_over();
        let is_shown = |of: &TopicPartition| is_over || !self.retired.contains(of);
        let counted = self.stands.iter().filter(|(of, stand)| stand.cut.is_some() && is_shown(of));
        let mut topics: BTreeMap<&str, Option<i64>> = BTreeMap::new();
        for (of, stand) in counted {
            let earliest = topics.entry(&of.topic).or_insert(stand.watermark_ms);
            *earliest = stand.watermark_ms.min(*earliest);
        }
        topics.into_iter().map(|(topic, ms)| (topic, ms.and_then(EventTime::from_millis))).collect()
    }

    /// Returns whether no partition is waited for.
    fn is_over(&self) -> bool {
        self.waited_for().next().is_none()
    }

    fn of(head: &Head, table: Table) -> Self {
        let mut this = Self { stands: head.stands(table), retired: BTreeSet::new() };
        for (app_id, value) in head.txns() {
            let Some(partition) = retirement_of(table, app_id) else { continue };
            let stand = *this.stands.entry(partition.clone()).or_default();
            if is_over(value, stand) {
                this.retired.insert(partition);
            }
        }
        this
    }
}

impl TableLog {
    /// Returns the partitions that the table knows, in the newest version known.
    pub fn partitions(&self) -> Partitions {
        Partitions::of(&self.head, self.table())
    }
}

impl TableView {
    /// Returns the partitions that the table knows at this version.
    pub fn partitions(&self) -> Partitions {
        Partitions::of(&self.loaded.head, self.table())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_assigned_partition_is_waited_for_until_its_topic_is_retired() {
        let id = |rest: &str| format!("clicklake/clicks_minute/{rest}");
        let txns = [
            ("clicks/0", 7),
            ("clicks/0/emitted", 60_000_000),
            ("clicks/1/retired", -1),
            ("up-1/0", 5),
            ("up-1/0/retired", 5),
            ("up-1/1/retired", 0),
            ("up-2/0", 6),
            ("up-2/0/retired", 5),
        ];
        let txns = txns.into_iter().map(|(rest, value)| (id(rest), value)).collect();
        let partitions = Partitions::of(&Head::new(3, txns), Table::ClicksMinute);
        let named = |topic: &str, number: i32| TopicPartition::new(topic, number);
        assert_eq!(partitions.retired, BTreeSet::from([named("up-1", 0), named("up-1", 1)]));
        let waited_for: Vec<_> =
            partitions.waited_for().map(|(partition, stand)| (partition.clone(), stand.cut)).collect();
        let expected = [(named("clicks", 0), Some(7)), (named("clicks", 1), None), (named("up-2", 0), Some(6))];
        assert_eq!(waited_for, expected);
    }
}
