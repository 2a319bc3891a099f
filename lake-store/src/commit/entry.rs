//! One entry of a table's log: written for our commits, and read of all writers' commits.

use std::collections::{HashMap, HashSet};

use deltalake::kernel::{Action, Add, CommitInfo, Remove, Transaction};
use deltalake::logstore::{LogStore, LogStoreRef};
use deltalake::protocol::{DeltaOperation, SaveMode};
use lake_schemas::history::json_of;
use lake_schemas::table::Definition;
use lake_schemas::{Code, Table};
use serde_json::{Value, json};

use super::lines::{Damage, Lines};
use super::shape::Shape;
use super::{Commit, CommitId, Version};
use crate::error::{Context, LakeError, Result};

/// Job that upgrades tables, as `history` shows it.
pub(super) const UPGRADE: &str = "upgrade";

/// Job that records who counts a table live.
pub(super) const LIVE: &str = "live";

/// Number of entries that are read concurrently.
pub(super) const READS_MAX: usize = 64;

/// Reads the entry of a version. `None` if it is gone, or not there yet. A damaged entry is refused.
pub(super) async fn read(table: Table, log_store: &dyn LogStore, version: Version) -> Result<Option<Lines>> {
    let what = || format!("{table}: reading version {version}");
    let Some(bytes) = log_store.read_commit_entry(version).await.while_doing(what)? else { return Ok(None) };
    Lines::parse(&bytes).map(Some).map_err(|damage| damaged(table, version, &damage))
}

/// Returns the error for a version whose entry is damaged.
pub(super) fn damaged(table: Table, version: Version, damage: &Damage) -> LakeError {
    LakeError::Refused(Code::FileDamaged.because(format!(
        "{table}: the entry of version {version} in its log is damaged ({damage}); put that file back from a copy of \
         _delta_log, or restore the table to a version before it"
    )))
}

/// Reads the entry of a version for callers that can do without it: a damaged entry is as good as one that is gone.
pub(super) async fn read_if_whole(table: Table, log_store: &dyn LogStore, version: Version) -> Result<Option<Lines>> {
    match read(table, log_store, version).await {
        Err(LakeError::Refused(_)) => Ok(None),
        read => read,
    }
}

/// Returns the files that a version added and removed; `None` if its entry is gone or damaged, or not there yet.
pub(super) async fn files_of(table: Table, log_store: &LogStoreRef, version: Version) -> Result<Option<VersionFiles>> {
    let lines = read_if_whole(table, log_store.as_ref(), version).await?;
    Ok(lines.map(|lines| VersionFiles::of(lines.actions)))
}

/// Content of a commit's entry, the same for whichever version it is put as.
pub(super) struct Entry {
    pub actions: Vec<Action>,
    pub operation: DeltaOperation,
    pub info: HashMap<String, Value>,
}

impl Entry {
    /// Makes the entry of a commit to a table of this shape and definition.
    ///
    /// # Panics
    ///
    /// If the commit names a file or a `txn` twice, which Delta's protocol forbids: a bug of whoever made it.
    pub fn new(commit: &Commit, shape: &Shape, before: &Definition) -> Result<Self> {
        let added = commit.adds.iter().map(|file| file.path.as_str());
        assert_once("file", added.chain(commit.removes.iter().map(|file| file.path.as_str())));
        assert_once("txn", commit.moves.iter().map(|step| step.app_id.as_str()));
        let deleted_at = deletion_timestamp();
        let removes = commit.removes.iter().map(|file| {
            Action::Remove(Remove {
                path: file.path.clone(),
                data_change: commit.data_change,
                deletion_timestamp: Some(deleted_at),
                extended_file_metadata: Some(true),
                partition_values: Some(file.partition_values.clone()),
                size: Some(file.size),
                ..Remove::default()
            })
        });
        let adds = commit.adds.iter().cloned().map(|mut file| {
            file.data_change = commit.data_change;
            Action::Add(file)
        });
        let txns = commit.moves.iter().filter_map(|step| Some(Action::Txn(Transaction::new(&step.app_id, step.to?))));
        let definition = commit.definition.as_ref().map(|definition| shape.redefined(before, definition));
        let metadata = definition.transpose()?.map(Action::Metadata);
        let cut = json_of(&commit.cut);
        let append = commit.removes.is_empty();
        Ok(Self {
            actions: metadata.into_iter().chain(removes).chain(adds).chain(txns).collect(),
            operation: DeltaOperation::Write {
                mode: if append { SaveMode::Append } else { SaveMode::Overwrite },
                partition_by: None,
                predicate: None,
            },
            info: [
                ("isBlindAppend".to_owned(), json!(append)),
                ("clicklake".to_owned(), json!({ "job": commit.job, "commit": commit.id.as_str(), "cut": cut })),
            ]
            .into(),
        })
    }
}

fn assert_once<'a>(what: &str, named: impl Iterator<Item = &'a str>) {
    let mut seen = HashSet::new();
    for name in named {
        assert!(seen.insert(name), "a commit has the {what} {name} twice");
    }
}

/// Files that one version of a table added and removed.
#[derive(Debug, Default)]
pub struct VersionFiles {
    /// Files that it added.
    pub adds: Vec<Add>,
    /// Paths of the files that it removed.
    pub removes: Vec<String>,
    /// Job that wrote the version, if it is a commit of clicklake's.
    pub job: Option<String>,
}

impl VersionFiles {
    pub(super) fn of(actions: Vec<Action>) -> Self {
        let mut files = Self::default();
        for action in actions {
            match action {
                Action::Add(add) => files.adds.push(add),
                Action::Remove(remove) => files.removes.push(remove.path),
                Action::CommitInfo(info) => {
                    files.job = job_of(&info);
                }
                _ => {}
            }
        }
        files
    }
}

#[expect(clippy::disallowed_methods, reason = "Delta keeps a removed file for a time that is counted from its removal")]
fn deletion_timestamp() -> i64 {
    chrono::Utc::now().timestamp_millis()
}

/// Returns whether an action is the commit information of the commit `id`.
pub(super) fn carries(action: &Action, id: &CommitId) -> bool {
    let Action::CommitInfo(info) = action else { return false };
    ours(info).is_some_and(|ours| ours["commit"] == id.as_str())
}

/// Returns what clicklake recorded about its own commit; `None` for a commit of another program.
pub(super) fn ours(info: &CommitInfo) -> Option<&Value> {
    info.info.get("clicklake")
}

/// Returns the job that made a commit, if it is a commit of clicklake's.
pub(super) fn job_of(info: &CommitInfo) -> Option<String> {
    ours(info)?["job"].as_str().map(str::to_owned)
}

/// Returns whether an action alters more than rows and stands: the table's columns, properties or protocol.
pub(super) fn is_altering(action: &Action) -> bool {
    matches!(action, Action::Metadata(_) | Action::Protocol(_))
}

/// Returns whether an action is the commit information of a job that alters a table, and neither a row of it nor what
/// its rows mean.
pub(super) fn leaves_rows(action: &Action) -> bool {
    let Action::CommitInfo(info) = action else { return false };
    job_of(info).is_some_and(|job| [UPGRADE, LIVE].contains(&job.as_str()))
}
