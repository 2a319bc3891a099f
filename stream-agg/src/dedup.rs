//! Which clicks were counted: ids and their event times, for as long as a copy may still come.
//!
//! An id is known by 128 bits of XXH3: with a billion ids in memory, two that differ meet with a chance of 10^-21. Ids
//! that are too old to be asked for are thrown out when the table would otherwise grow, so that neither their number
//! nor their age needs a second structure.

use std::hint::black_box;

use hashbrown::HashTable;
use lake_schemas::EventTime;
use xxhash_rust::xxh3::xxh3_128;

/// What of an id is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity([u64; 2]);

impl Identity {
    /// The identity of an id.
    pub fn of(click_id: &str) -> Self {
        let hash = xxh3_128(click_id.as_bytes());
        Self([hash as u64, (hash >> 64) as u64])
    }

    /// Where it stands in the table.
    fn hash(self) -> u64 {
        self.0[0]
    }
}

/// A click that was counted.
#[derive(Clone, Copy)]
struct Counted {
    identity: Identity,
    time_ms: i64,
}

/// The clicks that were counted.
#[derive(Default)]
pub struct CountedClicks {
    table: HashTable<Counted>,
}

impl CountedClicks {
    /// Counts a click, unless one of this id was counted with an event time at or after `known_from_ms`. Whether it
    /// counts. A copy does not prolong the memory of its id.
    pub fn count(&mut self, identity: Identity, time: EventTime, known_from_ms: i64) -> bool {
        if let Some(counted) = self.table.find_mut(identity.hash(), |counted| counted.identity == identity) {
            let is_copy = counted.time_ms >= known_from_ms;
            if !is_copy {
                counted.time_ms = time.millis();
            }
            return !is_copy;
        }
        if self.table.len() == self.table.capacity() {
            self.table.retain(|counted| counted.time_ms >= known_from_ms);
        }
        let counted = Counted { identity, time_ms: time.millis() };
        self.table.insert_unique(identity.hash(), counted, |counted| counted.identity.hash());
        true
    }

    /// Looks where an id would stand, for nothing but that its place is in the cache when it is asked for.
    pub fn warm(&self, identity: Identity) {
        black_box(self.table.find(identity.hash(), |counted| counted.identity == identity).is_some());
    }

    /// How many ids are remembered.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// The memory it takes, in bytes.
    pub fn bytes(&self) -> usize {
        self.table.allocation_size()
    }
}
