//! Reports the events of the raw table that count without their cost.
//!
//! Before costs had a bound, any that fits into 64 bits was taken in. Such a row stays as it is and its event counts,
//! but with a cost of null; a bill that lacks a cost must say so, and where to look.

use arrow::array::RecordBatch;
use lake_schemas::TopicPartition;
use lake_schemas::rejection::COST_MICROS_MAX;
use lake_schemas::rows::offsets_without_their_cost;
use tracing::warn;

/// Counts the events of one replay whose cost is not counted, until that is reported.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct WithoutTheirCost {
    events: u64,
    first: Option<i64>,
}

impl WithoutTheirCost {
    /// Counts the rows of `clicks` without their cost; rows are in offset order.
    pub fn see(&mut self, rows: &RecordBatch) {
        for offset in offsets_without_their_cost(rows) {
            self.events += 1;
            self.first.get_or_insert(offset);
        }
    }

    /// Logs what was found since the last report, once for each stretch that is read.
    pub fn say(&mut self, partition: &TopicPartition) {
        let Self { events, first } = std::mem::take(self);
        let Some(first) = first else { return };
        warn!(
            %partition,
            events,
            first,
            "clicks has costs that are not from 0 to {COST_MICROS_MAX}; these events count with a cost of null"
        );
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array};
    use lake_schemas::table::column;

    use super::*;

    #[test]
    fn events_without_their_cost_are_counted_until_that_is_said() {
        let columns: [(&str, ArrayRef); 2] = [
            (column::KAFKA_OFFSET, Arc::new(Int64Array::from(vec![4, 5, 7]))),
            (column::COST_MICROS, Arc::new(Int64Array::from(vec![Some(1), Some(i64::MAX), Some(-1)]))),
        ];
        let rows = RecordBatch::try_from_iter(columns).expect("a batch");
        let mut found = WithoutTheirCost::default();
        found.see(&rows);
        assert_eq!(found, WithoutTheirCost { events: 2, first: Some(5) });
        found.say(&TopicPartition::new("clicks", 0));
        found.see(&rows.slice(0, 1));
        assert_eq!(found, WithoutTheirCost::default());
    }
}
