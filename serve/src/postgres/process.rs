//! One process that answers SQL of a key, as the server sees it: started with the socket that it takes clients from,
//! watched, and ended when it has to be.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use datafusion_postgres::pgwire::error::PgWireError;
use lake_store::locked::lock;
use rustix::process::geteuid;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::process::{Child, ChildStderr, Command};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::errors::Refused;
use super::handed::Handed;
use super::priority::{Priority, processor_time};
use super::worker::{STOP, STUCK};
use crate::resources::be_nicer;

/// Bytes of a process's output that are passed on at once.
const SAID_BYTES: usize = 4 << 10;

/// Outputs of a process that ends by itself, and the reasons. A backtrace of any length may follow.
const LAST_WORDS: [(&str, Why); 2] = [("has overflowed its stack", Why::Stack), ("memory allocation of ", Why::Memory)];

/// Time to wait for the last output of a process, and for passing it on to our log.
const SAID_LIMIT: Duration = Duration::from_secs(1);

/// Time to wait until a process that has closed a session is known to have ended.
const ENDED_LIMIT: Duration = Duration::from_secs(2);

/// Time that a process may be stopped by a signal before it is ended: nobody answers its key meanwhile, and whoever
/// stopped it by mistake may let it go on.
const STILL_MAX: Duration = Duration::from_secs(10);

/// Signal that cannot be caught: sent by the server, or by a system that has no memory left.
const KILLED: i32 = 9;

/// Reason why a process has ended, or has to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// No client uses the process any more.
    Idle,
    /// The sessions of the process were idle, and another key had no process.
    GaveWay,
    /// The server stops.
    Stopped,
    /// A statement did not return in time.
    Time,
    /// The process took more memory than it may.
    Memory,
    /// A statement overflowed the stack.
    Stack,
    /// The process crashed for another reason.
    Crashed,
}

impl Why {
    /// Returns the reason why a process ended by itself, from its exit status and its last output.
    fn of(status: ExitStatus, said: Option<Self>) -> Self {
        match (said, status.signal()) {
            (Some(said), _) => said,
            (None, Some(KILLED)) => Self::Memory,
            (None, None) if status.success() => Self::Stopped,
            (None, _) => Self::Crashed,
        }
    }

    /// Returns the error that the clients of the ended process are told.
    pub fn told(self) -> PgWireError {
        let (code, why) = match self {
            Self::Idle | Self::Stopped => return Refused::stopping(),
            Self::GaveWay => {
                ("57P05", "this session was idle, and has given way to those of another key; connect again")
            }
            Self::Time => ("57014", "a statement of this key did not end in time, and ended all sessions of the key"),
            Self::Memory => {
                ("53200", "a statement of this key took too much memory, and ended all sessions of the key")
            }
            Self::Stack => ("54001", "a statement of this key nests too deep, and ended all sessions of the key"),
            Self::Crashed => ("57P02", "the process that answers this key has ended; connect again"),
        };
        Refused::lost(code, why)
    }
}

/// A process that answers SQL of one key.
pub(super) struct Process {
    /// Path of the socket on which the process accepts clients.
    socket: PathBuf,
    id: Option<u32>,
    uses: Mutex<Uses>,
    priority: Mutex<Priority>,
    /// Time since which it has been seen stopped, if it is.
    still: Mutex<Option<Instant>>,
    /// Reason why it has ended, or has to.
    why: OnceLock<Why>,
    /// Token that ends it at once.
    end: CancellationToken,
    /// Token of its end, cancelled once it has ended.
    ended: CancellationToken,
}

/// Clients of a process.
struct Uses {
    clients: usize,
    /// Number of clients that rest: they have nothing under way, and no transaction.
    resting: usize,
    /// Time of the last change of these numbers.
    since: Instant,
}

