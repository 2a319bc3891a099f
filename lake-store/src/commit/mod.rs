//! The commit protocol: rows and the cut they belong to, in one atomic step, whoever else is writing.
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
//! The head is checked and the very next version is put: nothing can come between the two. That is stricter than
//! delta-rs's own transaction, which lets two rewrites of one file both win and fails an append that meets a delete;
//! and it costs the same at version 10,000 as at version 100, because the head is followed and never rebuilt.
//!
//! A commit that reports failure may have happened. It is recognised by its [`CommitId`], one for an epoch and not one
//! for an attempt, so trying the same commit again is always safe:
//!
//! | the table stands | outcome |
//! |---|---|
//! | where the epoch started | not committed: the attempt goes on |
//! | where it ends, with our commit id | committed, the reply was lost |
//! | anywhere else | another incarnation owns a partition: [`Outcome::Fenced`] |
//! | not told: entries that may be it were cleaned up | an error, [`LakeError::Altered`]: open the table again |
//!
//! Any other outcome than committed is certain, but for the files of such a commit it counts for nothing: a commit that
//! was ever put ([`CommitId::was_put`]) may be found in the log by whoever looks next, so its files are never deleted
//! by who made them. The sweep takes them, if no version names them.

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

/// Refuses a table that would be read wrongly, by what its log says: one whose files have deletion vectors, or whose
/// columns have other names in its files.
pub fn is_readable(table: Table, protocol: &Protocol, metadata: &Metadata) -> Result<()> {
    may_be_read(table, &Shape::of(table, protocol, metadata)?)
}

/// Names one epoch's commit, however often it is tried, and knows whether it was.
#[derive(Clone, Debug)]
pub struct CommitId {
    name: String,
    /// Shared by all copies.
    was_put: Arc<AtomicBool>,
}

impl CommitId {
    /// A name that no other commit has.
    #[expect(clippy::disallowed_methods, reason = "commits of all writers of all time must differ")]
    pub fn unique() -> Self {
        Self { name: Uuid::new_v4().simple().to_string(), was_put: Arc::default() }
    }

    /// As it stands in the log.
    pub fn as_str(&self) -> &str {
        &self.name
    }

    /// Whether a commit of this name was ever put: then its files may be live, whatever became of the put.
    pub fn was_put(&self) -> bool {
        self.was_put.load(Ordering::Relaxed)
    }

    /// Says that a commit of this name is being put.
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

/// One step of one `txn` value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Move {
    /// Whose value.
    pub app_id: AppId,
    /// What it must be in the table.
    pub from: Option<i64>,
    /// What the commit makes it; `None`: it was absent, and stays so. That must be so all the same: of two that begin
    /// from a stand that lacks a value, one may be the first to give it one.
    pub to: Option<i64>,
}

/// All that one commit changes, and what it takes for granted.
#[derive(Clone, Debug)]
pub struct Commit {
    /// Its name.
    pub id: CommitId,
    /// The job that makes it.
    pub job: &'static str,
    /// The `txn` values it moves.
    pub moves: Vec<Move>,
    /// New files.
    pub adds: Vec<Add>,
    /// Files that it takes out: they must be live until the very version before it.
    pub removes: Vec<Add>,
    /// Whether rows change, or only the files that hold them. Said of each file that is added or removed.
    pub data_change: bool,
    /// The version that it must come right after: what it was worked out from. `None`: any, as long as what it moves
    /// and removes is there.
    pub onto: Option<Version>,
    /// What the table becomes with it, in columns and properties, if that is something else than it was.
    pub definition: Option<Definition>,
    /// The cut that it reaches, for people and `history`.
    pub cut: Cut,
}

impl Commit {
    /// A commit of a job that changes nothing yet.
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

    /// An epoch: new files and, with them, the stands of the partitions that it moves.
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

/// What became of a commit.
#[must_use]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is version so-and-so of the table.
    Committed(Version),
    /// A `txn` stands elsewhere: another writer has been here, and nothing was committed.
    Fenced {
        /// Which one.
        app_id: AppId,
        /// Where the commit starts.
        expected: Option<i64>,
        /// Where the table stands.
        found: Option<i64>,
    },
    /// A file to be removed is no longer live, and nothing was committed.
    InputGone {
        /// Which one.
        path: String,
    },
    /// Another commit has come onto the version that this one was worked out from, and nothing was committed.
    Overtaken {
        /// The newest version.
        by: Version,
    },
}
