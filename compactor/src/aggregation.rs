//! Aggregation of count rows: sums by window and dimensions, in the order of the ads.
//!
//! A roll-up sums the rows of a folder into one window. Merging files of a roll-up sums rows that are unique already,
//! which only sorts them. Both leave a file in which all rows of an ad are neighbours: a reader that asks for one ad
//! reads little of it.
//!
//! Sums are exact: a sum that 64 bits do not hold is written as several rows of the same window and dimensions. One ad
//! with such a sum must not keep the hours of all others from being rolled up.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray, RecordBatch, TimestampMicrosecondArray};
use arrow::compute::{cast, filter_record_batch};
use arrow::datatypes::{DataType, Schema, SchemaRef, TimestampMicrosecondType};
use arrow::error::ArrowError;
use datafusion::error::DataFusionError;
use datafusion::functions_aggregate::expr_fn::sum;
use datafusion::logical_expr::{Expr, cast as cast_to, ident, lit};
use datafusion::prelude::DataFrame;
use deltalake::kernel::Add;
use futures::TryStreamExt;
use futures::future::BoxFuture;
use lake_schemas::measure::{Measure, Merge};
use lake_schemas::minute::Parameters;
use lake_schemas::table::column;
use lake_schemas::time::MICROS_PER_MILLI;
use lake_schemas::{Folder, Table, exact};
use lake_store::files::Encoder;
use object_store::ObjectStore;

use crate::error::CompactError;
use crate::session::{Session, Source, ascending};
use crate::uncommitted::Uncommitted;

/// Name of the [`signs`] column in a query.
const SIGNS: &str = "signs";

/// A table of counts, and the store of its files.
#[derive(Clone, Debug)]
pub(crate) struct CountsTable {
    pub table: Table,
    pub store: Arc<dyn ObjectStore>,
}

/// A file of counts, and the selection of its rows that is summed.
#[derive(Clone, Debug)]
pub(crate) struct Input {
    pub of: CountsTable,
    pub file: Add,
    /// Selection of the file's rows.
    pub wanted: WindowSelection,
}

impl Input {
    /// Returns the rows as a source for a query, moved to the windows of the target.
    fn in_windows_of(self, target: Table) -> Source {
        let Self { of: CountsTable { table, store }, file, wanted } = self;
        Source { table, store, file, select: Arc::new(move |rows: RecordBatch| in_windows(&rows, target, &wanted)) }
    }
}

/// Selection of rows by the window of the target that they lie in, given by its start in milliseconds.
#[derive(Clone, Debug)]
pub(crate) enum WindowSelection {
    /// Selects all rows.
    All,
    /// Selects rows of all windows except these.
    Besides(Arc<BTreeSet<i64>>),
}

impl WindowSelection {
    fn has(&self, window_ms: i64) -> bool {
        match self {
            Self::All => true,
            Self::Besides(others) => !others.contains(&window_ms),
        }
    }
}

/// Sums rows for a roll-up.
pub(crate) struct Aggregation {
    session: Session,
    target: Table,
    parameters: Parameters,
}

impl Aggregation {
    /// Sums into a target with these parameters. Queries may take `memory` bytes; beyond that they spill to disk.
    pub fn new(target: Table, parameters: Parameters, memory: usize) -> Result<Self, CompactError> {
        Ok(Self { session: Session::new(memory)?, target, parameters })
    }

    /// Returns the path of the file that could not be read, if that is why a sum failed.
    pub fn unread(&self) -> Option<String> {
        self.session.unread()
    }

