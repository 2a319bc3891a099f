//! Cells as batches. A cell has the sums of one combination of dimensions in one window, of all events there that are
//! not handed over.
//!
//! A cell is named by its window and its number in the window, the column [`ROW`]. The dimensions alone do not name it:
//! where a sum would not fit into 64 bits, a further cell of the same dimensions begins. Numbers of a window are
//! consecutive, from 0, in the order in which its cells began, and no cell ever changes its number. Once a window is
//! handed over, its cells are gone, and later events begin again with number 0.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

use crate::measure::Measure;
use crate::minute::Parameters;
use crate::table::{column, timestamp};

/// Column with the number of a cell in its window.
pub const ROW: &str = "row";

/// Returns the columns of the cells of a table with these parameters: the start of the window, the dimensions, the
/// measures that the table has, and [`ROW`].
pub fn schema(parameters: &Parameters) -> SchemaRef {
    let dimension = |name: &'static str| Field::new(name, DataType::Utf8, name != column::AD_ID);
    let mut fields = vec![Field::new(column::WINDOW_START, timestamp(), false)];
    fields.extend(parameters.dimension_columns().into_iter().map(dimension));
    fields.extend(parameters.measures.iter().map(Measure::field));
    fields.push(Field::new(ROW, DataType::UInt32, false));
    Arc::new(Schema::new(fields))
}
