//! Places of connections. When all are taken, whoever has shown no key and has been there longest gives way to who
//! comes: who only connects keeps nobody out, however often, and no key takes the places of all others.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, OnceLock};

use tokio_util::sync::CancellationToken;

use super::keys::KeyId;
use crate::locked::lock;

/// The part of all places that one key may have for good: what it has beyond that gives way, too.
const SHARE: usize = 4;

/// The places of a listener.
pub(super) struct Places {
    most: usize,
    /// How many of them one key may have.
    share: usize,
    taken: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    /// The number of the next.
    next: u64,
    /// Those who have shown no key, in the order in which they came, and that they have to go.
    unknown: BTreeMap<u64, CancellationToken>,
    /// How many are of which key; without keys, all are of none.
    known: HashMap<Option<KeyId>, usize>,
}

/// A place, until it is dropped.
pub(super) struct Place {
    places: Arc<Places>,
    number: u64,
    given_away: CancellationToken,
    owner: OnceLock<Option<KeyId>>,
}

impl Places {
    /// So many. Where there are keys, each may have a part of them; without any, everyone is the same.
    pub fn new(most: usize, has_keys: bool) -> Arc<Self> {
        let share = if has_keys { most.div_ceil(SHARE) } else { most };
        Arc::new(Self { most, share, taken: Mutex::default() })
    }

    /// A place for who has just come; `None`: all are taken by those who have keys.
    pub fn take(self: &Arc<Self>) -> Option<Place> {
        let mut taken = lock(&self.taken);
        if taken.known.values().sum::<usize>() + taken.unknown.len() >= self.most {
            let (_, oldest) = taken.unknown.pop_first()?;
            oldest.cancel();
        }
        let (number, given_away) = (taken.next, CancellationToken::new());
        taken.next += 1;
        taken.unknown.insert(number, given_away.clone());
        Some(Place { places: Arc::clone(self), number, given_away, owner: OnceLock::new() })
    }
}

impl Place {
    /// Whose it is; from then on it is not given away. Whether the key may have one more, and it was not given away
    /// before.
    pub fn belongs_to(&self, key: Option<KeyId>) -> bool {
        if self.owner.get().is_some() {
            return true;
        }
        let mut taken = lock(&self.places.taken);
        let of_key = taken.known.get(&key).copied().unwrap_or_default();
        if of_key >= self.places.share || taken.unknown.remove(&self.number).is_none() {
            return false;
        }
        taken.known.insert(key, of_key + 1);
        // Nobody else has it, and under the lock it was not set.
        let _ = self.owner.set(key);
        true
    }

    /// Waits until it is given to somebody else.
    pub async fn is_given_away(&self) {
        self.given_away.cancelled().await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = lock(&self.places.taken);
        let Some(key) = self.owner.get() else {
            taken.unknown.remove(&self.number);
            return;
        };
        if let Some(of_key) = taken.known.get_mut(key) {
            *of_key -= 1;
            if *of_key == 0 {
                taken.known.remove(key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    fn is_given_away(place: &Place) -> bool {
        place.is_given_away().now_or_never().is_some()
    }

    #[test]
    fn who_has_shown_no_key_gives_way_and_nobody_else() {
        let places = Places::new(8, true);
        let mut held: Vec<_> = (0..8).map(|_| places.take().expect("a place")).collect();
        let keys = ["a", "b", "c", "d"].map(|key| Some(KeyId::of(key)));
        assert!(held[0].belongs_to(keys[0]) && held[1].belongs_to(keys[0]));
        assert!(held[0].belongs_to(keys[0]), "said twice");
        assert!(!held[2].belongs_to(keys[0]), "it has its share");
        held.push(places.take().expect("the oldest gives way"));
        let gone: Vec<_> = held.iter().map(is_given_away).collect();
        assert_eq!(gone.iter().position(|gone| *gone), Some(2));
        assert_eq!(gone.iter().filter(|gone| **gone).count(), 1);
        assert!(!held[2].belongs_to(keys[1]), "it was given away");
        held.remove(2);
        for (place, key) in [(2, 1), (3, 1), (4, 2), (5, 2), (6, 3), (7, 3)] {
            assert!(held[place].belongs_to(keys[key]), "{place}");
        }
        assert!(places.take().is_none(), "all are of keys");
        held.pop();
        assert!(places.take().is_some());
        drop(held);
        assert!(lock(&places.taken).known.is_empty() && lock(&places.taken).unknown.is_empty());
    }

    #[test]
    fn without_keys_everyone_is_the_same() {
        let places = Places::new(2, false);
        let (one, other) = (places.take().expect("a place"), places.take().expect("a place"));
        assert!(one.belongs_to(None) && other.belongs_to(None));
        assert!(places.take().is_none());
    }
}
