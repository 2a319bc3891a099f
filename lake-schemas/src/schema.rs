//! The columns of each table: those that it is made with, and how rows are read into them.
//!
//! Columns may be added at the end, so readers name theirs. A file that is older than a column lacks it: the column
//! then reads as null, and a measure as 0.

use std::sync::{Arc, LazyLock};

use arrow::array::{ArrayRef, RecordBatch, new_null_array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;

use crate::field::{self, Role};
use crate::measure::Measure;
use crate::minute::Parameters;
use crate::table::{Definition, Table, column};

impl Table {
    /// Returns all columns of the table, partition columns last. A table of counts has those of the default parameters.
    pub fn schema(self) -> SchemaRef {
        match self {
            Self::Clicks => Arc::clone(&CLICKS),
            Self::ClicksRejected => Arc::clone(&CLICKS_REJECTED),
            _ => Parameters::default().schema(self),
        }
    }

    /// Returns the definition by which the table is made. A table of counts has the default parameters.
    pub fn definition(self) -> Definition {
        if self.is_counts() {
            return Parameters::default().definition(self);
        }
        let (schema, properties) = (self.schema(), self.properties());
        let added = field::Field::ALL.into_iter().filter(|field| self == Self::Clicks && field.is_added()).count();
        Definition { table: self, schema, added, properties, spec: None }
    }

    /// Converts rows to the types of the table, whatever types their reader chose. The rows may lack columns.
    pub fn as_written(self, rows: &RecordBatch) -> Result<RecordBatch, ArrowError> {
        let (schema, found) = (self.schema(), rows.schema());
        let columns = found.fields().iter().map(|field| {
            let written = schema.field_with_name(field.name())?;
            Ok((field.name().clone(), column_as(rows, written)?, field.is_nullable()))
        });
        RecordBatch::try_from_iter_with_nullable(columns.collect::<Result<Vec<_>, ArrowError>>()?)
    }
}

/// Returns a column of rows in the type of a field, whatever type their reader chose. A column that the rows lack is
/// null, if it may be. A measure is 0 there, and also where it is null.
pub fn column_as(rows: &RecordBatch, field: &Field) -> Result<ArrayRef, ArrowError> {
    // Compare all of the field: columns of other tables may have the same name.
    let measure =
        Measure::ALL.into_iter().find(|measure| measure.column() == field.name() && measure.field() == *field);
    let column = rows.column_by_name(field.name()).map(|column| cast(column, field.data_type())).transpose()?;
    match (column, measure) {
        (Some(column), Some(measure)) => Ok(measure.filled(column)),
        (Some(column), None) => Ok(column),
        (None, Some(measure)) => Ok(measure.zeros(rows.num_rows())),
        (None, None) if field.is_nullable() => Ok(new_null_array(field.data_type(), rows.num_rows())),
        (None, None) => Err(ArrowError::SchemaError(format!("no column {}", field.name()))),
    }
}

fn required(name: &str, data_type: DataType) -> Field {
    Field::new(name, data_type, false)
}

fn optional(name: &str, data_type: DataType) -> Field {
    Field::new(name, data_type, true)
}

static CLICKS: LazyLock<SchemaRef> =
    LazyLock::new(|| Arc::new(Schema::new(field::Field::ALL.map(field::Field::in_arrow).to_vec())));

static CLICKS_REJECTED: LazyLock<SchemaRef> = LazyLock::new(|| {
    let of_role = |role| field::Field::of_role(role).map(field::Field::in_arrow);
    let own = [
        required(column::REASON, DataType::Utf8),
        optional(column::DETAIL, DataType::Utf8),
        optional(column::KEY, DataType::Binary),
        optional(column::PAYLOAD, DataType::Binary),
    ];
    Arc::new(Schema::new(of_role(Role::Position).chain(own).chain(of_role(Role::Partition)).collect::<Vec<_>>()))
});

#[cfg(test)]
mod tests {
    use arrow::array::Array;

    use super::*;

    fn rows() -> RecordBatch {
        let ads: ArrayRef = Arc::new(arrow::array::StringArray::from(vec!["a", "b"]));
        RecordBatch::try_new(Arc::new(Schema::new(vec![Field::new("ad_id", DataType::Utf8, false)])), vec![ads])
            .expect("rows")
    }

    #[test]
    fn a_column_that_a_file_lacks_reads_as_null_and_a_measure_as_nothing() {
        let country = column_as(&rows(), &Field::new("country", DataType::Utf8, true)).expect("it may be null");
        assert_eq!((country.len(), country.null_count()), (2, 2));
        let late = column_as(&rows(), &Field::new("late", DataType::Int64, false)).expect("a measure");
        assert_eq!((late.len(), late.null_count()), (2, 0));
        assert_eq!(arrow::array::AsArray::as_primitive::<arrow::datatypes::Int64Type>(&late).values(), &[0, 0]);
        column_as(&rows(), &Field::new("topic", DataType::Utf8, false)).expect_err("it must have a value");
        // This column of `clicks` is no measure.
        let cost = column_as(&rows(), &Field::new("cost_micros", DataType::Int64, true)).expect("it may be null");
        assert_eq!(cost.null_count(), 2);
    }

    /// Otherwise nobody could tell whether a column that a file lacks is null or 0.
    #[test]
    fn no_field_of_a_click_is_said_of_as_a_measure_is() {
        for field in field::Field::ALL {
            assert!(Measure::ALL.iter().all(|measure| measure.field() != field.in_arrow()), "{}", field.column());
        }
    }

    #[test]
    fn what_was_added_stands_at_the_end_and_may_be_null() {
        for table in Table::ALL {
            let definition = table.definition();
            let (fields, first) = (definition.schema.fields(), definition.first_columns());
            assert!(fields[first..].iter().all(|field| field.is_nullable()), "{table}");
            let partitioned: Vec<_> = table.partition_columns().iter().map(|name| (*name).to_owned()).collect();
            let end: Vec<_> = fields[first - partitioned.len()..first].iter().map(|one| one.name().clone()).collect();
            assert_eq!(end, partitioned, "{table}");
        }
    }
}
