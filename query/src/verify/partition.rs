//! One partition of `clicks_minute` beside the recount of its raw clicks.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Decimal128Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Decimal128Type, Int64Type, SchemaRef, TimestampMicrosecondType};
use datafusion::datasource::MemTable;
use datafusion::prelude::SessionContext;
use lake_schemas::exact::{SUM_TYPE, exact, sum_of};
use lake_schemas::minute::{Measure, Parameters};
use lake_schemas::rejection::COST_MICROS_MAX;
use lake_schemas::table::column;
use lake_schemas::{EventTime, History, Stand, Table, TopicPartition, Windows};

use super::run;
use crate::error::QueryError;

/// The events of a partition, each with what it is taken for; see there.
const RECOUNT: &str = include_str!("recount.sql");

/// Their sums.
const SUMS: &str = include_str!("sums.sql");

/// The sums of measures, in the order of [`Measure::ALL`].
pub type Sums = [i128; Measure::ALL.len()];

/// A window, and the values of its dimensions.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// When the window starts.
    pub window: EventTime,
    /// The values of the dimensions, in their order.
    pub dimensions: Vec<Option<String>>,
}

impl Key {
    /// The minute, and each dimension by its name.
    pub(super) fn named(&self, dimensions: &[&'static str]) -> String {
        let minute: String = self.window.to_string().chars().take("2026-03-07T12:00".len()).collect();
        let values = dimensions.iter().zip(&self.dimensions);
        let values = values.map(|(name, value)| format!(" {name}={}", value.as_deref().unwrap_or("null")));
        format!("{}Z{}", minute, values.collect::<String>())
    }
}

/// A partition, where it stands, and what is asked of it.
pub(super) struct Partition<'a> {
    pub context: &'a SessionContext,
    pub parameters: &'a Parameters,
    pub partition: &'a TopicPartition,
    pub stand: Stand,
    pub history: &'a History,
    /// The first offset that matters to those windows.
    first: i64,
}

/// Sums that were recounted, and those in the table, of a key where the two differ.
pub(super) struct Differing {
    pub key: Key,
    pub recounted: Sums,
    pub found: Sums,
}

/// What was recounted of a partition.
pub(super) struct Recount {
    pub windows: Vec<i64>,
    pub clicks: i128,
    pub differing: Vec<Differing>,
}

