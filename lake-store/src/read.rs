//! Reads the rows of a table's data files as they were written: in their order, in the types of the table, with the
//! columns that only their folder states.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use deltalake::kernel::Add;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use lake_schemas::schema::column_as;
use lake_schemas::{Code, Folder, Table};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use parquet::arrow::{ParquetRecordBatchStreamBuilder, ProjectionMask};
use parquet::file::metadata::{ParquetMetaData, RowGroupMetaData};

use crate::error::{LakeError, Result};
use crate::gone::way_out;
use crate::path::path_of;
use crate::stored_file::{StoredFile, unread};

/// Rows in a batch: they are decoded, and encoded again, at a time.
const BATCH_ROWS: usize = 8_192;

/// Bytes in a batch, as far as the metadata of its file tells: rejected payloads may have a megabyte each, and compress
/// so well that a small file holds thousands of them.
const BATCH_BYTES: u64 = 16 * 1024 * 1024;

/// Opens a file of a table. Its rows come in the columns of `schema`: all of the table's, or some of them. A column
/// that the file lacks reads as null, and a measure as 0, because files may be older than a column.
pub fn rows(
    store: Arc<dyn ObjectStore>,
    table: Table,
    schema: SchemaRef,
    file: Add,
) -> BoxFuture<'static, Result<BoxStream<'static, Result<RecordBatch>>>> {
    Box::pin(async move {
        let foreign = |why: &str| {
            LakeError::Refused(
                Code::FileForeign
                    .because(format!("{table}: {} is not a file as clicklake writes them: {why}", file.path)),
            )
        };
        if file.deletion_vector.is_some() {
            return Err(foreign("some of its rows are deleted by a deletion vector"));
        }
        let folder =
            Folder::named(table, &file.partition_values).ok_or_else(|| foreign("it is in no folder of the table"))?;
        let path = path_of(&file.path).ok_or_else(|| foreign("it lies outside of the table's folder"))?;
        let stored = StoredFile::new(Arc::clone(&store), path.clone(), file.size.unsigned_abs());
        let what = format!("{table}: reading {}", file.path);
        let shown = file.path.clone();
        let unread = move |error| unread(table, "reading", &shown, error);
        let builder = match ParquetRecordBatchStreamBuilder::new(stored).await {
            Ok(builder) => builder,
            Err(error) => {
                return Err(damage(store.as_ref(), table, &file, &path).await.unwrap_or_else(|| unread(error)));
            }
        };
        let names = schema.fields().iter().map(|field| field.name().as_str());
        let columns = ProjectionMask::columns(builder.parquet_schema(), names);
        let batch_rows = batch_rows(builder.metadata());
        let rows = builder.with_projection(columns).with_batch_size(batch_rows).build().map_err(&unread)?;
        let rows = rows.map(move |rows| {
            let rows = rows.map_err(&unread)?;
            complete(&rows, &schema, folder)
                .map_err(|error| LakeError::Refused(Code::FileForeign.because(format!("{what}: {error}"))))
        });
        Ok(rows.boxed())
    })
}

/// Explains a file that cannot be opened, with how to repair it, if its size differs from the one in the log.
async fn damage(store: &dyn ObjectStore, table: Table, file: &Add, path: &Path) -> Option<LakeError> {
    let (found, size) = (store.head(path).await.ok()?.size, file.size.unsigned_abs());
    let why = || {
        format!(
            "{table}: the file {} has {found} bytes, not the {size} that the log names: it was damaged, perhaps by a \
             power loss; {}",
            file.path,
            way_out(table)
        )
    };
    (found != size).then(|| LakeError::Refused(Code::FileDamaged.because(why())))
}

/// Reads all rows of a file that is known to be small.
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

/// Converts rows into the columns of a schema, whatever types their reader chose.
fn complete(rows: &RecordBatch, schema: &SchemaRef, folder: Folder) -> Result<RecordBatch, ArrowError> {
    let columns = schema.fields().iter().map(|field| {
        if let Some(column) = folder.column(field.name(), rows.num_rows()) {
            return Ok(column);
        }
        column_as(rows, field)
    });
    RecordBatch::try_new(Arc::clone(schema), columns.collect::<Result<_, _>>()?)
}
