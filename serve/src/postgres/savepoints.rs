//! Savepoints of a transaction. Statements change nothing that going back could undo, so only their names are kept.

use std::sync::Mutex;

use lake_store::locked::lock;

use super::errors::Refused;

/// Maximum number of savepoints of a transaction: clients set one for each level of their code, or one in all.
const SAVEPOINTS_MAX: usize = 256;

/// Names of savepoints, the newest last. A name may be there several times; then the newest is meant.
#[derive(Default)]
pub(super) struct Savepoints(Mutex<Vec<String>>);

impl Savepoints {
    /// Sets a savepoint.
    pub fn set(&self, name: &str) -> Result<(), Refused> {
        let mut names = lock(&self.0);
        if names.len() == SAVEPOINTS_MAX {
            return Err(Refused::too_much(&format!("{SAVEPOINTS_MAX} savepoints are there already; release some")));
        }
        names.push(name.to_owned());
        Ok(())
    }

    /// Goes back to a savepoint, which stays; those that were set after it are gone.
    pub fn go_back_to(&self, name: &str) -> Result<(), Refused> {
        self.keep_until(name, 1)
    }

    /// Releases a savepoint, and those that were set after it.
    pub fn release(&self, name: &str) -> Result<(), Refused> {
        self.keep_until(name, 0)
    }

    /// Forgets all savepoints: the transaction has ended.
    pub fn clear(&self) {
        lock(&self.0).clear();
    }

    /// Keeps the savepoints before the newest of a name, and this many from there on.
    fn keep_until(&self, name: &str, and: usize) -> Result<(), Refused> {
        let mut names = lock(&self.0);
        let at = names.iter().rposition(|other| other == name).ok_or_else(|| Refused::no_savepoint(name))?;
        names.truncate(at + and);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_savepoint_stays_until_it_or_one_before_it_is_released() {
        let savepoints = Savepoints::default();
        for name in ["a", "b", "a", "c"] {
            savepoints.set(name).expect("there is room");
        }
        assert_eq!(savepoints.go_back_to("a"), Ok(()));
        assert_eq!(savepoints.go_back_to("a"), Ok(()), "it stays");
        assert_eq!(savepoints.go_back_to("c"), Err(Refused::no_savepoint("c")));
        assert_eq!(savepoints.release("a"), Ok(()));
        assert_eq!((savepoints.go_back_to("b"), savepoints.release("a")), (Ok(()), Ok(())));
        assert_eq!(savepoints.release("b"), Err(Refused::no_savepoint("b")), "it was set after the first");
    }

    #[test]
    fn a_transaction_has_room_for_so_many_savepoints_and_the_next_has_none_of_them() {
        let savepoints = Savepoints::default();
        for _ in 0..SAVEPOINTS_MAX {
            savepoints.set("a").expect("there is room");
        }
        assert!(savepoints.set("a").is_err());
        savepoints.clear();
        assert_eq!(savepoints.release("a"), Err(Refused::no_savepoint("a")));
    }
}
