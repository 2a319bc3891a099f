//! Finds what other programs have changed in the tables of a lake, by the entries of their logs.
//!
//! The recount tells whether the counts are right; this tells which other program wrote, and when, which a recount
//! cannot know. It also examines tables that are not compared: nobody recounts a roll-up.

use std::fmt;

use lake_schemas::table::Version;
use lake_schemas::{Table, counted};
use lake_store::commit::{ForeignChange, TableView};
use lake_store::{Lake, LakeError};

use super::lines::lines;
use crate::error::QueryError;

/// Number of the newest versions of each table that are examined: half a day of commits every 5 seconds, some seconds
/// of small reads from a bucket.
const VERSIONS_MAX: Version = 10_000;

/// Changes of rows by other programs.
#[derive(Debug, Default)]
pub struct Foreign {
    /// Changes by table, newest first.
    pub changes: Vec<ForeignChange>,
    /// Versions that were examined, by table: the first and the last.
    looked_at: Vec<(Table, Version, Version)>,
    /// Reasons for which other tables were not examined.
    refused: Vec<String>,
}

impl Foreign {
    /// Examines the newest versions of all tables of the lake, as far as they are kept; compared tables up to the
    /// version at which they are compared.
    pub(super) async fn find(lake: &Lake, compared: &[&TableView]) -> Result<Self, QueryError> {
        let mut found = Self::default();
        for view in compared {
            found.look_through(view).await?;
        }
        let mut others = Table::ALL.to_vec();
        others.retain(|table| compared.iter().all(|view| view.table() != *table));
        for table in others {
            match TableView::newest(lake, table).await {
                Ok(Some(view)) => found.look_through(&view).await?,
                Ok(None) => {}
                // A fault of this table is no fault of the compared ones.
                Err(LakeError::Refused(why)) => found.refused.push(why.to_string()),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(found)
    }

    async fn look_through(&mut self, view: &TableView) -> Result<(), QueryError> {
        let newest = view.version();
        let first = newest.saturating_sub(VERSIONS_MAX - 1).max(view.first().await?);
        self.changes.extend(view.foreign(first..=newest).await?);
        self.looked_at.push((view.table(), first, newest));
        Ok(())
    }
}

impl fmt::Display for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.refused.is_empty() {
            let tables = counted(self.refused.len(), "table");
            writeln!(f, "not looked through for changes by other programs: {tables}")?;
            lines(f, &self.refused)?;
        }
        if self.changes.is_empty() {
            return Ok(());
        }
        let of = |(table, first, last): &(Table, Version, Version)| format!("{first} to {last} of {table}");
        let of: Vec<_> = self.looked_at.iter().map(of).collect();
        let many = counted(self.changes.len(), "version");
        writeln!(f, "other programs changed rows in {many}; looked at were versions {}", of.join(", "))?;
        lines(f, &self.changes)
    }
}
