//! Reads messages of a client as a whole and checks them before a library decodes them: the library panics on messages
//! that are cut short, and accepts some that PostgreSQL refuses.
//!
//! A message that is too long is refused by its head, before the rest is kept in memory.

use std::io;

use bytes::BytesMut;
use datafusion_postgres::pgwire::api::{ClientInfo, PgWireConnectionState};
use datafusion_postgres::pgwire::error::PgWireError;
use datafusion_postgres::pgwire::messages::PgWireFrontendMessage;
use datafusion_postgres::pgwire::messages::extendedquery::{TARGET_TYPE_BYTE_PORTAL, TARGET_TYPE_BYTE_STATEMENT};
use datafusion_postgres::pgwire::tokio::server::PgWireMessageServerCodec;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio_util::codec::{Decoder, Framed};

use super::errors::Refused;

/// Minimum number of bytes to read at once.
const CHUNK_BYTES: usize = 8 << 10;

/// Bytes of the length field, which counts itself.
const LENGTH_BYTES: usize = 4;

/// Kinds of messages before login: a password, or Terminate.
const OF_LOGIN: &[u8] = b"pX";

/// Kinds of messages after login.
const OF_SESSION: &[u8] = b"QPBCDEHSXFdcf";

/// Kinds of messages after whose error all messages are skipped up to a Sync.
const EXTENDED: &[u8] = b"PBCDEH";

/// Kind of the message that ends the skipping, even if it is malformed.
const SYNC: u8 = b'S';

/// Returns whether a malformed message of a kind has all messages skipped up to a Sync.
pub(super) fn is_extended(kind: u8) -> bool {
    EXTENDED.contains(&kind)
}

/// Returns whether a malformed message of a kind is skipped after an error, as all messages are up to a Sync.
pub(super) fn is_before_sync(kind: u8) -> bool {
    kind != SYNC
}

/// Result of reading a message.
#[derive(Debug)]
pub(super) enum MessageRead {
    /// A message, complete and decoded.
    Message(PgWireFrontendMessage),
    /// A malformed message: the error, and its kind. The next one can be read.
    Malformed(PgWireError, u8),
    /// Bytes that are no message: nothing after them can be read.
    Lost(PgWireError),
}

/// Stage of a connection, which determines the messages that it may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Waits for the first message, which has no kind.
    Startup,
    Login,
    Session,
}

impl Stage {
    fn of(state: PgWireConnectionState) -> Self {
        match state {
            PgWireConnectionState::AwaitingSslRequest | PgWireConnectionState::AwaitingStartup => Self::Startup,
            PgWireConnectionState::AuthenticationInProgress => Self::Login,
            _ => Self::Session,
        }
    }

    /// Returns the number of bytes before the length of a message.
    fn before_length(self) -> usize {
        usize::from(self != Self::Startup)
    }

    /// Returns the total length of the message that these bytes begin with, if it is known yet; refuses one longer than
    /// `most`.
    fn length(self, bytes: &[u8], most: usize) -> Result<Option<usize>, PgWireError> {
        let may_be: &[u8] = match self {
            Self::Startup => &[],
            Self::Login => OF_LOGIN,
            Self::Session => OF_SESSION,
        };
        if self != Self::Startup
            && let Some(kind) = bytes.first()
            && !may_be.contains(kind)
        {
            return Err(Refused::no_message(&format!("invalid frontend message type {kind}")));
        }
        let before = self.before_length();
        let length = bytes.get(before..).and_then(|rest| rest.first_chunk::<LENGTH_BYTES>());
        let Some(length) = length.map(|length| i32::from_be_bytes(*length)) else { return Ok(None) };
        match usize::try_from(length) {
            Ok(length) if (LENGTH_BYTES..=most).contains(&length) => Ok(Some(before + length)),
            _ => Err(Refused::no_message(&format!(
                "invalid message length {length}; it may be {LENGTH_BYTES} to {most}"
            ))),
        }
    }
}

