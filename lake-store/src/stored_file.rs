//! Reads a Parquet file in a store. A large file is read by ranges: its metadata first, then only what is needed. A
//! small file is read at once, because stores charge by the request.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use lake_schemas::{Code, Table};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use parquet::arrow::arrow_reader::ArrowReaderOptions;
use parquet::arrow::async_reader::AsyncFileReader;
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};

use crate::error::LakeError;
use crate::gone::{Gone, way_out};

/// Size of the largest file that is read at once, in bytes: in the time of two requests, a store delivers megabytes.
pub const WHOLE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// A file of known size.
pub struct StoredFile {
    store: Arc<dyn ObjectStore>,
    path: Path,
    size: u64,
    /// Content of the file, once all of it has been read.
    whole: Option<Bytes>,
}

impl StoredFile {
    /// Makes the reader of the file at a path. Nothing is read yet.
    pub fn new(store: Arc<dyn ObjectStore>, path: Path, size: u64) -> Self {
        Self { store, path, size, whole: None }
    }

    /// Reads ranges of the file; the results are in the order of `ranges`.
    async fn read(&mut self, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        if self.size > WHOLE_BYTES_MAX {
            return self.store.get_ranges(&self.path, ranges).await.map_err(external);
        }
        let whole = match &self.whole {
            Some(whole) => whole,
            None => {
                let got = self.store.get(&self.path).await.map_err(external)?;
                self.whole.insert(got.bytes().await.map_err(external)?)
            }
        };
        let slice = |range: &Range<u64>| {
            let (first, next) = (usize::try_from(range.start).ok()?, usize::try_from(range.end).ok()?);
            (first <= next && next <= whole.len()).then(|| whole.slice(first..next))
        };
        let short = || ParquetError::General(format!("{} has {} bytes, not {}", self.path, whole.len(), self.size));
        ranges.iter().map(|range| slice(range).ok_or_else(short)).collect()
    }
}

impl AsyncFileReader for StoredFile {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, Result<Bytes>> {
        let read = async move { Ok(self.read(&[range]).await?.remove(0)) };
        read.boxed()
    }

    fn get_byte_ranges(&mut self, ranges: Vec<Range<u64>>) -> BoxFuture<'_, Result<Vec<Bytes>>> {
        async move { self.read(&ranges).await }.boxed()
    }

    fn get_metadata<'a>(
        &'a mut self,
        _: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, Result<Arc<ParquetMetaData>>> {
        let size = self.size;
        let read = async move { ParquetMetaDataReader::new().load_and_finish(self, size).await.map(Arc::new) };
        read.boxed()
    }
}

/// Returns the error for a file of a table that cannot be read. If the store did not answer, or no longer has the file,
/// a retry may help. A file that does not decode is damaged, and stays so. `doing` names the operation that failed.
pub fn unread(table: Table, doing: &str, path: &str, error: ParquetError) -> LakeError {
    let what = format!("{table}: {doing} {path}");
    if is_gone(&error) {
        return LakeError::store(what, Gone::new(table, path, error));
    }
    if of_the_store(&error).is_some() {
        return LakeError::store(what, error);
    }
    let said = error.to_string();
    let said = said.lines().next().unwrap_or_default();
    LakeError::Refused(
        Code::FileDamaged
            .because(format!("{what}: {said}: the file was damaged, perhaps by a power loss; {}", way_out(table))),
    )
}

/// Returns whether a file cannot be read because it is not there.
pub fn is_gone(error: &ParquetError) -> bool {
    matches!(of_the_store(error), Some(object_store::Error::NotFound { .. }))
}

/// Returns the store's error behind one of Parquet's, if there is one.
fn of_the_store(error: &ParquetError) -> Option<&object_store::Error> {
    let ParquetError::External(cause) = error else { return None };
    cause.downcast_ref()
}

fn external(error: object_store::Error) -> ParquetError {
    ParquetError::External(Box::new(error))
}
