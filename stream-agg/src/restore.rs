//! Tells where a restart must begin to read, so that an empty operator reaches the state of this one.
//!
//! Each batch leaves its first offset and its largest event time. Batches at the front whose times are too old to
//! matter are forgotten; the first offset of the one then at the front is the restore position. An old batch behind one
//! that matters is read again in vain, which does no harm. For the same reason batches of about the same time are kept
//! as one: a restart may read a second too much, never too little.

use std::collections::VecDeque;

/// Greatest time by which the largest event time of a batch may exceed that of the first batch it is merged with, in
/// milliseconds: next to nothing of an hour that is read again.
const MERGED_MS: i64 = 1_000;

/// A batch of the log, merged with those behind it that are of about the same time.
struct Batch {
    first: i64,
    /// Largest event time of the first of them.
    began_ms: i64,
    /// Largest event time of all of them.
    largest_ms: i64,
}

/// Batches that a restart would have to read: one a second, which is some 5,000 for 76 minutes, or 100 KB.
#[derive(Default)]
pub struct RestorePositions {
    batches: VecDeque<Batch>,
}

impl RestorePositions {
    /// Adds a batch that begins at an offset, with its largest event time.
    pub fn see(&mut self, first: i64, largest_ms: i64) {
        if let Some(last) = self.batches.back_mut()
            && largest_ms < last.began_ms + MERGED_MS
        {
            last.largest_ms = last.largest_ms.max(largest_ms);
            return;
        }
        self.batches.push_back(Batch { first, began_ms: largest_ms, largest_ms });
    }

    /// Forgets batches that are too old to matter, and returns where a restart begins: at `next` if none matters.
    pub fn position(&mut self, matters_from_ms: i64, next: i64) -> i64 {
        while self.batches.front().is_some_and(|batch| batch.largest_ms < matters_from_ms) {
            self.batches.pop_front();
        }
        self.batches.front().map_or(next, |batch| batch.first)
    }

    /// Returns the memory that the batches take, in bytes.
    pub fn bytes(&self) -> usize {
        self.batches.capacity() * size_of::<Batch>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the next pseudo-random number; the sequence is the same in each run.
    fn next(state: &mut u64) -> i64 {
        *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        i64::try_from(*state >> 33).expect("31 bits")
    }

    /// Whatever the batches are, a restart begins no later than if each were kept by itself, and not at a batch that is
    /// too old to matter by more than the span of merged batches.
    #[test]
    fn a_restart_reads_no_less_than_if_each_batch_were_kept_and_hardly_more() {
        for seed in 0..200 {
            let (mut state, mut kept, mut now_ms, mut matters_from_ms) =
                (seed, RestorePositions::default(), 0, i64::MIN);
            let mut batches: Vec<(i64, i64)> = Vec::new();
            for first in 0..2_000 {
                now_ms += next(&mut state) % 400;
                let jump_ms = if next(&mut state) % 50 == 0 { 30_000 } else { 3_000 };
                let largest_ms = now_ms - 3_000 + next(&mut state) % (3_000 + jump_ms);
                kept.see(first, largest_ms);
                batches.push((first, largest_ms));
                if next(&mut state) % 5 != 0 {
                    continue;
                }
                matters_from_ms = matters_from_ms.max(largest_ms - 60_000);
                let found = kept.position(matters_from_ms, first + 1);
                let alone = batches.iter().find(|(_, largest_ms)| *largest_ms >= matters_from_ms);
                assert!(found <= alone.map_or(first + 1, |(first, _)| *first), "seed {seed}, at {first}");
                let begins = batches.iter().find(|(first, _)| *first == found);
                let is_near = begins.is_none_or(|(_, largest_ms)| *largest_ms > matters_from_ms - MERGED_MS);
                assert!(is_near, "seed {seed}, at {first}: it begins at {begins:?}, and {matters_from_ms} matters");
            }
        }
    }

    #[test]
    fn kept_restore_positions_grow_with_time_and_not_with_batches() {
        let mut kept = RestorePositions::default();
        for number in 0..45_600 {
            kept.see(number, number * 100);
        }
        assert!(kept.batches.len() <= 4_560, "{} for 76 minutes of ten batches a second", kept.batches.len());
        assert_eq!(kept.position(45_600 * 100 - 500, 45_600), 45_590);
    }
}
