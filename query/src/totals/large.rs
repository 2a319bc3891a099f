//! Reads large files of counts: closed months, busy hours. Their footers are kept from question to question, with the
//! page index, which tells where in a file the rows of an ad are.

use std::any::Any;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use datafusion::common::HashMap;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::ParquetFileReaderFactory;
use datafusion::execution::cache::cache_manager::{CachedFileMetadataEntry, FileMetadata};
use datafusion::parquet::arrow::arrow_reader::ArrowReaderOptions;
use datafusion::parquet::arrow::async_reader::AsyncFileReader;
use datafusion::parquet::errors::{ParquetError, Result};
use datafusion::parquet::file::metadata::{PageIndexPolicy, ParquetMetaData, ParquetMetaDataReader};
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use futures::FutureExt;
use futures::future::BoxFuture;
use object_store::{ObjectMeta, ObjectStoreExt};

use super::store::Store;
use crate::damaged::in_file;

/// Bytes that are read from the end of a file at first: enough for most footers with their page index.
const FOOTER_BYTES: usize = 64 * 1024;

/// Opens large files for DataFusion.
pub(crate) struct LargeFiles {
    /// Store of the files, with what is known of them.
    pub store: Store,
}

impl fmt::Debug for LargeFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "large files of {}", self.store.objects)
    }
}

impl ParquetFileReaderFactory for LargeFiles {
    fn create_reader(
        &self,
        _: usize,
        file: PartitionedFile,
        _: Option<usize>,
        _: &ExecutionPlanMetricsSet,
    ) -> datafusion::error::Result<Box<dyn AsyncFileReader + Send>> {
        Ok(Box::new(LargeFile { store: self.store.clone(), object: file.object_meta }))
    }
}

/// Reader of one large file.
struct LargeFile {
    store: Store,
    object: ObjectMeta,
}

impl LargeFile {
    async fn metadata(&mut self) -> Result<Arc<ParquetMetaData>> {
        let known = self.store.known.get(&self.object.location).filter(|known| known.is_valid_for(&self.object));
        if let Some(Footer(known)) = known.as_ref().and_then(|known| known.file_metadata.as_any().downcast_ref()) {
            return Ok(Arc::clone(known));
        }
        let footer = ParquetMetaDataReader::new()
            .with_page_index_policy(PageIndexPolicy::Optional)
            .with_prefetch_hint(Some(FOOTER_BYTES));
        let size = self.object.size;
        let footer = footer.load_and_finish(&mut *self, size).await;
        let footer = Arc::new(footer.map_err(|error| match in_file(self.object.location.as_ref(), &error) {
            Some(damaged) => ParquetError::External(Box::new(damaged)),
            None => error,
        })?);
        let known = CachedFileMetadataEntry::new(self.object.clone(), Arc::new(Footer(Arc::clone(&footer))));
        self.store.known.put(&self.object.location, known);
        Ok(footer)
    }
}

impl AsyncFileReader for LargeFile {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, Result<Bytes>> {
        async move { self.store.objects.get_range(&self.object.location, range).await.map_err(external) }.boxed()
    }

    fn get_byte_ranges(&mut self, ranges: Vec<Range<u64>>) -> BoxFuture<'_, Result<Vec<Bytes>>> {
        async move { self.store.objects.get_ranges(&self.object.location, &ranges).await.map_err(external) }.boxed()
    }

    /// Reads the page index, too, whether or not it is asked for, so that nothing need be read again for it.
    fn get_metadata<'a>(
        &'a mut self,
        _: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, Result<Arc<ParquetMetaData>>> {
        self.metadata().boxed()
    }
}

/// Footer of a file, as an entry of the cache.
struct Footer(Arc<ParquetMetaData>);

impl FileMetadata for Footer {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn memory_size(&self) -> usize {
        self.0.memory_size()
    }

    fn extra_info(&self) -> HashMap<String, String> {
        HashMap::new()
    }
}

fn external(error: object_store::Error) -> ParquetError {
    ParquetError::External(Box::new(error))
}
