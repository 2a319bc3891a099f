//! The stretch of a partition's log that becomes the next batch: which offsets it covers, and which comes next.

use lake_schemas::OffsetRange;

/// Place of an offset relative to the messages of its partition that were taken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OffsetPlace {
    /// The offset comes next, with or without a gap before it.
    Ahead,
    /// The offset is that of the message taken in last.
    Last,
    /// The offset lies before the message taken in last, or in a gap.
    Behind,
}

/// Offsets that were taken in since the last batch, and how many messages and bytes have them.
pub(super) struct Stretch {
    offsets: OffsetRange,
    /// Offset of the last message that was taken in, in this stretch or one before it.
    last: Option<i64>,
    messages: usize,
    bytes: usize,
}

impl Stretch {
    /// Begins at an offset, with nothing taken in.
    pub fn at(first: i64) -> Self {
        Self { offsets: OffsetRange { first, next: first }, last: None, messages: 0, bytes: 0 }
    }

    /// Returns the place of an offset relative to the messages taken in, in this stretch and those before it.
    pub fn place(&self, offset: i64) -> OffsetPlace {
        if self.last == Some(offset) {
            OffsetPlace::Last
        } else if offset < self.offsets.next {
            OffsetPlace::Behind
        } else {
            OffsetPlace::Ahead
        }
    }

    /// Takes in a message of so many bytes, which is ahead.
    pub fn take(&mut self, offset: i64, bytes: usize) {
        self.offsets.next = offset + 1;
        self.last = Some(offset);
        self.messages += 1;
        self.bytes += bytes;
    }

    /// Records that the log has nothing more below an offset: the offsets up to it are a gap.
    pub fn skip_to(&mut self, next: i64) {
        self.offsets.next = self.offsets.next.max(next);
    }

    /// Returns the offset that must come next.
    pub fn next(&self) -> i64 {
        self.offsets.next
    }

    /// Counts the messages taken in since the last batch.
    pub fn messages(&self) -> usize {
        self.messages
    }

    /// Counts the bytes of those messages.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Ends the stretch, if it has any offset: messages or a gap. The next one begins where it ends.
    pub fn finish(&mut self) -> Option<OffsetRange> {
        let offsets = self.offsets;
        (self.offsets.first, self.messages, self.bytes) = (offsets.next, 0, 0);
        (offsets.first < offsets.next).then_some(offsets)
    }
}

#[cfg(test)]
mod tests {
    use super::OffsetPlace::{Ahead, Behind, Last};
    use super::*;

    #[test]
    fn a_message_that_comes_again_is_known() {
        let mut stretch = Stretch::at(7);
        let places = |stretch: &Stretch| [5, 6, 7, 8, 9, 10, 11].map(|offset| stretch.place(offset));
        assert_eq!(places(&stretch), [Behind, Behind, Ahead, Ahead, Ahead, Ahead, Ahead]);
        stretch.take(7, 1);
        stretch.take(8, 1);
        assert_eq!(places(&stretch), [Behind, Behind, Behind, Last, Ahead, Ahead, Ahead]);
        // The place of the last message stays known in later stretches, and after a gap.
        assert_eq!(stretch.finish(), Some(OffsetRange { first: 7, next: 9 }));
        stretch.skip_to(10);
        assert_eq!(places(&stretch), [Behind, Behind, Behind, Last, Behind, Ahead, Ahead]);
    }

    #[test]
    fn stretches_cover_all_offsets_once_with_their_gaps() {
        let mut stretch = Stretch::at(3);
        assert_eq!(stretch.finish(), None);
        stretch.take(5, 10);
        stretch.take(6, 20);
        assert_eq!((stretch.messages(), stretch.bytes(), stretch.next()), (2, 30, 7));
        assert_eq!(stretch.finish(), Some(OffsetRange { first: 3, next: 7 }));
        assert_eq!((stretch.messages(), stretch.bytes(), stretch.finish()), (0, 0, None));
        // What ends a log may be no message: a marker of a transaction, or messages of one that was aborted.
        stretch.skip_to(9);
        stretch.skip_to(8);
        assert_eq!(stretch.finish(), Some(OffsetRange { first: 7, next: 9 }));
    }
}
