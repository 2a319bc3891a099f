//! The rows of a table's data files, as they were written: in their order, in the types of the table, with the columns
//! that only their folder knows.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{Field, SchemaRef};
use arrow::error::ArrowError;
use deltalake::kernel::Add;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use object_store::ObjectStore;
use object_store::path::Path;
use parquet::arrow::{ParquetRecordBatchStreamBuilder, ProjectionMask};
use parquet::file::metadata::{ParquetMetaData, RowGroupMetaData};

use crate::error::{LakeError, Result};
use crate::folder::Folder;
use crate::stored_file::StoredFile;
use crate::table::Table;

/// Rows a batch: what is decoded, and encoded again, at a time.
const BATCH_ROWS: usize = 8_192;

/// Bytes of a batch, as far as the metadata of its file tells: rejected payloads may have a megabyte each, and compress
/// so well that a small file holds thousands of them.
const BATCH_BYTES: u64 = 16 * 1024 * 1024;

/// Opens a file of a table. Its rows come in the columns of a schema: the table's, or some of them.
pub fn rows(
    store: Arc<dyn ObjectStore>,
    table: Table,
    schema: SchemaRef,
    file: Add,
) -> BoxFuture<'static, Result<BoxStream<'static, Result<RecordBatch>>>> {
    Box::pin(async move {
        let foreign = || LakeError::Refused(format!("{table}: {} is not a file as clicklake writes them", file.path));
        let folder = Folder::of(table, &file).ok_or_else(foreign)?;
        let path = Path::from_url_path(&file.path).map_err(|_| foreign())?;
        let stored = StoredFile::new(store, path, file.size.unsigned_abs());
        let what = format!("{table}: reading {}", file.path);
        let unread = |error| LakeError::store(what.clone(), error);
        let builder = ParquetRecordBatchStreamBuilder::new(stored).await.map_err(unread)?;
        let names = schema.fields().iter().map(|field| field.name().as_str());
        let columns = ProjectionMask::columns(builder.parquet_schema(), names);
        let batch_rows = batch_rows(builder.metadata());
        let rows = builder.with_projection(columns).with_batch_size(batch_rows).build().map_err(unread)?;
        let rows = rows.map(move |rows| {
            let rows = rows.map_err(|error| LakeError::store(what.clone(), error))?;
            complete(&rows, &schema, folder).map_err(|error| LakeError::store(what.clone(), error))
        });
        Ok(rows.boxed())
    })
}

/// All rows of a file, for one that is known to be small.
pub async fn all_rows(
    store: Arc<dyn ObjectStore>,
    table: Table,
    schema: SchemaRef,
    file: Add,
) -> Result<Vec<RecordBatch>> {
    rows(store, table, schema, file).await?.try_collect().await
}

/// Returns how many rows of a file are decoded at a time: fewer, if a row group has large ones.
fn batch_rows(file: &ParquetMetaData) -> usize {
    let rows_of = |group: &RowGroupMetaData| {
        let (bytes, rows) = (group.total_byte_size().unsigned_abs(), group.num_rows().unsigned_abs());
        usize::try_from(BATCH_BYTES.saturating_mul(rows).checked_div(bytes).unwrap_or(u64::MAX)).unwrap_or(usize::MAX)
    };
    file.row_groups().iter().map(rows_of).min().unwrap_or(BATCH_ROWS).clamp(1, BATCH_ROWS)
}

/// Rows in the columns of a schema, whatever types their reader chose.
fn complete(rows: &RecordBatch, schema: &SchemaRef, folder: Folder) -> Result<RecordBatch, ArrowError> {
    let columns = schema.fields().iter().map(|field| {
        if let Some(column) = folder.column(field.name(), rows.num_rows()) {
            return Ok(column);
        }
        column(rows, field)
    });
    RecordBatch::try_new(Arc::clone(schema), columns.collect::<Result<_, _>>()?)
}

/// A column of rows in the type of a field, whatever type their reader chose.
pub fn column(rows: &RecordBatch, field: &Field) -> Result<ArrayRef, ArrowError> {
    let lacking = || ArrowError::SchemaError(format!("no column {}", field.name()));
    cast(rows.column_by_name(field.name()).ok_or_else(lacking)?, field.data_type())
}
