//! Finds copies of clicks that the table cannot recognise: further apart than the dedup horizon, or in two partitions.
//!
//! The plain recount counts each id of a partition once. The table counts an id again after its memory of it has ended;
//! for the few ids concerned, this module computes by the rule of the contract how that changes the sums. Statements
//! that spill to disk group and sort the ids; the state kept in memory is bounded.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::Int64Type;
use datafusion::datasource::MemTable;
use datafusion::error::Result as SqlResult;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryPool, MemoryReservation};
use datafusion::prelude::SessionContext;
use futures::StreamExt;
use lake_schemas::measure::{Amount, Measure};
use lake_schemas::minute::Parameters;
use lake_schemas::rows::CLICK;
use lake_schemas::{Code, EventTime, TopicPartition, Verdict, Windows};
use lake_store::LakeError;

use super::keys::{Key, MeasureSums, micros, text};
use super::partition::{Partition, timestamp};
use super::session::run;
use crate::error::QueryError;
use crate::output::visible;

/// Greatest number of ids that are named because they were counted more than once, and that are looked for in several
/// partitions: nobody reads more of them.
const IDS_MAX: usize = 1_000;

/// Number of copies of these sums in memory: as they are found, and as a table.
const HELD: usize = 2;

/// A click that was counted.
#[derive(Clone, Debug)]
pub struct Counted {
    /// Partition of the click.
    pub partition: TopicPartition,
    /// Offset in its partition.
    pub offset: i64,
    /// Window that it was counted in.
    pub window: EventTime,
}

/// An id that was counted more than once.
#[derive(Clone, Debug)]
pub struct CountedAgain {
    /// Id of the clicks.
    pub click_id: String,
    /// Clicks that were counted, in the order of partitions and offsets.
    pub counted: Vec<Counted>,
}

/// Sums that a table must have beyond the plain recount, within the memory of the session.
#[derive(Default)]
pub(super) struct Beyond {
    /// Sums by window and dimensions.
    pub sums: BTreeMap<Key, MeasureSums>,
    memory: Option<MemoryReservation>,
}

impl Beyond {
    fn within(pool: &Arc<dyn MemoryPool>) -> Self {
        let memory = MemoryConsumer::new("sums of clicks that were counted again").register(pool);
        Self { sums: BTreeMap::new(), memory: Some(memory) }
    }

    /// Returns the sums of a key. Fails if the memory does not hold another one.
    fn of(&mut self, key: &Key) -> SqlResult<&mut MeasureSums> {
        if let Some(memory) = &self.memory
            && !self.sums.contains_key(key)
        {
            memory.try_grow(HELD * bytes_of(key))?;
        }
        Ok(self.sums.entry(key.clone()).or_default())
    }
}

/// Returns the bytes of a key and its sums.
fn bytes_of(key: &Key) -> usize {
    let values = key.dimensions.iter().map(|value| size_of_val(value) + value.as_ref().map_or(0, String::len));
    size_of::<(Key, MeasureSums)>() + values.sum::<usize>()
}

/// Copies that were found so far.
#[derive(Default)]
pub(super) struct Copies {
    /// Counted clicks by id; for ids in several partitions, also those that were counted once.
    counted: BTreeMap<String, Vec<Counted>>,
    /// Number of ids that were counted more than once in their partition and are not named.
    unnamed: usize,
    /// Number of ids in several partitions.
    in_several: usize,
}

impl Copies {
    /// Looks for ids in several partitions, among the clicks that matter to windows. Registers the first of them as a
    /// table of the session.
    pub async fn find(
        context: &SessionContext,
        parameters: &Parameters,
        windows: &Windows,
        partitions: usize,
    ) -> Result<Self, QueryError> {
        let from_ms = windows.from().map(|from| from.millis() - parameters.memory_ms());
        let (from, to) = (timestamp(from_ms, i64::MIN), timestamp(windows.to().map(EventTime::millis), i64::MAX));
        let ids = format!(
            "select click_id from clicks \
             where click_id is not null and coalesce(event_type, 'click') = 'click' \
               and event_time >= {from} and event_time < {to} and {} \
             group by click_id having min(topic) <> max(topic) or min(kafka_partition) <> max(kafka_partition)",
            // A single partition cannot share an id with another.
            partitions > 1
        );
        let first = run(context, &format!("{ids} order by click_id limit {IDS_MAX}")).await?;
        let mut in_several: usize = first.iter().map(RecordBatch::num_rows).sum();
        if in_several == IDS_MAX {
            let many = run(context, &format!("select count(*) from ({ids}) ids")).await?;
            let many = many[0].column(0).as_primitive::<Int64Type>().value(0);
            in_several = usize::try_from(many).unwrap_or_default();
        }
        let table = MemTable::try_new(first[0].schema(), vec![first])?;
        context.register_table("in_several", Arc::new(table))?;
        Ok(Self { in_several, ..Self::default() })
    }

