//! SQL sessions of connections: each reads the lake on its own, with the row-level access of its key. They share
//! functions, PostgreSQL's own tables, memory, and what is known of files.

use std::sync::Arc;

use datafusion::catalog::MemoryCatalogProviderList;
use datafusion::execution::SessionStateBuilder;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::GreedyMemoryPool;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::execution::session_state::SessionState;
use datafusion::prelude::SessionContext;
use datafusion_postgres::datafusion_pg_catalog::pg_catalog::PgCatalogStaticTables;
use datafusion_postgres::datafusion_pg_catalog::setup_pg_catalog;
use lake_store::Lake;
use query::sql::{CATALOG, SCHEMA, Session, Shared};
use query::{QueryError, RowAccess};

use super::catalog::{Catalog, INFORMATION_SCHEMA, Listed, OneRole, PG_CATALOG};
use super::functions::functions;
use super::information_schema::InformationSchema;
use super::only_element::only_element;
use super::tables::{self, AllSettings, OneValue};

/// State that all sessions share.
pub(super) struct Sessions {
    lake: Lake,
    shared: Shared,
    /// Initial state of each session.
    state: SessionState,
    tables: Arc<PgCatalogStaticTables>,
}

impl Sessions {
    /// Creates sessions over a lake. All of them together may take `memory` bytes. Nothing is spilled to disk: a
    /// statement that needs more fails.
    pub fn new(lake: Lake, memory: usize) -> Result<Self, QueryError> {
        let runtime = RuntimeEnvBuilder::new()
            .with_memory_pool(Arc::new(GreedyMemoryPool::new(memory)))
            .with_disk_manager_builder(DiskManagerBuilder::default().with_mode(DiskManagerMode::Disabled));
        let shared = Shared::new(&lake, runtime)?;
        let mut config = Shared::config();
        // DataFusion deals out the batches of one input to queues in turn, and reads on as long as one of them is
        // empty: a queue whose reader gets no CPU for a while grows until memory is exhausted.
        config.options_mut().optimizer.enable_round_robin_repartition = false;
        // Ours is registered in `open`, with PostgreSQL's names.
        config.options_mut().catalog.information_schema = false;
        let context = SessionContext::new_with_config_rt(config, Arc::clone(&shared.runtime));
        setup_pg_catalog(&context, CATALOG, OneRole).map_err(|error| QueryError::from(*error))?;
        for function in functions().into_iter().chain([only_element()]) {
            context.register_udf(function);
        }
        context.register_udtf("pg_show_all_settings", Arc::new(AllSettings));
        for (name, value) in [("current_database", CATALOG), ("current_schema", SCHEMA)] {
            context.register_udtf(name, Arc::new(OneValue { name, value }));
        }
        Ok(Self { lake, shared, state: context.state(), tables: Arc::new(tables::of_library()?) })
    }

    /// Opens a session with this row-level access.
    pub fn open(&self, access: &RowAccess) -> Result<Session, QueryError> {
        let state = SessionStateBuilder::new_from_existing(self.state.clone())
            .with_catalog_list(Arc::new(MemoryCatalogProviderList::new()))
            .build();
        let context = SessionContext::new_with_state(state);
        let session = Session::over(self.lake.clone(), context, &self.shared, access.clone())?;
        let listed = Listed(Arc::clone(session.snapshot()));
        if let Some(catalog) = session.context().catalog(CATALOG) {
            catalog.register_schema(INFORMATION_SCHEMA, Arc::new(InformationSchema(listed.clone())))?;
            catalog.register_schema(PG_CATALOG, Arc::new(Catalog::new(listed, Arc::clone(&self.tables))?))?;
        }
        Ok(session)
    }
}