    /// Sums inputs whose windows lie in one folder of the target, and writes the output, each file as soon as it is
    /// full.
    pub fn sum<'a>(
        &'a self,
        folder: Folder,
        inputs: Vec<Input>,
        files: &'a mut Uncommitted,
    ) -> BoxFuture<'a, Result<(), CompactError>> {
        Box::pin(async move {
            let schema = self.parameters.schema(self.target);
            let columns: Vec<_> = self.columns().collect();
            // A measure that the target lacks is 0 in its source, too. It is summed like the others, and not written.
            let all = self.parameters.with_all_measures().schema(self.target);
            let read = all.fields().iter().filter(|field| columns.contains(&field.name().as_str())).cloned();
            let read: SchemaRef = Arc::new(Schema::new(read.collect::<Vec<_>>()));
            let sources: Vec<_> = inputs.into_iter().map(|input| input.in_windows_of(self.target)).collect();
            let mut summed = self.session.ask(&sources, &read, |rows| self.summed(rows)).await?;
            let mut encoder = Encoder::new(self.target, Arc::clone(&schema));
            while let Some(rows) = summed.try_next().await? {
                let rows = exact::rows_of_64_bits(&rows)?;
                for file in encoder.push(&self.complete(&rows, &schema, folder)?).await? {
                    files.put(file).await?;
                }
            }
            if let Some(file) = encoder.finish().await? {
                files.put(file).await?;
            }
            Ok(())
        })
    }

    /// Returns the columns that are summed, and those that they are grouped by.
    fn columns(&self) -> impl Iterator<Item = &'static str> {
        let measures = Measure::ALL.into_iter().map(Measure::column);
        [column::WINDOW_START].into_iter().chain(self.parameters.dimension_columns()).chain(measures)
    }

    /// Returns the exact sums of rows, by window and dimensions, in the order of the ads.
    fn summed(&self, rows: DataFrame) -> Result<DataFrame, DataFusionError> {
        let mut by = self.parameters.dimension_columns();
        by.insert(2, column::WINDOW_START);
        let sum_of = |measure: Measure| {
            let name = measure.column();
            let merged = match measure.merge() {
                Merge::Sum => sum(cast_to(ident(name), exact::SUM_TYPE)),
            };
            merged.alias(name)
        };
        let groups = by.iter().map(|name| ident(*name)).chain([signs().alias(SIGNS)]).collect();
        let sums = rows.aggregate(groups, Measure::ALL.map(sum_of).to_vec())?.sort(ascending(&by))?;
        sums.drop_columns(&[SIGNS])
    }

    /// Completes summed rows to all columns of the target.
    fn complete(&self, rows: &RecordBatch, schema: &SchemaRef, folder: Folder) -> Result<RecordBatch, CompactError> {
        let width = self.target.window_width();
        let starts = rows[column::WINDOW_START].as_primitive::<TimestampMicrosecondType>();
        let end = |start: i64| width.end_ms(start.div_euclid(MICROS_PER_MILLI)) * MICROS_PER_MILLI;
        let ends = || -> TimestampMicrosecondArray { starts.unary(end) };
        let columns = schema.fields().iter().map(|field| -> Result<ArrayRef, CompactError> {
            if let Some(column) = folder.column(field.name(), rows.num_rows()) {
                return Ok(column);
            }
            match field.name().as_str() {
                column::WINDOW_END => Ok(cast(&ends(), field.data_type())?),
                name => Ok(cast(&rows[name], field.data_type())?),
            }
        });
        Ok(RecordBatch::try_new(Arc::clone(schema), columns.collect::<Result<_, _>>()?)?)
    }
}

/// Returns which measures of a row are negative, one bit each. No click counts less than nothing: a negative count
/// wrapped around before sums were exact. Such rows are not summed with others, where nobody would see them.
fn signs() -> Expr {
    let sign = |(at, measure): (u32, Measure)| {
        let is_below = cast_to(ident(measure.column()).lt(lit(0_i64)), DataType::Int64);
        is_below * lit(1_i64 << at)
    };
    (0..).zip(Measure::ALL).map(sign).fold(lit(0_i64), |signs, sign| signs + sign)
}

