//! Places of connections. When all are taken, a connection that has shown no key gives way to a new one: the oldest
//! connection of the address from which most of them come. A client that only connects thus keeps nobody out, however
//! often and fast, except clients of the same address; and no key takes the places of all others.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, OnceLock};

use lake_store::locked::lock;
use tokio_util::sync::CancellationToken;

use super::keys::KeyId;

/// Divisor that gives the share of all places that one key may hold for good. A connection beyond that may be evicted,
/// or is refused.
const SHARE: usize = 4;

/// Connection limit of a listener.
pub(super) struct Places {
    most: usize,
    /// Maximum number of places that one key may hold.
    share: usize,
    taken: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    /// Number of the next connection.
    next: u64,
    /// Connections that have shown no key, by their address and in the order in which they came, with the token that
    /// ends each.
    unknown: HashMap<IpAddr, BTreeMap<u64, CancellationToken>>,
    /// Number of connections of each key; without keys, all are of `None`.
    known: HashMap<Option<KeyId>, usize>,
}

impl Taken {
    /// Returns how many places are taken.
    fn count(&self) -> usize {
        self.known.values().sum::<usize>() + self.unknown.values().map(BTreeMap::len).sum::<usize>()
    }

    /// Evicts a connection that has shown no key, if there is one.
    fn give_away(&mut self) -> Option<()> {
        let age = |of_one: &BTreeMap<u64, CancellationToken>| of_one.keys().next().map(|number| Reverse(*number));
        let (from, of_one) = self.unknown.iter_mut().max_by_key(|(_, of_one)| (of_one.len(), age(of_one)))?;
        let (from, (number, oldest)) = (*from, of_one.pop_first()?);
        oldest.cancel();
        // The address has no entry any more if this was its only connection.
        self.forget(from, number);
        Some(())
    }

    /// Removes a connection that has shown no key; returns whether it was there.
    fn forget(&mut self, from: IpAddr, number: u64) -> bool {
        let Some(of_one) = self.unknown.get_mut(&from) else { return false };
        let was_there = of_one.remove(&number).is_some();
        if of_one.is_empty() {
            self.unknown.remove(&from);
        }
        was_there
    }
}

/// One place of a connection, held until it is dropped.
pub(super) struct ConnectionPermit {
    places: Arc<Places>,
    from: IpAddr,
    number: u64,
    given_away: CancellationToken,
    owner: OnceLock<Option<KeyId>>,
}

impl Places {
    /// Creates `most` places. If there are keys, each may hold a share of them; without keys, everyone is the same.
    pub fn new(most: usize, has_keys: bool) -> Arc<Self> {
        let share = if has_keys { most.div_ceil(SHARE) } else { most };
        Arc::new(Self { most, share, taken: Mutex::default() })
    }

    /// Takes a place for a new connection from an address; `None` if all are held by clients with keys.
    pub fn take(self: &Arc<Self>, address: IpAddr) -> Option<ConnectionPermit> {
        let mut taken = lock(&self.taken);
        if taken.count() >= self.most {
            taken.give_away()?;
        }
        let (from, number, given_away) = (origin(address), taken.next, CancellationToken::new());
        taken.next += 1;
        taken.unknown.entry(from).or_default().insert(number, given_away.clone());
        Some(ConnectionPermit { places: Arc::clone(self), from, number, given_away, owner: OnceLock::new() })
    }
}

/// Returns the origin of an address: all IPv6 addresses of one /64 network count as the same client.
fn origin(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        address => address,
    }
}

impl ConnectionPermit {
    /// Assigns the place to a key; from then on it is not evicted. Returns whether it could: the key may hold one more,
    /// and the place was not evicted before.
    pub fn belongs_to(&self, key: Option<KeyId>) -> bool {
        if self.owner.get().is_some() {
            return true;
        }
        let mut taken = lock(&self.places.taken);
        let of_key = taken.known.get(&key).copied().unwrap_or_default();
        if of_key >= self.places.share || !taken.forget(self.from, self.number) {
            return false;
        }
        taken.known.insert(key, of_key + 1);
        // Only this method sets the owner, and under the lock it was not set.
        let _ = self.owner.set(key);
        true
    }

    /// Returns whether the place was taken away for another connection.
    pub fn was_given_away(&self) -> bool {
        self.given_away.is_cancelled()
    }

    /// Waits until the place is taken away for another connection.
    pub async fn is_given_away(&self) {
        self.given_away.cancelled().await;
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        let mut taken = lock(&self.places.taken);
        let Some(key) = self.owner.get() else {
            taken.forget(self.from, self.number);
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
    use std::net::Ipv4Addr;

    use futures::FutureExt;

    use super::*;

    const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    fn is_given_away(place: &ConnectionPermit) -> bool {
        place.is_given_away().now_or_never().is_some()
    }

    #[test]
    fn only_connections_without_a_key_give_way() {
        let places = Places::new(8, true);
        let mut held: Vec<_> = (0..8).map(|_| places.take(HERE).expect("a place")).collect();
        let keys = ["a", "b", "c", "d"].map(|key| Some(KeyId::of(key)));
        assert!(held[0].belongs_to(keys[0]) && held[1].belongs_to(keys[0]));
        assert!(held[0].belongs_to(keys[0]), "said twice");
        assert!(!held[2].belongs_to(keys[0]), "it has its share");
        held.push(places.take(HERE).expect("the oldest gives way"));
        let gone: Vec<_> = held.iter().map(is_given_away).collect();
        assert_eq!(gone.iter().position(|gone| *gone), Some(2));
        assert_eq!(gone.iter().filter(|gone| **gone).count(), 1);
        assert!(!held[2].belongs_to(keys[1]) && held[2].was_given_away());
        held.remove(2);
        for (place, key) in [(2, 1), (3, 1), (4, 2), (5, 2), (6, 3), (7, 3)] {
            assert!(held[place].belongs_to(keys[key]), "{place}");
        }
        assert!(places.take(HERE).is_none(), "all are of keys");
        held.pop();
        assert!(places.take(HERE).is_some());
        drop(held);
        assert!(lock(&places.taken).known.is_empty() && lock(&places.taken).unknown.is_empty());
    }

    #[test]
    fn without_keys_everyone_is_the_same() {
        let places = Places::new(2, false);
        let (one, other) = (places.take(HERE).expect("a place"), places.take(HERE).expect("a place"));
        assert!(one.belongs_to(None) && other.belongs_to(None));
        assert!(places.take(HERE).is_none());
    }

    #[test]
    fn many_from_one_address_push_out_nobody_from_another() {
        let places = Places::new(8, true);
        let other = places.take(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1))).expect("a place");
        // Each connection comes from another address of one network.
        let many: Vec<_> = (0..100_u16)
            .map(|number| {
                let address = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, number, 0, 0, number);
                places.take(address.into()).expect("a place")
            })
            .collect();
        assert!(!is_given_away(&other), "who is there before all of them");
        assert_eq!(many.iter().filter(|place| is_given_away(place)).count(), 93);
        assert!(other.belongs_to(Some(KeyId::of("a"))));
        let mapped = IpAddr::V6(Ipv4Addr::LOCALHOST.to_ipv6_mapped());
        assert_eq!(origin(mapped), HERE);
        drop((other, many));
        assert!(lock(&places.taken).known.is_empty() && lock(&places.taken).unknown.is_empty());
    }
}
