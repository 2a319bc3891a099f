//! Finds costs in `clicks` that are out of bounds: before costs had a bound, any number was taken in. Where such a
//! click counts, its cost is null, here and in the jobs. The audit must report how many there are, and where the first
//! is.
//!
//! One pass over the raw table answers that. Whether each of them counts, which a copy or a late one does not, would
//! take another recount.

use std::fmt;

use arrow::array::AsArray;
use arrow::datatypes::{Int32Type, Int64Type};
use datafusion::prelude::SessionContext;
use lake_schemas::rejection::COST_MICROS_MAX;
use lake_schemas::{TopicPartition, Windows, counted};

use super::keys::text;
use super::partition::bounds;
use super::session::run;
use crate::error::QueryError;

/// Clicks of a partition whose cost is out of bounds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OddCosts {
    /// Partition of the clicks.
    pub partition: TopicPartition,
    /// Number of these clicks.
    pub clicks: i64,
    /// Offset of the first.
    pub first: i64,
}

/// Finds all partitions of `clicks` that have such clicks in windows.
pub(super) async fn odd_costs(context: &SessionContext, windows: &Windows) -> Result<Vec<OddCosts>, QueryError> {
    let (from, to) = bounds(windows);
    let sql = format!(
        "select topic, kafka_partition, count(*), min(kafka_offset) from clicks \
         where cost_micros not between 0 and {COST_MICROS_MAX} and coalesce(event_type, 'click') = 'click' \
           and event_time >= {from} and event_time < {to} \
         group by topic, kafka_partition order by topic, kafka_partition"
    );
    let mut found = Vec::new();
    for rows in run(context, &sql).await? {
        let number = |at: usize| rows.column(at).as_primitive::<Int64Type>().values();
        let partitions = rows.column(1).as_primitive::<Int32Type>().values();
        for (row, topic) in text(rows.column(0)).into_iter().enumerate() {
            let partition = TopicPartition::new(topic.unwrap_or_default(), partitions[row]);
            found.push(OddCosts { partition, clicks: number(2)[row], first: number(3)[row] });
        }
    }
    Ok(found)
}

impl fmt::Display for OddCosts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}, the first at offset {}", self.partition, counted(self.clicks, "click"), self.first)
    }
}
