//! A hash table of ids and their event times, made for one question: "was this id counted since?".
//!
//! An hour of ids is larger than any cache, so lookups are bound by cache misses. Here a lookup costs one: a bucket is
//! one cache line, holds three ids with their times, and is prefetched for many ids at a time. A general hash table has
//! its control bytes elsewhere, and writes a new id into a line that nobody has fetched: two misses, one after the
//! other.
//!
//! Ids are never removed one by one. A full shard is rebuilt without the ids that are too old to be asked for, and
//! twice as large if it is still too full; there are many shards, so that one rebuild takes little memory and time.

use std::hint::black_box;

use lake_schemas::minute::SPAN_MS_MAX;

/// Number of shards: enough that rebuilding one adds next to nothing to the memory of all.
const SHARDS: usize = 64;

/// Number of ids of a bucket: with their times, three fill a cache line.
const SLOTS: usize = 3;

/// Smallest number of buckets of a shard that has any.
const BUCKETS_MIN: usize = 4;

/// Returns the number of ids that a shard may hold: four slots of five, as with more an id would often be looked for in
/// the neighbouring buckets.
const fn slots_max(buckets: usize) -> usize {
    buckets * SLOTS / 5 * 4
}

/// Hash of an id, of 128 bits.
pub type Identity = [u64; 2];

/// A cache line: ids, their times, and the number of slots in use.
#[derive(Clone, Copy, Default)]
#[repr(align(64))]
struct Bucket {
    identities: [Identity; SLOTS],
    /// Milliseconds since the base of the shard. The times that matter at once span no more than [`SPAN_MS_MAX`].
    times: [u32; SLOTS],
    used: u32,
}

/// One of the parts of the table.
#[derive(Default)]
struct Shard {
    /// Buckets, a power of two of them. An id that does not fit into its bucket goes into the next one that has room.
    buckets: Vec<Bucket>,
    len: usize,
    base_ms: i64,
}

/// Hash table of ids with their event times.
pub struct Ids {
    shards: Vec<Shard>,
}

impl Default for Ids {
    fn default() -> Self {
        Self { shards: (0..SHARDS).map(|_| Shard::default()).collect() }
    }
}

impl Ids {
    /// Inserts an id, unless it is there with a time at or after `known_from_ms`, which never goes back; an older time
    /// is replaced. Returns whether it was inserted.
    pub fn insert(&mut self, identity: Identity, time_ms: i64, known_from_ms: i64) -> bool {
        let shard = &mut self.shards[shard_of(identity)];
        if shard.len >= slots_max(shard.buckets.len()) || time_ms - shard.base_ms > SPAN_MS_MAX {
            shard.renew(known_from_ms);
        }
        let time = shard.since_base(time_ms);
        let (at, slot) = shard.find(identity);
        let (base_ms, bucket) = (shard.base_ms, &mut shard.buckets[at]);
        if slot < bucket.used as usize {
            let is_known = base_ms + i64::from(bucket.times[slot]) >= known_from_ms;
            if !is_known {
                bucket.times[slot] = time;
            }
            return !is_known;
        }
        bucket.put(identity, time);
        shard.len += 1;
        true
    }

    /// Fetches the cache line of an id, so that a later lookup does not wait for it.
    pub fn fetch(&self, identity: Identity) {
        let shard = &self.shards[shard_of(identity)];
        if let Some(bucket) = shard.buckets.get(shard.home_of(identity)) {
            black_box(bucket.used);
        }
    }

    /// Counts the ids, including those that are too old to be asked for.
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.len).sum()
    }

    /// Returns whether there is no id.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the memory that the ids take, in bytes.
    pub fn bytes(&self) -> usize {
        self.shards.iter().map(|shard| shard.buckets.capacity() * size_of::<Bucket>()).sum()
    }
}

fn shard_of(identity: Identity) -> usize {
    identity[1] as usize % SHARDS
}

impl Shard {
    /// Returns the bucket in which an id goes if there is room.
    fn home_of(&self, identity: Identity) -> usize {
        identity[0] as usize & self.buckets.len().wrapping_sub(1)
    }

    /// Finds the place of an id, or the place where it would go: the bucket, and the slot in it.
    fn find(&self, identity: Identity) -> (usize, usize) {
        let mut at = self.home_of(identity);
        loop {
            let bucket = &self.buckets[at];
            let used = bucket.used as usize;
            if let Some(slot) = bucket.identities[..used].iter().position(|found| *found == identity) {
                return (at, slot);
            }
            if used < SLOTS {
                return (at, used);
            }
            at = (at + 1) & (self.buckets.len() - 1);
        }
    }

    fn since_base(&self, time_ms: i64) -> u32 {
        u32::try_from(time_ms - self.base_ms)
            .expect("what is counted is no older than what matters, and all that matters fits")
    }

    /// Rebuilds the shard without the ids that are too old.
    fn renew(&mut self, known_from_ms: i64) {
        let old = std::mem::take(self);
        let live = || old.ids().filter(|(_, time_ms)| *time_ms >= known_from_ms);
        let live_len = live().count();
        let is_crowded = live_len > slots_max(old.buckets.len()) / 3 * 2;
        let buckets = if is_crowded { old.buckets.len() * 2 } else { old.buckets.len() };
        self.buckets = vec![Bucket::default(); buckets.max(BUCKETS_MIN)];
        (self.len, self.base_ms) = (live_len, known_from_ms);
        for (identity, time_ms) in live() {
            let (at, _) = self.find(identity);
            let time = self.since_base(time_ms);
            self.buckets[at].put(identity, time);
        }
    }

    fn ids(&self) -> impl Iterator<Item = (Identity, i64)> {
        self.buckets.iter().flat_map(|bucket| {
            let times = bucket.times.iter().map(|time| self.base_ms + i64::from(*time));
            bucket.identities.into_iter().zip(times).take(bucket.used as usize)
        })
    }
}

impl Bucket {
    fn put(&mut self, identity: Identity, time: u32) {
        let slot = self.used as usize;
        (self.identities[slot], self.times[slot]) = (identity, time);
        self.used += 1;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    /// Returns an identity that collides with many others: all shards are used, but only a few buckets of each.
    fn identity_of(number: u64) -> Identity {
        [number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 60, number]
    }

    #[test]
    fn ids_behave_as_a_map_that_forgets_old_entries() {
        let (mut ids, mut expected): (Ids, HashMap<u64, i64>) = Default::default();
        let mut random = 1_u64;
        for step in 0..200_000_i64 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let number = (random >> 33) % 5_000;
            let (time_ms, known_from_ms) = (step * 1_000_000 + (random >> 50) as i64, step * 1_000_000 - 700_000_000);
            let is_new = expected.get(&number).is_none_or(|time_ms| *time_ms < known_from_ms);
            if is_new {
                expected.insert(number, time_ms);
            }
            assert_eq!(ids.insert(identity_of(number), time_ms, known_from_ms), is_new, "step {step}");
        }
        assert!(ids.len() < 2_000, "{} are remembered, of some 700 that matter", ids.len());
    }

    #[test]
    fn a_bucket_is_a_cache_line() {
        assert_eq!((size_of::<Bucket>(), align_of::<Bucket>()), (64, 64));
    }
}
