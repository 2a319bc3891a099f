//! Ids and their event times, in memory: a hash table made for one question, "was this id counted since?".
//!
//! An hour of ids is larger than any cache, so what an id costs is how often memory is waited for. Here that is once:
//! a bucket is one cache line, holds three ids with their times, and is fetched ahead for many ids at a time. A table
//! from the shelf has its control bytes elsewhere, and writes a new id into a line that nobody has fetched: twice the
//! wait, and one after the other.
//!
//! Ids are never taken out one by one. A shard that is full is made anew without those that are too old to be asked
//! for, and twice as large if it is still too full; there are many shards, so that this takes little memory and time at
//! once.

use std::hint::black_box;

use lake_schemas::minute::SPAN_MS_MAX;

/// How many shards there are: enough that making one anew adds next to nothing to what all of them take.
const SHARDS: usize = 64;

/// Ids of a bucket: with their times, three fill a cache line.
const SLOTS: usize = 3;

/// The fewest buckets of a shard that has any.
const BUCKETS_MIN: usize = 4;

/// Of five slots, four may be in use: with more, an id's neighbours are asked too often.
const fn slots_max(buckets: usize) -> usize {
    buckets * SLOTS / 5 * 4
}

/// 128 bits that stand for an id.
pub type Identity = [u64; 2];

/// A cache line: ids, the times that belong to them, and how many of them there are.
#[derive(Clone, Copy, Default)]
#[repr(align(64))]
struct Bucket {
    identities: [Identity; SLOTS],
    /// Milliseconds since the base of the shard. What may matter at a time spans no more than [`SPAN_MS_MAX`].
    times: [u32; SLOTS],
    used: u32,
}

/// A part of the ids.
#[derive(Default)]
struct Shard {
    /// A power of two of them. What does not fit into a bucket stands in the next one that has room.
    buckets: Vec<Bucket>,
    len: usize,
    base_ms: i64,
}

/// Ids with their event times.
pub struct Ids {
    shards: Vec<Shard>,
}

impl Default for Ids {
    fn default() -> Self {
        Self { shards: (0..SHARDS).map(|_| Shard::default()).collect() }
    }
}

impl Ids {
    /// Takes in an id, unless it is there with a time at or after `known_from_ms`, which never goes back; an older time
    /// is replaced. Whether it was taken in.
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

    /// Fetches the line that an id would stand in, so that it is there when it is asked for.
    pub fn fetch(&self, identity: Identity) {
        let shard = &self.shards[shard_of(identity)];
        if let Some(bucket) = shard.buckets.get(shard.home_of(identity)) {
            black_box(bucket.used);
        }
    }

    /// How many ids there are, those included that are too old to be asked for.
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.len).sum()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The memory they take, in bytes.
    pub fn bytes(&self) -> usize {
        self.shards.iter().map(|shard| shard.buckets.capacity() * size_of::<Bucket>()).sum()
    }
}

fn shard_of(identity: Identity) -> usize {
    identity[1] as usize % SHARDS
}

impl Shard {
    /// The bucket that an id stands in if there is room.
    fn home_of(&self, identity: Identity) -> usize {
        identity[0] as usize & self.buckets.len().wrapping_sub(1)
    }

    /// Where an id stands, or would: the bucket, and the slot in it.
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

    /// Makes it anew, without what is too old.
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

    /// Few enough to meet each other often, in few buckets, and all over the shards.
    fn identity_of(number: u64) -> Identity {
        [number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 60, number]
    }

    #[test]
    fn it_is_a_map_that_forgets_what_is_too_old() {
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
