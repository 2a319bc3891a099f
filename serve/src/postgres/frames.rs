//! Message boundaries of a session, as its bytes pass through the server to the client: the server may insert a message
//! of its own only between two of them.

/// Bytes before the body of a message: its kind, and its length, which counts itself.
const HEAD_BYTES: usize = 5;

/// Bytes of the length field.
const LENGTH_BYTES: usize = 4;

/// Last byte of a session that ends properly. No message of PostgreSQL begins with it.
pub(super) const LAST_WORD: u8 = 0;

/// Messages of a session, as far as their bytes have come.
#[derive(Default)]
pub(super) struct Frames {
    head: [u8; HEAD_BYTES],
    /// Number of bytes of the head that have come.
    known: usize,
    /// Number of bytes of the body that are still to come.
    left: usize,
    /// Whether no byte of the body has come yet.
    is_at_body: bool,
    /// Whether the last word has come.
    is_over: bool,
}

impl Frames {
    /// Follows bytes that have come. Calls a function with the kind of each message and the first byte of its body, if
    /// it has one, as soon as that has come. Returns how many of the bytes are the client's; the others follow the last
    /// word.
    pub fn follow(&mut self, bytes: &[u8], call: &mut impl FnMut(u8, Option<u8>)) -> usize {
        let mut at = 0;
        while at < bytes.len() && !self.is_over {
            at += self.step(&bytes[at..], call);
        }
        at
    }

    /// Follows bytes to the end of the current message, and no further; returns how many of them belong to it.
    pub fn finish(&mut self, bytes: &[u8]) -> usize {
        let mut at = 0;
        while at < bytes.len() && !self.is_between() {
            at += self.step(&bytes[at..], &mut |_, _| ());
        }
        at
    }

    /// Follows the next byte of a head, or all bytes of a body that are there; returns how many.
    fn step(&mut self, bytes: &[u8], call: &mut impl FnMut(u8, Option<u8>)) -> usize {
        if self.left > 0 {
            if std::mem::take(&mut self.is_at_body) {
                call(self.head[0], Some(bytes[0]));
            }
            let taken = self.left.min(bytes.len());
            self.left -= taken;
            return taken;
        }
        if self.known == 0 && bytes[0] == LAST_WORD {
            self.is_over = true;
            return 0;
        }
        self.head[self.known] = bytes[0];
        self.known += 1;
        if self.known == HEAD_BYTES {
            let length = self.head[HEAD_BYTES - LENGTH_BYTES..].iter();
            let length = length.fold(0_usize, |length, byte| (length << 8) | usize::from(*byte));
            (self.known, self.left) = (0, length.saturating_sub(LENGTH_BYTES));
            self.is_at_body = self.left > 0;
            if !self.is_at_body {
                call(self.head[0], None);
            }
        }
        1
    }

    /// Returns whether the last message is complete.
    pub fn is_between(&self) -> bool {
        self.known == 0 && self.left == 0
    }

    /// Returns whether the session has ended properly.
    pub fn is_over(&self) -> bool {
        self.is_over
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_told_apart_however_they_are_cut() {
        // A message with a body of zeros, one without a body, and the last word.
        let bytes = [b'D', 0, 0, 0, 9, 0, 0, 0, 0, 0, b'2', 0, 0, 0, 4, LAST_WORD];
        let between = [0, 10, 15];
        for cut in 1..=bytes.len() {
            let mut frames = Frames::default();
            let mut passed = 0;
            for part in bytes.chunks(cut) {
                passed += frames.follow(part, &mut |_, _| ());
                assert!(frames.is_over() || frames.is_between() == between.contains(&passed), "{cut}: {passed}");
            }
            assert_eq!((passed, frames.is_over(), frames.is_between()), (bytes.len() - 1, true, true), "{cut}");
        }
        let mut frames = Frames::default();
        assert_eq!(frames.follow(&bytes[..7], &mut |_, _| ()), 7);
        assert!(!frames.is_between() && !frames.is_over());
    }

    #[test]
    fn each_message_is_told_once_however_it_is_cut() {
        let bytes = [b'Z', 0, 0, 0, 5, b'I', b'2', 0, 0, 0, 4, b'D', 0, 0, 0, 6, 7, 8];
        for cut in 1..=bytes.len() {
            let (mut frames, mut told) = (Frames::default(), Vec::new());
            for part in bytes.chunks(cut) {
                frames.follow(part, &mut |kind, first| told.push((kind, first)));
            }
            assert_eq!(told, [(b'Z', Some(b'I')), (b'2', None), (b'D', Some(7))], "{cut}");
        }
    }

    #[test]
    fn a_message_that_has_begun_is_finished_and_none_after_it_is_begun() {
        let bytes = [b'D', 0, 0, 0, 6, 0, 0, b'2', 0, 0, 0, 4, LAST_WORD];
        for begun in 0..bytes.len() - 1 {
            let mut frames = Frames::default();
            assert_eq!(frames.follow(&bytes[..begun], &mut |_, _| ()), begun);
            let end = if begun == 0 || begun == 7 {
                begun
            } else if begun < 7 {
                7
            } else {
                12
            };
            assert_eq!(begun + frames.finish(&bytes[begun..]), end, "{begun}");
            assert!(frames.is_between() && !frames.is_over(), "{begun}");
        }
    }
}
