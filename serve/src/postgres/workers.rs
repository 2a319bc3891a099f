//! Runs a process for each key, so that a statement which breaks it harms no other key.
//!
//! ```text
//!   client ── TCP ── door ── a key ──▶ relay ◀── socket ──▶ a process of that key: parse, plan, rows
//!                    login             bytes                 its own memory, stack, threads, descriptors
//! ```
//!
//! The server itself takes connections, logs clients in and relays bytes; it reads no SQL. Processes were chosen over
//! threads because a thread that hangs cannot be stopped, and a stack or an allocator that has run out ends the whole
//! process. There is one for each key, and not for each connection, because a session costs some hundred kilobytes and
//! a process some ten megabytes; PostgreSQL, too, ends all sessions when the process of one crashes.
//!
//! Bytes pass through the server, and the client's descriptor is not handed over: that way TLS stays in one place, the
//! server can tell a client why its process is gone, and ending a process leaves no client connected to nothing.
//!
//! The number of processes is limited. When another key comes, a process without clients gives way, or else one whose
//! sessions have all been idle for some seconds, outside of transactions: otherwise keys that only stay connected would
//! keep others out.
//!
//! Memory: the system limits each process to twice its share (see [`crate::resources`]), and the server watches their
//! total: when it exceeds the limit, the largest process is ended before the system ends any.
//!
//! CPU: a process has few threads, and all of them have a higher nice value than the server, those of a busy process a
//! higher one than the others (see [`super::priority`]).

