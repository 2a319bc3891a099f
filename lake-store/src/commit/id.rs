//! Name of a commit, by which it is recognised in the log.

use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use uuid::Uuid;

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
    pub(super) fn mark_put(&self) {
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