/// Reads the next message of a client, of at most `most` bytes; `None` at the end. A caller that stops waiting for it
/// must not read again, since bytes would be lost.
pub(super) async fn next<T, S>(
    socket: &mut Framed<T, PgWireMessageServerCodec<S>>,
    most: usize,
) -> io::Result<Option<MessageRead>>
where
    T: AsyncRead + Unpin + 'static,
{
    let stage = Stage::of(socket.state());
    let mut bytes = std::mem::take(socket.read_buffer_mut());
    let length = loop {
        match stage.length(&bytes, most) {
            Ok(Some(length)) if bytes.len() >= length => break length,
            Ok(_) => {}
            Err(why) => return Ok(Some(MessageRead::Lost(why))),
        }
        bytes.reserve(CHUNK_BYTES);
        if socket.get_mut().read_buf(&mut bytes).await? == 0 {
            return if bytes.is_empty() { Ok(None) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
        }
    };
    // A copy, because a slice that is kept would keep the whole buffer in memory.
    let message = BytesMut::from(&bytes.split_to(length)[..]);
    *socket.read_buffer_mut() = bytes;
    Ok(Some(decoded(socket.codec_mut(), stage, message)))
}

/// Decodes one message that is complete.
fn decoded<S>(codec: &mut PgWireMessageServerCodec<S>, stage: Stage, mut message: BytesMut) -> MessageRead {
    let kind = message[0];
    if stage == Stage::Session
        && let Err(why) = check(kind, &message[stage.before_length() + LENGTH_BYTES..])
    {
        return MessageRead::Malformed(why.into(), kind);
    }
    match codec.decode(&mut message) {
        Ok(Some(message)) => MessageRead::Message(message),
        Ok(None) => MessageRead::Lost(Refused::no_message("the message is cut short")),
        Err(why) => MessageRead::Lost(why),
    }
}

/// Refuses a body that is not well-formed for its kind.
fn check(kind: u8, body: &[u8]) -> Result<(), Refused> {
    let mut body = UnparsedBytes(body);
    match kind {
        b'Q' => body.text()?,
        b'P' => {
            body.text()?;
            body.text()?;
            let types = body.count()?;
            body.skip(types * size_of::<u32>())?;
        }
        b'B' => {
            body.text()?;
            body.text()?;
            body.formats()?;
            for _ in 0..body.count()? {
                body.value()?;
            }
            body.formats()?;
        }
        b'C' | b'D' => {
            let [of] = body.array().ok_or_else(cut_short)?;
            if !matches!(of, TARGET_TYPE_BYTE_STATEMENT | TARGET_TYPE_BYTE_PORTAL) {
                return Err(Refused::protocol(&format!(
                    "invalid message subtype {of}; S is a statement, P is a portal"
                )));
            }
            body.text()?;
        }
        b'E' => {
            body.text()?;
            body.skip(size_of::<i32>())?;
        }
        b'f' => body.text()?,
        // Programs called functions by number before statements could call them.
        b'F' => return Err(Refused::unsupported("functions are called in SQL here; write SELECT name(...)")),
        // Data copied to a server that takes nothing is not checked.
        b'd' => return Ok(()),
        _ => {}
    }
    if body.0.is_empty() { Ok(()) } else { Err(Refused::protocol("invalid message format")) }
}

/// Bytes that have not been parsed yet.
pub(super) struct UnparsedBytes<'a>(pub &'a [u8]);

impl<'a> UnparsedBytes<'a> {
    /// Takes `count` bytes; `None` if there are fewer.
    pub fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    /// Takes a fixed number of bytes, such as a number.
    pub fn array<const BYTES: usize>(&mut self) -> Option<[u8; BYTES]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    /// Takes a value with its length before it; `Some(None)` if it is null.
    pub fn nullable(&mut self) -> Option<Option<&'a [u8]>> {
        match i32::from_be_bytes(self.array()?) {
            -1 => Some(None),
            length => self.take(usize::try_from(length).ok()?).map(Some),
        }
    }

    fn skip(&mut self, count: usize) -> Result<(), Refused> {
        self.take(count).map(drop).ok_or_else(cut_short)
    }

    fn value(&mut self) -> Result<(), Refused> {
        self.nullable().map(drop).ok_or_else(cut_short)
    }

    fn count(&mut self) -> Result<usize, Refused> {
        self.array().map(|count| usize::from(u16::from_be_bytes(count))).ok_or_else(cut_short)
    }

    /// Skips a text, which ends with a zero.
    fn text(&mut self) -> Result<(), Refused> {
        let end =
            self.0.iter().position(|byte| *byte == 0).ok_or_else(|| Refused::protocol("invalid string in message"))?;
        let text = self.take(end).ok_or_else(cut_short)?;
        self.skip(1)?;
        std::str::from_utf8(text).map(drop).map_err(|_| Refused::no_text())
    }

    /// Checks formats of values: text, or binary.
    fn formats(&mut self) -> Result<(), Refused> {
        for _ in 0..self.count()? {
            let format = self.array().map(i16::from_be_bytes).ok_or_else(cut_short)?;
            if !matches!(format, 0 | 1) {
                return Err(Refused::value(&format!("unsupported format code: {format}; 0 is text, 1 is binary")));
            }
        }
        Ok(())
    }
}

fn cut_short() -> Refused {
    Refused::protocol("insufficient data left in message")
}

#[cfg(test)]
mod tests {
    use datafusion_postgres::pgwire::api::DefaultClient;
    use datafusion_postgres::pgwire::error::ErrorInfo;
    use futures::executor::block_on;

