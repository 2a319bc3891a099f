//! Finds the partitions with which the raw table has come to the end of the live log, and when that log is to be asked
//! for its ends.

use std::collections::BTreeMap;
use std::time::Duration;

use lake_schemas::{OffsetRange, TopicPartition};
use tokio::time::Instant;

/// Interval at which the ends are asked for while a partition may be at its end, and age up to which an answer counts.
const ASK: Duration = Duration::from_secs(5);

/// Interval at which they are asked for when all partitions were at their ends: only the reported lag depends on it.
const ASK_AT_REST: Duration = Duration::from_secs(60);

/// Time for which the raw table does not come further with a partition of which no live log tells the end, until that
/// counts as being at its end: several times as long as a raw table that goes on lets its readers wait.
const STILL: Duration = Duration::from_secs(60);

/// State of each partition that is followed.
#[derive(Debug, Default)]
pub(crate) struct AtEnds {
    partitions: BTreeMap<TopicPartition, State>,
    /// Newest answer of the live log, and when it came.
    told: Option<(Instant, BTreeMap<TopicPartition, OffsetRange>)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Rows are on their way.
    Reading,
    /// All below the raw table's cut was read by a time. `None`: the raw table does not know the partition.
    AtCut(Option<i64>, Instant),
    /// It was said that it is at its end, and nothing has come since.
    AtEnd,
}

impl AtEnds {
    /// Records that a partition begins, or goes on: rows are on their way.
    pub fn reads(&mut self, partition: &TopicPartition) {
        if let Some(state) = self.partitions.get_mut(partition) {
            *state = State::Reading;
        } else {
            self.partitions.insert(partition.clone(), State::Reading);
        }
    }

    /// Records that all of a partition below the raw table's cut was read.
    pub fn is_at(&mut self, partition: &TopicPartition, cut: Option<i64>, now: Instant) {
        if let Some(state) = self.partitions.get_mut(partition) {
            *state = State::AtCut(cut, now);
        }
    }

    /// Forgets a partition that is released.
    pub fn forget(&mut self, partition: &TopicPartition) {
        self.partitions.remove(partition);
    }

    /// Returns when the live log is to be asked next; `None`: not before something has changed.
    pub fn asks(&self, now: Instant) -> Option<Instant> {
        let is_waiting = self.partitions.values().any(|state| matches!(state, State::AtCut(..)));
        if self.partitions.values().all(|state| *state == State::Reading) {
            return None;
        }
        let interval = if is_waiting { ASK } else { ASK_AT_REST };
        Some(self.told.as_ref().map_or(now, |(at, _)| *at + interval))
    }

    /// Returns the partitions to ask for: all, in one question.
    pub fn asked(&self) -> Vec<TopicPartition> {
        self.partitions.keys().cloned().collect()
    }

    /// Records an answer: what the live log has. Returns the ends of partitions that are followed.
    pub fn told(&mut self, offsets: BTreeMap<TopicPartition, OffsetRange>, now: Instant) -> Vec<(TopicPartition, i64)> {
        let ours = offsets.iter().filter(|(partition, _)| self.partitions.contains_key(*partition));
        let ends = ours.map(|(partition, offsets)| (partition.clone(), offsets.next)).collect();
        self.told = Some((now, offsets));
        ends
    }

    /// Takes a partition that is at its end. Each is given once, until something more has come of it.
    pub fn take(&mut self, now: Instant) -> Option<TopicPartition> {
        let told = self.told.as_ref();
        let is_at_end = |partition: &TopicPartition, state: &State| {
            let State::AtCut(cut, since) = *state else { return false };
            let offsets = told.and_then(|(at, offsets)| Some((*at, offsets.get(partition)?)));
            match offsets {
                // A log from which all is gone is at its end, too, though no raw row ever came of it.
                Some((at, offsets)) => now < at + ASK && cut.unwrap_or(offsets.first) >= offsets.next,
                None => since + STILL <= now,
            }
        };
        let found = self.partitions.iter_mut().find(|(partition, state)| is_at_end(partition, state));
        let (partition, state) = found?;
        *state = State::AtEnd;
        Some(partition.clone())
    }

    /// Returns when the next partition counts as being at its end, if no live log tells its end before.
    pub fn gives_up(&self) -> Option<Instant> {
        let told = self.told.as_ref();
        let is_told = |partition: &TopicPartition| told.is_some_and(|(_, offsets)| offsets.contains_key(partition));
        let waiting = self.partitions.iter().filter_map(|(partition, state)| match *state {
            State::AtCut(_, since) if !is_told(partition) => Some(since + STILL),
            _ => None,
        });
        waiting.min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(number: i32) -> TopicPartition {
        TopicPartition::new("clicks", number)
    }

    fn offsets(all: &[(i32, i64, i64)]) -> BTreeMap<TopicPartition, OffsetRange> {
        all.iter().map(|&(number, first, next)| (named(number), OffsetRange { first, next })).collect()
    }

    #[test]
    fn a_partition_is_at_its_end_once_each_time_that_the_raw_table_has_come_there() {
        let (mut at_ends, now) = (AtEnds::default(), Instant::now());
        at_ends.reads(&named(0));
        assert_eq!((at_ends.asks(now), at_ends.take(now)), (None, None), "rows are on their way");
        at_ends.is_at(&named(0), Some(7), now);
        assert_eq!(at_ends.asks(now), Some(now), "asked at once");
        assert_eq!(at_ends.take(now), None, "nobody has told its end");
        assert_eq!(at_ends.told(offsets(&[(0, 0, 9), (1, 0, 3)]), now), [(named(0), 9)]);
        assert_eq!((at_ends.take(now), at_ends.asks(now)), (None, Some(now + ASK)), "the raw table is behind");
        at_ends.reads(&named(0));
        at_ends.is_at(&named(0), Some(9), now);
        assert_eq!((at_ends.take(now), at_ends.take(now)), (Some(named(0)), None));
        assert_eq!(at_ends.asks(now), Some(now + ASK_AT_REST));
        at_ends.reads(&named(0));
        at_ends.is_at(&named(0), Some(10), now);
        assert_eq!(at_ends.take(now + ASK), None, "an answer that is old does not count");
        at_ends.forget(&named(0));
        assert_eq!((at_ends.take(now), at_ends.asks(now)), (None, None));
    }

    #[test]
    fn a_log_from_which_all_is_gone_is_at_its_end_though_no_row_ever_came() {
        let (mut at_ends, now) = (AtEnds::default(), Instant::now());
        for number in 0..3 {
            at_ends.reads(&named(number));
            at_ends.is_at(&named(number), None, now);
        }
        at_ends.told(offsets(&[(0, 0, 0), (1, 40, 40), (2, 40, 41)]), now);
        assert_eq!([at_ends.take(now), at_ends.take(now), at_ends.take(now)], [Some(named(0)), Some(named(1)), None]);
    }

    #[test]
    fn of_a_log_that_nobody_tells_of_the_end_is_where_the_raw_table_stands_still() {
        let (mut at_ends, now) = (AtEnds::default(), Instant::now());
        at_ends.reads(&named(0));
        at_ends.is_at(&named(0), Some(7), now);
        at_ends.told(BTreeMap::new(), now);
        assert_eq!(at_ends.gives_up(), Some(now + STILL));
        at_ends.reads(&named(0));
        assert_eq!(at_ends.gives_up(), None);
        let later = now + STILL / 2;
        at_ends.is_at(&named(0), Some(8), later);
        assert_eq!(at_ends.take(now + STILL), None, "it went on");
        assert_eq!(at_ends.take(later + STILL), Some(named(0)));
    }
}
