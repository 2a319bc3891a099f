//! Files whose windows are all asked for at once are added up in advance: a year of an ad is then twelve sums, one a
//! month, with the hours and minutes after them.
//!
//! The sums stay with their file, which never changes, as long as it is live. A sum that does not fit into 64 bits
//! becomes several rows: an error here would concern all ads, but it should only concern the answer about that one. For
//! the same reason a file with a row below zero is not added up: in a sum nobody would find that row again.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, RecordBatchOptions};
use arrow::compute::concat_batches;
use arrow::datatypes::{Int64Type, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::datasource::TableType;
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{BinaryExpr, Expr, Operator};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::union::UnionExec;
use datafusion::prelude::{DataFrame, SessionContext};
use datafusion::scalar::ScalarValue;
use lake_schemas::exact::rows_of_64_bits;
use lake_schemas::measure::{MEASURES, Measure};
use lake_schemas::table::column;
use lake_schemas::{Field, Width};
use tokio::time::Instant;

use super::columns::columns;
use super::files::File;
use super::filter::{Filter, counted_by};
use super::fits;
use super::plan::Adding;
use super::question::Question;
use super::reading::{AccessPath, PlanMaker};
use super::sources::Sources;
use super::stitch::stitch;
use crate::access::RowAccess;
use crate::error::{Overflow, QueryError};
use crate::rows::collect;

/// Adds up the files that a question without bounds is answered from and that are not added up yet: the latest first,
/// as long as the sums take no more than `bytes_max`, and until a time. A file whose own sums are larger than that is
/// read when it is asked for.
pub(crate) async fn sum_up(
    sources: &Sources,
    context: &SessionContext,
    bytes_max: usize,
    until: Instant,
) -> Result<(), QueryError> {
    let [whole, _] = sources.files(&stitch(&(i64::MIN..i64::MAX), Width::Day, &sources.dirty));
    let mut room = bytes_max;
    for file in whole.iter().rev() {
        let sums = match file.sums.get() {
            Some(sums) => sums,
            None if Instant::now() >= until => break,
            None => {
                let sums = if may_fit(file, bytes_max) { summed(file, sources, context).await } else { Ok(None) };
                let sums = match sums {
                    // Computing the sums takes more memory than they may.
                    Err(QueryError::Sql(error)) if is_too_much(&error) => None,
                    sums => sums?.filter(|sums| sums.get_array_memory_size() <= bytes_max),
                };
                file.sums.get_or_init(|| sums)
            }
        };
        let bytes = sums.as_ref().map_or(0, RecordBatch::get_array_memory_size);
        let Some(left) = room.checked_sub(bytes) else { break };
        room = left;
    }
    Ok(())
}

/// Returns whether the sums of a file may take no more than `bytes_max` bytes. In a file rows take a tenth of what they
/// take in memory, and a month of them is added up to a thirtieth, so a file that is larger than the limit need not be
/// read.
fn may_fit(file: &File, bytes_max: usize) -> bool {
    file.object.size <= u64::try_from(bytes_max).unwrap_or(u64::MAX)
}

fn is_too_much(error: &DataFusionError) -> bool {
    matches!(error.find_root(), DataFusionError::ResourcesExhausted(_))
}

/// Adds up the rows of a file: a row for each combination of dimensions, in their order, or several if a sum does not
/// fit into 64 bits. `None` if any of its rows is below zero.
async fn summed(
    file: &Arc<File>,
    sources: &Sources,
    context: &SessionContext,
) -> Result<Option<RecordBatch>, QueryError> {
    let (dimensions, schema) = (counted_by(&sources.parameters), columns(&sources.parameters));
    let adding = Adding { filter: &[], access: &RowAccess::All, group_by: &dimensions, granularity: None };
    let plan = adding.up_in_order_exactly(Arc::new(OneFile { file: Arc::clone(file), schema }))?;
    let rows = collect(DataFrame::new(context.state(), plan)).await?;
    if rows.iter().any(fits::have_rows_below_zero) {
        return Ok(None);
    }
    let shown: Vec<_> = (0..dimensions.len() + MEASURES).collect();
    let rows = rows.iter().map(|rows| rows_of_64_bits(&rows.project(&shown)?));
    let rows = rows.collect::<std::result::Result<Vec<_>, _>>()?;
    Ok(Some(concat_batches(&rows[0].schema(), &rows)?))
}

/// Returns the ad that a question asks one sum of, if it asks for nothing else.
pub(crate) fn ad_of(question: &Question) -> Option<&str> {
    match (question.filter.as_slice(), question.group_by.as_slice(), question.granularity) {
        ([Filter { dimension: Field::AdId, values }], [], None) => match values.as_slice() {
            [Some(ad)] => Some(ad),
            _ => None,
        },
        _ => None,
    }
}

/// Returns the sums of an ad over files, as far as `access` permits, in one row; `None` if not all files are added up.
/// A plan would give the same, but planning takes ten times as long as adding up what is known.
pub(crate) fn sum_of(
    ad: &str,
    access: &RowAccess,
    files: &[Arc<File>],
) -> std::result::Result<Option<RecordBatch>, QueryError> {
    let Some(all) = files.iter().map(|file| file.sums()).collect::<Option<Vec<_>>>() else { return Ok(None) };
    let mut total = [0_i128; MEASURES];
    for sums in all {
        let column = |name| sums.schema_ref().index_of(name).map(|at| sums.column(at));
        let campaigns = column(column::CAMPAIGN_ID)?.as_string::<i32>();
        let is_seen = |row: &usize| access.has_row_of(campaigns.is_valid(*row).then(|| campaigns.value(*row)));
        let rows: Vec<_> = rows_of(sums, ad)?.filter(is_seen).collect();
        for (total, measure) in total.iter_mut().zip(Measure::ALL) {
            let values = column(measure.column())?.as_primitive::<Int64Type>();
            *total += rows.iter().map(|row| i128::from(values.value(*row))).sum::<i128>();
        }
    }
    let row = Measure::ALL.into_iter().zip(total).map(|(measure, sum)| {
        // A file with a row below zero is never added up.
        let number = fits::number(measure, sum, 0, || format!("ad {ad}"))?;
        let number: ArrayRef = Arc::new(Int64Array::from(vec![number]));
        Ok((measure.column(), number))
    });
    Ok(Some(RecordBatch::try_from_iter(row.collect::<std::result::Result<Vec<_>, Overflow>>()?)?))
}

/// Returns the plan that scans sums: some of their columns; only the rows of one ad, if only those are asked for.
pub(crate) fn scan(
    files: &[Arc<File>],
    schema: &SchemaRef,
    filters: &[Expr],
) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    if files.is_empty() {
        return Ok(None);
    }
    let ad = filters.iter().find_map(ad_looked_for);
    let sums = files.iter().filter_map(|file| file.sums()).map(|sums| {
        let rows = match ad {
            Some(ad) => rows_of(sums, ad)?,
            None => 0..sums.num_rows(),
        };
        let names: Vec<_> = schema
            .fields()
            .iter()
            .map(|field| sums.schema().index_of(field.name()))
            .collect::<std::result::Result<_, _>>()?;
        let sums = sums.slice(rows.start, rows.len()).project(&names)?;
        let count = RecordBatchOptions::new().with_row_count(Some(sums.num_rows()));
        Ok(RecordBatch::try_new_with_options(Arc::clone(schema), sums.columns().to_vec(), &count)?)
    });
    let sums = sums.collect::<Result<Vec<_>>>()?;
    let sums = if ad.is_some() { vec![concat_batches(schema, &sums)?] } else { sums };
    let scan: Arc<dyn ExecutionPlan> = MemorySourceConfig::try_new_exec(&[sums], Arc::clone(schema), None)?;
    Ok(Some(scan))
}

