//! Law: a statement of one key may harm the process that answers it, but no other key, nobody who logs in, and not the
//! server; and a client that only connects keeps nobody out.

mod ended;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use lake_store::Lake;
use serve::{Keys, Postgres, Program, raise_open_files};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use super::lake::{self, Rows};
use super::messages::{answered, message, startup};
use super::{KEYS, Served};

/// Memory limit of all processes together, in bytes: one that runs [`HUNGRY`] exceeds it; some idle ones are far below.
const MEMORY: usize = 800 << 20;

/// Statement whose answer takes some gigabytes.
const HUNGRY: &str = "select repeat(ad_id, 300000000) a, repeat(ad_id, 300000001) b from clicks";

/// Statement that does not end by itself in any useful time.
const ENDLESS: &str = "select count(*) from generate_series(1, 1000000000000) where value % 7 = 8";

/// Interval of polling for a state that is waited for.
const LOOK: Duration = Duration::from_millis(50);

/// Longest wait for an event that a test expects, after which it fails.
const SOON: Duration = Duration::from_secs(20);

fn served(folder: &Path) -> (Served, Lake) {
    served_within(folder, MEMORY)
}

fn served_within(folder: &Path, memory: usize) -> (Served, Lake) {
    let lake = lake::write(folder, Rows::All);
    let place = folder.join("lake");
    let arguments = ["--lake", place.to_str().expect("UTF-8"), "sql-worker"].map(OsString::from).to_vec();
    let program = Program { file: env!("CARGO_BIN_EXE_clicklake").into(), arguments };
    let keys = Arc::new(Keys::parse(KEYS).expect("keys"));
    let server = Postgres::by_processes(program, Some(keys), memory).expect("a folder for sockets");
    (Served::of(server), lake)
}

/// Returns the ids of the processes that answer SQL over the lake in a folder.
fn processes(folder: &Path) -> Vec<u32> {
    let folder = folder.to_str().expect("UTF-8");
    let all = std::fs::read_dir("/proc").expect("processes").flatten();
    let ids = all.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    ids.filter(|id| {
        let told = std::fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
        let told = String::from_utf8_lossy(&told).into_owned();
        told.contains(folder) && told.contains("sql-worker")
    })
    .collect()
}

/// Returns how much processor time a process has had, in hundredths of a second.
fn busy(id: u32) -> u64 {
    let told = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    // The fourteenth field; the second is a name, which ends with a bracket.
    let fields = told.rsplit_once(") ").map_or("", |(_, fields)| fields);
    fields.split(' ').nth(11).and_then(|ticks| ticks.parse().ok()).unwrap_or_default()
}

/// Returns the nice values of a process's threads.
fn nice(id: u32) -> BTreeSet<i64> {
    let threads = std::fs::read_dir(format!("/proc/{id}/task")).into_iter().flatten().flatten();
    let told = threads.filter_map(|thread| std::fs::read_to_string(thread.path().join("stat")).ok());
    told.filter_map(|told| told.rsplit_once(") ")?.1.split(' ').nth(16)?.parse().ok()).collect()
}

/// Waits until these processes together have used a second of processor time more than `before`.
fn are_busy(served: &Served, ids: &[u32], before: u64) {
    let began = Instant::now();
    while ids.iter().map(|id| busy(*id)).sum::<u64>() < before + 100 {
        assert!(began.elapsed() < SOON, "nobody answers anything");
        served.runtime.block_on(async { sleep(LOOK).await });
    }
}

/// A session of psql that stays open between statements.
struct Open {
    psql: Child,
    answers: BufReader<ChildStdout>,
}

impl Open {
    fn of(served: &Served, key: &str) -> Self {
        let mut psql = Command::new("psql");
        psql.args(["-X", "-A", "-t", "-q", "-d", &served.url(key)]);
        psql.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut psql = psql.spawn().expect("psql runs");
        let answers = BufReader::new(psql.stdout.take().expect("it is piped"));
        Self { psql, answers }
    }

    /// Returns the line that answers a statement; empty if the session is over.
    fn asks(&mut self, statement: &str) -> String {
        let to = self.psql.stdin.as_mut().expect("it is piped");
        writeln!(to, "{statement}").expect("psql reads");
        let mut line = String::new();
        self.answers.read_line(&mut line).expect("psql answers");
        line.trim_end().to_owned()
    }

