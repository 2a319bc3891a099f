//! Memory of the newest commit that was put: whether it may be in the log, and as which version it was found there. No
//! I/O.
//!
//! A put that fails may have happened, and may still happen: a request that nobody waits for any more can be on its
//! way. So a commit is in doubt from its put until the version that it was put as has been read, or its own entry was
//! found. A commit that was found stays known until another one is put, however many reads fail meanwhile.

use deltalake::kernel::Action;

use super::entry::carries;
use super::{CommitId, Version};

/// State of the newest commit that was put; `None` before the first.
#[derive(Debug, Default)]
pub(super) struct Doubt(Option<Put>);

#[derive(Debug)]
struct Put {
    id: CommitId,
    /// Version that the commit was last put as.
    version: Version,
    /// Version as which the commit was found in the log, or confirmed by the store.
    found: Option<Version>,
}

impl Doubt {
    /// Records that a commit is about to be put as a version. It may be in the log from here on, so this comes before
    /// the request.
    pub fn puts(&mut self, id: &CommitId, version: Version) {
        id.mark_put();
        self.0 = Some(Put { id: id.clone(), version, found: None });
    }

    /// Records that the put was confirmed.
    pub fn lands(&mut self) {
        if let Some(put) = &mut self.0 {
            put.found = Some(put.version);
        }
    }

    /// Looks at the entry of a version, and returns whether it is the entry of the commit.
    pub fn meets(&mut self, version: Version, actions: &[Action]) -> bool {
        let Some(put) = &mut self.0 else { return false };
        let is_it = actions.iter().any(|action| carries(action, &put.id));
        if is_it {
            put.found = Some(version);
        }
        is_it
    }

    /// Returns whether the commit may be in the log behind `read_to`, the version up to which everything was read.
    pub fn is_open(&self, read_to: Version) -> bool {
        self.0.as_ref().is_some_and(|put| put.found.is_none() && put.version > read_to)
    }

    /// Returns whether this commit was found, or may be in the log behind `read_to`, the version up to which everything
    /// was read.
    pub fn may_hold(&self, id: &CommitId, read_to: Version) -> bool {
        self.found(id).is_some() || (self.0.as_ref().is_some_and(|put| put.id == *id) && self.is_open(read_to))
    }

    /// Returns the version that this commit became, if it was found.
    pub fn found(&self, id: &CommitId) -> Option<Version> {
        self.0.as_ref().filter(|put| put.id == *id)?.found
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use deltalake::kernel::CommitInfo;
    use serde_json::json;

    use super::*;

    fn entry_of(id: &CommitId) -> Vec<Action> {
        let info = HashMap::from([("clicklake".to_owned(), json!({ "commit": id.as_str() }))]);
        vec![Action::CommitInfo(CommitInfo { info, ..CommitInfo::default() })]
    }

    #[test]
    fn a_commit_is_in_doubt_until_the_version_that_it_was_put_as_is_read() {
        let (mut doubt, id, other) = (Doubt::default(), CommitId::unique(), CommitId::unique());
        assert!(!doubt.is_open(0));
        doubt.puts(&id, 5);
        assert!(doubt.is_open(4), "its request may still be on its way");
        assert!(!doubt.meets(5, &entry_of(&other)));
        assert!(!doubt.is_open(5), "another has that version");
        assert_eq!(doubt.found(&id), None);
    }

    #[test]
    fn a_commit_found_in_the_log_is_known_until_another_one_is_put() {
        let (mut doubt, id, other) = (Doubt::default(), CommitId::unique(), CommitId::unique());
        doubt.puts(&id, 5);
        assert!(doubt.meets(5, &entry_of(&id)) && !doubt.meets(6, &entry_of(&other)));
        assert!(!doubt.is_open(4));
        assert_eq!((doubt.found(&id), doubt.found(&other)), (Some(5), None));
        doubt.puts(&other, 7);
        doubt.lands();
        assert_eq!((doubt.found(&id), doubt.found(&other)), (None, Some(7)));
    }

    #[test]
    fn an_id_knows_in_all_its_copies_that_it_was_put() {
        let (mut doubt, id) = (Doubt::default(), CommitId::unique());
        let copy = id.clone();
        assert!(!copy.was_put());
        doubt.puts(&id, 1);
        assert!(copy.was_put());
    }
}
