//! One commit as a value: what it changes, what must hold for it, and what came of it. No I/O.

use deltalake::kernel::Add;
use lake_schemas::Cut;
use lake_schemas::job::Step;
use lake_schemas::stand::AppId;
use lake_schemas::table::{Definition, Version};

use super::id::CommitId;

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
    /// The commit became this version of the table.
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