use std::collections::VecDeque;
use std::env::temp_dir;
use std::ffi::OsString;
use std::fs::{DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use datafusion_postgres::pgwire::error::PgWireError;
use lake_store::locked::lock;
use rustix::process::geteuid;
use tempfile::TempDir;
use tokio::net::UnixStream;
use tokio::process::Command;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::warn;

use super::errors::Refused;
use super::handed::{Client, Handed};
use super::priority::Priority;
use super::process::{Process, Why};
use crate::keys::Who;

/// Maximum number of processes, where there is memory for them.
const PROCESSES_MAX: usize = 64;

/// Memory in bytes of a process that has answered dashboards for some minutes, beside that of statements. With more
/// processes than there is memory for, they would be ended one after the other though nobody asks much.
const PROCESS_BYTES: usize = 48 << 20;

/// Time for which all sessions of a process must have been idle before it gives way to another key: those of a program
/// that sends one statement after the other are not idle that long.
const RESTS_FOR: Duration = Duration::from_secs(10);

/// Divisor that gives the share of the memory that one key may take for its statements: several keys can ask much at
/// once.
const SHARE: usize = 4;

/// Time that a process without clients stays for its key to come back: dashboards ask each minute.
const IDLE_MAX: Duration = Duration::from_secs(90);

/// Time that a process has to accept one more client: it does so as soon as it has started.
const HAND_LIMIT: Duration = Duration::from_secs(10);

/// Mode of the folder of sockets: nobody else may enter it.
const OWN: u32 = 0o700;

/// Mask of the permission bits in a mode.
const PERMISSIONS: u32 = 0o777;

/// Longest name of a socket: no server starts so many processes. The system limits the length of the whole path.
const LONGEST_NAME: &str = "4294967295";

/// Interval at which memory is watched: a process fills less in that time than what is left beside all shares.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Number of looks at memory between two looks at CPU times, which change over seconds.
const LOOKS: u32 = 10;

/// Program that answers SQL of a key; the server appends `--memory` and the bytes that its statements may take.
#[derive(Clone, Debug)]
pub struct Program {
    /// Path of the program.
    pub file: PathBuf,
    /// Arguments of the program.
    pub arguments: Vec<OsString>,
}

/// Pool of processes, one for each key.
pub(super) struct Workers {
    program: Program,
    /// Memory that all of them together may take, in bytes.
    memory: usize,
    /// Folder of the sockets of new processes, which nobody else may enter.
    folder: Mutex<TempDir>,
    running: Mutex<Running>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

#[derive(Default)]
struct Running {
    processes: Vec<(Who, Arc<Process>)>,
    /// Processes that ended lately: their keys, their priorities, and when that was noticed.
    ended: VecDeque<(Who, Priority, Instant)>,
    /// Number of processes started so far.
    started: u64,
}

impl Running {
    /// Removes processes that have ended, and remembers how busy they were.
    fn forget_ended(&mut self) {
        let ended = self.processes.extract_if(.., |(_, process)| !process.is_there());
        self.ended.extend(ended.map(|(who, process)| (who, process.priority(), Instant::now())));
        self.ended.drain(..self.ended.len().saturating_sub(PROCESSES_MAX));
    }

    /// Returns the priority of the next process of a key.
    fn priority_of(&mut self, who: &Who) -> Priority {
        let last = self.ended.iter().rposition(|(of, ..)| of == who).and_then(|at| self.ended.remove(at));
        last.map_or_else(Priority::default, |(_, priority, since)| priority.of_next(since.elapsed()))
    }
}

/// Use of a process by one client, until it is dropped.
pub(super) struct Used {
    process: Arc<Process>,
    /// Whether the client has nothing under way.
    rests: AtomicBool,
}

impl Used {
    /// Counts a new client of a process.
    fn of(process: Arc<Process>) -> Self {
        process.enter();
        Self { process, rests: AtomicBool::new(false) }
    }

    /// Sends a message to the process.
    pub async fn hand(&self, what: &Handed) -> io::Result<UnixStream> {
        self.process.hand(what).await
    }

    /// Records whether the client has nothing under way, and no transaction.
    pub fn rest(&self, rests: bool) {
        if self.rests.swap(rests, Ordering::Relaxed) != rests {
            self.process.rest(rests);
        }
    }

    /// Returns why the process has ended; `None` if it has not.
    pub async fn why_lost(&self) -> Option<Why> {
        self.process.why_lost().await
    }
}

impl Drop for Used {
    fn drop(&mut self) {
        self.process.leave(self.rests.load(Ordering::Relaxed));
    }
}

impl Workers {
    /// Creates a pool without processes. All of them together may take `memory` bytes.
    pub fn new(program: Program, memory: usize) -> io::Result<Self> {
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        Ok(Self {
            program,
            memory,
            folder: Mutex::new(new_folder(&temp_dir())?),
            running: Mutex::default(),
            tasks,
            stop,
        })
    }

    /// Opens a session in the process of a key, which is started if there is none.
    pub async fn open(self: &Arc<Self>, who: &Who, client: Client) -> Result<(UnixStream, Used), PgWireError> {
        let handed = Handed::Client(client);
        // A process that has just ended is only noticed when it does not answer; the second try starts another.
        for _ in 0..2 {
            let used = self.process_of(who)?;
            match timeout(HAND_LIMIT, used.hand(&handed)).await.unwrap_or_else(|late| Err(late.into())) {
                Ok(stream) => return Ok((stream, used)),
                Err(error) if is_gone(&error) => {
                    warn!(%error, "a process of SQL does not answer");
                    used.process.end(Why::Crashed);
                }
                Err(error) => {
                    warn!(%error, "a client could not be handed to its process of SQL, which goes on");
                    break;
                }
            }
        }
        Err(Refused::not_begun())
    }

    /// Watches the memory, CPU time and use of processes until told to stop.
    pub async fn watch(&self) {
        let mut ticks = interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut looks = (1..=LOOKS).cycle();
        while self.stop.run_until_cancelled(ticks.tick()).await.is_some() {
            let mut running = lock(&self.running);
            for (_, process) in &running.processes {
                if process.idle().is_some_and(|idle| idle > IDLE_MAX) {
                    process.end(Why::Idle);
                }
            }
            running.forget_ended();
            let processes: Vec<_> = running.processes.iter().map(|(_, process)| Arc::clone(process)).collect();
            drop(running);
            if looks.next() == Some(LOOKS) {
                processes.iter().for_each(|process| process.give_way(LOOK_EVERY * LOOKS));
            }
            let taken = processes.iter().map(|process| Taken {
                bytes: process.memory().unwrap_or_default(),
                is_used: process.idle().is_none(),
            });
            if let Some(at) = too_much(&taken.collect::<Vec<_>>(), u64::try_from(self.memory).unwrap_or(u64::MAX)) {
                processes[at].end(Why::Memory);
            }
        }
    }

    /// Tells all processes to stop.
    pub fn stop(&self) {
        self.stop.cancel();
        self.tasks.close();
    }

    /// Ends the processes that still run, and waits until none does.
    pub async fn end(&self) {
        for (_, process) in &lock(&self.running).processes {
            process.end(Why::Stopped);
        }
        self.tasks.wait().await;
    }

    fn process_of(self: &Arc<Self>, who: &Who) -> Result<Used, PgWireError> {
        let mut running = lock(&self.running);
        running.forget_ended();
        let found = running.processes.iter().find(|(of, _)| of == who).map(|(_, process)| Arc::clone(process));
        let process = match found {
            Some(process) => process,
            None => {
                if running.processes.len() >= processes_max(self.memory) {
                    let uses = running.processes.iter().map(|(_, process)| (process.idle(), process.resting()));
                    let at = gives_way(uses).ok_or_else(Refused::too_many_keys)?;
                    // It is removed as one that has ended, and how busy it was is remembered.
                    let (_, process) = &running.processes[at];
                    process.end(if process.idle().is_some() { Why::Idle } else { Why::GaveWay });
                    running.forget_ended();
                }
                let process = self.start(&mut running, who).map_err(|error| {
                    warn!(%error, "a process of SQL cannot be started");
                    Refused::not_begun()
                })?;
                running.processes.push((who.clone(), Arc::clone(&process)));
                process
            }
        };
        // Counted under the lock, before the watch can find the process unused.
        Ok(Used::of(process))
    }

    /// Returns the folder of the sockets. If another user can write to it by now, a new one is used from then on:
    /// whoever could put a socket there would be handed clients.
    fn folder(&self) -> io::Result<PathBuf> {
        let mut folder = lock(&self.folder);
        if !be_there(folder.path())? {
            let lost = std::mem::replace(&mut *folder, new_folder(&temp_dir())?).keep();
            warn!(folder = %lost.display(), "the folder of sockets is somebody else's now, and another one is used");
        }
        Ok(folder.path().to_owned())
    }

    fn start(self: &Arc<Self>, running: &mut Running, who: &Who) -> io::Result<Arc<Process>> {
        running.started += 1;
        let folder = self.folder()?;
        let mut command = Command::new(&self.program.file);
        command.args(&self.program.arguments).arg("--memory").arg((self.memory / SHARE).to_string());
        let socket = folder.join(running.started.to_string());
        let (process, child) = Process::start(command, socket, running.priority_of(who))?;
        let (kept, stop) = (Arc::clone(&process), self.stop.clone());
        self.tasks.spawn(async move { kept.keep(child, &stop).await });
        Ok(process)
    }
}

/// Returns whether an error in sending to a process says that the process is gone. Any other error is the server's own,
/// which lacks descriptors or memory, or has too long a message: the sessions of the process go on.
fn is_gone(error: &io::Error) -> bool {
    use io::ErrorKind as Kind;
    // Without permission: another user answers there, or nobody is let in.
    matches!(
        error.kind(),
        Kind::BrokenPipe
            | Kind::ConnectionAborted
            | Kind::ConnectionRefused
            | Kind::ConnectionReset
            | Kind::NotConnected
            | Kind::NotFound
            | Kind::PermissionDenied
            | Kind::TimedOut
    )
}

/// Creates a folder for sockets within another. Fails if their paths would be too long.
fn new_folder(within: &Path) -> io::Result<TempDir> {
    let mut folder = tempfile::Builder::new();
    let folder = folder.prefix("clicklake-").permissions(Permissions::from_mode(OWN)).tempdir_in(within)?;
    let socket = folder.path().join(LONGEST_NAME);
    let tried = UnixListener::bind(&socket).and_then(|_| std::fs::remove_file(&socket));
    tried.map_err(|error| io::Error::other(format!("a socket in {}: {error}", folder.path().display())))?;
    Ok(folder)
}

/// Returns whether a folder exists that is this user's alone. A missing one is made again: systems clear away what
/// nobody has used for days, and then another user may be the first to make it.
fn be_there(folder: &Path) -> io::Result<bool> {
    match DirBuilder::new().mode(OWN).create(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let found = std::fs::symlink_metadata(folder)?;
    Ok(found.is_dir() && found.uid() == geteuid().as_raw() && found.mode() & PERMISSIONS == OWN)
}

/// Returns how many processes there may be at once, if all together may take `memory` bytes: the share of one key's
/// statements is set aside.
fn processes_max(memory: usize) -> usize {
    ((memory - memory / SHARE) / PROCESS_BYTES).clamp(1, PROCESSES_MAX)
}

/// Returns the number of the process that gives way to a process of another key, if one does. `uses` has for each
/// process how long it has had no clients, and how long all of its clients have been idle.
fn gives_way(uses: impl Iterator<Item = (Option<Duration>, Option<Duration>)>) -> Option<usize> {
    let waits = uses.map(|(idle, resting)| (idle, resting.filter(|resting| *resting >= RESTS_FOR)));
    let may = waits.enumerate().filter(|(_, (idle, resting))| idle.is_some() || resting.is_some());
    may.max_by_key(|(_, longest)| *longest).map(|(at, _)| at)
}

/// Memory that a process takes.
#[derive(Clone, Copy, Debug)]
struct Taken {
    bytes: u64,
    is_used: bool,
}

/// Returns which process has to end, if all together take too much: the largest of those without clients, else the
/// largest of all.
fn too_much(taken: &[Taken], memory: u64) -> Option<usize> {
    if taken.iter().map(|taken| taken.bytes).sum::<u64>() <= memory {
        return None;
    }
    let largest = |is_one: &dyn Fn(&Taken) -> bool| {
        let ones = taken.iter().enumerate().filter(|(_, taken)| is_one(taken));
        ones.max_by_key(|(_, taken)| taken.bytes).map(|(at, _)| at)
    };
    largest(&|taken| !taken.is_used).or_else(|| largest(&|_| true))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workers() -> Workers {
        let program = Program { file: PathBuf::new(), arguments: Vec::new() };
        Workers::new(program, 1 << 20).expect("a folder")
    }

    fn mode(folder: &Path) -> u32 {
        std::fs::metadata(folder).expect("it is there").mode() & PERMISSIONS
    }

    #[test]
    fn a_folder_that_was_cleared_away_is_made_again() {
        let workers = workers();
        let folder = workers.folder().expect("a folder");
        std::fs::remove_dir(&folder).expect("it is empty");
        for _ in 0..2 {
            assert_eq!(workers.folder().expect("it is there, or made"), folder);
            assert_eq!(mode(&folder), OWN);
        }
    }

    #[test]
    fn a_folder_that_is_not_this_users_alone_is_not_used() {
        let elsewhere = tempfile::tempdir().expect("a folder");
        let open = |folder: &Path| {
            std::fs::create_dir(folder).expect("a disk");
            std::fs::set_permissions(folder, Permissions::from_mode(0o777)).expect("it is ours");
        };
        let link = |folder: &Path| std::os::unix::fs::symlink(elsewhere.path(), folder).expect("a disk");
        let file = |folder: &Path| std::fs::write(folder, "").expect("a disk");
        for put in [&open as &dyn Fn(&Path), &link, &file] {
            let workers = workers();
            let folder = workers.folder().expect("a folder");
            std::fs::remove_dir(&folder).expect("it is empty");
            put(&folder);
            let other = workers.folder().expect("another one");
            assert_ne!(other, folder);
            assert_eq!(mode(&other), OWN);
            assert_eq!(workers.folder().expect("it stays"), other);
            let _ = std::fs::remove_dir(&folder);
            let _ = std::fs::remove_file(&folder);
        }
    }

    #[test]
    fn an_error_of_the_server_itself_ends_no_process() {
        use rustix::io::Errno;
        for own in [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::NOBUFS, Errno::AGAIN] {
            assert!(!is_gone(&own.into()), "{own}");
        }
        assert!(!is_gone(&io::ErrorKind::InvalidData.into()), "what is handed over is too long");
        for gone in [Errno::CONNREFUSED, Errno::NOENT, Errno::PIPE, Errno::CONNRESET, Errno::ACCESS] {
            assert!(is_gone(&gone.into()), "{gone}");
        }
        assert!(is_gone(&io::ErrorKind::TimedOut.into()), "it does not take it");
    }

    #[test]
    fn where_names_of_sockets_are_too_long_nobody_starts() {
        let folder = tempfile::tempdir().expect("a folder");
        let long = folder.path().join("long".repeat(25));
        std::fs::create_dir(&long).expect("a disk");
        let error = new_folder(&long).expect_err("no socket has such a name").to_string();
        assert!(error.contains(long.to_str().expect("UTF-8")), "{error}");
        assert_eq!(std::fs::read_dir(&long).expect("a disk").count(), 0, "nothing is left");
    }

    #[test]
    fn unused_processes_give_way_first_then_idle_ones_and_busy_ones_never() {
        let [short, long, longer] = [RESTS_FOR / 2, RESTS_FOR, RESTS_FOR * 2].map(Some);
        let way = |uses: &[(Option<Duration>, Option<Duration>)]| gives_way(uses.iter().copied());
        assert_eq!(way(&[]), None);
        assert_eq!(way(&[(None, None), (None, short)]), None, "it may ask again soon");
        assert_eq!(way(&[(None, None), (None, long), (None, longer)]), Some(2));
        assert_eq!(way(&[(None, longer), (short, short), (long, long)]), Some(2), "nobody is sent away");
        assert_eq!(way(&[(None, longer), (short, short)]), Some(1));
    }

    #[test]
    fn there_are_no_more_processes_than_there_is_memory_for() {
        for (memory, processes) in [(0, 1), (100 << 20, 1), (1 << 30, 16), (2 << 30, 32), (4 << 30, 64)] {
            assert_eq!(processes_max(memory), processes, "{memory}");
        }
    }

    #[test]
    fn the_process_that_takes_most_memory_is_ended_when_all_take_too_much() {
        let taken = |bytes, is_used| Taken { bytes, is_used };
        let all = [taken(30, true), taken(50, true), taken(10, false), taken(20, false)];
        assert_eq!(too_much(&all, 110), None);
        assert_eq!(too_much(&all, 109), Some(3), "who is idle goes first");
        assert_eq!(too_much(&all[..2], 79), Some(1));
        assert_eq!(too_much(&[], 0), None);
    }
}
