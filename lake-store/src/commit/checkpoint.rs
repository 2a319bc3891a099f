//! Log checkpoints of a table, written outside of commits: the log folded into one Parquet file, so that readers and
//! restarts need not replay it from the start.

use std::error::Error;

use delta_kernel::Snapshot;
use deltalake::logstore::LogStoreRef;
use futures::future::BoxFuture;
use lake_schemas::Table;
use tracing::{info, warn};

use super::Version;
use super::load::table_root;
use crate::error::{Context, LakeError, Result};

/// Versions between two checkpoints. A reader replays at most this many entries. A checkpoint costs as much as the
/// table has live files, so it is not made for every version.
pub(super) const VERSIONS_BETWEEN: Version = 100;

/// A log checkpoint that is due at a version.
pub struct Checkpoint {
    pub(super) table: Table,
    pub(super) version: Version,
    pub(super) log_store: LogStoreRef,
}

impl Checkpoint {
    /// Returns whether whoever writes this version must write a checkpoint of it, too.
    pub(super) fn is_due_at(version: Version) -> bool {
        version > 0 && version.is_multiple_of(VERSIONS_BETWEEN)
    }

    /// Writes the checkpoint. A failure is logged and nothing more: readers do without it, and the next one is due
    /// soon.
    pub async fn write_or_warn(&self) {
        let (table, version) = (self.table, self.version);
        match self.write().await {
            Ok(()) => info!(%table, version, "log checkpoint"),
            Err(error) => warn!(%table, version, error = &error as &dyn Error, "log checkpoint failed"),
        }
    }

    /// Writes the checkpoint. A crash on the way leaves nothing that readers would take for one.
    pub fn write(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            let (root, engine) = (table_root(self.log_store.as_ref()), self.log_store.engine(None));
            let version = self.version;
            let what = || format!("{}: log checkpoint of version {version}", self.table);
            tokio::task::spawn_blocking(move || {
                let snapshot = Snapshot::builder_for(root).at_version(version).build(engine.as_ref())?;
                snapshot.checkpoint(engine.as_ref(), None).map(|_| ())
            })
            .await
            .map_err(|panic| LakeError::store(what(), panic))?
            .while_doing(what)
        })
    }
}