impl<'a> Partition<'a> {
    pub async fn new(
        context: &'a SessionContext,
        parameters: &'a Parameters,
        (partition, stand): (&'a TopicPartition, Stand),
        history: &'a History,
    ) -> Result<Self, QueryError> {
        let mut this = Self { context, parameters, partition, stand, history, first: 0 };
        if let Some(from) = history.windows.from() {
            // What is older than this can neither be counted again in these windows, nor move the watermark they meet.
            let matters_from_ms = from.millis() - parameters.out_of_orderness_ms - parameters.memory_ms();
            let sql = format!(
                "select min(kafka_offset) from clicks where {} and event_time >= {}",
                this.is_this(),
                timestamp(Some(matters_from_ms), i64::MIN)
            );
            let first = run(context, &sql).await?;
            let first = first[0].column(0).as_primitive::<Int64Type>();
            this.first = if first.is_null(0) { i64::MAX } else { first.value(0) };
        }
        Ok(this)
    }

    /// Recounts it, unless that was done, and compares with the table, which must have what was recounted, and this
    /// beyond it.
    pub async fn recount(
        &self,
        recomputed: Option<Vec<RecordBatch>>,
        beyond: &BTreeMap<Key, Sums>,
    ) -> Result<Recount, QueryError> {
        let dimensions = self.dimensions();
        let recounted = match recomputed {
            Some(rows) => self.sums_of(rows).await?,
            None => run(self.context, &self.with_recount(&self.fill(SUMS))).await?,
        };
        let windows = recounted.iter().flat_map(|batch| micros(batch.column(0))).collect();
        let at = 1 + self.parameters.dimension_columns().len();
        let mut clicks = 0;
        for batch in &recounted {
            clicks += sums_of(&batch.columns()[at..])?.iter().map(|sums| sums[Measure::Clicks as usize]).sum::<i128>();
        }
        let schema = recounted[0].schema();
        let beyond = self.rows(beyond, &schema)?;
        let table = MemTable::try_new(schema, vec![recounted, vec![beyond]])?;
        self.context.deregister_table("recounted")?;
        self.context.register_table("recounted", Arc::new(table))?;
        let of = |side: &str| {
            Measure::ALL.map(|measure| {
                let (found, recounted) =
                    if side == "found" { (measure.column(), "0") } else { ("0", measure.column()) };
                let (found, recounted) = (exact(found), exact(recounted));
                format!("{found} as found_{0}, {recounted} as recounted_{0}", measure.column())
            })
        };
        let sums = ["found", "recounted"].map(|side| {
            Measure::ALL.map(|measure| format!("sum({side}_{0}) as {side}_{0}", measure.column())).join(", ")
        });
        let differ = Measure::ALL.map(|measure| format!("sum(found_{0}) <> sum(recounted_{0})", measure.column()));
        let sql = format!(
            "select window_start, {dimensions}, {} from (\
               select window_start, {dimensions}, {} from clicks_minute where {} and {} \
               union all select window_start, {dimensions}, {} from recounted) both_sides \
             group by window_start, {dimensions} having {} order by window_start, {dimensions}",
            sums.join(", "),
            of("found").join(", "),
            self.is_this(),
            self.is_asked_for(),
            of("recounted").join(", "),
            differ.join(" or "),
        );
        let mut differing = Vec::new();
        for batch in run(self.context, &sql).await? {
            let keys = self.keys(&batch);
            let found = sums_of(&batch.columns()[at..])?;
            let recounted = sums_of(&batch.columns()[at + Measure::ALL.len()..])?;
            let rows = keys.into_iter().zip(recounted).zip(found);
            differing.extend(rows.map(|((key, recounted), found)| Differing { key, recounted, found }));
        }
        Ok(Recount { windows, clicks, differing })
    }

    /// The sums of rows of minutes, as those of a recount stand.
    async fn sums_of(&self, rows: Vec<RecordBatch>) -> Result<Vec<RecordBatch>, QueryError> {
        let table = MemTable::try_new(self.parameters.schema(Table::ClicksMinute), vec![rows])?;
        self.context.deregister_table("recomputed")?;
        self.context.register_table("recomputed", Arc::new(table))?;
        let sum = |measure: Measure| format!("{} as {}", sum_of(measure), measure.column());
        let (dimensions, sums) = (self.dimensions(), Measure::ALL.map(sum).join(", "));
        let of =
            format!("select window_start, {dimensions}, {sums} from recomputed group by window_start, {dimensions}");
        run(self.context, &of).await
    }

    /// Runs a statement over the recounted events.
    pub async fn of_recount(&self, sql: &str) -> Result<Vec<RecordBatch>, QueryError> {
        run(self.context, &self.with_recount(sql)).await
    }

    /// The condition that a row of a table is this partition's.
    pub fn is_this(&self) -> String {
        is_of(self.partition)
    }

    /// The names of the dimensions.
    pub fn dimensions(&self) -> String {
        self.parameters.dimension_columns().join(", ")
    }

    /// The keys of rows that begin with the window's start and the dimensions.
    pub fn keys(&self, batch: &RecordBatch) -> Vec<Key> {
        let dimensions = &batch.columns()[1..=self.parameters.dimension_columns().len()];
        let texts: Vec<_> = dimensions.iter().map(text).collect();
        let starts = micros(batch.column(0));
        let key = |(row, start): (usize, i64)| Key {
            window: EventTime::from_micros(start),
            dimensions: texts.iter().map(|column| column[row].clone()).collect(),
        };
        starts.into_iter().enumerate().map(key).collect()
    }

    /// Sums as rows of a table with these columns.
    fn rows(&self, sums: &BTreeMap<Key, Sums>, schema: &SchemaRef) -> Result<RecordBatch, QueryError> {
        let starts = sums.keys().map(|key| key.window.micros());
        let starts: ArrayRef = Arc::new(TimestampMicrosecondArray::from_iter_values(starts));
        let dimension = |at: usize| -> ArrayRef {
            Arc::new(sums.keys().map(|key| key.dimensions[at].as_deref()).collect::<StringArray>())
        };
        let measure = |at: usize| -> ArrayRef {
            let sums: Decimal128Array = sums.values().map(|sums| Some(sums[at])).collect();
            Arc::new(sums.with_data_type(SUM_TYPE))
        };
        let dimensions = (0..self.parameters.dimension_columns().len()).map(dimension);
        let columns = std::iter::once(starts).chain(dimensions).chain((0..Measure::ALL.len()).map(measure));
        let columns = columns.zip(schema.fields()).map(|(column, field)| cast(&column, field.data_type()));
        Ok(RecordBatch::try_new(Arc::clone(schema), columns.collect::<Result<_, _>>()?)?)
    }

    /// The condition that a window is asked for.
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
            ("{cut}", number(self.stand.cut.unwrap_or(0))),
            ("{drained}", number(self.stand.drained.unwrap_or(0))),
            ("{emitted}", timestamp(self.stand.emitted_ms, i64::MIN)),
            ("{out_of_orderness_ms}", number(self.parameters.out_of_orderness_ms)),
            ("{allowed_lateness_ms}", number(self.parameters.allowed_lateness_ms)),
            ("{cost_micros_max}", number(COST_MICROS_MAX)),
            ("{from}", from),
            ("{to}", to),
        ];
        filled.into_iter().fold(sql.to_owned(), |sql, (name, value)| sql.replace(name, &value))
    }
}

