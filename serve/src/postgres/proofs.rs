//! Finds the key that a SCRAM proof belongs to: the proof does not name it, so each key that has a verifier is tried.
//! With ten thousand keys that takes some ten milliseconds of CPU, and anyone can ask for it: so only one proof at a
//! time is tried, beside the server's other work.
//!
//! A client that logs in by a name that a key has used before does not wait behind those who guess: that key is tried
//! first.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use lake_store::locked::lock;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use crate::keys::{KeyId, Keys, Who};
use crate::scram::Proof;

/// Number of proofs that are tried at once: clients that guess get one CPU, and not all.
const TRIED_AT_ONCE: usize = 1;

/// Maximum number of remembered names, each of a key: as many as a server has keys.
const NAMES_MAX: usize = 10_000;

/// Maximum length of a remembered name, in bytes: PostgreSQL has none that is longer.
const NAME_BYTES_MAX: usize = 63;

/// Matcher of proofs to keys.
pub(super) struct Proofs {
    turns: Semaphore,
    /// Key that last logged in by each name.
    names: Mutex<HashMap<String, KeyId>>,
}

impl Default for Proofs {
    fn default() -> Self {
        Self { turns: Semaphore::new(TRIED_AT_ONCE), names: Mutex::default() }
    }
}

impl Proofs {
    /// Finds the client who proves to have a key, by whatever name, and the server's answer to the proof.
    pub async fn look(&self, keys: &Arc<Keys>, name: &str, proof: Proof) -> Option<(Who, String)> {
        let known = lock(&self.names).get(name).copied();
        if let Some(found) = known.and_then(|key| keys.proved_of(key, &proof)) {
            return Some(found);
        }
        // The semaphore is never closed.
        let _turn = self.turns.acquire().await.ok()?;
        let all = Arc::clone(keys);
        let found = spawn_blocking(move || all.proved(&proof)).await.ok().flatten()?;
        if let Some(key) = found.0.key {
            self.remember(name, key);
        }
        Some(found)
    }

    fn remember(&self, name: &str, key: KeyId) {
        if name.len() > NAME_BYTES_MAX {
            return;
        }
        let mut names = lock(&self.names);
        if names.len() >= NAMES_MAX && !names.contains_key(name) {
            names.clear();
        }
        names.insert(name.to_owned(), key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scram::{Begun, answer, new_key};

    /// Returns a proof of a key, as a client gives it.
    fn proof(key: &str) -> Proof {
        let begun = Begun::new(b"n,,n=,r=abc", "random").expect("a login");
        begun.proof(&answer(key, &begun, "n=,r=abc")).expect("a proof")
    }

    #[tokio::test]
    async fn who_has_logged_in_by_a_name_does_not_wait_for_those_who_guess() {
        let [(key, line), (other, other_line)] = [[1; 32], [2; 32]].map(|random| new_key(random, "spring"));
        let keys = Arc::new(Keys::parse(&format!("{line}\n{other_line}")).expect("keys"));
        let proofs = Proofs::default();
        let who = async |name: &str, key: &str| proofs.look(&keys, name, proof(key)).await.map(|(who, _)| who.key);
        assert_eq!(who("one", &key).await, Some(Some(KeyId::of(&key))));
        assert_eq!(who("one", "guessed").await, None);
        let guessing = proofs.turns.acquire().await.expect("it is free");
        assert_eq!(who("one", &key).await, Some(Some(KeyId::of(&key))), "by that name, it is tried at once");
        drop(guessing);
        // A name may be used with any key.
        assert_eq!(who("one", &other).await, Some(Some(KeyId::of(&other))));
        assert_eq!(who("one", &key).await, Some(Some(KeyId::of(&key))));
        proofs.remember(&"x".repeat(NAME_BYTES_MAX + 1), KeyId::of(&key));
        assert_eq!(lock(&proofs.names).len(), 1);
        (0..NAMES_MAX).for_each(|number| proofs.remember(&number.to_string(), KeyId::of(&key)));
        assert!(lock(&proofs.names).len() <= NAMES_MAX);
    }
}
