//! The commit protocol: commits rows and the cut that they belong to in one atomic step, whoever else is writing.
//!
//! A Delta commit is one put-if-absent of `_delta_log/<version>.json`. This module builds on that alone:
//!
//! ```text
//!   look at the table's head (its version, every txn value, the live files)
//!     │
//!     ├─ does each txn that this commit moves stand where the commit starts?   no → Fenced
//!     ├─ is each file that it removes still live?                             no → InputGone
//!     ├─ is this the version that it was worked out from, if it names one?    no → Overtaken
//!     │
//!     └─ put version head + 1, if absent
//!          ├─ done                      → Committed
//!          ├─ someone was first         → read what they wrote, look again
//!          └─ failed, or no reply       → an error; the next attempt looks first
//! ```
//!
//! The head is checked, and then the very next version is put: nothing can come between the two. That is stricter than
//! delta-rs's own transaction, which lets two rewrites of one file both win and fails an append that meets a delete. It
//! costs the same at version 10,000 as at version 100, because the head is followed and never rebuilt.
//!
//! A commit that reports failure may have happened. It is recognised by its [`CommitId`], which is one for each epoch
//! and not one for each attempt, so trying the same commit again is always safe:
//!
//! | the table stands | outcome |
//! |---|---|
//! | where the epoch starts | not committed: the attempt goes on |
//! | where it ends, with our commit id | committed, the reply was lost |
//! | anywhere else | another process owns a partition: [`Outcome::Fenced`] |
//! | unknown: entries that may be it were cleaned up | an error, [`LakeError::Altered`]: open the table again |
//!
//! Every outcome other than committed is certain for the rows, but not for the files. A commit that was ever put
//! ([`CommitId::was_put`]) may be found in the log by whoever looks next, so its maker never deletes its files. The
//! sweep deletes them later, if no version names them.

mod ahead;
mod changes;
mod checkpoint;
mod clean;
mod confirmed;
mod definition;
mod doubt;
mod entry;
mod foreign;
mod head;
mod judge;
mod lines;
mod load;
mod log;
mod looked;
mod named;
mod noticed;
#[cfg(test)]
mod others;
mod partitions;
mod shape;
mod terms;
mod upgrade;
mod versions;
mod view;
mod written;

pub use changes::Changed;
pub use checkpoint::Checkpoint;
pub use clean::{Cleaned, Deletes};
pub use entry::VersionFiles;
pub use foreign::ForeignChange;
pub use head::Head;
pub use load::without_deleted_rows;
pub use log::TableLog;
pub use partitions::Partitions;
pub use upgrade::Lacking;
pub use view::TableView;
pub use written::Written;

use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use deltalake::kernel::{Add, Metadata, Protocol};
use lake_schemas::job::Step;
use lake_schemas::stand::AppId;
use lake_schemas::table::{Definition, Version};
use lake_schemas::{Cut, Table};
use uuid::Uuid;

use self::judge::may_be_read;
use self::shape::Shape;
#[cfg(doc)]
use crate::error::LakeError;
use crate::error::Result;

/// Refuses a table that would be read wrongly, by what its log says: one whose files may have deletion vectors, or
/// whose columns have other names in its files.
pub fn is_readable(table: Table, protocol: &Protocol, metadata: &Metadata) -> Result<()> {
    may_be_read(table, &Shape::of(table, protocol, metadata)?)
}

/// Name of one epoch's commit, the same for all attempts, which also remembers whether one of them was put.
#[derive(Clone, Debug)]
pub struct CommitId {
    name: String,
    /// Shared by all clones of the id.
    was_put: Arc<AtomicBool>,
}

impl CommitId {
    /// Makes a name that no other commit has.
    #[expect(clippy::disallowed_methods, reason = "commits of all writers of all time must differ")]
    pub fn unique() -> Self {
        Self { name: Uuid::new_v4().simple().to_string(), was_put: Arc::default() }
    }

