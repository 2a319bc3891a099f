//! Where a restart must begin to read, so that an empty operator becomes what this one is.
//!
//! Each batch leaves its first offset and its largest event time. Those in front whose times are too old to matter are
//! forgotten; what is then in front is the restore position. A batch that is old but stands behind one that is not is
//! read again for nothing, which does no harm.

use std::collections::VecDeque;

/// A batch of the log.
struct Batch {
    first: i64,
    largest_ms: i64,
}

/// The batches that a restart would have to read: some 50,000 for an hour of ten a second, which is a megabyte.
#[derive(Default)]
pub struct RestorePositions {
    batches: VecDeque<Batch>,
}

impl RestorePositions {
    /// Takes note of a batch that begins at an offset, with its largest event time.
    pub fn see(&mut self, first: i64, largest_ms: i64) {
        self.batches.push_back(Batch { first, largest_ms });
    }

    /// Forgets what is too old to matter, and tells where a restart begins: at `next` if nothing matters any more.
    pub fn position(&mut self, matters_from_ms: i64, next: i64) -> i64 {
        while self.batches.front().is_some_and(|batch| batch.largest_ms < matters_from_ms) {
            self.batches.pop_front();
        }
        self.batches.front().map_or(next, |batch| batch.first)
    }

    /// The memory it takes, in bytes.
    pub fn bytes(&self) -> usize {
        self.batches.capacity() * size_of::<Batch>()
    }
}
