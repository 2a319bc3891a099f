//! Relays bytes between a client and its session, and tells the client why when the session is gone.

use std::io;
use std::sync::Mutex;
use std::time::Duration;

use bytes::BytesMut;
use datafusion_postgres::pgwire::api::ConnectionHandle;
use datafusion_postgres::pgwire::error::PgWireError;
use lake_store::locked::lock;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::answering::{By, Opened};
use super::errors::{Refused, on_the_wire};
use super::frames::Frames;
use super::process::Why;
use super::turns::{READY, Turns};

/// Bytes that are passed on at once.
const CHUNK_BYTES: usize = 16 << 10;

/// Time that a session has to begin: a process starts, and reads the lake.
const BEGIN_LIMIT: Duration = Duration::from_secs(30);

/// Time that a client has to read what is sent to it; a client that does not is gone.
const UNREAD_LIMIT: Duration = Duration::from_secs(60);

/// Time that the current message has to end when a client loses its key: a client that does not read it is then cut
/// off.
const LOST_LIMIT: Duration = Duration::from_secs(5);

/// Relays bytes until the client or the session is gone, or the client's key is lost. `early` has been read from the
/// client already.
pub(super) async fn relay(
    client: impl AsyncRead + AsyncWrite,
    early: BytesMut,
    opened: Opened,
    handle: &ConnectionHandle,
    key_is_lost: impl Future<Output = ()>,
) -> io::Result<()> {
    let (mut from_client, mut to_client) = tokio::io::split(client);
    let Opened { stream, by } = opened;
    let (from_session, mut to_session) = stream.into_split();
    let turns = Turn { turns: Mutex::default(), by: &by };
    let up = async {
        // The direction down to the client notices the end of either side; and what a client has asked is answered even
        // after it has closed its own direction.
        let _ = pass_up(early, &mut from_client, &mut to_session, &turns).await;
        let _ = to_session.shutdown().await;
        std::future::pending::<()>().await;
    };
    let key_lost = CancellationToken::new();
    let too_late = async {
        key_is_lost.await;
        key_lost.cancel();
        sleep(LOST_LIMIT).await;
    };
    let lost = tokio::select! {
        lost = pass_down(from_session, &mut to_client, &turns, &key_lost) => lost?,
        () = up => None,
        () = pass_on_cancels(handle, &by) => None,
        () = too_late => {
            by.cancel().await;
            return Ok(());
        }
    };
    if let Some(lost) = lost {
        timeout(UNREAD_LIMIT, to_client.write_all(&on_the_wire(lost))).await??;
    }
    timeout(UNREAD_LIMIT, to_client.shutdown()).await?
}

/// Passes on requests to cancel what is under way.
async fn pass_on_cancels(handle: &ConnectionHandle, by: &By) {
    loop {
        if handle.start_query().await.await.is_ok() {
            by.cancel().await;
        }
    }
}

/// Turns of a client and its session, and the process that has to know.
struct Turn<'a> {
    turns: Mutex<Turns>,
    by: &'a By,
}

impl Turn<'_> {
    /// Records what was said, and tells the process whether the client rests.
    fn note(&self, said: impl FnOnce(&mut Turns)) {
        let mut turns = lock(&self.turns);
        said(&mut turns);
        self.by.rest(turns.rest());
    }
}

/// Passes on the client's bytes, some of which have been read already.
async fn pass_up(
    mut bytes: BytesMut,
    client: &mut (impl AsyncRead + Unpin),
    session: &mut (impl AsyncWrite + Unpin),
    turn: &Turn<'_>,
) -> io::Result<()> {
    loop {
        // Noted before it is sent, for an answer may come at once.
        turn.note(|turns| turns.asked(&bytes));
        session.write_all(&bytes).await?;
        bytes.clear();
        bytes.reserve(CHUNK_BYTES);
        if client.read_buf(&mut bytes).await? == 0 {
            return Ok(());
        }
    }
}

