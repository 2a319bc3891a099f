//! One entry of a table's log: what is put for a commit, and what is looked for in those of others.

use std::collections::HashMap;

use deltalake::kernel::{Action, Add, Remove, Transaction};
use deltalake::protocol::{DeltaOperation, SaveMode};
use serde_json::{Value, json};

use super::{Commit, CommitId};
use crate::history::json_of;

/// What is put for a commit, whichever version it becomes.
pub(super) struct Entry {
    pub actions: Vec<Action>,
    pub operation: DeltaOperation,
    pub info: HashMap<String, Value>,
}

impl Entry {
    pub fn new(commit: &Commit) -> Self {
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
        let txns = commit.moves.iter().map(|step| Action::Txn(Transaction::new(&step.app_id, step.to)));
        let cut = json_of(&commit.cut);
        let append = commit.removes.is_empty();
        Self {
            actions: removes.chain(adds).chain(txns).collect(),
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
        }
    }
}

/// The files that one version of a table added and took out.
#[derive(Debug, Default)]
pub struct VersionFiles {
    /// Files added.
    pub adds: Vec<Add>,
    /// Paths of files taken out.
    pub removes: Vec<String>,
}

impl VersionFiles {
    pub(super) fn of(actions: Vec<Action>) -> Self {
        let mut files = Self::default();
        for action in actions {
            match action {
                Action::Add(add) => files.adds.push(add),
                Action::Remove(remove) => files.removes.push(remove.path),
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

/// Whether an entry of the log is that of the commit `id`.
pub(super) fn carries(action: &Action, id: &CommitId) -> bool {
    let Action::CommitInfo(info) = action else { return false };
    info.info.get("clicklake").and_then(|ours| ours.get("commit")).is_some_and(|commit| commit == id.as_str())
}

/// What of the table an action alters, beyond rows and stands.
pub(super) fn altering(action: &Action) -> Option<&'static str> {
    match action {
        Action::Metadata(_) => Some("schema or properties"),
        Action::Protocol(_) => Some("protocol"),
        _ => None,
    }
}