impl Process {
    /// Starts a process with a priority, which takes clients from a new socket at this path. The caller must run
    /// [`Process::keep`] for it.
    pub fn start(mut command: Command, socket: PathBuf, priority: Priority) -> io::Result<(Arc<Self>, Child)> {
        // The socket is all that the process needs: clients that connect before it is ready wait there.
        let listener = UnixListener::bind(&socket)?;
        command.stdin(Stdio::from(OwnedFd::from(listener))).stdout(Stdio::null()).stderr(Stdio::piped());
        // A process group of its own is reniced as a whole, and signals of a terminal reach the server alone.
        let child = command.process_group(0).kill_on_drop(true).spawn().inspect_err(|_| remove(&socket))?;
        let uses = Mutex::new(Uses { clients: 0, resting: 0, since: Instant::now() });
        let (why, end, ended) = (OnceLock::new(), CancellationToken::new(), CancellationToken::new());
        let (priority, still) = (Mutex::new(priority), Mutex::default());
        let process = Self { socket, id: child.id(), uses, priority, still, why, end, ended };
        process.give_way(Duration::ZERO);
        Ok((Arc::new(process), child))
    }

    /// Sends the process a message over a new connection.
    pub async fn hand(&self, what: &Handed) -> io::Result<UnixStream> {
        let mut stream = UnixStream::connect(&self.socket).await?;
        // The folder of the socket may have been removed, and made again by another user.
        if stream.peer_cred()?.uid() != geteuid().as_raw() {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, "another user answers at its socket"));
        }
        what.send(&mut stream).await?;
        Ok(stream)
    }

    /// Ends the process for this reason.
    pub fn end(&self, why: Why) {
        // The first reason stays.
        let _ = self.why.set(why);
        self.end.cancel();
    }

    /// Returns whether the process accepts clients, as far as is known.
    pub fn is_there(&self) -> bool {
        !self.end.is_cancelled() && !self.ended.is_cancelled()
    }

    /// Counts one client more, which has something under way.
    pub fn enter(&self) {
        self.count(|uses| uses.clients += 1);
    }

    /// Counts one client less, which rested or not.
    pub fn leave(&self, rested: bool) {
        self.count(|uses| {
            uses.clients = uses.clients.saturating_sub(1);
            uses.resting = uses.resting.saturating_sub(usize::from(rested));
        });
    }

    /// Records that one of its clients begins to rest, or no longer does.
    pub fn rest(&self, rests: bool) {
        self.count(|uses| {
            uses.resting = if rests { uses.resting + 1 } else { uses.resting.saturating_sub(1) };
        });
    }

    fn count(&self, change: impl FnOnce(&mut Uses)) {
        let mut uses = lock(&self.uses);
        change(&mut uses);
        uses.since = Instant::now();
    }

    /// Returns how long it has had no client, if it has none.
    pub fn idle(&self) -> Option<Duration> {
        let uses = lock(&self.uses);
        (uses.clients == 0).then(|| uses.since.elapsed())
    }

    /// Returns how long all of its clients have rested, if they do.
    pub fn resting(&self) -> Option<Duration> {
        let uses = lock(&self.uses);
        (uses.clients == uses.resting).then(|| uses.since.elapsed())
    }

    /// Returns the memory of the process alone in bytes, where the system tells.
    pub fn memory(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id?)).ok()?;
        own_memory(&status)
    }

    /// Returns the state of the process's priority.
    pub fn priority(&self) -> Priority {
        *lock(&self.priority)
    }

    /// Adjusts the nice value of the process to its CPU time, `elapsed` after the last call. Ends the process if it has
    /// been stopped for too long.
    pub fn give_way(&self, elapsed: Duration) {
        let Some(id) = self.id else { return };
        let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
        if self.stands_still(is_stopped(&stat)) {
            warn!(id, "a process of SQL was stopped by a signal, and is ended");
            self.end(Why::Crashed);
            return;
        }
        let Some(used) = processor_time(&stat) else { return };
        if let Some(nice) = lock(&self.priority).look(used, elapsed)
            && let Err(error) = be_nicer(id, nice)
        {
            debug!(%error, "a process of SQL stays as nice as it is");
        }
    }

    /// Records whether the process is stopped now. Returns whether it has been stopped for too long.
    fn stands_still(&self, is_stopped: bool) -> bool {
        let mut still = lock(&self.still);
        *still = is_stopped.then(|| still.unwrap_or_else(Instant::now));
        still.is_some_and(|since| since.elapsed() > STILL_MAX)
    }

    /// Returns why the process has ended; `None` if it has not, so that a session that is over was closed properly.
    pub async fn why_lost(&self) -> Option<Why> {
        timeout(ENDED_LIMIT, self.ended.cancelled()).await.ok()?;
        self.why.get().copied()
    }

    /// Watches the process until it has ended, and passes on its output; tells it when the server stops.
    pub async fn keep(&self, mut child: Child, stop: &CancellationToken) {
        let mut said = ProcessOutput { from: child.stderr.take(), heard: EndReason::default() };
        let mut life = self.hand(&Handed::Life).await.ok();
        if life.is_none() {
            // Without the life line it would not notice the end of the server.
            self.end(Why::Crashed);
        }
        let (mut is_told, mut is_killed) = (false, false);
        let status = loop {
            tokio::select! {
                status = child.wait() => break status,
                () = said.pass_on() => {}
                word = word_of(&mut life) => match word {
                    Some(STUCK) => self.end(Why::Time),
                    Some(_) => {}
                    None => life = None,
                },
                () = self.end.cancelled(), if !is_killed => {
                    is_killed = true;
                    if let Err(error) = child.start_kill() {
                        debug!(%error, "a process of SQL is gone already");
                    }
                }
                () = stop.cancelled(), if !is_told => {
                    is_told = true;
                    if let Some(life) = &mut life {
                        // A process that does not read it is ended later.
                        let _ = life.write_all(&[STOP]).await;
                    }
                }
            }
        };
        let _ = timeout(SAID_LIMIT, said.pass_on_all()).await;
        if let Some(life) = &mut life
            && let Ok(Ok(STUCK)) = timeout(SAID_LIMIT, life.read_u8()).await
        {
            self.end(Why::Time);
        }
        let why = match status {
            Ok(_) if stop.is_cancelled() => Why::Stopped,
            Ok(status) => Why::of(status, said.heard.why),
            Err(_) => Why::Crashed,
        };
        let why = *self.why.get_or_init(|| why);
        if !matches!(why, Why::Idle | Why::GaveWay | Why::Stopped) {
            let status = status.map(|status| status.to_string()).unwrap_or_default();
            warn!(?why, status, "a process that answers SQL of a key has ended");
        }
        self.ended.cancel();
        remove(&self.socket);
    }
}

