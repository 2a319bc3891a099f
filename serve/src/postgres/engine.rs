//! Engine that answers SQL in a process: sessions over the lake, cancellation, and the statements under way.

use std::sync::Arc;

use datafusion_postgres::pgwire::api::ConnectionManager;
use lake_store::Lake;
use query::QueryError;

use super::sessions::Sessions;
use super::under_way::UnderWay;

/// State that all connections of a process share.
pub(super) struct Engine {
    /// SQL sessions over the lake.
    pub sessions: Sessions,
    /// Registry by which statements are cancelled.
    pub cancels: Arc<ConnectionManager>,
    /// Messages that are being answered.
    pub under_way: Arc<UnderWay>,
}

impl Engine {
    /// Creates an engine over a lake, with `memory` bytes for all statements.
    pub fn new(lake: Lake, memory: usize) -> Result<Self, QueryError> {
        let sessions = Sessions::new(lake, memory)?;
        Ok(Self { sessions, cancels: Arc::new(ConnectionManager::new()), under_way: Arc::default() })
    }
}
