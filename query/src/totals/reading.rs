//! Reads the rows of the files of counts that hold what is asked for: all of their rows, or those of some windows.
//!
//! Large files are sorted by ad, so only the pages with matching rows are read. Small files are read whole.

use std::ops::Range;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::catalog::Session;
use datafusion::common::DFSchema;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, col, lit};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::utils::reassign_expr_columns;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::filter::FilterExecBuilder;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use datafusion::scalar::ScalarValue;
use lake_schemas::table::column;
use lake_schemas::time::MICROS_PER_MILLI;

use super::files::File;
use super::interval_set::IntervalSet;
use super::large::LargeFiles;
use super::small::{self, SmallFiles};
use super::store::{Store, store_url};

/// Concurrent scans for each processor: reading a few pages of a file is mostly waiting for the store.
const SCANS_PER_PROCESSOR: usize = 8;

/// Way in which the wanted rows are found in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AccessPath {
    /// The rows are in a few pages of the file, which its index names.
    Lookup,
    /// The rows may be anywhere in the file.
    Scan,
}

/// Makes the plans that read files in a session.
pub(crate) struct PlanMaker<'a> {
    session: &'a dyn Session,
    store: Store,
    /// Columns of counts.
    schema: &'a SchemaRef,
    path: AccessPath,
}

impl<'a> PlanMaker<'a> {
    /// Makes plans whose rows have these columns.
    pub fn new(session: &'a dyn Session, schema: &'a SchemaRef, path: AccessPath) -> Result<Self> {
        let runtime = session.runtime_env();
        let known = runtime.cache_manager.get_file_metadata_cache();
        let store = Store { objects: runtime.object_store(store_url())?, known };
        Ok(Self { session, store, schema, path })
    }

    /// Returns a condition on rows as a physical expression.
    pub fn condition(&self, condition: Expr) -> Result<Arc<dyn PhysicalExpr>> {
        self.session.create_physical_expr(condition, &DFSchema::try_from(Arc::clone(self.schema))?)
    }

    /// Returns the plans that read the rows of these windows: some of their columns.
    pub fn windows_of(
        &self,
        files: Vec<Arc<File>>,
        windows: &IntervalSet,
        columns: &[usize],
    ) -> Result<Vec<Arc<dyn ExecutionPlan>>> {
        let held = files.iter().map(|file| file.windows.clone());
        let Some(held) = held.reduce(|one, other| one.start.min(other.start)..one.end.max(other.end)) else {
            return Ok(Vec::new());
        };
        let windows: Vec<_> = windows.and(&IntervalSet::one(held)).iter().map(starts_in).collect();
        // The wanted columns come first, so that one that only the condition needs can be left out at the end.
        let wanted: Vec<_> = (0..columns.len()).collect();
        let mut columns = columns.to_vec();
        let start = self.schema.index_of(column::WINDOW_START)?;
        if !columns.contains(&start) {
            columns.push(start);
        }
        let condition = reassign_expr_columns(self.condition(any(&windows))?, &self.schema.project(&columns)?)?;
        let filter = |rows| -> Result<Arc<dyn ExecutionPlan>> {
            let filter = FilterExecBuilder::new(Arc::clone(&condition), rows);
            Ok(Arc::new(filter.apply_projection(Some(wanted.clone()))?.build()?))
        };
        self.all_of(files, &columns)?.into_iter().map(filter).collect()
    }

    /// Returns the plans that read all rows of files: some of their columns.
    pub fn all_of(&self, files: Vec<Arc<File>>, columns: &[usize]) -> Result<Vec<Arc<dyn ExecutionPlan>>> {
        let is_small = |file: &Arc<File>| file.object.size <= small::BYTES_MAX;
        let (small, large): (Vec<_>, Vec<_>) = files.into_iter().partition(is_small);
        let (small, large) = (self.small(small, columns)?, self.large(large, columns)?);
        Ok(small.into_iter().chain(large).collect())
    }

    fn small(&self, files: Vec<Arc<File>>, columns: &[usize]) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        if files.is_empty() {
            return Ok(None);
        }
        let rows = |files| {
            let (store, schema) = (self.store.clone(), Arc::clone(self.schema));
            Arc::new(SmallFiles { store, files, schema }) as Arc<dyn PartitionStream>
        };
        let rows = dealt(files, self.session.config().target_partitions()).into_iter().map(rows).collect();
        let (schema, columns) = (Arc::clone(self.schema), columns.to_vec());
        let scan = StreamingTableExec::try_new(schema, rows, Some(&columns), [], false, None)?;
        Ok(Some(Arc::new(scan)))
    }

    fn large(&self, files: Vec<Arc<File>>, columns: &[usize]) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        if files.is_empty() {
            return Ok(None);
        }
        let source = ParquetSource::new(Arc::clone(self.schema))
            .with_parquet_file_reader_factory(Arc::new(LargeFiles { store: self.store.clone() }))
            // If only few pages match, all their columns are best read at once.
            .with_pushdown_filters(self.path != AccessPath::Lookup)
            .with_enable_page_index(true)
            .with_bloom_filter_on_read(false);
        let at_once = self.session.config().target_partitions() * SCANS_PER_PROCESSOR;
        let group = |files: Vec<Arc<File>>| {
            FileGroup::new(files.iter().map(|file| PartitionedFile::new_from_meta(file.object.clone())).collect())
        };
        let config = FileScanConfigBuilder::new(store_url(), Arc::new(source))
            .with_file_groups(dealt(files, at_once).into_iter().map(group).collect())
            .with_projection_indices(Some(columns.to_vec()))?
            .build();
        Ok(Some(DataSourceExec::from_data_source(config)))
    }
}

/// Deals files out to at most `hands_max` parts, the large ones to different parts.
fn dealt(mut files: Vec<Arc<File>>, hands_max: usize) -> Vec<Vec<Arc<File>>> {
    files.sort_by(|one, other| {
        let by_size = other.object.size.cmp(&one.object.size);
        by_size.then_with(|| one.object.location.cmp(&other.object.location))
    });
    let hands = files.len().min(hands_max);
    (0..hands).map(|hand| files.iter().skip(hand).step_by(hands).cloned().collect()).collect()
}

/// Returns the condition that a window starts in a stretch.
fn starts_in(stretch: &Range<i64>) -> Expr {
    let micros = |millis: i64| {
        let micros = millis.checked_mul(MICROS_PER_MILLI)?;
        Some(lit(ScalarValue::TimestampMicrosecond(Some(micros), Some(Arc::from("UTC")))))
    };
    // An open bound overflows when it is converted to microseconds, and gives no condition.
    let from = micros(stretch.start).map(|from| col(column::WINDOW_START).gt_eq(from));
    let to = micros(stretch.end).map(|to| col(column::WINDOW_START).lt(to));
    from.into_iter().chain(to).reduce(Expr::and).unwrap_or_else(|| lit(true))
}

/// Returns the condition that any of these holds. It is a balanced tree, because there may be one condition for each
/// hour of a year.
fn any(conditions: &[Expr]) -> Expr {
    match conditions {
        [] => lit(false),
        [one] => one.clone(),
        _ => {
            let (some, others) = conditions.split_at(conditions.len() / 2);
            any(some).or(any(others))
        }
    }
}
