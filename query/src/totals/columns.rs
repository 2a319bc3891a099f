//! The columns of counts that answers are computed from.

use std::sync::Arc;

use arrow::datatypes::{Field, Schema, SchemaRef};
use lake_schemas::minute::Parameters;
use lake_schemas::table::column;
use lake_schemas::{Measure, Table};

/// Returns the columns of counts: the window's start, the dimensions and the measures. A measure may be null, because
/// data files may be older than the measure.
pub(crate) fn columns(parameters: &Parameters) -> SchemaRef {
    let all = parameters.with_all_measures().schema(Table::ClicksDaily);
    let names = [column::WINDOW_START].into_iter().chain(parameters.dimension_columns());
    let names: Vec<_> = names.chain(Measure::ALL.map(Measure::column)).collect();
    let fields = all.fields().iter().filter(|field| names.contains(&field.name().as_str()));
    let is_measure = |field: &Field| Measure::ALL.iter().any(|measure| measure.column() == field.name());
    let fields = fields.map(|field| {
        let field = field.as_ref().clone();
        let is_nullable = field.is_nullable() || is_measure(&field);
        field.with_nullable(is_nullable)
    });
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}
