//! Summaries of a table's versions by their own entries: when each was written, by which job, and which cut it reached.

use std::ops::RangeInclusive;

use deltalake::kernel::Action;
use deltalake::logstore::LogStoreRef;
use futures::{StreamExt, TryStreamExt, stream};
use lake_schemas::history::cut_of;
use lake_schemas::{Cut, Table};

use super::Version;
use super::entry::{self, READS_MAX, job_of, ours};
use crate::error::{LakeError, Result};
use crate::statistics::Statistics;

/// Operation shown for a version whose entry is damaged.
const DAMAGED: &str = "(damaged)";

/// Summary of one version of a table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Number of the version.
    pub version: Version,
    /// Time at which the version was written, in milliseconds since 1970; never before the time of the version before
    /// it.
    pub time_ms: Option<i64>,
    /// Job that wrote it, or the operation that another program named.
    pub operation: String,
    /// Number of rows that it added; `None` if the statistics of its files do not tell.
    pub rows: Option<u64>,
    /// Cut that it reached, as far as its entry says.
    pub cut: Cut,
}

impl Written {
    fn of(version: Version, actions: &[Action]) -> Self {
        let mut written = Self { version, rows: Some(0), ..Self::default() };
        for action in actions {
            match action {
                Action::Add(add) if add.data_change => {
                    written.rows = written.rows.zip(Statistics::of(add).rows()).map(|(rows, more)| rows + more);
                }
                Action::CommitInfo(info) => {
                    written.time_ms = info.timestamp;
                    written.operation = job_of(info).or_else(|| info.operation.clone()).unwrap_or_default();
                    written.cut = ours(info).and_then(|ours| cut_of(&ours["cut"])).unwrap_or_default();
                }
                _ => {}
            }
        }
        written
    }
}

/// Returns the summaries of these versions, as far as their entries are there.
pub(super) async fn written(
    table: Table,
    log_store: &LogStoreRef,
    versions: RangeInclusive<Version>,
) -> Result<Vec<Written>> {
    let entries = stream::iter(versions).map(|version| async move {
        match entry::read(table, log_store.as_ref(), version).await {
            Ok(lines) => Ok(lines.map(|lines| Written::of(version, &lines.actions))),
            // One damaged entry must not hide the other versions.
            Err(LakeError::Refused(_)) => {
                Ok(Some(Written { version, operation: DAMAGED.to_owned(), ..Written::default() }))
            }
            Err(error) => Err(error),
        }
    });
    let mut all: Vec<_> = entries.buffered(READS_MAX).try_filter_map(|found| async { Ok(found) }).try_collect().await?;
    let mut latest = None;
    for written in &mut all {
        written.time_ms = written.time_ms.max(latest);
        latest = written.time_ms;
    }
    Ok(all)
}