    use super::*;

    const MOST: usize = 64;

    fn message(kind: u8, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len() + LENGTH_BYTES).expect("it is short").to_be_bytes();
        [&[kind][..], &length, body].concat()
    }

    /// Returns what [`next`] reads from a client in this state: for a message its debug text, for an error its code.
    fn read(said: &'static [u8], state: PgWireConnectionState) -> Vec<String> {
        let client = DefaultClient::<()>::new(([127, 0, 0, 1], 1).into(), false);
        let stream = tokio::io::join(said, tokio::io::sink());
        let mut socket = Framed::new(stream, PgWireMessageServerCodec::new(client));
        socket.set_state(state);
        let mut all = Vec::new();
        loop {
            match block_on(next(&mut socket, MOST)) {
                Ok(Some(MessageRead::Message(message))) => all.push(format!("{message:?}")),
                Ok(Some(MessageRead::Malformed(why, kind))) => {
                    all.push(format!("{} {}", ErrorInfo::from(why).code, is_extended(kind)));
                }
                Ok(Some(MessageRead::Lost(why))) => {
                    let why = ErrorInfo::from(why);
                    assert!(why.is_fatal(), "{why:?}");
                    all.push(format!("lost {}", why.code));
                    return all;
                }
                Ok(None) => return all,
                Err(_) => {
                    all.push("cut off".to_owned());
                    return all;
                }
            }
        }
    }

    fn session(said: Vec<u8>) -> Vec<String> {
        read(said.leak(), PgWireConnectionState::ReadyForQuery)
    }

    #[test]
    fn messages_are_read_one_after_the_other() {
        let all = [
            message(b'Q', b"select 1\0"),
            message(b'P', b"s\0select $1\0\0\x01\0\0\0\x17"),
            message(b'B', b"p\0s\0\0\x01\0\x01\0\x02\0\0\0\x01x\xff\xff\xff\xff\0\0"),
            message(b'S', b""),
        ];
        let read = session(all.concat());
        assert_eq!(read.len(), 4, "{read:?}");
        for (read, kind) in read.iter().zip(["Query(", "Parse(", "Bind(", "Sync("]) {
            assert!(read.starts_with(kind), "{read}");
        }
    }

    #[test]
    fn a_malformed_message_is_refused_and_the_next_one_is_read() {
        for (kind, body, code) in [
            (b'Q', &b""[..], "08P01 false"),
            (b'Q', b"select 1", "08P01 false"),
            (b'Q', b"select 1\0more\0", "08P01 false"),
            (b'Q', b"select '\xff'\0", "22021 false"),
            (b'P', b"s\0select '\xff'\0\0\0", "22021 true"),
            (b'P', b"s\0select 1\0\x7f\xff", "08P01 true"),
            (b'B', b"\0\0\0\0\x7f\xff", "08P01 true"),
            (b'B', b"\0\0\0\0\0\x01\xff\xff\xff\xf9\0\0", "08P01 true"),
            (b'B', b"\0\0\0\x01\0\x07\0\0\0\0", "22023 true"),
            (b'B', b"\0\0\0\0\0\0\0\x01\0\x07", "22023 true"),
            (b'E', b"\0\0", "08P01 true"),
            (b'D', b"", "08P01 true"),
            (b'C', b"Qs\0", "08P01 true"),
            (b'S', b"x", "08P01 false"),
            (b'F', b"\0\0\x04\xd2\0\0\0\0\0\0", "0A000 false"),
        ] {
            let read = session([message(kind, body), message(b'H', b"")].concat());
            assert_eq!(read[0], code, "{kind}: {body:?}");
            assert!(read[1].starts_with("Flush("), "{read:?}");
        }
    }

    #[test]
    fn a_message_after_which_nothing_can_be_read_ends_the_session() {
        for said in [message(b'p', b"x\0"), message(b'Q', &[b'x'; MOST]), b"Q\0\0\0\x03".to_vec()] {
            assert_eq!(session(said), ["lost 08P01"]);
        }
        assert_eq!(session(b"Q\0\0\0\x09sel".to_vec()), ["cut off"]);
        for said in [&b"p\0\0\0\0"[..], b"p\xff\xff\xff\xff", b"Q\0\0\0\x05\0", b"p\x7f\xff\xff\xff"] {
            assert_eq!(read(said, PgWireConnectionState::AuthenticationInProgress), ["lost 08P01"], "{said:?}");
        }
        for said in [&b"GET / HTTP/1.1"[..], b"\0\0\0\0\0\x03\0\0", b"\xff\xff\xff\xff", b"\0\0\0\x08\0\x02\0\0"] {
            assert_eq!(read(said, PgWireConnectionState::AwaitingStartup), ["lost 08P01"], "{said:?}");
        }
    }
}
