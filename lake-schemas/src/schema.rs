//! The columns of each table: as it is made, and as rows are read in them.
//!
//! Columns may be added at the end; readers name theirs. What a file lacks because it is older than a column reads as
//! null, a measure as 0.

use std::sync::{Arc, LazyLock};

use arrow::array::{ArrayRef, RecordBatch, new_null_array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;

use crate::measure::Measure;
use crate::minute::Parameters;
use crate::table::{Definition, Table, column, timestamp};

impl Table {
    /// All its columns, those it is partitioned by at the end; of counts, those of the default parameters.
    pub fn schema(self) -> SchemaRef {
        match self {
            Self::Clicks => Arc::clone(&CLICKS),
            Self::ClicksRejected => Arc::clone(&CLICKS_REJECTED),
            _ => Parameters::default().schema(self),
        }
    }

    /// How it is made; counts, with the default parameters.
    pub fn definition(self) -> Definition {
        if self.is_counts() {
            return Parameters::default().definition(self);
        }
        Definition { table: self, schema: self.schema(), properties: self.properties() }
    }

    /// Rows as they were written, in the types of the table, whatever types their reader chose; possibly not all of its
    /// columns.
    pub fn as_written(self, rows: &RecordBatch) -> Result<RecordBatch, ArrowError> {
        let (schema, found) = (self.schema(), rows.schema());
        let columns = found.fields().iter().map(|field| {
            let written = schema.field_with_name(field.name())?;
            Ok((field.name().clone(), column_as(rows, written)?, field.is_nullable()))
        });
        RecordBatch::try_from_iter_with_nullable(columns.collect::<Result<Vec<_>, ArrowError>>()?)
    }
}

/// A column of rows in the type of a field, whatever type their reader chose. One that the rows lack is null, if it may
/// be; a measure is 0.
pub fn column_as(rows: &RecordBatch, field: &Field) -> Result<ArrayRef, ArrowError> {
    if let Some(column) = rows.column_by_name(field.name()) {
        return cast(column, field.data_type());
    }
    if field.is_nullable() {
        return Ok(new_null_array(field.data_type(), rows.num_rows()));
    }
    if let Some(measure) = Measure::ALL.into_iter().find(|measure| measure.column() == field.name()) {
        return Ok(measure.zeros(rows.num_rows()));
    }
    Err(ArrowError::SchemaError(format!("no column {}", field.name())))
}

fn required(name: &str, data_type: DataType) -> Field {
    Field::new(name, data_type, false)
}

fn optional(name: &str, data_type: DataType) -> Field {
    Field::new(name, data_type, true)
}

static CLICKS: LazyLock<SchemaRef> = LazyLock::new(|| {
    Arc::new(Schema::new(vec![
        required(column::TOPIC, DataType::Utf8),
        required(column::KAFKA_PARTITION, DataType::Int32),
        required(column::KAFKA_OFFSET, DataType::Int64),
        optional(column::KAFKA_TIMESTAMP, timestamp()),
        required(column::EVENT_TIME, timestamp()),
        optional(column::EVENT_TYPE, DataType::Utf8),
        required(column::AD_ID, DataType::Utf8),
        optional(column::CAMPAIGN_ID, DataType::Utf8),
        optional(column::CLICK_ID, DataType::Utf8),
        optional(column::USER_ID, DataType::Utf8),
        optional(column::PUBLISHER_ID, DataType::Utf8),
        optional(column::COUNTRY, DataType::Utf8),
        optional(column::DEVICE, DataType::Utf8),
        optional(column::IP, DataType::Utf8),
        optional(column::COST_MICROS, DataType::Int64),
        optional(column::EXTRA, DataType::Utf8),
        required(column::LOG_DATE, DataType::Date32),
    ]))
});

static CLICKS_REJECTED: LazyLock<SchemaRef> = LazyLock::new(|| {
    Arc::new(Schema::new(vec![
        required(column::TOPIC, DataType::Utf8),
        required(column::KAFKA_PARTITION, DataType::Int32),
        required(column::KAFKA_OFFSET, DataType::Int64),
        optional(column::KAFKA_TIMESTAMP, timestamp()),
        required(column::REASON, DataType::Utf8),
        optional(column::DETAIL, DataType::Utf8),
        optional(column::KEY, DataType::Binary),
        optional(column::PAYLOAD, DataType::Binary),
        required(column::LOG_DATE, DataType::Date32),
    ]))
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
    }
}
