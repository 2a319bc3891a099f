//! Reads the entries that came into a table's log behind the version that is known, in order, as far as there are any.
//!
//! The entries are held, not yet followed, until a look has confirmed that the table is still the one that is known
//! (see `confirmed`). One look answers for all of them if it comes after the last was read: a table that was replaced
//! by another never becomes the first one again.

use deltalake::logstore::LogStore;

use super::entry::{self, READS_MAX};
use super::lines::Lines;
use super::looked::Looked;
use crate::error::Result;
use lake_schemas::Table;
use lake_schemas::table::Version;

/// Entries that were read behind a version, and why reading ended.
pub(super) struct Ahead {
    /// Entries, in the order of their versions.
    pub entries: Vec<Lines>,
    /// When the version behind the entries was found to be missing. `None`: there may be more, and [`READS_MAX`] are
    /// held already. An error means that the next version could not be read; the entries before it hold all the same.
    pub end: Result<Option<Looked>>,
}

/// Reads the entries behind a version, at most [`READS_MAX`] of them.
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
