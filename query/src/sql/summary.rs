//! Summary of the tables of a lake: how many rows each holds, in which version, up to which position.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::error::ArrowError;
use lake_schemas::table::timestamp;
use lake_schemas::{Cut, Table, position};
use lake_store::commit::{TableView, Written};
use lake_store::{Lake, Statistics};

use crate::error::QueryError;

/// Summary of one table.
#[derive(Clone, Debug)]
pub struct TableSummary {
    /// Table that is summarised.
    pub table: Table,
    /// Newest version, with what its log entry says.
    pub newest: Written,
    /// Number of rows.
    pub rows: u64,
    /// Number of files.
    pub files: usize,
    /// Size of the files in bytes.
    pub bytes: u64,
    /// Cut of the table.
    pub cut: Cut,
}

impl TableSummary {
    /// Makes one row per table.
    pub fn rows_of(all: &[Self]) -> Result<RecordBatch, ArrowError> {
        let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        let numbers = |of: fn(&Self) -> u64| -> ArrayRef {
            Arc::new(Int64Array::from_iter_values(all.iter().map(|held| number(of(held)))))
        };
        let written = all.iter().map(|held| held.newest.time_ms.map(|millis| millis * 1_000));
        RecordBatch::try_from_iter([
            ("table", Arc::new(StringArray::from_iter_values(all.iter().map(|held| held.table.name()))) as ArrayRef),
            ("version", numbers(|held| held.newest.version)),
            ("written", Arc::new(written.collect::<TimestampMicrosecondArray>().with_data_type(timestamp()))),
            ("rows", numbers(|held| held.rows)),
            ("files", numbers(|held| held.files as u64)),
            ("bytes", numbers(|held| held.bytes)),
            ("cut", Arc::new(StringArray::from_iter_values(all.iter().map(|held| position::shown(&held.cut))))),
        ])
    }
}

/// Summarises the tables of a lake. A lake without tables is an error.
pub(crate) async fn held(lake: &Lake) -> Result<Vec<TableSummary>, QueryError> {
    let mut all = Vec::new();
    for table in Table::ALL.into_iter().chain(lake.stagings().await?) {
        let Some(view) = TableView::newest(lake, table).await? else { continue };
        let version = view.version();
        let (live, written) = (view.live_files().await?, view.written(version..=version).await?);
        all.push(TableSummary {
            table,
            newest: written.into_iter().next().unwrap_or(Written { version, ..Written::default() }),
            rows: live.iter().filter_map(|file| Statistics::of(file).rows()).sum(),
            files: live.len(),
            bytes: live.iter().map(|file| file.size.unsigned_abs()).sum(),
            cut: view.cut(),
        });
    }
    if all.is_empty() {
        return Err(lake.lacks_tables().into());
    }
    Ok(all)
}
