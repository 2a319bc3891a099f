//! Compares one partition of `clicks_minute` with the recount of its raw clicks.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Decimal128Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{Int64Type, SchemaRef};
use datafusion::datasource::MemTable;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::prelude::SessionContext;
use lake_schemas::exact::SUM_TYPE;
use lake_schemas::minute::Parameters;
use lake_schemas::rejection::COST_MICROS_MAX;
use lake_schemas::schema::column_as;
use lake_schemas::table::{self, column};
use lake_schemas::{EventTime, History, Measure, Stand, Table, TopicPartition, Verdict, Windows};

use super::compared::{Compared, Side, both_sides};
use super::keys::{Key, MeasureSums, keys_of};
use super::session::run;
use crate::error::QueryError;

/// Statement that lists the events of a partition with their verdicts; the file explains it.
const RECOUNT: &str = include_str!("recount.sql");

/// Statement that sums up these events.
const SUMS: &str = include_str!("sums.sql");

/// A partition with its stand, and the part of history to verify.
pub(super) struct Partition<'a> {
    pub context: &'a SessionContext,
    pub parameters: &'a Parameters,
    pub partition: &'a TopicPartition,
    pub stand: Stand,
    pub history: &'a History,
    /// First offset that matters to the windows.
    first: i64,
    /// First offset from which on nothing matters to the windows.
    next: i64,
}

impl<'a> Partition<'a> {
    pub async fn new(
        context: &'a SessionContext,
        parameters: &'a Parameters,
        partition: &'a TopicPartition,
        stand: Stand,
        history: &'a History,
    ) -> Result<Self, QueryError> {
        let (windows, cut) = (&history.windows, stand.cut.unwrap_or(0));
        let mut this = Self { context, parameters, partition, stand, history, first: 0, next: cut };
        if let Some(from) = windows.from() {
            // An older event can neither be counted again in these windows, nor move the watermark that they meet.
            let matters_from_ms = from.millis() - parameters.out_of_orderness_ms - parameters.memory_ms();
            let matters = format!("event_time >= {}", timestamp(Some(matters_from_ms), i64::MIN));
            this.first = this.offset("min", &matters).await?.unwrap_or(i64::MAX);
        }
        if let Some(to) = windows.to() {
            // An event behind the last one of these windows changes none of them.
            let matters = format!("event_time < {}", timestamp(Some(to.millis()), i64::MAX));
            let last = this.offset("max", &matters).await?;
            this.next = last.map_or(0, |last| cut.min(last.saturating_add(1)));
        }
        Ok(this)
    }

    /// Returns the smallest or largest offset of the partition's raw clicks that satisfy a condition.
    async fn offset(&self, which: &str, condition: &str) -> Result<Option<i64>, QueryError> {
        let sql = format!("select {which}(kafka_offset) from clicks where {} and {condition}", self.is_this());
        let offset = run(self.context, &sql).await?;
        let offset = offset[0].column(0).as_primitive::<Int64Type>();
        Ok((!offset.is_null(0)).then(|| offset.value(0)))
    }

    /// Recounts the partition, unless `recomputed` has its rows already, and compares with the table, which must hold
    /// the recount and what lies `beyond` it.
    pub async fn recount(
        &self,
        recomputed: Option<Vec<RecordBatch>>,
        beyond: &BTreeMap<Key, MeasureSums>,
    ) -> Result<Compared, QueryError> {
        let side = |rows: &str| Side { window: column::WINDOW_START.to_owned(), rows: rows.to_owned() };
        let found = side(&format!("{} where {} and {}", Table::ClicksMinute, self.is_this(), self.is_asked_for()));
        let beyond = self.rows(beyond)?;
        self.register("beyond", beyond.schema(), vec![beyond])?;
        let (with, recounted) = match recomputed {
            Some(rows) => {
                let schema = self.parameters.with_all_measures().schema(Table::ClicksMinute);
                let rows = rows.iter().map(|rows| in_columns(rows, &schema)).collect::<Result<_, _>>()?;
                self.register("recomputed", schema, rows)?;
                (String::new(), "recomputed")
            }
            None => (format!("{}, recounted as ({}) ", self.fill(RECOUNT), self.fill(SUMS)), "recounted"),
        };
        let sql = both_sides(&self.dimensions(), &found, &[side(recounted), side("beyond")]);
        let mut compared = Compared::default();
        let dimensions = self.parameters.dimension_columns().len();
        compared.take(self.context, &format!("{with}{sql}"), dimensions, |_| true).await?;
        Ok(compared)
    }

