//! What answers SQL in a process: sessions over the lake, what may be cancelled, and what is under way.

use std::sync::Arc;

use datafusion_postgres::pgwire::api::ConnectionManager;
use lake_store::Lake;
use query::QueryError;

use super::sessions::Sessions;
use super::under_way::UnderWay;

/// What all connections of a process have in common.
pub(super) struct Engine {
    /// Over the lake.
    pub sessions: Sessions,
    /// By which statements are cancelled.
    pub cancels: Arc<ConnectionManager>,
    /// What is being answered.
    pub under_way: Arc<UnderWay>,
}

impl Engine {
    /// Over a lake, with so much memory for all statements, in bytes.
    pub fn new(lake: Lake, memory: usize) -> Result<Self, QueryError> {
        let sessions = Sessions::new(lake, memory)?;
        Ok(Self { sessions, cancels: Arc::new(ConnectionManager::new()), under_way: Arc::default() })
    }
}
