//! Foreign changes: other programs' changes of a table's rows, noticed and reported with what they mean.
//!
//! Every commit of clicklake's names its job. A commit that names none and changes rows is foreign. Nothing is undone,
//! and nothing is refused because of it. But the positions that the table records do not move with it, so that its rows
//! are no longer those up to these positions, and whoever runs the lake must know.

use std::fmt;
use std::ops::RangeInclusive;

use deltalake::kernel::Action;
use deltalake::logstore::LogStoreRef;
use futures::{StreamExt, TryStreamExt, stream};
use lake_schemas::{Table, counted};

use super::Version;
use super::entry::{self, READS_MAX, ours};
use super::lines::Lines;
use crate::error::{LakeError, Result};

/// Number of characters shown of what another program says of itself.
const SHOWN_CHARS: usize = 80;

/// Advice for counting again, as part of several messages.
const COUNT_AGAIN: &str = "`clicklake backfill --replace` counts minutes that are over again, `clicklake backfill \
                           --into NAME` and `clicklake promote NAME` all of them";

/// A version of a table in which another program changed its rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForeignChange {
    /// The table that was changed.
    pub table: Table,
    /// The version that the program wrote.
    pub version: Version,
    /// Time at which the version was written, in milliseconds since 1970, if its entry says so.
    pub time_ms: Option<i64>,
    /// The program's name for the operation, such as `DELETE` or `RESTORE`.
    pub operation: String,
    /// The program's name for itself.
    pub engine: String,
    /// Number of files that the version added.
    pub added: usize,
    /// Number of files that the version removed.
    pub removed: usize,
}

impl ForeignChange {
    /// Reads a foreign change from the entry of a version; `None` if the entry is clicklake's, or changed no rows.
    pub(super) fn of(table: Table, version: Version, lines: &Lines) -> Option<Self> {
        let (mut added, mut removed) = (0, 0);
        let (mut time_ms, mut operation, mut engine) = (None, None, None);
        for action in &lines.actions {
            match action {
                Action::Add(add) if add.data_change => added += 1,
                Action::Remove(remove) if remove.data_change => removed += 1,
                Action::CommitInfo(info) if ours(info).is_some() => return None,
                Action::CommitInfo(info) => {
                    (time_ms, operation) = (info.timestamp, info.operation.as_deref());
                    engine = info.engine_info.as_deref();
                }
                _ => {}
            }
        }
        let operation = shown(operation.unwrap_or("a change without a name"));
        let engine = shown(engine.unwrap_or("another program"));
        (added + removed > 0).then_some(Self { table, version, time_ms, operation, engine, added, removed })
    }

    /// Returns what the change means for whoever relies on the table, and what to do.
    fn meaning(&self) -> String {
        let Self { table, version, operation, .. } = self;
        let before = version.saturating_sub(1);
        let is_restore = operation.eq_ignore_ascii_case("RESTORE");
        match (table, is_restore) {
            (Table::Clicks | Table::ClicksRejected, true) => format!(
                "its rows went back, and its positions did not: what had been read since is missing, and is not read \
                 again; Spark's SQL brings it back, and what was committed since stays: INSERT INTO {table} SELECT \
                 old.* FROM {table} VERSION AS OF {before} old LEFT ANTI JOIN {table} new ON old.topic = new.topic AND \
                 old.kafka_partition = new.kafka_partition AND old.kafka_offset = new.kafka_offset; then `clicklake \
                 compact` sorts it"
            ),
            (Table::Clicks, false) => format!(
                "what was counted of these rows stayed as it was; `clicklake verify` says whether counts differ, \
                 {COUNT_AGAIN}"
            ),
            (Table::ClicksRejected, false) => "nothing is counted of its rows".to_owned(),
            (Table::ClicksMinute | Table::Staging(_), true) => format!(
                "its rows went back, and its positions did not: what had been counted since was missing; `clicklake \
                 verify` says whether it still is, {COUNT_AGAIN}"
            ),
            (Table::ClicksMinute | Table::Staging(_), false) => format!(
                "it was no longer what clicks says; `clicklake verify` says whether it still differs, {COUNT_AGAIN}"
            ),
            (Table::ClicksHourly | Table::ClicksDaily, _) => format!(
                "it was no longer the sum of what it is made of; remove the folder {table} while compact stands still, \
                 and compact makes it again"
            ),
        }
    }
}