    /// Ends the session, and returns the errors that psql printed.
    fn last_words(mut self) -> String {
        drop(self.psql.stdin.take());
        let mut said = String::new();
        let mut errors = self.psql.stderr.take().expect("it is piped");
        errors.read_to_string(&mut said).expect("UTF-8");
        said
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        drop(self.psql.stdin.take());
        self.psql.wait().expect("psql ends");
    }
}

fn count(served: &Served, key: &str) -> String {
    served.printed(key, &["select count(*) from clicks"])
}

#[test]
fn a_statement_that_takes_all_memory_ends_its_process_and_nothing_else() {
    let folder = tempfile::tempdir().expect("a folder");
    let (served, _) = served(folder.path());
    assert_eq!((count(&served, "spring-key").as_str(), count(&served, "all-of-it").as_str()), ("6", "18"));
    assert_eq!(processes(folder.path()).len(), 2, "one for each key");
    let mut other = Open::of(&served, "all-of-it");
    assert_eq!(other.asks("select count(*) from clicks;"), "18");
    let output = served.psql("spring-key", &[HUNGRY]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("53200"), "{said}");
    assert_eq!(other.asks("select count(*) from clicks;"), "18", "the other key has its session yet");
    drop(other);
    assert_eq!(count(&served, "spring-key"), "6", "and the key is answered by another");
    served.end();
    assert!(processes(folder.path()).is_empty());
}

#[test]
fn a_client_whose_process_dies_gets_an_error_and_may_connect_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let (served, _) = served(folder.path());
    assert_eq!(count(&served, "spring-key"), "6");
    let lost = processes(folder.path());
    let before = lost.iter().map(|id| busy(*id)).sum();
    let (said, others) = std::thread::scope(|scope| {
        let endless = scope.spawn(|| served.psql("spring-key", &[ENDLESS]));
        let others = count(&served, "all-of-it");
        are_busy(&served, &lost, before);
        for id in &lost {
            assert!(Command::new("kill").args(["-9", &id.to_string()]).status().expect("kill runs").success());
        }
        let output = endless.join().expect("psql ends");
        (String::from_utf8_lossy(&output.stderr).into_owned(), others)
    });
    assert!(said.contains("FATAL") && said.contains("53200"), "{said}");
    assert_eq!((others.as_str(), count(&served, "spring-key").as_str()), ("18", "6"));
    served.end();
}

#[test]
fn a_process_that_is_busy_for_long_gets_a_lower_priority() {
    let folder = tempfile::tempdir().expect("a folder");
    let (served, _) = served(folder.path());
    assert_eq!((count(&served, "spring-key").as_str(), count(&served, "all-of-it").as_str()), ("6", "18"));
    let all = processes(folder.path());
    let of_server = *nice(std::process::id()).last().expect("a thread");
    let idle: BTreeSet<_> = all.iter().flat_map(|id| nice(*id)).collect();
    assert!(idle.len() == 1 && idle.first() > Some(&of_server), "{idle:?}, and the server {of_server}");
    std::thread::scope(|scope| {
        let endless = scope.spawn(|| served.psql("spring-key", &[ENDLESS]));
        let began = Instant::now();
        while all.iter().all(|id| nice(*id) == idle) {
            assert!(began.elapsed() < SOON, "nobody gives way: {idle:?}");
            served.runtime.block_on(async { sleep(LOOK).await });
        }
        let busy: Vec<_> = all.iter().map(|id| nice(*id)).collect();
        assert!(busy.contains(&idle) && busy.iter().all(|nice| nice.len() == 1), "{busy:?}");
        assert!(busy.iter().all(|nice| nice.first() >= idle.first()), "{busy:?}, and {idle:?} before");
        for id in &all {
            assert!(Command::new("kill").args(["-9", &id.to_string()]).status().expect("kill runs").success());
        }
        endless.join().expect("psql ends");
    });
    served.end();
}

