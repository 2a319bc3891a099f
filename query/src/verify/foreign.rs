//! What other programs have changed in the tables that are audited, by the entries of their logs.
//!
//! The recount says whether the counts are right; this says who else wrote, and when, which a recount cannot know.

use std::fmt;

use lake_schemas::Table;
use lake_schemas::commit::{ForeignChange, TableView, Version};

use super::lines;
use crate::error::QueryError;

/// How many of the newest versions of each table are looked through: half a day of commits every 5 seconds, some
/// seconds of small reads from a bucket.
const VERSIONS_MAX: Version = 10_000;

/// The changes of rows by other programs.
#[derive(Debug, Default)]
pub struct Foreign {
    /// Newest first, by table.
    pub changes: Vec<ForeignChange>,
    /// The versions that were looked through.
    looked_at: Vec<(Table, Version, Version)>,
}

impl Foreign {
    /// Looks through the newest versions of these tables, as far as they are kept.
    pub(super) async fn find(tables: &[&TableView]) -> Result<Self, QueryError> {
        let mut found = Self::default();
        for view in tables {
            let newest = view.version();
            let first = newest.saturating_sub(VERSIONS_MAX - 1).max(view.first().await?);
            found.changes.extend(view.foreign(first..=newest).await?);
            found.looked_at.push((view.table(), first, newest));
        }
        Ok(found)
    }
}

impl fmt::Display for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.changes.is_empty() {
            return Ok(());
        }
        let of = |(table, first, last): &(Table, Version, Version)| format!("{first} to {last} of {table}");
        let of: Vec<_> = self.looked_at.iter().map(of).collect();
        let many = self.changes.len();
        writeln!(f, "other programs changed rows in {many} versions; looked at were versions {}", of.join(" and "))?;
        lines(f, &self.changes)
    }
}