/// The condition that a row of a table is of a partition.
pub(super) fn is_of(partition: &TopicPartition) -> String {
    format!("topic = '{}' and kafka_partition = {}", partition.topic.replace('\'', "''"), partition.partition)
}

/// From when on, and before when, windows start that are asked for, as SQL has it.
pub(super) fn bounds(windows: &Windows) -> (String, String) {
    let bound = |time: Option<EventTime>, otherwise| timestamp(time.map(EventTime::millis), otherwise);
    (bound(windows.from(), i64::MIN), bound(windows.to(), i64::MAX))
}

/// A time as SQL has it.
pub(super) fn timestamp(millis: Option<i64>, otherwise: i64) -> String {
    let micros = millis.map_or(otherwise, |millis| millis.saturating_mul(1_000));
    format!("arrow_cast({micros}, 'Timestamp(Microsecond, Some(\"UTC\"))')")
}

/// Measures that stand one after the other, row by row, whatever whole numbers they are.
pub(super) fn sums_of(columns: &[ArrayRef]) -> Result<Vec<Sums>, QueryError> {
    let wide = columns[..Measure::ALL.len()].iter().map(|column| cast(column, &SUM_TYPE));
    let wide = wide.collect::<Result<Vec<_>, _>>()?;
    let columns: Vec<_> = wide.iter().map(|column| column.as_primitive::<Decimal128Type>().values()).collect();
    Ok((0..columns[0].len()).map(|row| std::array::from_fn(|measure| columns[measure][row])).collect())
}

/// A column of times, in microseconds.
pub(super) fn micros(column: &ArrayRef) -> Vec<i64> {
    column.as_primitive::<TimestampMicrosecondType>().values().to_vec()
}

/// A column of text, whatever its encoding.
pub(super) fn text(column: &ArrayRef) -> Vec<Option<String>> {
    let column = cast(column, &DataType::Utf8).expect("text has many encodings, and is text in each");
    let column = column.as_string::<i32>();
    column.iter().map(|value| value.map(str::to_owned)).collect()
}