#[test]
fn a_statement_is_cancelled_where_it_runs() {
    let folder = tempfile::tempdir().expect("a folder");
    let (served, _) = served(folder.path());
    let limited = format!("set statement_timeout = '300ms'; {ENDLESS}");
    for protocol in ["simple", "extended"] {
        assert_eq!(served.one("spring-key", protocol, "select count(*) from clicks")["rows"], serde_json::json!([[6]]));
    }
    assert_eq!(served.one("spring-key", "simple", &limited)["code"], "57014");
    // psql sends a request to cancel on a connection of its own when it is interrupted.
    let script =
        format!("timeout -s INT 3 psql -X -v VERBOSITY=verbose -d '{}' -c '{ENDLESS}'", served.url("all-of-it"));
    let began = Instant::now();
    let output = Command::new("sh").args(["-c", &script]).output().expect("psql runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("57014") && began.elapsed() < SOON, "{said}");
    served.end();
}

#[test]
fn a_stop_takes_less_than_20_seconds_whatever_is_asked() {
    let folder = tempfile::tempdir().expect("a folder");
    let (served, _) = served(folder.path());
    assert_eq!((count(&served, "all-of-it").as_str(), count(&served, "spring-key").as_str()), ("18", "6"));
    let all = processes(folder.path());
    let before = all.iter().map(|id| busy(*id)).sum();
    std::thread::scope(|scope| {
        for key in ["all-of-it", "spring-key"] {
            let url = served.url(key);
            scope.spawn(move || Command::new("psql").args(["-X", "-d", &url, "-c", ENDLESS]).output());
        }
        are_busy(&served, &all, before);
        // This fails by itself if the server takes longer.
        served.end();
    });
    assert!(processes(folder.path()).is_empty());
}

#[test]
fn connections_without_a_login_keep_nobody_out() {
    const SILENT: usize = 700;
    raise_open_files().expect("files");
    let folder = tempfile::tempdir().expect("a folder");
    let served = Served::over(&lake::write(folder.path(), Rows::All), true, super::MEMORY);
    let held = served.runtime.block_on(async {
        let mut held = Vec::new();
        for _ in 0..SILENT {
            held.push(TcpStream::connect(("127.0.0.1", served.port)).await.expect("a connection"));
        }
        held
    });
    assert_eq!(count(&served, "spring-key"), "6");
    // The server has closed the oldest connections.
    let first = served.runtime.block_on(async {
        let mut held = held.into_iter();
        let mut first = held.next().expect("a connection");
        let ended = timeout(SOON / 10, first.read_u8()).await;
        drop(held);
        ended
    });
    assert!(matches!(first, Ok(Err(_))), "{first:?}");
    served.end();
}

#[test]
fn a_message_that_is_cut_short_is_refused_and_no_other_session_notices() {
    let folder = tempfile::tempdir().expect("a folder");
    let (served, _) = served(folder.path());
    let mut other = Open::of(&served, "spring-key");
    assert_eq!(other.asks("select count(*) from clicks;"), "6");
    // The key, and a Bind that promises 32,767 values.
    let bind = message(b'B', b"\0\0\0\0\x7f\xff");
    let said = [startup(), message(b'p', b"spring-key\0"), bind, message(b'S', b""), message(b'X', b"")].concat();
    let answer = String::from_utf8_lossy(&answered(&served, &said)).into_owned();
    assert!(answer.contains("ERROR") && answer.contains("08P01"), "{answer:?}");
    assert_eq!(other.asks("select count(*) from clicks;"), "6", "the same process");
    drop(other);
    served.end();
}

#[test]
fn what_a_connection_keeps_is_bounded_in_bytes() {
    let folder = tempfile::tempdir().expect("a folder");
    let served = Served::over(&lake::write(folder.path(), Rows::All), false, super::MEMORY);
    let mut said = [startup(), message(b'P', b"s\0select $1::text\0\0\0")].concat();
    // A value of 800 kB under ever new names, without an end of the transaction.
    let value = vec![b'x'; 800_000];
    let size = u32::try_from(value.len()).expect("it is short").to_be_bytes();
    for number in 0..8 {
        let name = format!("p{number}\0s\0");
        said.extend(message(b'B', &[name.as_bytes(), &[0, 0, 0, 1], &size, &value, &[0, 0]].concat()));
    }
    said.extend([message(b'S', b""), message(b'X', b"")].concat());
    let answer = String::from_utf8_lossy(&answered(&served, &said)).into_owned();
    assert!(answer.contains("C54000") && answer.contains("too large together"), "{answer:?}");
    served.end();
}