/// Moves rows to the windows of the target that they lie in, and keeps the selected ones.
fn in_windows(rows: &RecordBatch, target: Table, wanted: &WindowSelection) -> Result<RecordBatch, ArrowError> {
    let width = target.window_width();
    let starts = rows[column::WINDOW_START].as_primitive::<TimestampMicrosecondType>();
    let start = |time: i64| width.start_ms(time.div_euclid(MICROS_PER_MILLI)) * MICROS_PER_MILLI;
    let starts: TimestampMicrosecondArray = starts.unary(start);
    let wanted: BooleanArray =
        starts.values().iter().map(|start| Some(wanted.has(start.div_euclid(MICROS_PER_MILLI)))).collect();
    let mut columns = rows.columns().to_vec();
    let at = rows.schema().index_of(column::WINDOW_START)?;
    columns[at] = Arc::new(starts.with_timezone("UTC"));
    let rows = RecordBatch::try_new(rows.schema(), columns)?;
    if wanted.true_count() == wanted.len() { Ok(rows) } else { filter_record_batch(&rows, &wanted) }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int32Array, Int64Array, StringArray, new_null_array};
    use arrow::compute::concat_batches;
    use arrow::datatypes::Int64Type;
    use lake_schemas::EventTime;
    use lake_schemas::table::timestamp;
    use lake_store::path::path_of;
    use lake_store::{files, read};
    use object_store::ObjectStoreExt;
    use object_store::memory::InMemory;

    use super::*;

    /// Returns rows of minutes from noon on, one a minute, with the given ad and cost.
    fn minutes(rows: &[(&str, i64)]) -> RecordBatch {
        let noon = EventTime::parse("2026-03-07T12:00:00Z").expect("a time").micros();
        let schema = Parameters::default().schema(Table::ClicksMinute);
        let folder = Folder::at(Table::ClicksMinute, noon / MICROS_PER_MILLI);
        let numbers = |number: i64| -> ArrayRef { Arc::new(Int64Array::from(vec![number; rows.len()])) };
        let columns = schema.fields().iter().map(|field| -> ArrayRef {
            if let Some(column) = folder.column(field.name(), rows.len()) {
                return column;
            }
            match field.name().as_str() {
                column::WINDOW_START | column::WINDOW_END => {
                    let starts = (0..rows.len()).map(|minute| noon + minute as i64 * 60_000_000);
                    Arc::new(TimestampMicrosecondArray::from_iter_values(starts).with_data_type(timestamp()))
                }
                column::AD_ID => Arc::new(rows.iter().map(|(ad, _)| Some(*ad)).collect::<StringArray>()),
                column::CAMPAIGN_ID => new_null_array(field.data_type(), rows.len()),
                column::PANE | column::TOPIC => Arc::new(StringArray::from(vec!["x"; rows.len()])),
                column::KAFKA_PARTITION => Arc::new(Int32Array::from(vec![0; rows.len()])),
                "cost_micros" => Arc::new(rows.iter().map(|(_, cost)| Some(*cost)).collect::<Int64Array>()),
                _ => numbers(1),
            }
        });
        RecordBatch::try_new(Arc::clone(&schema), columns.collect()).expect("the table's columns")
    }

    async fn put(store: &Arc<dyn ObjectStore>, table: Table, rows: RecordBatch) -> Input {
        let file = files::encode(table, &[rows]).await.expect("a file").remove(0);
        file.put(store.as_ref()).await.expect("memory");
        Input { of: CountsTable { table, store: Arc::clone(store) }, file: file.add, wanted: WindowSelection::All }
    }

    /// Returns the ads and costs that inputs sum up to in a table.
    async fn summed(store: &Arc<dyn ObjectStore>, table: Table, inputs: Vec<Input>) -> (Vec<(String, i64)>, Input) {
        let aggregation = Aggregation::new(table, Parameters::default(), 64 << 20).expect("a session");
        let noon = EventTime::parse("2026-03-07T12:00:00Z").expect("a time").millis();
        let mut files = Uncommitted::new(Arc::clone(store));
        let done = aggregation.sum(Folder::at(table, noon), inputs, &mut files).await;
        let file = files.after(done).await.expect("no sum stops it").remove(0);
        let schema = Parameters::default().schema(table);
        let rows = read::all_rows(Arc::clone(store), table, Arc::clone(&schema), file.clone()).await.expect("rows");
        let rows = concat_batches(&schema, &rows).expect("rows");
        let (ads, costs) = (rows[column::AD_ID].as_string::<i32>(), rows["cost_micros"].as_primitive::<Int64Type>());
        let rows = ads.iter().flatten().map(str::to_owned).zip(costs.values().iter().copied()).collect();
        (rows, Input { of: CountsTable { table, store: Arc::clone(store) }, file, wanted: WindowSelection::All })
    }

    /// Rolls up twice what 64 bits do not hold: several rows add up to it each time, and other ads stay one row.
    #[tokio::test]
    async fn a_sum_that_64_bits_do_not_hold_is_rolled_up_in_several_rows() {
        let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let first = put(&store, Table::ClicksMinute, minutes(&[("b", i64::MAX), ("a", 7), ("b", i64::MAX)])).await;
        let second = put(&store, Table::ClicksMinute, minutes(&[("b", 5), ("c", 3)])).await;
        let expected = [("a", 7), ("b", i64::MAX), ("b", i64::MAX), ("b", 5), ("c", 3)];
        let expected = expected.map(|(ad, cost)| (ad.to_owned(), cost));
        let (hours, hour) = summed(&store, Table::ClicksHourly, vec![first, second]).await;
        assert_eq!(hours, expected);
        let (days, _) = summed(&store, Table::ClicksDaily, vec![hour]).await;
        assert_eq!(days, expected);
    }

    #[tokio::test]
    async fn values_below_zero_are_summed_in_rows_of_their_own() {
        let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let input = put(&store, Table::ClicksMinute, minutes(&[("a", -11), ("a", 100), ("a", -4), ("b", 7)])).await;
        let expected = [("a", -15), ("a", 100), ("b", 7)].map(|(ad, cost)| (ad.to_owned(), cost));
        let (mut hours, hour) = summed(&store, Table::ClicksHourly, vec![input]).await;
        hours.sort_unstable();
        assert_eq!(hours, expected);
        let (mut days, _) = summed(&store, Table::ClicksDaily, vec![hour]).await;
        days.sort_unstable();
        assert_eq!(days, expected);
    }

    #[tokio::test]
    async fn a_sum_that_fails_tells_which_file_could_not_be_read() {
        let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let mut inputs = Vec::new();
        for ad in ["a", "b", "c"] {
            inputs.push(put(&store, Table::ClicksMinute, minutes(&[(ad, 1)])).await);
        }
        let path = inputs[1].file.path.clone();
        store.delete(&path_of(&path).expect("a path")).await.expect("memory");
        let folder = Folder::named(Table::ClicksMinute, &inputs[0].file.partition_values).expect("a folder");
        let folder = Folder::at(Table::ClicksHourly, folder.start_ms());
        let aggregation = Aggregation::new(Table::ClicksHourly, Parameters::default(), 64 << 20).expect("a session");
        assert_eq!(aggregation.unread(), None);
        let mut files = Uncommitted::new(Arc::clone(&store));
        aggregation.sum(folder, inputs, &mut files).await.expect_err("one is lost");
        assert_eq!(aggregation.unread(), Some(path));
    }
}
