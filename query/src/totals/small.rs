//! Reads small files of counts: the hours of a day that is not over, the minutes of an hour that is not. Each is read
//! whole, and its rows are kept from question to question, because a file never changes.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use datafusion::common::HashMap;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::cache::cache_manager::{CachedFileMetadataEntry, FileMetadata};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::parquet::arrow::ProjectionMask;
use datafusion::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::PartitionStream;
use futures::{StreamExt, stream};
use lake_schemas::schema::column_as;
use object_store::{ObjectMeta, ObjectStoreExt};

use super::files::File;
use super::store::Store;
use crate::damaged::in_file;

/// Size up to which a file is small, in bytes: some ten thousand rows, which take ten times as much in memory.
pub(crate) const BYTES_MAX: u64 = 256 * 1024;

/// Files that each scan reads concurrently.
const READS_MAX: usize = 8;

/// Rows of small files, as a stream.
pub(crate) struct SmallFiles {
    /// Store of the files, with what is known of them.
    pub store: Store,
    /// Files that are read.
    pub files: Vec<Arc<File>>,
    /// Columns of their rows.
    pub schema: SchemaRef,
}

impl fmt::Debug for SmallFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} small files", self.files.len())
    }
}

impl PartitionStream for SmallFiles {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let rows = self.files.clone().into_iter().map({
            let (store, schema) = (self.store.clone(), Arc::clone(&self.schema));
            move |file| rows(store.clone(), Arc::clone(&schema), file)
        });
        Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), stream::iter(rows).buffered(READS_MAX)))
    }
}

/// Returns all rows of a file.
async fn rows(store: Store, schema: SchemaRef, file: Arc<File>) -> Result<RecordBatch> {
    let object = &file.object;
    let known = store.known.get(&object.location).filter(|known| known.is_valid_for(object));
    let known = known.as_ref().and_then(|known| known.file_metadata.as_any().downcast_ref::<Rows>());
    if let Some(Rows(rows)) = known.filter(|known| known.0.schema_ref() == &schema) {
        return Ok(rows.clone());
    }
    let explained = |error: DataFusionError| match in_file(object.location.as_ref(), &error) {
        Some(damaged) => DataFusionError::External(Box::new(damaged)),
        None => error.context(object.location.to_string()),
    };
    let rows = read(&store, &schema, object).await.map_err(explained)?;
    let known = CachedFileMetadataEntry::new(object.clone(), Arc::new(Rows(rows.clone())));
    store.known.put(&object.location, known);
    Ok(rows)
}

async fn read(store: &Store, schema: &SchemaRef, object: &ObjectMeta) -> Result<RecordBatch> {
    let file = store.objects.get(&object.location).await?.bytes().await?;
    let file = ParquetRecordBatchReaderBuilder::try_new(file)?;
    let names = schema.fields().iter().map(|field| field.name().as_str());
    let columns = ProjectionMask::columns(file.parquet_schema(), names);
    let batches = file.with_projection(columns).build()?.map(|rows| as_asked(&rows?, schema));
    let batches: Vec<_> = batches.collect::<Result<_, ArrowError>>()?;
    Ok(concat_batches(schema, &batches)?)
}

/// Converts rows to the columns that are asked for.
fn as_asked(rows: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, ArrowError> {
    let columns = schema.fields().iter().map(|field| column_as(rows, field));
    RecordBatch::try_new(Arc::clone(schema), columns.collect::<Result<_, _>>()?)
}

/// Rows of a file, as an entry of the cache.
struct Rows(RecordBatch);

impl FileMetadata for Rows {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn memory_size(&self) -> usize {
        self.0.get_array_memory_size()
    }

    fn extra_info(&self) -> HashMap<String, String> {
        HashMap::new()
    }
}
