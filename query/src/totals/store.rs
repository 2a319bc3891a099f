//! The store of the lake's files, as a session of DataFusion knows it.

use std::sync::Arc;

use datafusion::execution::cache::cache_manager::FileMetadataCache;
use datafusion::execution::object_store::ObjectStoreUrl;
use lake_store::Lake;
use object_store::ObjectStore;

/// Returns the address of the lake's files in a session.
pub(crate) fn store_url() -> ObjectStoreUrl {
    ObjectStoreUrl::parse(Lake::ROOT).expect("it has a scheme and a host")
}

/// Store of the lake's files, with what is known of them from question to question: a file never changes.
#[derive(Clone)]
pub(crate) struct Store {
    pub objects: Arc<dyn ObjectStore>,
    pub known: Arc<FileMetadataCache>,
}
