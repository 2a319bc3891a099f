//! State that sessions over a lake share: the stores that they read from, the memory that they take, and the caches of
//! files.

use std::sync::Arc;

use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::prelude::SessionConfig;
use datafusion_cli::object_storage::instrumented::InstrumentedObjectStoreRegistry;
use lake_store::Lake;

use super::guard::{Guards, Refusal};
use super::names::{CATALOG, SCHEMA};
use crate::error::QueryError;
use crate::totals::store_url;

/// State shared by sessions.
#[derive(Clone)]
pub struct Shared {
    /// DataFusion's runtime environment.
    pub runtime: Arc<RuntimeEnv>,
    /// Registry that records the requests to each store.
    pub(crate) stores: Arc<InstrumentedObjectStoreRegistry>,
    /// The last write that was refused.
    pub(crate) refusal: Refusal,
}

impl Shared {
    /// Makes the state of sessions over a lake, in this environment.
    pub fn new(lake: &Lake, runtime: RuntimeEnvBuilder) -> Result<Self, QueryError> {
        let guards = Guards::of(lake);
        let (stores, refusal) = (Arc::clone(&guards.inner), guards.refusal.clone());
        let runtime = runtime.with_object_store_registry(Arc::new(guards)).build_arc()?;
        runtime.register_object_store(store_url().as_ref(), lake.object_store()?);
        // Registered before a statement can register a store of its own for the same bucket.
        if let Some((root, store)) = lake.outer_store()? {
            runtime.register_object_store(&root, store);
        }
        Ok(Self { runtime, stores, refusal })
    }

    /// Returns the settings of a session. Times with a zone are UTC, including the current time and casts to such
    /// types: otherwise DataFusion makes times without a zone of them, which programs take for local ones.
    pub fn config() -> SessionConfig {
        let mut config =
            SessionConfig::new().with_information_schema(true).with_default_catalog_and_schema(CATALOG, SCHEMA);
        config.options_mut().execution.time_zone = Some("UTC".to_owned());
        config
    }
}
