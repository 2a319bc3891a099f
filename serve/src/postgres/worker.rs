//! A worker: the process that answers the SQL of one key. It accepts clients, who have logged in already, from the
//! socket that it was started with, until the server that started it is gone or tells it to stop.
//!
//! A statement that breaks the parser, the planner, the stack or memory ends this process, and no other. A thread of
//! its own looks for statements that hang, because a statement may block the runtime, too.

use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener as StdUnixListener, UnixStream as StdUnixStream};
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use lake_store::Lake;
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::connection::converse;
use super::engine::Engine;
use super::handed::Handed;
use super::under_way::UnderWay;
use crate::resources::ACCEPT_AGAIN;

/// Byte by which the server tells a worker to stop.
pub(super) const STOP: u8 = b's';

/// Byte by which a worker says that a statement hangs.
pub(super) const STUCK: u8 = b't';

/// Longest time until the server sends its message on a new connection: it does so at once.
const HAND_LIMIT: Duration = Duration::from_secs(5);

/// Longest time until the server opens the life line, the connection by whose end the worker notices that the server is
/// gone. The server opens it right after the start.
const WATCH_LIMIT: Duration = Duration::from_secs(60);

/// Interval at which hanging statements are looked for.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Time that sessions have to end when told to: a little longer than their statements have.
const STOP_LIMIT: Duration = Duration::from_secs(12);

/// Answers SQL of one key over a lake until told to stop, with `memory` bytes for statements. The standard input is the
/// socket that clients come from.
pub fn work(lake: Lake, memory: usize, stop: CancellationToken) -> BoxFuture<'static, io::Result<()>> {
    Box::pin(async move {
        let listener = listener()?;
        let engine = Arc::new(Engine::new(lake, memory).map_err(io::Error::other)?);
        let (mut clients, watched) = (JoinSet::new(), CancellationToken::new());
        let alone = sleep(WATCH_LIMIT);
        tokio::pin!(alone);
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => break,
                () = &mut alone, if !watched.is_cancelled() => {
                    return Err(io::Error::other("the server that started this process is gone"));
                }
                Some(ended) = clients.join_next() => {
                    if let Err(error) = ended {
                        warn!(%error, "a PostgreSQL connection ended by a bug");
                    }
                    continue;
                }
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, _)) => {
                    let (engine, watched, stop) = (Arc::clone(&engine), watched.clone(), stop.clone());
                    clients.spawn(async move {
                        if let Err(error) = take(engine, stream, &watched, stop).await {
                            debug!(%error, "a PostgreSQL connection broke");
                        }
                    });
                }
                Err(error) => {
                    warn!(%error, "a PostgreSQL connection could not be taken");
                    sleep(ACCEPT_AGAIN).await;
                }
            }
        }
        // Sessions that take longer are cut off.
        let _ = timeout(STOP_LIMIT, async { while clients.join_next().await.is_some() {} }).await;
        Ok(())
    })
}

/// Returns the socket that this process was started with.
fn listener() -> io::Result<UnixListener> {
    let listener = StdUnixListener::from(io::stdin().as_fd().try_clone_to_owned()?);
    let wrong = |error| io::Error::other(format!("`clicklake serve` starts this by itself, with a socket: {error}"));
    listener.local_addr().map_err(wrong)?;
    listener.set_nonblocking(true)?;
    UnixListener::from_std(listener)
}

/// Serves one connection from the server, by the purpose that its first message names.
async fn take(
    engine: Arc<Engine>,
    mut stream: UnixStream,
    watched: &CancellationToken,
    stop: CancellationToken,
) -> io::Result<()> {
    match timeout(HAND_LIMIT, Handed::receive(&mut stream)).await?? {
        Handed::Life => {
            watched.cancel();
            watch(&engine, stream.into_std()?, stop)
        }
        Handed::Client(client) => converse(engine, stream, client, stop).await,
        Handed::Cancel(session) => {
            engine.cancels.cancel(session.pid, &session.secret()).await;
            Ok(())
        }
    }
}

/// Starts a thread that ends this process when the server is gone or a statement hangs.
fn watch(engine: &Engine, life: StdUnixStream, stop: CancellationToken) -> io::Result<()> {
    life.set_nonblocking(false)?;
    life.set_read_timeout(Some(LOOK_EVERY))?;
    life.set_write_timeout(Some(LOOK_EVERY))?;
    let under_way = Arc::clone(&engine.under_way);
    std::thread::Builder::new().name("watch".to_owned()).spawn(move || {
        until_lost(&life, &under_way, &stop);
        // A thread that hangs cannot be stopped otherwise.
        std::process::abort();
    })?;
    Ok(())
}

/// Waits until the server is gone or a statement hangs, and passes on the server's request to stop. Reports a statement
/// that hangs to the server, if it still reads.
fn until_lost(mut life: &StdUnixStream, under_way: &UnderWay, stop: &CancellationToken) {
    let mut word = [0];
    loop {
        match life.read(&mut word) {
            Ok(0) => return,
            Ok(_) => stop.cancel(),
            Err(error) if is_only_silence(&error) => {}
            Err(_) => return,
        }
        if under_way.is_stuck() {
            let _ = life.write_all(&[STUCK]);
            return;
        }
    }
}

fn is_only_silence(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns what the watch reports while a statement with this limit is under way, and whether it passed on a
    /// request to stop. The server sends `word` and is gone.
    fn said(limit: Duration, word: &[u8]) -> (Vec<u8>, bool) {
        let (life, mut server) = StdUnixStream::pair().expect("a pair");
        life.set_read_timeout(Some(LOOK_EVERY)).expect("it is set");
        let (under_way, stop) = (Arc::new(UnderWay::default()), CancellationToken::new());
        let _answering = under_way.begin(limit);
        server.write_all(word).expect("it is taken");
        server.shutdown(std::net::Shutdown::Write).expect("it says no more");
        until_lost(&life, &under_way, &stop);
        drop(life);
        let mut said = Vec::new();
        server.read_to_end(&mut said).expect("it is read");
        (said, stop.is_cancelled())
    }

    #[test]
    fn a_watch_ends_when_the_server_is_gone_or_a_statement_hangs() {
        let long = Duration::from_secs(60);
        assert_eq!(said(long, &[]), (Vec::new(), false), "the server is gone");
        assert_eq!(said(long, &[STOP]), (Vec::new(), true), "it has said so before");
        assert_eq!(said(Duration::ZERO, &[STOP]), (vec![STUCK], true), "who is stuck is found at the next word");
    }

    #[test]
    fn a_watch_finds_a_hanging_statement_while_the_server_is_silent() {
        let (life, mut server) = StdUnixStream::pair().expect("a pair");
        life.set_read_timeout(Some(Duration::from_millis(1))).expect("it is set");
        let under_way = Arc::new(UnderWay::default());
        let _answering = under_way.begin(Duration::ZERO);
        until_lost(&life, &under_way, &CancellationToken::new());
        let mut word = [0];
        server.read_exact(&mut word).expect("it is said");
        assert_eq!(word, [STUCK]);
    }
}
