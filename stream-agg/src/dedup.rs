//! Remembers which clicks were counted: their ids and event times, for as long as a copy may still come.
//!
//! An id is reduced to 128 bits of XXH3: with a billion ids in memory, two different ones collide with a chance of
//! 10^-21.

use lake_schemas::EventTime;
use xxhash_rust::xxh3::xxh3_128;

use crate::ids::{self, Ids};

/// Hash that is kept in place of an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity(ids::Identity);

impl Identity {
    /// Returns the identity of an id.
    pub fn of(click_id: &str) -> Self {
        let hash = xxh3_128(click_id.as_bytes());
        Self([hash as u64, (hash >> 64) as u64])
    }
}

/// Clicks that were counted.
#[derive(Default)]
pub struct CountedClicks {
    ids: Ids,
}

impl CountedClicks {
    /// Counts a click, unless one of this id was counted with an event time at or after `known_from_ms`. Returns
    /// whether it counts. A copy does not prolong the memory of its id.
    pub fn count(&mut self, identity: Identity, time: EventTime, known_from_ms: i64) -> bool {
        self.ids.insert(identity.0, time.millis(), known_from_ms)
    }

    /// Announces that an id is about to be asked for, so that its memory is fetched meanwhile.
    pub fn expect(&self, identity: Identity) {
        self.ids.fetch(identity.0);
    }

    /// Counts the ids that are remembered.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Returns whether no id is remembered.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the memory that the ids take, in bytes.
    pub fn bytes(&self) -> usize {
        self.ids.bytes()
    }
}
