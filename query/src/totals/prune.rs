//! Leaves out files that cannot hold a row that is asked for, by the smallest and the largest ad and campaign that each
//! states.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, StringArray};
use arrow::datatypes::SchemaRef;
use datafusion::common::Column;
use datafusion::common::pruning::PruningStatistics;
use datafusion::error::Result;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_optimizer::pruning::{PruningPredicate, PruningPredicateBuilder};
use datafusion::scalar::ScalarValue;

use super::files::{BOUNDED_COLUMNS, File};

/// Decides by a condition which files are read.
pub(crate) struct Pruning(Option<Arc<PruningPredicate>>);

impl Pruning {
    /// Prunes by a condition on rows in these columns. A condition that tells nothing about files leaves out none.
    pub fn new(condition: Option<Arc<dyn PhysicalExpr>>, schema: &SchemaRef) -> Self {
        let builder = PruningPredicateBuilder::new().with_file_schema(Arc::clone(schema));
        Self(condition.and_then(|condition| builder.build(condition)))
    }

    /// Returns the files that may hold a row for which the condition holds.
    pub fn keep(&self, files: Vec<Arc<File>>) -> Result<Vec<Arc<File>>> {
        let Some(predicate) = self.0.as_ref().filter(|_| !files.is_empty()) else { return Ok(files) };
        let may_hold = predicate.prune(&Bounds(&files))?;
        Ok(files.into_iter().zip(may_hold).filter_map(|(file, may_hold)| may_hold.then_some(file)).collect())
    }
}

/// Bounds of the files' columns, as DataFusion asks for them.
struct Bounds<'a>(&'a [Arc<File>]);

impl Bounds<'_> {
    fn of(&self, column: &Column, bound: impl Fn(&(String, String)) -> &String) -> Option<ArrayRef> {
        let at = BOUNDED_COLUMNS.iter().position(|name| *name == column.name)?;
        let bounds = self.0.iter().map(|file| file.bounds[at].as_ref().map(&bound));
        Some(Arc::new(bounds.collect::<StringArray>()))
    }
}

impl PruningStatistics for Bounds<'_> {
    fn min_values(&self, column: &Column) -> Option<ArrayRef> {
        self.of(column, |(min, _)| min)
    }

    fn max_values(&self, column: &Column) -> Option<ArrayRef> {
        self.of(column, |(_, max)| max)
    }

    fn num_containers(&self) -> usize {
        self.0.len()
    }

    fn null_counts(&self, _: &Column) -> Option<ArrayRef> {
        None
    }

    fn row_counts(&self) -> Option<ArrayRef> {
        None
    }

    fn contained(&self, _: &Column, _: &HashSet<ScalarValue>) -> Option<BooleanArray> {
        None
    }
}
