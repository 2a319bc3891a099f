//! The newest known state of a table that a commit depends on, and the decision whether a commit may go onto it. No
//! I/O.

use std::collections::{BTreeMap, HashMap};

use deltalake::kernel::{Action, Add};
use lake_schemas::stand::AppId;
use lake_schemas::{Stand, Table, TopicPartition};

use super::{Commit, Outcome, Version};

/// A table's version, its `txn` values and, if a commit removes files, its live files.
#[derive(Clone, Debug)]
pub struct Head {
    version: Version,
    txns: HashMap<AppId, i64>,
    /// Live files by path; `None` until they are needed.
    live: Option<HashMap<String, Add>>,
}

impl Head {
    /// Makes the head of a table at a version. Its live files are not known yet.
    pub fn new(version: Version, txns: HashMap<AppId, i64>) -> Self {
        Self { version, txns, live: None }
    }

    /// Returns the newest version known.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Returns the value of a `txn`.
    pub fn txn(&self, app_id: &str) -> Option<i64> {
        self.txns.get(app_id).copied()
    }

    /// Iterates over all transaction identifiers with their values.
    pub(super) fn txns(&self) -> impl Iterator<Item = (&str, i64)> {
        self.txns.iter().map(|(app_id, value)| (app_id.as_str(), *value))
    }

    /// Returns the stand of each partition, if this is the head of `table`.
    pub(super) fn stands(&self, table: Table) -> BTreeMap<TopicPartition, Stand> {
        let partitions = self.txns.keys().filter_map(|app_id| Stand::partition_of(table, app_id));
        let stand = |partition: &TopicPartition| Stand::decode(table, partition, |app_id| self.txn(app_id));
        partitions.map(|partition| (partition.clone(), stand(&partition))).collect()
    }

    /// Returns the live files, if they are known.
    pub(super) fn live(&self) -> Option<&HashMap<String, Add>> {
        self.live.as_ref()
    }

    /// Sets the files that are live at this version. From here on they are followed, too.
    pub(super) fn set_live(&mut self, live: HashMap<String, Add>) {
        self.live = Some(live);
    }

    /// Goes on to the next version. A path that one version both removes and adds is live: engines that write a
    /// deletion vector beside a file do that. So all removes are applied before the first add.
    pub(super) fn follow(&mut self, actions: &[Action]) {
        self.version += 1;
        for action in actions {
            match (action, &mut self.live) {
                (Action::Txn(txn), _) => {
                    self.txns.insert(txn.app_id.clone(), txn.version);
                }
                (Action::Remove(remove), Some(live)) => {
                    live.remove(&remove.path);
                }
                _ => {}
            }
        }
        let Some(live) = &mut self.live else { return };
        for action in actions {
            if let Action::Add(add) = action {
                live.insert(add.path.clone(), add.clone());
            }
        }
    }

    /// Returns a `txn` of clicklake's that `before` has and this head lacks, if there is one.
    pub(super) fn lost<'a>(&self, before: &'a Self) -> Option<&'a AppId> {
        let own = before.txns.keys().filter(|app_id| app_id.starts_with("clicklake/"));
        own.filter(|app_id| !self.txns.contains_key(*app_id)).min()
    }

    /// Returns what forbids the commit on this head, if anything does.
    // First the stands: a commit that starts elsewhere belongs to a process that does not own the partition any more.
    pub(super) fn obstacle(&self, commit: &Commit) -> Option<Outcome> {
        for step in &commit.moves {
            let found = self.txn(&step.app_id);
            if found != step.from {
                return Some(Outcome::Fenced { app_id: step.app_id.clone(), expected: step.from, found });
            }
        }
        // Then the inputs: a file that another rewrite has taken out already must not be replaced a second time.
        let gone = |path: &String| !self.live.as_ref().is_some_and(|live| live.contains_key(path));
        if let Some(path) = commit.removes.iter().map(|file| &file.path).find(|path| gone(path)) {
            return Some(Outcome::InputGone { path: path.clone() });
        }
        // Last the version that the commit was worked out from, if it depends on everything in it.
        let is_overtaken = commit.onto.is_some_and(|version| version != self.version);
        is_overtaken.then_some(Outcome::Overtaken { by: self.version })
    }
}
