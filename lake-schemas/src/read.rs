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
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use parquet::arrow::{ParquetRecordBatchStreamBuilder, ProjectionMask};

use crate::error::{LakeError, Result};
use crate::folder::Folder;
use crate::stored_file::StoredFile;
use crate::table::Table;

/// Rows a batch: what is decoded, and encoded again, at a time.
const BATCH_ROWS: usize = 8_192;

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
        let stored = StoredFile::new(Arc::clone(&store), path.clone(), file.size.unsigned_abs());
        let what = format!("{table}: reading {}", file.path);
        let unread = |error| LakeError::store(what.clone(), error);
        let builder = match ParquetRecordBatchStreamBuilder::new(stored).await {
            Ok(builder) => builder,
            Err(error) => {
                return Err(damage(store.as_ref(), table, &file, &path).await.unwrap_or_else(|| unread(error)));
            }
        };
        let names = schema.fields().iter().map(|field| field.name().as_str());
        let columns = ProjectionMask::columns(builder.parquet_schema(), names);
        let rows = builder.with_projection(columns).with_batch_size(BATCH_ROWS).build().map_err(unread)?;
        let rows = rows.map(move |rows| {
            let rows = rows.map_err(|error| LakeError::store(what.clone(), error))?;
            complete(&rows, &schema, folder).map_err(|error| LakeError::store(what.clone(), error))
        });
        Ok(rows.boxed())
    })
}

/// What is wrong with a file that cannot be opened, and how to repair it, if it is not as large as the log says.
async fn damage(store: &dyn ObjectStore, table: Table, file: &Add, path: &Path) -> Option<LakeError> {
    let (found, size) = (store.head(path).await.ok()?.size, file.size.unsigned_abs());
    let otherwise = match table {
        Table::Clicks | Table::ClicksRejected => "",
        Table::ClicksMinute | Table::Shadow(_) => {
            ", or count again: `clicklake backfill --into` another table, then `clicklake promote` it"
        }
        Table::ClicksHourly | Table::ClicksDaily => {
            ", or remove the folder of the table: `clicklake compact` makes it again"
        }
    };
    let why = || {
        format!(
            "{table}: the file {} has {found} bytes, not the {size} that the log names: it was damaged, perhaps by a power \
             loss; put back a copy of it{otherwise}",
            file.path
        )
    };
    (found != size).then(|| LakeError::Refused(why()))
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