/// Returns the ad that a condition asks for, if it asks for one.
fn ad_looked_for(condition: &Expr) -> Option<&str> {
    let Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) = condition else { return None };
    match (left.as_ref(), right.as_ref()) {
        (Expr::Column(of), Expr::Literal(ScalarValue::Utf8(Some(ad)), _))
        | (Expr::Literal(ScalarValue::Utf8(Some(ad)), _), Expr::Column(of))
            if of.name == column::AD_ID =>
        {
            Some(ad)
        }
        _ => None,
    }
}

/// Returns the range of an ad's rows; the rows are sorted by ad.
fn rows_of(sums: &RecordBatch, ad: &str) -> Result<Range<usize>> {
    let ads = sums.column(sums.schema_ref().index_of(column::AD_ID)?).as_string::<i32>();
    let first = |is_before: &dyn Fn(&str) -> bool| {
        let (mut from, mut to) = (0, ads.len());
        while from < to {
            let middle = from + (to - from) / 2;
            if is_before(ads.value(middle)) { from = middle + 1 } else { to = middle }
        }
        from
    };
    Ok(first(&|other| other < ad)..first(&|other| other <= ad))
}

/// A file as a table.
struct OneFile {
    file: Arc<File>,
    schema: SchemaRef,
}

impl fmt::Debug for OneFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.object.location)
    }
}

#[async_trait]
impl TableProvider for OneFile {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        _: &[Expr],
        _: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let all: Vec<_> = (0..self.schema.fields().len()).collect();
        let reading = PlanMaker::new(session, &self.schema, AccessPath::Scan)?;
        UnionExec::try_new(reading.all_of(vec![Arc::clone(&self.file)], projection.unwrap_or(&all))?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_for_one_sum_of_one_ad_is_recognised() {
        let ad = || Filter::one(Field::AdId, "a");
        let question = |filter| Question { filter, ..Question::default() };
        assert_eq!(ad_of(&question(vec![ad()])), Some("a"));
        let nobody = Filter { dimension: Field::AdId, values: vec![None] };
        for other in [
            question(vec![]),
            question(vec![nobody]),
            question(vec![Filter::any(Field::AdId, ["a", "b"])]),
            question(vec![Filter::one(Field::Country, "a")]),
            question(vec![ad(), Filter::one(Field::Country, "DE")]),
            Question { group_by: vec![Field::Country], ..question(vec![ad()]) },
            Question { granularity: Some(Width::Day), ..question(vec![ad()]) },
        ] {
            assert_eq!(ad_of(&other), None, "{other:?}");
        }
    }
}
