//! The partitions of a process: their operators, where they stand in the tables, and what they hold together.
//!
//! Sums are kept up to date with every change: what is asked for every batch must not cost a walk over all partitions.

use std::collections::BTreeMap;

use lake_schemas::job::{Flush, LogBatch, Operator, Pending, Step};
use lake_schemas::{Invalid, Stand, TopicPartition};

use super::cadence::Stands;

/// Partitions of a process, with sums over all of them.
pub(super) struct Owned<O> {
    partitions: BTreeMap<TopicPartition, OwnedPartition<O>>,
    pending: Pending,
    bytes: usize,
}

/// A partition of this process: its operator, and where the tables stand for it.
struct OwnedPartition<O> {
    operator: O,
    /// Stands in each of the job's tables, in their order: as this process found them, or left them.
    stands: Vec<Stand>,
    /// Size of what the operator held when it was last measured; `bytes` likewise.
    pending: Pending,
    bytes: usize,
}

impl<O: Operator> Owned<O> {
    /// Returns a set without partitions.
    pub fn new() -> Self {
        Self { partitions: BTreeMap::new(), pending: Pending::default(), bytes: 0 }
    }

    /// Counts the partitions of this process.
    pub fn len(&self) -> usize {
        self.partitions.len()
    }

    /// Returns the size of what all operators hold that is not in the tables yet.
    pub fn pending(&self) -> Pending {
        self.pending
    }

    /// Returns the memory that all operators take, in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Begins a partition, and replaces what was there of it.
    pub fn begin(&mut self, partition: TopicPartition, operator: O, stands: Vec<Stand>) {
        self.let_go(&partition);
        let own = OwnedPartition { operator, stands, pending: Pending::default(), bytes: 0 };
        self.partitions.insert(partition.clone(), own);
        self.look_at(&partition);
    }

    /// Drops a partition, and all that it holds.
    pub fn let_go(&mut self, partition: &TopicPartition) {
        if let Some(own) = self.partitions.remove(partition) {
            self.pending = less(self.pending, own.pending);
            self.bytes -= own.bytes;
        }
    }

    /// Takes in the next batch of a partition's log. Returns `false` if the partition is not among them.
    pub fn push(&mut self, batch: LogBatch) -> Result<bool, Invalid> {
        let partition = batch.partition.clone();
        let Some(own) = self.partitions.get_mut(&partition) else { return Ok(false) };
        own.operator.push(batch)?;
        self.look_at(&partition);
        Ok(true)
    }

    /// Takes the remark of a partition's operator for whoever runs the job. Each remark is returned once.
    pub fn take_remark(&mut self, partition: &TopicPartition) -> Option<String> {
        self.partitions.get_mut(partition)?.operator.take_remark()
    }

    /// Flushes each partition as far as `which` asks, and returns the steps of all. A partition of which everything is
    /// asked moves its stand even if that has to wait elsewhere.
    pub fn flush(&mut self, which: impl Fn(&TopicPartition) -> Flush, stands: Stands) -> Vec<Step> {
        let (mut steps, mut pending, mut bytes) = (Vec::new(), Pending::default(), 0);
        for (partition, own) in &mut self.partitions {
            let which = which(partition);
            if stands == Stands::Go || which == Flush::Everything || own.operator.has_rows(which) {
                steps.extend(own.operator.flush(which));
            }
            (own.pending, own.bytes) = (own.operator.pending(), own.operator.bytes());
            (pending, bytes) = (more(pending, own.pending), bytes + own.bytes);
        }
        (self.pending, self.bytes) = (pending, bytes);
        steps
    }

    /// Returns whether a partition holds rows that need not wait for anything but the commit interval.
    pub fn has_rows(&self, partition: &TopicPartition) -> bool {
        self.partitions.get(partition).is_some_and(|own| own.operator.has_rows(Flush::Closed))
    }

    /// Returns whether a partition holds what is handed over when it is idle: open windows, or a stand that has moved.
    pub fn has_what_waits(&self, partition: &TopicPartition) -> bool {
        let waits = |own: &OwnedPartition<O>| own.operator.has_open_windows() || own.pending.rows > 0;
        self.partitions.get(partition).is_some_and(waits)
    }

    /// Returns whether any partition holds what only [`Flush::Everything`] would hand over.
    pub fn hold_back(&self) -> bool {
        self.partitions.values().any(|own| own.operator.has_open_windows())
    }

    /// Records where a partition stands in the job's table of that number after a commit of this process.
    pub fn moved(&mut self, table: usize, partition: &TopicPartition, to: Stand) {
        if let Some(stand) = self.partitions.get_mut(partition).and_then(|own| own.stands.get_mut(table)) {
            *stand = to;
        }
    }

    /// Returns where a partition stands in each of the job's tables, as this process found it, or left it.
    pub fn stands(&self, partition: &TopicPartition) -> &[Stand] {
        self.partitions.get(partition).map(|own| own.stands.as_slice()).unwrap_or_default()
    }

    /// Returns the partitions that do not stand in the tables where this process left them. Stands are compared whole:
    /// another writer may have moved no more than a watermark.
    pub fn elsewhere(&self, stand: impl Fn(usize, &TopicPartition) -> Stand) -> Vec<TopicPartition> {
        let is_elsewhere = |(partition, own): &(&TopicPartition, &OwnedPartition<O>)| {
            own.stands.iter().enumerate().any(|(table, ours)| stand(table, partition) != *ours)
        };
        self.partitions.iter().filter(is_elsewhere).map(|(partition, _)| partition.clone()).collect()
    }

