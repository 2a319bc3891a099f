//! Whose turn it is in a session: the client's, to ask, or the session's, to answer. Known from what passes between
//! the two, whatever is asked.

use super::frames::Frames;

/// What a session says when it can be asked.
pub(super) const READY: u8 = b'Z';

/// That it can be asked, outside a transaction.
const OUTSIDE: u8 = b'I';

/// What is answered by that, sooner or later: a text, the end of some messages, a function call.
const ASK: [u8; 3] = [b'Q', b'S', b'F'];

/// A session, as far as it has come.
pub(super) struct Turns {
    up: Frames,
    /// How often the session has yet to say that it can be asked.
    unanswered: usize,
    /// Whether the client has begun something, and not asked for it to be answered.
    has_begun: bool,
    is_outside: bool,
}

impl Default for Turns {
    /// One that has not greeted its client.
    fn default() -> Self {
        Self { up: Frames::default(), unanswered: 1, has_begun: false, is_outside: false }
    }
}

impl Turns {
    /// Follows bytes of the client.
    pub fn asked(&mut self, bytes: &[u8]) {
        let Self { up, unanswered, has_begun, .. } = self;
        up.follow(bytes, &mut |kind, _| {
            *has_begun = !ASK.contains(&kind);
            *unanswered += usize::from(!*has_begun);
        });
    }

    /// Takes note of a message of the session: of its kind, with the first byte that it has.
    pub fn answered(&mut self, kind: u8, first: Option<u8>) {
        if kind == READY {
            self.unanswered = self.unanswered.saturating_sub(1);
            self.is_outside = first == Some(OUTSIDE);
        }
    }

    /// Whether nothing is under way, and no transaction.
    pub fn rest(&self) -> bool {
        self.unanswered == 0 && !self.has_begun && self.is_outside && self.up.is_between()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u8, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len() + 4).expect("it is short").to_be_bytes();
        [&[kind][..], &length, body].concat()
    }

    #[test]
    fn a_session_rests_when_all_is_answered() {
        let mut turns = Turns::default();
        let answered = |turns: &mut Turns, kind, first| {
            turns.answered(kind, first);
            turns.rest()
        };
        assert!(!turns.rest(), "it has not begun");
        assert!(!answered(&mut turns, b'S', Some(b'T')));
        assert!(answered(&mut turns, b'Z', Some(b'I')));
        // A statement, as it comes.
        let statement = message(b'Q', b"select 1\0");
        turns.asked(&statement[..3]);
        assert!(!turns.rest(), "it has begun to ask");
        turns.asked(&statement[3..]);
        assert!(!answered(&mut turns, b'T', Some(0)) && !answered(&mut turns, b'C', Some(b'S')));
        assert!(answered(&mut turns, b'Z', Some(b'I')));
        // Two at once.
        turns.asked(&[&statement[..], &statement].concat());
        assert!(!answered(&mut turns, b'Z', Some(b'I')), "one is not answered");
        assert!(answered(&mut turns, b'Z', Some(b'I')));
        // In parts.
        turns.asked(&message(b'P', b"\0select 1\0\0\0"));
        turns.asked(&message(b'H', b""));
        assert!(!answered(&mut turns, b'1', None));
        turns.asked(&message(b'S', b""));
        assert!(!turns.rest());
        assert!(answered(&mut turns, b'Z', Some(b'I')));
        // In a transaction, also one that has failed.
        for status in [b'T', b'E'] {
            turns.asked(&statement);
            assert!(!answered(&mut turns, b'Z', Some(status)));
        }
    }
}
