//! Groups rows by the folder of the table that they are written into, which their partition columns name. No I/O.

use std::ops::Range;

use arrow::array::{ArrayRef, AsArray, RecordBatch, UInt32Array};
use arrow::compute::{partition, take_record_batch};
use arrow::datatypes::{DataType, Date32Type, Int32Type};
use delta_kernel::expressions::Scalar;
use indexmap::IndexMap;
use lake_schemas::{Code, Table};

use crate::error::{LakeError, Result};

/// Values of the columns that a table is partitioned by, in their order: they name a folder.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct FolderValues(Vec<Value>);

/// A value of a partition column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Value {
    /// Date in days since 1970.
    Date(i32),
    Number(i32),
}

impl FolderValues {
    /// Returns the values by column name, as Delta takes them.
    pub fn named(&self, table: Table) -> IndexMap<String, Scalar> {
        let scalar = |value: &Value| match *value {
            Value::Date(days) => Scalar::Date(days),
            Value::Number(number) => Scalar::Integer(number),
        };
        let names = table.partition_columns().iter().map(|name| (*name).to_owned());
        names.zip(self.0.iter().map(scalar)).collect()
    }

    /// Reads the values of a row; `None` if a column is neither a date nor a number.
    fn at(columns: &[ArrayRef], row: usize) -> Option<Self> {
        let value = |column: &ArrayRef| match column.data_type() {
            DataType::Date32 => Some(Value::Date(column.as_primitive::<Date32Type>().value(row))),
            DataType::Int32 => Some(Value::Number(column.as_primitive::<Int32Type>().value(row))),
            _ => None,
        };
        columns.iter().map(value).collect::<Option<_>>().map(Self)
    }
}

/// Splits a batch into runs of neighbouring rows that belong into one folder.
pub(super) fn runs(table: Table, batch: &RecordBatch) -> Result<Vec<(FolderValues, RecordBatch)>> {
    let runs = ranges(table, batch)?.into_iter();
    Ok(runs.map(|(folder, range)| (folder, batch.slice(range.start, range.len()))).collect())
}

fn ranges(table: Table, batch: &RecordBatch) -> Result<Vec<(FolderValues, Range<usize>)>> {
    let lacking =
        || LakeError::Refused(Code::Bug.because(format!("{table}: rows without the columns it is partitioned by")));
    let names = table.partition_columns();
    let columns: Option<Vec<_>> = names.iter().map(|name| batch.column_by_name(name).cloned()).collect();
    let columns = columns.ok_or_else(lacking)?;
    let Ok(partitions) = partition(&columns) else { return Err(lacking()) };
    let run = |range: Range<usize>| Ok((FolderValues::at(&columns, range.start).ok_or_else(lacking)?, range));
    partitions.ranges().into_iter().map(run).collect()
}

/// Index of a batch, and ranges of its rows.
type Ranges = (usize, Vec<Range<usize>>);

/// Batches, with the ranges of their rows that belong into each folder.
pub(super) struct Groups<'a> {
    table: Table,
    batches: &'a [RecordBatch],
    /// Ranges by folder, in order of first appearance.
    folders: IndexMap<FolderValues, Vec<Ranges>>,
}

impl<'a> Groups<'a> {
    /// Finds the folder of each row, without copying any.
    pub fn of(table: Table, batches: &'a [RecordBatch]) -> Result<Self> {
        let mut folders: IndexMap<FolderValues, Vec<Ranges>> = IndexMap::new();
        for (at, batch) in batches.iter().enumerate() {
            for (folder, range) in ranges(table, batch)? {
                let found = folders.entry(folder).or_default();
                match found.last_mut() {
                    Some((of, ranges)) if *of == at => ranges.push(range),
                    _ => found.push((at, vec![range])),
                }
            }
        }
        Ok(Self { table, batches, folders })
    }

    /// Yields the rows of each folder, in their order, a batch at a time.
    pub fn folders(&self) -> impl Iterator<Item = impl Iterator<Item = Result<RecordBatch>> + Send> {
        self.folders.values().map(|stretches| stretches.iter().map(|(at, ranges)| self.rows(*at, ranges)))
    }

    fn rows(&self, at: usize, ranges: &[Range<usize>]) -> Result<RecordBatch> {
        let batch = &self.batches[at];
        if let [range] = ranges {
            return Ok(batch.slice(range.start, range.len()));
        }
        let number = |row: usize| u32::try_from(row).expect("a batch has fewer rows");
        let rows: UInt32Array = ranges.iter().cloned().flatten().map(number).collect();
        take_record_batch(batch, &rows)
            .map_err(|error| LakeError::store(format!("{}: grouping rows", self.table), error))
    }
}