    /// Registers rows as a table of the session.
    fn register(&self, name: &str, schema: SchemaRef, rows: Vec<RecordBatch>) -> Result<(), QueryError> {
        let table = MemTable::try_new(schema, vec![rows])?;
        self.context.deregister_table(name)?;
        self.context.register_table(name, Arc::new(table))?;
        Ok(())
    }

    /// Runs a statement over the recounted events; its result must be small.
    pub async fn of_recount(&self, sql: &str) -> Result<Vec<RecordBatch>, QueryError> {
        run(self.context, &self.with_recount(sql)).await
    }

    /// Runs a statement over the recounted events; its rows come one batch after the other.
    pub async fn stream_of_recount(&self, sql: &str) -> Result<SendableRecordBatchStream, QueryError> {
        Ok(self.context.sql(&self.with_recount(sql)).await?.execute_stream().await?)
    }

    /// Builds the condition that a row of a table belongs to this partition.
    pub fn is_this(&self) -> String {
        is_of(self.partition)
    }

    /// Lists the names of the dimensions.
    pub fn dimensions(&self) -> String {
        self.parameters.dimension_columns().join(", ")
    }

    /// Reads the keys of rows that begin with the window's start and the dimensions.
    pub fn keys(&self, batch: &RecordBatch) -> Vec<Key> {
        keys_of(batch, self.parameters.dimension_columns().len())
    }

    /// Makes rows of a table out of sums.
    fn rows(&self, sums: &BTreeMap<Key, MeasureSums>) -> Result<RecordBatch, QueryError> {
        let starts = TimestampMicrosecondArray::from_iter_values(sums.keys().map(|key| key.window.micros()));
        let starts: ArrayRef = Arc::new(starts.with_data_type(table::timestamp()));
        let mut columns = vec![(column::WINDOW_START, starts, false)];
        for (at, name) in self.parameters.dimension_columns().into_iter().enumerate() {
            let values = sums.keys().map(|key| key.dimensions[at].as_deref()).collect::<StringArray>();
            columns.push((name, Arc::new(values), true));
        }
        for measure in Measure::ALL {
            let values: Decimal128Array = sums.values().map(|sums| Some(measure.of(sums))).collect();
            columns.push((measure.column(), Arc::new(values.with_data_type(SUM_TYPE)), false));
        }
        Ok(RecordBatch::try_from_iter_with_nullable(columns)?)
    }

    /// Returns whether a click is to be verified, by its window and its offset.
    pub fn asks_for(&self, window: EventTime, offset: i64) -> bool {
        self.history.windows.contain(window.millis()) && offset >= self.history.since(self.partition)
    }

    /// Builds the condition that a window is to be verified.
    fn is_asked_for(&self) -> String {
        let (from, to) = bounds(&self.history.windows);
        format!("{} >= {from} and {0} < {to}", column::WINDOW_START)
    }

    fn with_recount(&self, sql: &str) -> String {
        format!("{}{sql}", self.fill(RECOUNT))
    }