    /// Returns the name as it is written in the log.
    pub fn as_str(&self) -> &str {
        &self.name
    }

    /// Returns whether a commit of this name was ever put. Then its files may be live, whatever became of the put.
    pub fn was_put(&self) -> bool {
        self.was_put.load(Ordering::Relaxed)
    }

    /// Records that a commit of this name is being put.
    fn mark_put(&self) {
        self.was_put.store(true, Ordering::Relaxed);
    }
}

impl PartialEq for CommitId {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for CommitId {}

impl Hash for CommitId {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

/// One change of one `txn` value, which fences: the table must have the value from which it starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Move {
    /// Identifier of the `txn`.
    pub app_id: AppId,
    /// Value that it must have in the table.
    pub from: Option<i64>,
    /// Value that the commit gives it. `None`: it is absent, and stays so. The commit is fenced all the same if it is
    /// there: of two writers that start without a value, one may be the first to set it.
    pub to: Option<i64>,
}

/// Everything that one commit changes, and everything that must hold for it.
#[derive(Clone, Debug)]
pub struct Commit {
    /// Name of the commit.
    pub id: CommitId,
    /// Job that makes the commit.
    pub job: &'static str,
    /// Changes of `txn` values.
    pub moves: Vec<Move>,
    /// Files that it adds.
    pub adds: Vec<Add>,
    /// Files that it removes: they must be live in the very version before it.
    pub removes: Vec<Add>,
    /// Whether rows change, or only the files that hold them. Recorded for each file that is added or removed.
    pub data_change: bool,
    /// Version that it must directly follow, because it was worked out from everything in it. `None`: any version in
    /// which its moves start and its removed files are live.
    pub onto: Option<Version>,
    /// New definition of the table, columns and properties, if the commit changes it.
    pub definition: Option<Definition>,
    /// Cut that it reaches, for people and `history`.
    pub cut: Cut,
}

impl Commit {
    /// Makes a commit of a job that changes nothing yet.
    pub fn new(job: &'static str) -> Self {
        Self {
            id: CommitId::unique(),
            job,
            moves: Vec::new(),
            adds: Vec::new(),
            removes: Vec::new(),
            data_change: true,
            onto: None,
            definition: None,
            cut: Cut::new(),
        }
    }

    /// Makes the commit of an epoch: new files, and with them the stands of the partitions that it moves.
    ///
    /// # Panics
    ///
    /// If a step does not strictly advance its partition, or unsets part of a stand: both are bugs of the operator.
    pub fn epoch(job: &'static str, steps: &[Step], adds: Vec<Add>) -> Self {
        let mut moves = Vec::new();
        let mut cut = Cut::new();
        for step in steps {
            assert!(
                step.from.is_behind(step.to),
                "{}: {} does not advance from {:?} to {:?}",
                step.table,
                step.partition,
                step.from,
                step.to
            );
            cut.extend(step.to.cut.map(|next| (step.partition.clone(), next)));
            let from = step.from.encode(step.table, &step.partition);
            let to = step.to.encode(step.table, &step.partition);
            for ((app_id, from), (_, to)) in from.into_iter().zip(to) {
                assert!(from.is_none() || to.is_some(), "{app_id} would be unset");
                moves.push(Move { app_id, from, to });
            }
        }
        Self { moves, adds, cut, ..Self::new(job) }
    }
}

/// Outcome of a commit.
#[must_use]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It became this version of the table.
    Committed(Version),
    /// A `txn` has another value than the commit starts from: another writer has been here, and nothing was committed.
    Fenced {
        /// Identifier of the `txn`.
        app_id: AppId,
        /// Value that the commit starts from.
        expected: Option<i64>,
        /// Value in the table.
        found: Option<i64>,
    },
    /// A file to be removed is no longer live, and nothing was committed.
    InputGone {
        /// Path of the file.
        path: String,
    },
    /// Another commit came after the version that this one was worked out from, and nothing was committed.
    Overtaken {
        /// Newest version of the table.
        by: Version,
    },
}