/// Passes on the session's bytes to its client; returns the error to send if the session was lost.
async fn pass_down(
    mut session: impl AsyncRead + Unpin,
    client: &mut (impl AsyncWrite + Unpin),
    turn: &Turn<'_>,
    key_lost: &CancellationToken,
) -> io::Result<Option<PgWireError>> {
    let (mut frames, mut bytes) = (Frames::default(), vec![0; CHUNK_BYTES]);
    let (mut has_begun, mut is_lost) = (false, false);
    loop {
        // A client that loses its key is told between two messages, never within one, even while a statement runs. The
        // next message is not passed on, however many are to come.
        if is_lost && frames.is_between() {
            turn.by.cancel().await;
            return Ok(Some(Refused::revoked()));
        }
        let reading = async {
            match has_begun {
                true => Some(session.read(&mut bytes).await),
                false => timeout(BEGIN_LIMIT, session.read(&mut bytes)).await.ok(),
            }
        };
        let read = tokio::select! {
            read = reading => read,
            () = key_lost.cancelled(), if !is_lost => {
                is_lost = true;
                continue;
            }
        };
        let Some(read) = read else { return Ok(Some(Refused::not_begun())) };
        // The socket of a killed process may be reset.
        let read = read.unwrap_or(0);
        let passed = match is_lost {
            true => frames.finish(&bytes[..read]),
            false => frames.follow(&bytes[..read], &mut |kind, first| {
                if kind == READY {
                    turn.note(|turns| turns.answered(kind, first));
                }
            }),
        };
        let passing = async {
            client.write_all(&bytes[..passed]).await?;
            client.flush().await
        };
        timeout(UNREAD_LIMIT, passing).await??;
        if frames.is_over() {
            return Ok(None);
        }
        if read == 0 {
            // The session's last word did not come. If its process still runs, the session alone has ended, by a bug.
            return Ok(match turn.by.why_lost().await.unwrap_or(Why::Crashed) {
                Why::Crashed if !has_begun => Some(Refused::not_begun()),
                why if frames.is_between() => Some(why.told()),
                _ => None,
            });
        }
        has_begun = true;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use lake_store::Lake;
    use object_store::memory::InMemory;
    use tokio::net::UnixStream;
    use tokio::time::Instant;
    use url::Url;

    use super::super::engine::Engine;
    use super::super::frames::LAST_WORD;
    use super::super::handed::Session;
    use super::*;

    fn here() -> By {
        let lake = Lake::on(Arc::new(InMemory::new()), Url::parse("memory:///lake").expect("an address"));
        let engine = Arc::new(Engine::new(lake, 1 << 20).expect("an engine"));
        By::Here { engine, session: Session::new(1, &Default::default()) }
    }

    /// Number of times that other tasks get their turn before something counts as noticed.
    const ROUNDS: usize = 16;

    #[tokio::test]
    async fn all_is_passed_on_but_the_last_word() {
        let (client, mut seen) = tokio::io::duplex(64);
        let (stream, mut session) = UnixStream::pair().expect("a pair");
        let handle = ConnectionHandle::new();
        let never = std::future::pending();
        let relayed = relay(client, BytesMut::from(&b"ab"[..]), Opened { stream, by: here() }, &handle, never);
        let both = async {
            seen.write_all(b"c").await.expect("it is read");
            let mut asked = [0; 3];
            session.read_exact(&mut asked).await.expect("it comes");
            session.write_all(&[b'2', 0, 0, 0, 5, 0, LAST_WORD]).await.expect("it is read");
            let mut answer = Vec::new();
            seen.read_to_end(&mut answer).await.expect("it ends");
            (asked, answer)
        };
        let (relayed, (asked, answer)) = tokio::join!(relayed, both);
        relayed.expect("it ends well");
        assert_eq!((&asked, answer.as_slice()), (b"abc", &[b'2', 0, 0, 0, 5, 0][..]));
    }

    #[tokio::test]
    async fn a_client_whose_key_is_removed_gets_the_error_between_two_messages() {
        let (client, mut seen) = tokio::io::duplex(1_024);
        let (stream, mut session) = UnixStream::pair().expect("a pair");
        let (handle, lost) = (ConnectionHandle::new(), CancellationToken::new());
        let relayed =
            relay(client, BytesMut::new(), Opened { stream, by: here() }, &handle, lost.clone().cancelled_owned());
        let both = async {
            session.write_all(&[b'2', 0, 0, 0, 6, 7]).await.expect("it is read");
            let mut begun = [0; 6];
            seen.read_exact(&mut begun).await.expect("it comes");
            lost.cancel();
            for _ in 0..ROUNDS {
                tokio::task::yield_now().await;
            }
            // The rest of the message, and another one.
            session.write_all(&[8, b'2', 0, 0, 0, 4]).await.expect("it is read");
            let mut answer = Vec::new();
            seen.read_to_end(&mut answer).await.expect("it ends");
            answer
        };
        let (relayed, answer) = tokio::join!(relayed, both);
        relayed.expect("it ends well");
        assert_eq!(answer[..2], [8, b'E']);
        assert!(String::from_utf8_lossy(&answer).contains("the key is no longer one of this server"));
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_read_is_cut_off_when_the_key_is_lost() {
        let (client, mut seen) = tokio::io::duplex(1);
        let (stream, mut session) = UnixStream::pair().expect("a pair");
        let (handle, lost) = (ConnectionHandle::new(), CancellationToken::new());
        session.write_all(&[b'2', 0, 0, 0, 6, 7, 8]).await.expect("it is taken");
        let relayed =
            relay(client, BytesMut::new(), Opened { stream, by: here() }, &handle, lost.clone().cancelled_owned());
        let lose = async {
            assert_eq!(seen.read_u8().await.expect("it is there"), b'2');
            lost.cancel();
            Instant::now()
        };
        let (relayed, lost_at) = tokio::join!(relayed, lose);
        relayed.expect("it is cut off");
        assert!(lost_at.elapsed() < UNREAD_LIMIT / 2, "{:?}", lost_at.elapsed());
    }

    #[tokio::test]
    async fn a_client_whose_session_ends_abruptly_gets_an_error() {
        let (client, mut seen) = tokio::io::duplex(1_024);
        let (stream, mut session) = UnixStream::pair().expect("a pair");
        let handle = ConnectionHandle::new();
        let opened = Opened { stream, by: here() };
        let relayed = relay(client, BytesMut::new(), opened, &handle, std::future::pending());
        let both = async {
            session.write_all(&[b'2', 0, 0, 0, 4]).await.expect("it is read");
            drop(session);
            let mut answer = Vec::new();
            seen.read_to_end(&mut answer).await.expect("it ends");
            String::from_utf8_lossy(&answer[5..]).into_owned()
        };
        let (relayed, answer) = tokio::join!(relayed, both);
        relayed.expect("it ends well");
        assert!(answer.starts_with('E') && answer.contains("57P02"), "{answer:?}");
    }
}
