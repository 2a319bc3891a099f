//! What has come behind a version that is known: the entries of the log, one after the other, as far as there are any.
//!
//! They are held until somebody has seen that they are of the table that is known. One look answers for all of them, if
//! it comes after the last was read: a table that is put in the place of another does not become that again.

use deltalake::logstore::LogStore;

use super::entry::{self, READS_MAX};
use super::lines::Lines;
use super::looked::Looked;
use crate::error::Result;
use lake_schemas::Table;
use lake_schemas::table::Version;

/// Entries that were read behind a version.
pub(super) struct Ahead {
    /// In the order of their versions.
    pub entries: Vec<Lines>,
    /// When the version behind them was found to be missing; `None`: there may be more than are held at once. An error,
    /// if that version could not be read, says nothing of those before it.
    pub end: Result<Option<Looked>>,
}

/// Reads what has come behind a version, [`READS_MAX`] entries at most.
pub(super) async fn read(table: Table, log_store: &dyn LogStore, head: Version) -> Ahead {
    let (mut entries, mut version) = (Vec::new(), head);
    let end = loop {
        if entries.len() == READS_MAX {
            break Ok(None);
        }
        version += 1;
        let began = Looked::now();
        match entry::read(table, log_store, version).await {
            Ok(Some(lines)) => entries.push(lines),
            Ok(None) => break Ok(Some(began)),
            Err(error) => break Err(error),
        }
    };
    Ahead { entries, end }
}