    fn look_at(&mut self, partition: &TopicPartition) {
        let Some(own) = self.partitions.get_mut(partition) else { return };
        let (pending, bytes) = (own.operator.pending(), own.operator.bytes());
        self.pending = more(less(self.pending, own.pending), pending);
        self.bytes = self.bytes - own.bytes + bytes;
        (own.pending, own.bytes) = (pending, bytes);
    }
}

fn more(sum: Pending, one: Pending) -> Pending {
    Pending { rows: sum.rows + one.rows, bytes: sum.bytes + one.bytes, folders: sum.folders + one.folders }
}

fn less(sum: Pending, one: Pending) -> Pending {
    Pending { rows: sum.rows - one.rows, bytes: sum.bytes - one.bytes, folders: sum.folders - one.folders }
}

#[cfg(test)]
mod tests {
    use lake_schemas::job::Job;
    use lake_schemas::{OffsetRange, Table};

    use super::*;
    use crate::append::Append;
    use crate::decode::{BatchBuilder, Message};

    type Appending = Owned<<Append as Job>::Operator>;

    fn named(partition: i32) -> TopicPartition {
        TopicPartition::new("clicks", partition)
    }

    /// Returns the set of a process that owns this many partitions without messages.
    fn owning(partitions: i32) -> Appending {
        let mut owned = Owned::new();
        for partition in 0..partitions {
            let stands = vec![Stand::default(); 2];
            let (operator, _) = Append.begin(&named(partition), &stands);
            owned.begin(named(partition), operator, stands);
        }
        owned
    }

    /// Returns a batch of this many rejected messages, from an offset on.
    fn messages(partition: i32, first: i64, count: i64) -> LogBatch {
        let mut batch = BatchBuilder::new(named(partition), first, 0);
        for offset in first..first + count {
            batch.push(&Message { offset, log_time: None, key: None, payload: Some(b"nonsense") });
        }
        batch.finish()
    }

    #[test]
    fn sums_are_those_of_all_partitions_whatever_comes_and_goes() {
        let mut owned = owning(3);
        let sums = |owned: &Appending| {
            let all = || owned.partitions.values().map(|own| own.operator.pending());
            let bytes: usize = owned.partitions.values().map(|own| own.operator.bytes()).sum();
            (all().map(|one| one.rows).sum::<usize>(), all().map(|one| one.bytes).sum::<usize>(), bytes)
        };
        let kept = |owned: &Appending| (owned.pending().rows, owned.pending().bytes, owned.bytes());
        for (partition, first) in [(0, 0), (1, 0), (0, 5), (2, 0)] {
            assert_eq!(owned.push(messages(partition, first, 5)), Ok(true));
            assert_eq!(kept(&owned), sums(&owned));
        }
        assert_eq!(owned.pending().rows, 20);
        owned.let_go(&named(0));
        assert_eq!(kept(&owned), sums(&owned));
        let (operator, _) = Append.begin(&named(1), &[Stand::default(); 2]);
        owned.begin(named(1), operator, vec![Stand::default(); 2]);
        assert_eq!(kept(&owned), sums(&owned));
        let steps = owned.flush(|_| Flush::Closed, Stands::Wait);
        assert_eq!(steps.len(), 2, "a step in each table, of the partition that has rows");
        assert_eq!(kept(&owned), (0, 0, 0));
        assert_eq!(owned.push(messages(0, 10, 1)), Ok(false), "it is not ours any more");
    }

    #[test]
    fn a_stand_without_rows_goes_when_stands_go_or_when_everything_is_asked_for() {
        for (which, stands, steps) in
            [(Flush::Closed, Stands::Wait, 0), (Flush::Closed, Stands::Go, 1), (Flush::Everything, Stands::Wait, 1)]
        {
            let mut owned = owning(2);
            // A gap: a stretch of the log without messages.
            assert_eq!(owned.push(messages(0, 0, 0)), Ok(true));
            let gap = LogBatch { offsets: OffsetRange { first: 0, next: 3 }, ..messages(1, 0, 0) };
            assert_eq!(owned.push(gap), Ok(true));
            owned.let_go(&named(0));
            assert!(!owned.has_rows(&named(1)) && owned.has_what_waits(&named(1)));
            assert_eq!(owned.flush(|_| which, stands).len(), steps, "{which:?}, {stands:?}");
            assert_eq!(owned.has_what_waits(&named(1)), steps == 0);
        }
    }

    #[test]
    fn a_partition_that_another_writer_moved_is_elsewhere_in_any_part_of_its_stand() {
        let mut owned = owning(3);
        let ours = Stand { cut: Some(7), read: Some(7), ..Stand::default() };
        owned.moved(1, &named(1), ours);
        let table = |stand: Stand| {
            move |table: usize, partition: &TopicPartition| {
                let is_it = table == 1 && partition.partition == 1;
                if is_it { stand } else { Stand::default() }
            }
        };
        assert_eq!(owned.elsewhere(table(ours)), []);
        for theirs in [
            Stand { cut: Some(8), ..ours },
            Stand { read: Some(6), ..ours },
            Stand { drained: Some(7), ..ours },
            Stand { watermark_ms: Some(0), ..ours },
            Stand { restore: Some(0), ..ours },
            Stand::default(),
        ] {
            assert_eq!(owned.elsewhere(table(theirs)), [named(1)], "{theirs:?}");
        }
        assert_eq!(Append.tables()[1], Table::Clicks);
    }
}