impl fmt::Display for ForeignChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { table, version, operation, engine, added, removed, .. } = self;
        let added = counted(*added, "file");
        write!(f, "{table} version {version}: {operation} by {engine}, {added} added and {removed} taken out; ")?;
        f.write_str(&self.meaning())
    }
}

/// Returns the foreign changes in these versions, newest first, as far as their entries are there.
pub(super) async fn in_versions(
    table: Table,
    log_store: &LogStoreRef,
    versions: RangeInclusive<Version>,
) -> Result<Vec<ForeignChange>> {
    let entries = stream::iter(versions.rev()).map(|version| async move {
        let lines = entry::read_if_whole(table, log_store.as_ref(), version).await?;
        Ok::<_, LakeError>(lines.and_then(|lines| ForeignChange::of(table, version, &lines)))
    });
    entries.buffered(READS_MAX).try_filter_map(|found| async { Ok(found) }).try_collect().await
}

/// Returns another program's text as one line of bounded length.
fn shown(text: &str) -> String {
    let plain = text.chars().map(|char| if char.is_control() { ' ' } else { char });
    plain.take(SHOWN_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(table: Table, entry: &str) -> Option<ForeignChange> {
        ForeignChange::of(table, 7, &Lines::parse(entry.as_bytes()).expect("an entry"))
    }

    fn entry(info: &str, data_change: bool) -> String {
        format!(
            "{{\"commitInfo\":{info}}}\n{{\"remove\":{{\"path\":\"a\",\"dataChange\":{data_change}}}}}\n\
             {{\"add\":{{\"path\":\"b\",\"partitionValues\":{{}},\"size\":1,\"modificationTime\":1,\
             \"dataChange\":{data_change}}}}}"
        )
    }

    const DELETE: &str = r#"{"operation":"DELETE","engineInfo":"Apache-Spark/4.0.1\nDelta-Lake/4.0.0"}"#;

    #[test]
    fn a_foreign_change_is_reported_with_its_consequences() {
        let found = change(Table::Clicks, &entry(DELETE, true)).expect("a change");
        assert_eq!((found.added, found.removed), (1, 1));
        let said = found.to_string();
        assert!(
            said.starts_with("clicks version 7: DELETE by Apache-Spark/4.0.1 Delta-Lake/4.0.0, 1 file added"),
            "{said}"
        );
        assert!(said.contains("backfill --replace") && said.lines().count() == 1, "{said}");
        let restored = entry(r#"{"operation":"RESTORE"}"#, true);
        let said = change(Table::Clicks, &restored).expect("a change").to_string();
        assert!(said.contains("INSERT INTO clicks SELECT old.* FROM clicks VERSION AS OF 6 old "), "{said}");
        for table in [Table::ClicksRejected, Table::ClicksMinute, Table::ClicksHourly] {
            assert!(change(table, &restored).expect("a change").to_string().contains("; "));
        }
    }

    #[test]
    fn our_own_commits_and_those_that_leave_rows_as_they_are_are_no_changes() {
        assert_eq!(change(Table::Clicks, &entry(r#"{"clicklake":{"job":"ingest"}}"#, true)), None);
        assert_eq!(change(Table::Clicks, &entry(r#"{"operation":"OPTIMIZE"}"#, false)), None);
        assert_eq!(change(Table::Clicks, r#"{"commitInfo":{"operation":"VACUUM START"}}"#), None);
    }

    #[test]
    fn a_change_without_a_name_is_one() {
        let bare = r#"{"remove":{"path":"a","dataChange":true}}"#;
        let said = change(Table::ClicksMinute, bare).expect("a change").to_string();
        assert!(said.contains("a change without a name by another program"), "{said}");
    }
}
