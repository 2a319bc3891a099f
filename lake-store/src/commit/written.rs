//! What the versions of a table say of themselves: when each was written, by whom, and how far it came.

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

/// What stands for the operation of a version whose entry is damaged.
const DAMAGED: &str = "(damaged)";

/// A version of a table, by its entry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Which one.
    pub version: Version,
    /// When it was written, in milliseconds since 1970; never before the version before it.
    pub time_ms: Option<i64>,
    /// The job that wrote it, or what another writer called it.
    pub operation: String,
    /// How many rows it added; `None` if its files do not tell.
    pub rows: Option<u64>,
    /// The cut that it reached, as far as it says.
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

/// These versions, as far as their entries are there.
pub(super) async fn written(
    table: Table,
    log_store: &LogStoreRef,
    versions: RangeInclusive<Version>,
) -> Result<Vec<Written>> {
    let entries = stream::iter(versions).map(|version| async move {
        match entry::read(table, log_store.as_ref(), version).await {
            Ok(lines) => Ok(lines.map(|lines| Written::of(version, &lines.actions))),
            // The others are told all the same.
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
