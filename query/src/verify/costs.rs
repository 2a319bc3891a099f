//! Costs in `clicks` that are none by now: before costs had a bound, any number was taken in. Such a click counts with
//! a cost of null, here and in the jobs; how many there are, and where the first is, must not be hidden.

use std::fmt;

use arrow::array::AsArray;
use arrow::datatypes::{Int32Type, Int64Type};
use datafusion::prelude::SessionContext;
use lake_schemas::TopicPartition;
use lake_schemas::rejection::COST_MICROS_MAX;

use super::partition::text;
use super::run;
use crate::error::QueryError;

/// The clicks of a partition that count without their cost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WithoutTheirCost {
    /// Whose log.
    pub partition: TopicPartition,
    /// How many.
    pub clicks: i64,
    /// The offset of the first.
    pub first: i64,
}

/// All partitions of `clicks` that have any.
pub(super) async fn without_their_cost(context: &SessionContext) -> Result<Vec<WithoutTheirCost>, QueryError> {
    let sql = format!(
        "select topic, kafka_partition, count(*), min(kafka_offset) from clicks \
         where cost_micros not between 0 and {COST_MICROS_MAX} and coalesce(event_type, 'click') = 'click' \
         group by topic, kafka_partition order by topic, kafka_partition"
    );
    let mut found = Vec::new();
    for rows in run(context, &sql).await? {
        let number = |at: usize| rows.column(at).as_primitive::<Int64Type>().values();
        let partitions = rows.column(1).as_primitive::<Int32Type>().values();
        for (row, topic) in text(rows.column(0)).into_iter().enumerate() {
            let partition = TopicPartition::new(topic.unwrap_or_default(), partitions[row]);
            found.push(WithoutTheirCost { partition, clicks: number(2)[row], first: number(3)[row] });
        }
    }
    Ok(found)
}

impl fmt::Display for WithoutTheirCost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} clicks, the first at offset {}", self.partition, self.clicks, self.first)
    }
}
