//! Keeps Delta's library from reading an entry of 0 bytes, as a power loss leaves one: it takes that for a commit of
//! nothing. Sizes come with the listing of a log, so this asks nothing more of the store.

use std::sync::Arc;

use delta_kernel::schema::SchemaRef;
use delta_kernel::{
    DeltaResult, DeltaResultIterator, Engine, EngineData, Error, EvaluationHandler, FileDataReadResultIterator,
    FileMeta, FileSize, FilteredEngineData, JsonHandler, ParquetHandler, PredicateRef, StorageHandler,
};
use url::Url;

/// Text in the error for an empty entry, by which it is recognised: the library has no kind of error for it.
pub(super) const IS_EMPTY: &str = "has no action";

/// An engine that refuses empty entries.
pub(super) struct WholeEntries(pub Arc<dyn Engine>);

impl Engine for WholeEntries {
    fn evaluation_handler(&self) -> Arc<dyn EvaluationHandler> {
        self.0.evaluation_handler()
    }

    fn storage_handler(&self) -> Arc<dyn StorageHandler> {
        self.0.storage_handler()
    }

    fn json_handler(&self) -> Arc<dyn JsonHandler> {
        Arc::new(WholeFiles(self.0.json_handler()))
    }

    fn parquet_handler(&self) -> Arc<dyn ParquetHandler> {
        self.0.parquet_handler()
    }
}

struct WholeFiles(Arc<dyn JsonHandler>);

impl JsonHandler for WholeFiles {
    fn parse_json(&self, texts: Box<dyn EngineData>, schema: SchemaRef) -> DeltaResult<Box<dyn EngineData>> {
        self.0.parse_json(texts, schema)
    }

    fn read_json_files(
        &self,
        files: &[FileMeta],
        schema: SchemaRef,
        predicate: Option<PredicateRef>,
    ) -> DeltaResult<FileDataReadResultIterator> {
        if let Some(empty) = files.iter().find(|file| file.size == 0) {
            let name = empty.location.path_segments().and_then(|mut names| names.next_back()).unwrap_or_default();
            return Err(Error::generic(format!("its entry {name} {IS_EMPTY}")));
        }
        self.0.read_json_files(files, schema, predicate)
    }

    fn write_json_file(
        &self,
        path: &Url,
        data: DeltaResultIterator<'_, FilteredEngineData>,
        overwrite: bool,
    ) -> DeltaResult<FileSize> {
        self.0.write_json_file(path, data, overwrite)
    }
}