/// Reads the next byte from the life line between a process and the server; `None` at its end.
async fn word_of(life: &mut Option<UnixStream>) -> Option<u8> {
    match life {
        Some(life) => life.read_u8().await.ok(),
        None => std::future::pending().await,
    }
}

/// Output of a process: its log goes where the server's goes.
struct ProcessOutput {
    from: Option<ChildStderr>,
    heard: EndReason,
}

impl ProcessOutput {
    /// Passes on the next bytes of the output.
    async fn pass_on(&mut self) {
        let Some(from) = &mut self.from else { return std::future::pending().await };
        let mut bytes = [0; SAID_BYTES];
        match from.read(&mut bytes).await {
            Ok(0) | Err(_) => self.from = None,
            Ok(read) => {
                self.heard.listen(&bytes[..read]);
                // A log that is full or gone must not end anything.
                let _ = timeout(SAID_LIMIT, tokio::io::stderr().write_all(&bytes[..read])).await;
            }
        }
    }

    async fn pass_on_all(&mut self) {
        while self.from.is_some() {
            self.pass_on().await;
        }
    }
}

/// Reason for the end of a process, as far as its output tells.
#[derive(Default)]
struct EndReason {
    why: Option<Why>,
    /// End of the output so far, in which such words may have begun.
    end: Vec<u8>,
}

impl EndReason {
    fn listen(&mut self, bytes: &[u8]) {
        self.end.extend(bytes);
        let text = String::from_utf8_lossy(&self.end);
        let found = LAST_WORDS.iter().find(|(words, _)| text.contains(words)).map(|(_, why)| *why);
        self.why = found.or(self.why);
        let longest = LAST_WORDS.iter().map(|(words, _)| words.len()).max().unwrap_or_default();
        self.end.drain(..self.end.len().saturating_sub(longest - 1));
    }
}