    fn fill(&self, sql: &str) -> String {
        let (from, to) = bounds(&self.history.windows);
        let number = |value: i64| value.to_string();
        let filled = [
            ("{dimensions}", self.dimensions()),
            ("{topic}", self.partition.topic.replace('\'', "''")),
            ("{partition}", self.partition.partition.to_string()),
            ("{first}", number(self.first)),
            ("{since}", number(self.history.since(self.partition))),
            // The end of the recount, which is not always the cut of the stand: a recount may end where nothing matters
            // any more.
            ("{cut}", number(self.next)),
            ("{drained}", number(self.stand.drained.unwrap_or(0))),
            ("{emitted}", timestamp(self.stand.watermark_ms, i64::MIN)),
            ("{out_of_orderness_ms}", number(self.parameters.out_of_orderness_ms)),
            ("{allowed_lateness_ms}", number(self.parameters.allowed_lateness_ms)),
            ("{cost_micros_max}", number(COST_MICROS_MAX)),
            ("{from}", from),
            ("{to}", to),
        ];
        let filled = filled.map(|(name, value)| (name.to_owned(), value)).into_iter().chain(self.begins());
        filled.fold(sql.to_owned(), |sql, (name, value)| sql.replace(&name, &value))
    }

    /// Returns, for each measure, the first offset whose event adds to it, by the name that statements have for it.
    fn begins(&self) -> impl Iterator<Item = (String, String)> {
        let first_offsets = self.parameters.measures.first_offsets(self.partition);
        let begins = |(measure, first): (Measure, i64)| (since(measure), first.max(0).to_string());
        Measure::ALL.into_iter().zip(first_offsets).map(begins)
    }
}

/// Returns the name, in braces, of the first offset whose event adds to a measure.
fn since(measure: Measure) -> String {
    format!("{{{}_since}}", measure.column())
}

/// Returns rows of minutes in these columns: a measure that their table lacks is 0.
fn in_columns(rows: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, QueryError> {
    let columns = schema.fields().iter().map(|field| column_as(rows, field));
    Ok(RecordBatch::try_new(Arc::clone(schema), columns.collect::<Result<_, _>>()?)?)
}

/// Builds the condition that an event of the recount has a verdict, in the words of the recount.
pub(super) fn is_taken_for(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Counted => "verdict = 'click'",
        Verdict::Duplicate => "verdict = 'duplicate'",
        Verdict::Late => "verdict = 'late'",
        Verdict::Filtered => "verdict = 'filtered'",
    }
}

/// Builds the condition that a row of a table belongs to a partition.
pub(super) fn is_of(partition: &TopicPartition) -> String {
    format!("topic = '{}' and kafka_partition = {}", partition.topic.replace('\'', "''"), partition.partition)
}

/// Returns the bounds of the starts of windows, as SQL has them: from the first on, and before the second.
pub(super) fn bounds(windows: &Windows) -> (String, String) {
    let bound = |time: Option<EventTime>, otherwise| timestamp(time.map(EventTime::millis), otherwise);
    (bound(windows.from(), i64::MIN), bound(windows.to(), i64::MAX))
}

/// Writes a time as SQL has it.
pub(super) fn timestamp(millis: Option<i64>, otherwise: i64) -> String {
    let micros = millis.map_or(otherwise, |millis| millis.saturating_mul(1_000));
    format!("arrow_cast({micros}, 'Timestamp(Microsecond, Some(\"UTC\"))')")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The statement is written by hand, and must have each verdict, and each measure at its place. A table may have a
    /// measure only from an offset on, if it was added.
    #[test]
    fn the_recount_has_all_measures_and_verdicts() {
        let columns = SUMS.lines().filter_map(|line| line.trim_end_matches(',').rsplit_once(" as "));
        let names: Vec<_> = columns.map(|(_, name)| name).collect();
        assert_eq!(names, Measure::ALL.map(Measure::column));
        for (line, measure) in SUMS.lines().filter(|line| line.contains(" as ")).zip(Measure::ALL) {
            let is_since = line.contains(&format!("kafka_offset >= {}", since(measure)));
            assert_eq!(is_since, measure.is_added(), "{line}");
        }
        for verdict in Verdict::ALL {
            assert!(SUMS.contains(is_taken_for(verdict)), "{verdict:?}");
        }
    }
}
