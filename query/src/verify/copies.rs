//! Copies of clicks that the design cannot know: further apart than the dedup horizon, or in two partitions.
//!
//! The plain recount takes each id of a partition once. The table counts an id again when its memory of it has ended;
//! what follows from that for the sums is worked out here, by the rule of the contract, for the few ids it is about.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::Int64Type;
use datafusion::datasource::MemTable;
use datafusion::prelude::SessionContext;
use lake_schemas::minute::{Measure, Parameters};
use lake_schemas::{EventTime, TopicPartition};

use super::partition::{Key, Partition, Sums, micros, text};
use super::run;
use crate::error::QueryError;
use crate::output::visible;

/// A click that was counted.
#[derive(Clone, Debug)]
pub struct Counted {
    /// Where it stands in the log.
    pub partition: TopicPartition,
    /// Where it stands in its partition.
    pub offset: i64,
    /// The window it was counted in.
    pub window: EventTime,
}

/// An id that was counted more than once.
#[derive(Clone, Debug)]
pub struct CountedAgain {
    /// The id.
    pub click_id: String,
    /// Where, in the order of partitions and offsets.
    pub counted: Vec<Counted>,
}

/// What is known of copies.
#[derive(Default)]
pub(super) struct Copies {
    counted: BTreeMap<String, Vec<Counted>>,
}

impl Copies {
    /// Finds the ids that may be counted more than once; whether there are any. They are a table of the session then.
    pub async fn suspect(context: &SessionContext, parameters: &Parameters) -> Result<bool, QueryError> {
        let sql = format!(
            "select click_id from clicks \
             where click_id is not null and coalesce(event_type, 'click') = 'click' \
             group by click_id having count(*) > 1 and (\
               max(event_time) - min(event_time) > interval '{} milliseconds' \
               or min(topic) <> max(topic) or min(kafka_partition) <> max(kafka_partition))",
            parameters.dedup_horizon_ms
        );
        let suspects = run(context, &sql).await?;
        let found = suspects.iter().any(|batch| batch.num_rows() > 0);
        let table = MemTable::try_new(suspects[0].schema(), vec![suspects])?;
        context.register_table("suspects", Arc::new(table))?;
        Ok(found)
    }

    /// Goes through the suspects of a partition, as the table did: what it must have beyond the plain recount.
    pub async fn look_at(&mut self, of: &Partition<'_>) -> Result<BTreeMap<Key, Sums>, QueryError> {
        let sql = format!(
            "select window_start, {}, click_id, kafka_offset, event_time, watermark, coalesce(cost_micros, 0), \
               window_end <= {} or kafka_offset < {} \
             from judged where taken_for = 'click' and click_id in (select click_id from suspects) \
             order by click_id, kafka_offset",
            of.dimensions(),
            super::partition::timestamp(of.stand.emitted_ms, i64::MIN),
            of.stand.drained.unwrap_or(0),
        );
        let (mut known, mut beyond): (Option<(String, i64)>, BTreeMap<Key, Sums>) = (None, BTreeMap::new());
        for batch in of.of_recount(&sql).await? {
            for (key, click) in of.keys(&batch).into_iter().zip(clicks(&batch)) {
                let again = known.as_ref().is_some_and(|(click_id, _)| *click_id == click.click_id);
                let is_known = known.as_ref().is_some_and(|(click_id, time)| {
                    *click_id == click.click_id && *time >= click.watermark - of.parameters.memory_ms() * 1_000
                });
                if is_known {
                    continue;
                }
                known = Some((click.click_id.clone(), click.event_time));
                if again && click.is_due {
                    let sums = beyond.entry(key.clone()).or_default();
                    sums[Measure::Clicks as usize] += 1;
                    sums[Measure::Duplicates as usize] -= 1;
                    sums[Measure::CostMicros as usize] += i128::from(click.cost_micros);
                }
                let counted = Counted { partition: of.partition.clone(), offset: click.offset, window: key.window };
                self.counted.entry(click.click_id).or_default().push(counted);
            }
        }
        Ok(beyond)
    }

    /// The ids that were counted more than once, for whatever reason.
    pub fn counted_again(self) -> Vec<CountedAgain> {
        let again = self.counted.into_iter().filter(|(_, counted)| counted.len() > 1);
        again.map(|(click_id, counted)| CountedAgain { click_id, counted }).collect()
    }
}

/// A click of a suspect.
struct Click {
    click_id: String,
    offset: i64,
    event_time: i64,
    watermark: i64,
    cost_micros: i64,
    is_due: bool,
}

/// The clicks of a batch, whose last columns these are.
fn clicks(batch: &RecordBatch) -> Vec<Click> {
    let columns = &batch.columns()[batch.num_columns() - 6..];
    let ids = text(&columns[0]);
    let number = |at: usize| columns[at].as_primitive::<Int64Type>().values();
    let (offsets, costs, is_due) = (number(1), number(4), columns[5].as_boolean());
    let (times, watermarks) = (micros(&columns[2]), micros(&columns[3]));
    let click = |(row, click_id): (usize, Option<String>)| Click {
        click_id: click_id.unwrap_or_default(),
        offset: offsets[row],
        event_time: times[row],
        watermark: watermarks[row],
        cost_micros: costs[row],
        is_due: is_due.is_valid(row) && is_due.value(row),
    };
    ids.into_iter().enumerate().map(click).collect()
}

impl fmt::Display for CountedAgain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counted = self.counted.iter().map(|one| format!("{}@{} in {}", one.partition, one.offset, one.window));
        write!(f, "{}: {}", visible(&self.click_id), counted.collect::<Vec<_>>().join(", "))
    }
}
