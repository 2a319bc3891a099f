//! Decides which rows of a minute table a backfill in place may replace. Pure: no I/O.
//!
//! In a snapshot of the table, a window at or before a partition's watermark holds exactly the events below its cut.
//! Rows added after the snapshot are of events at or above the cut, and stay.

use std::collections::BTreeMap;

use lake_schemas::{OffsetRange, Stand, TopicPartition, Windowing, Windows};

/// Scope of a backfill: the windows that are asked for, as far as a snapshot has closed them.
#[derive(Clone, Debug)]
pub(crate) struct Scope {
    pub windowing: Windowing,
    pub windows: Windows,
    /// Stands of partitions in the snapshot; `None`: every window counts as closed.
    pub stands: Option<BTreeMap<TopicPartition, Stand>>,
}

/// Treatment of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Row {
    /// The row is in scope: recomputed rows take its place.
    Replaced,
    /// The row stays: it is not asked for, or came after the snapshot.
    Kept,
    /// The row stays although it is asked for: the watermark of its partition has not passed the end of its window.
    Open,
    /// The row is made of events on both sides of the snapshot's cut: another backfill has replaced rows since, and
    /// what was computed from this snapshot does not fit beside it.
    Straddling,
}

impl Scope {
    /// Decides on a row of a partition, by its window's start and the events that it is made of.
    pub fn decide(&self, partition: &TopicPartition, window_ms: i64, events: OffsetRange) -> Row {
        if !self.windows.contain(window_ms) {
            return Row::Kept;
        }
        let Some(stands) = &self.stands else { return Row::Replaced };
        let Some(Stand { cut: Some(cut), watermark_ms: Some(watermark_ms), .. }) = stands.get(partition) else {
            return Row::Open;
        };
        if self.windowing.end_ms(window_ms) > *watermark_ms {
            Row::Open
        } else if *cut <= events.first {
            Row::Kept
        } else if events.next <= *cut {
            Row::Replaced
        } else {
            Row::Straddling
        }
    }

    /// Returns whether a partition with this stand has closed windows in scope.
    pub fn has_closed(&self, stand: Stand) -> bool {
        let width_ms = self.windowing.width_ms();
        stand.watermark_ms.is_some_and(|watermark_ms| self.windows.touch(i64::MIN, watermark_ms - width_ms + 1))
    }

    /// Returns whether a partition has gone back behind the snapshot, by its stand now: then the table was promoted.
    pub fn has_gone_back(&self, now: impl Fn(&TopicPartition) -> Stand) -> bool {
        let is_behind = |(partition, then): (&TopicPartition, &Stand)| {
            let now = now(partition);
            now.cut < then.cut || now.watermark_ms < then.watermark_ms
        };
        self.stands.iter().flatten().any(is_behind)
    }
}

#[cfg(test)]
mod tests {
    use lake_schemas::EventTime;
    use lake_schemas::time::MILLIS_PER_MINUTE as WINDOW_MS;

    use super::*;

    #[test]
    fn a_row_is_replaced_only_where_the_snapshot_knows_all_of_it() {
        let partition = TopicPartition::new("clicks", 0);
        let stand = Stand { cut: Some(10), watermark_ms: Some(2 * WINDOW_MS), ..Stand::default() };
        let (windowing, windows) = (Windowing::default(), Windows::default());
        let scope = Scope { windowing, windows, stands: Some([(partition.clone(), stand)].into()) };
        let row = |minute: i64, first, next| scope.decide(&partition, minute * WINDOW_MS, OffsetRange { first, next });
        assert_eq!(row(0, 3, 10), Row::Replaced);
        assert_eq!(row(1, 3, 10), Row::Replaced);
        assert_eq!(row(2, 3, 10), Row::Open);
        assert_eq!(row(0, 10, 12), Row::Kept, "it came after");
        assert_eq!(row(0, 9, 12), Row::Straddling);
        let another = TopicPartition::new("clicks", 1);
        assert_eq!(scope.decide(&another, 0, OffsetRange { first: 0, next: 1 }), Row::Open, "it has closed nothing");
        let since_1970 = Windows::between(EventTime::from_millis(0), None).expect("a range");
        let scope = Scope { windowing, windows: since_1970, stands: None };
        assert!(scope.has_closed(stand) && !scope.has_closed(Stand { watermark_ms: Some(WINDOW_MS - 1), ..stand }));
    }
}
