//! What sessions over a lake have in common: the stores that they read from, the memory that they take, and what is
//! known of files.

use std::sync::Arc;

use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::prelude::SessionConfig;
use datafusion_cli::object_storage::instrumented::InstrumentedObjectStoreRegistry;
use lake_store::Lake;

use super::catalog::{CATALOG, SCHEMA};
use super::guard::{Guards, Refusal};
use crate::error::QueryError;
use crate::totals::store_url;

/// What sessions share.
#[derive(Clone)]
pub struct Shared {
    /// DataFusion's surroundings.
    pub runtime: Arc<RuntimeEnv>,
    /// What can be told of the requests to each store.
    pub(crate) stores: Arc<InstrumentedObjectStoreRegistry>,
    /// The last write that was refused.
    pub(crate) refusal: Refusal,
}

impl Shared {
    /// Of sessions over a lake, with these surroundings.
    pub fn new(lake: &Lake, runtime: RuntimeEnvBuilder) -> Result<Self, QueryError> {
        let guards = Guards::of(lake);
        let (stores, refusal) = (Arc::clone(&guards.inner), guards.refusal.clone());
        let runtime = runtime.with_object_store_registry(Arc::new(guards)).build_arc()?;
        runtime.register_object_store(store_url().as_ref(), lake.object_store()?);
        // Before a statement can bring one of its own for the same bucket.
        if let Some((root, store)) = lake.outer_store()? {
            runtime.register_object_store(&root, store);
        }
        Ok(Self { runtime, stores, refusal })
    }

    /// What a session is set to. Times with a zone are UTC, also those that are cast to such, and the time now: without
    /// that, DataFusion makes times without a zone of them, which programs take for local ones.
    pub fn config() -> SessionConfig {
        let mut config =
            SessionConfig::new().with_information_schema(true).with_default_catalog_and_schema(CATALOG, SCHEMA);
        config.options_mut().execution.time_zone = Some("UTC".to_owned());
        config
    }
}