fn remove(socket: &Path) {
    if let Err(error) = std::fs::remove_file(socket) {
        debug!(%error, socket = %socket.display(), "a socket is left behind");
    }
}

/// Returns whether a process is stopped by a signal or a tracer, from the field of `/proc/<pid>/stat` behind its name,
/// which ends with a bracket.
fn is_stopped(stat: &str) -> bool {
    stat.rsplit_once(") ").is_some_and(|(_, fields)| fields.starts_with(['T', 't']))
}

/// Returns the memory that is a process's own, from `/proc/<pid>/status`.
fn own_memory(status: &str) -> Option<u64> {
    let kilobytes = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
    let kilobytes: u64 = kilobytes.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1_024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn why_a_process_ended_is_told_by_its_end_and_its_last_words() {
        let aborted = ExitStatus::from_raw(6);
        let stack = "thread 'tokio-rt-worker' has overflowed its stack\nfatal runtime error: stack overflow, aborting";
        for (status, said, why, code) in [
            (aborted, stack, Why::Stack, "54001"),
            (aborted, "memory allocation of 1073741824 bytes failed", Why::Memory, "53200"),
            (ExitStatus::from_raw(9), "", Why::Memory, "53200"),
            (ExitStatus::from_raw(0), "", Why::Stopped, "57P01"),
            (ExitStatus::from_raw(11), "", Why::Crashed, "57P02"),
            (ExitStatus::from_raw(3 << 8), "error: lake", Why::Crashed, "57P02"),
        ] {
            let mut heard = EndReason::default();
            heard.listen(said.as_bytes());
            assert_eq!(Why::of(status, heard.why), why, "{status}");
            let PgWireError::UserError(told) = why.told() else { panic!("{why:?}") };
            assert_eq!((told.code.as_str(), told.severity.as_str()), (code, "FATAL"));
        }
    }

    #[test]
    fn an_evicted_session_gets_the_error_for_idle_sessions() {
        let PgWireError::UserError(told) = Why::GaveWay.told() else { panic!("it is for who asks") };
        assert_eq!((told.code.as_str(), told.severity.as_str()), ("57P05", "FATAL"));
    }

    #[test]
    fn why_a_process_ends_is_heard_in_parts_and_before_a_long_list_of_calls() {
        let (mut heard, calls) = (EndReason::default(), "   0: some::function\n".repeat(1_000));
        for part in ["memory allo", "cation of 8 bytes failed\n", calls.as_str(), ""] {
            heard.listen(part.as_bytes());
        }
        assert_eq!(heard.why, Some(Why::Memory));
    }

    #[test]
    fn a_stopped_process_is_told_from_a_waiting_one() {
        for (stat, stopped) in [
            ("7 (clicklake) S 1 7", false),
            ("7 (click) T lake) R 1 7", false),
            ("7 (clicklake) T 1 7", true),
            ("7 (clicklake) t 1 7", true),
            ("", false),
        ] {
            assert_eq!(is_stopped(stat), stopped, "{stat}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_process_that_is_stopped_for_long_is_ended() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut command = Command::new("sleep");
        command.arg("60");
        let (process, _child) =
            Process::start(command, folder.path().join("1"), Priority::default()).expect("a process");
        assert!(!process.stands_still(true));
        tokio::time::advance(STILL_MAX / 2).await;
        assert!(!process.stands_still(false), "it goes on");
        tokio::time::advance(STILL_MAX).await;
        assert!(!process.stands_still(true), "it was not stopped meanwhile");
        tokio::time::advance(STILL_MAX * 2).await;
        assert!(process.stands_still(true));
    }

    #[test]
    fn what_the_system_tells_of_memory_is_read() {
        assert_eq!(own_memory("VmRSS:\t  9 kB\nRssAnon:\t    5120 kB\nRssFile:\t 1 kB\n"), Some(5 << 20));
        assert_eq!(own_memory("VmRSS:\t 9 kB\n"), None);
    }
}
