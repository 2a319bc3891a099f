//! Turns of a session: whether the client may ask, or the session has to answer, as seen from the messages between the
//! two.

use super::frames::Frames;

/// Kind of the message by which a session says that it is ready for the next query.
pub(super) const READY: u8 = b'Z';

/// Status in that message outside a transaction.
const OUTSIDE: u8 = b'I';

/// Kinds of messages that are answered by it, sooner or later: a text, a Sync, a function call.
const ASK: [u8; 3] = [b'Q', b'S', b'F'];

/// State of a session's turns.
pub(super) struct Turns {
    up: Frames,
    /// Number of times that the session has yet to say that it is ready.
    unanswered: usize,
    /// Whether the client has begun something, and not yet sent the Sync that has it answered.
    has_begun: bool,
    is_outside: bool,
}

impl Default for Turns {
    /// Returns the state before the session has greeted its client.
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

    /// Follows a message of the session, by its kind and the first byte of its body.
    pub fn answered(&mut self, kind: u8, first: Option<u8>) {
        if kind == READY {
            self.unanswered = self.unanswered.saturating_sub(1);
            self.is_outside = first == Some(OUTSIDE);
        }
    }

    /// Returns whether the session rests: nothing is under way, and no transaction is open.
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
        // A statement, byte by byte.
        let statement = message(b'Q', b"select 1\0");
        turns.asked(&statement[..3]);
        assert!(!turns.rest(), "it has begun to ask");
        turns.asked(&statement[3..]);
        assert!(!answered(&mut turns, b'T', Some(0)) && !answered(&mut turns, b'C', Some(b'S')));
        assert!(answered(&mut turns, b'Z', Some(b'I')));
        // Two statements at once.
        turns.asked(&[&statement[..], &statement].concat());
        assert!(!answered(&mut turns, b'Z', Some(b'I')), "one is not answered");
        assert!(answered(&mut turns, b'Z', Some(b'I')));
        // An extended query, in parts.
        turns.asked(&message(b'P', b"\0select 1\0\0\0"));
        turns.asked(&message(b'H', b""));
        assert!(!answered(&mut turns, b'1', None));
        turns.asked(&message(b'S', b""));
        assert!(!turns.rest());
        assert!(answered(&mut turns, b'Z', Some(b'I')));
        // A transaction, also one that has failed.
        for status in [b'T', b'E'] {
            turns.asked(&statement);
            assert!(!answered(&mut turns, b'Z', Some(status)));
        }
    }
}