    /// Follows the ids of a partition that may have been counted again, as the table did; returns what the table must
    /// have beyond the plain recount.
    pub async fn look_at(&mut self, of: &Partition<'_>) -> Result<Beyond, QueryError> {
        let horizon_ms = of.parameters.dedup_horizon_ms;
        let suspects = format!(
            "select click_id from taken where taken_for = 'click' and click_id is not null group by click_id \
             having count(*) > 1 and max(event_time) - min(event_time) > interval '{horizon_ms} milliseconds'"
        );
        let sql = format!(
            "select window_start, {}, click_id, kafka_offset, event_time, watermark, coalesce(cost_micros, 0), \
               window_end <= {} or kafka_offset < {} \
             from taken where taken_for = 'click' and click_id in (\
               {suspects} union all select click_id from in_several) \
             order by click_id, kafka_offset",
            of.dimensions(),
            timestamp(of.stand.watermark_ms, i64::MIN),
            of.stand.drained.unwrap_or(0),
        );
        let first_offsets = of.parameters.measures.first_offsets(of.partition);
        let mut beyond = Beyond::within(of.context.task_ctx().memory_pool());
        let (mut known, mut counted): (Option<(String, i64)>, Vec<Counted>) = (None, Vec::new());
        let mut rows = of.stream_of_recount(&sql).await?;
        while let Some(batch) = rows.next().await {
            let batch = batch?;
            for (key, click) in of.keys(&batch).into_iter().zip(clicks(&batch)) {
                let is_same = known.as_ref().is_some_and(|(click_id, _)| *click_id == click.click_id);
                if !is_same && let Some((click_id, _)) = known.take() {
                    self.was_counted(click_id, std::mem::take(&mut counted));
                }
                // Apply the rule of the table: an id counts again only when its memory had ended, by the watermark at
                // that event.
                let memory_ends = click.watermark - of.parameters.memory_ms() * 1_000;
                if known.as_ref().is_some_and(|(_, time)| *time >= memory_ends) {
                    continue;
                }
                known = Some((click.click_id, click.event_time));
                if is_same && click.is_due && of.asks_for(key.window, click.offset) {
                    let sums = beyond.of(&key).map_err(|_| too_many(of.partition))?;
                    for ((sum, measure), first) in sums.iter_mut().zip(Measure::ALL).zip(first_offsets) {
                        if click.offset >= first {
                            *sum += beyond_a_copy(measure, click.cost_micros);
                        }
                    }
                }
                counted.push(Counted { partition: of.partition.clone(), offset: click.offset, window: key.window });
            }
        }
        if let Some((click_id, _)) = known {
            self.was_counted(click_id, counted);
        }
        Ok(beyond)
    }

    /// Records where an id of a partition was counted, unless there are too many.
    fn was_counted(&mut self, click_id: String, counted: Vec<Counted>) {
        // An id that was counted once matters only if it is in another partition too, and there are few of these.
        if self.counted.len() < 2 * IDS_MAX || self.counted.contains_key(&click_id) {
            self.counted.entry(click_id).or_default().extend(counted);
        } else if counted.len() > 1 {
            self.unnamed += 1;
        }
    }

    /// Returns the first ids that were counted more than once, for whatever reason, and how many more may have been.
    pub fn counted_again(self) -> (Vec<CountedAgain>, usize) {
        let again = self.counted.into_iter().filter(|(_, counted)| counted.len() > 1);
        let again: Vec<_> = again.map(|(click_id, counted)| CountedAgain { click_id, counted }).collect();
        (again, self.unnamed + self.in_several.saturating_sub(IDS_MAX))
    }
}

/// Returns how much more a measure has if a click of that cost counts than if it is a copy.
fn beyond_a_copy(measure: Measure, cost_micros: i64) -> i128 {
    if measure.event_type().is_some_and(|event_type| event_type != CLICK) {
        return 0;
    }
    let amount = match measure.amount() {
        Amount::One => 1,
        Amount::Cost => i128::from(cost_micros),
    };
    match measure.verdict() {
        Verdict::Counted => amount,
        Verdict::Duplicate => -amount,
        Verdict::Late | Verdict::Filtered => 0,
    }
}

fn too_many(partition: &TopicPartition) -> QueryError {
    let why = format!(
        "{partition}: the sums with clicks that were counted again, because their copies are further apart than the \
         dedup horizon, take more memory than there is; verify a part of them with --from and --to, or give \
         --memory-limit more"
    );
    LakeError::Refused(Code::MemoryLimit.because(why)).into()
}

/// A click whose id may have been counted again.
struct Click {
    click_id: String,
    offset: i64,
    event_time: i64,
    watermark: i64,
    cost_micros: i64,
    is_due: bool,
}

/// Reads the clicks of a batch; their columns are its last ones.
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

#[cfg(test)]
mod tests {
    use datafusion::execution::memory_pool::GreedyMemoryPool;

    use super::*;

    #[test]
    fn a_copy_that_counts_is_a_click_more_with_its_cost_and_a_duplicate_less() {
        let beyond = Measure::ALL.map(|measure| (measure.column(), beyond_a_copy(measure, 7)));
        let beyond: Vec<_> = beyond.into_iter().filter(|(_, more)| *more != 0).collect();
        assert_eq!(beyond, [("clicks", 1), ("cost_micros", 7), ("duplicates", -1)]);
    }

    #[test]
    fn sums_are_kept_within_the_memory_of_the_session() {
        const ROOM: usize = 10;
        let key = |minute: i64| Key {
            window: EventTime::from_micros(minute * 60_000_000),
            dimensions: vec![Some("spring".to_owned()), None],
        };
        let pool: Arc<dyn MemoryPool> = Arc::new(GreedyMemoryPool::new(ROOM * HELD * bytes_of(&key(0))));
        let mut beyond = Beyond::within(&pool);
        for _ in 0..2 {
            for minute in 0..ROOM {
                beyond.of(&key(minute as i64)).expect("there is room, and what is known takes none")[0] += 1;
            }
        }
        assert!(beyond.of(&key(-1)).is_err());
        assert!(beyond.sums.len() == ROOM && beyond.sums.values().all(|sums| sums[0] == 2));
        drop(beyond);
        assert_eq!(pool.reserved(), 0);
    }
}
