//! Law: whoever is slow, silent, rude or many does not keep others from their answers.
//!
//! Another client asks all the time, and is answered in time.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use lake_store::Lake;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, interval, sleep, timeout};

use super::server::{Answer, Server};
use crate::readers::python;
use crate::simulation::simulate;
use crate::start_up::folder;
use crate::totals::world::World;

/// How long another client may wait for an answer meanwhile, on a machine that runs other tests, too.
const OTHERS_WAIT_MAX: Duration = Duration::from_secs(5);

/// How long a connection may be open without a useful request.
const PATIENCE_MAX: Duration = Duration::from_secs(90);

/// Number of idle connections, if this machine lets a process have as many.
const IDLE: usize = 10_000;

/// Number of files that both processes have open beside connections.
const OTHER_FILES: usize = 500;

/// Memory that a server may hold while nobody asks much, in kB.
const MEMORY_KB_MAX: u64 = 1_000_000;

/// Script that holds a number of connections to an address, prints how many it has, and closes them at the end of
/// input.
const HOLDER: &str = "tests/serve/idle.py";

const TARGET: &str = "/v1/total?ad=ad_id-a";

fn lake() -> (tempfile::TempDir, String) {
    let (folder, path) = folder();
    simulate(async {
        let world = World::of_seed(3).await;
        let mut world = world.moved_to(Lake::at(&path).expect("a lake")).await;
        for _ in 0..4 {
            world.append().await;
        }
    });
    (folder, path)
}

fn run(law: impl AsyncFnOnce(&Server)) {
    let (_folder, path) = lake();
    let mut server = Server::start(&path, &[]);
    tokio::runtime::Runtime::new().expect("a runtime").block_on(law(&server));
    assert!(server.is_running(), "it has ended:\n{}", server.said());
    assert!(!server.said().contains("panicked"), "{}", server.said());
}

async fn connect(server: &Server) -> TcpStream {
    TcpStream::connect(&server.address).await.expect("it listens")
}

/// Checks that another client asks and is answered in time.
async fn others_are_answered(server: &Server, meanwhile: &str) {
    let answer = timeout(OTHERS_WAIT_MAX, server.get(TARGET, None)).await;
    answer.unwrap_or_else(|_| panic!("nobody is answered, because of {meanwhile}:\n{}", server.said())).json();
}

/// Checks that another client is answered in time, all the time while something is done.
async fn others_are_answered_while<T>(server: &Server, meanwhile: &str, done: impl Future<Output = T>) -> T {
    let mut done = std::pin::pin!(done);
    let mut ticks = interval(Duration::from_millis(200));
    loop {
        tokio::select! {
            done = &mut done => return done,
            _ = ticks.tick() => others_are_answered(server, meanwhile).await,
        }
    }
}

/// Sends a byte a second until the server closes the connection. Returns how long that took.
async fn drip(server: &Server, text: &str) -> Duration {
    let (began, mut connection) = (Instant::now(), connect(server).await);
    let mut bytes = text.bytes().cycle();
    let mut answer = [0; 4_096];
    loop {
        // A write to a closed connection may succeed once, so only the read tells.
        let _ = connection.write_all(&[bytes.next().expect("there is no end")]).await;
        if let Ok(Ok(0) | Err(_)) = timeout(Duration::from_secs(1), connection.read(&mut answer)).await {
            return began.elapsed();
        }
        assert!(began.elapsed() < PATIENCE_MAX, "after {:?}, {text:?} is still listened to", began.elapsed());
    }
}

#[test]
fn whoever_is_slow_to_ask_is_not_waited_for() {
    run(async |server| {
        let head = "GET /v1/total?ad=a HTTP/1.1\r\nHost: a\r\n";
        let slow = (0..100).map(|number| {
            let text = [head, "X-A: b\r\n", "GET /a"][number % 3];
            drip(server, text)
        });
        let slow = others_are_answered_while(server, "slow requests", futures::future::join_all(slow)).await;
        assert!(slow.into_iter().all(|took| took < PATIENCE_MAX));
    });
}

#[test]
fn whoever_says_nothing_or_half_of_it_is_not_waited_for() {
    run(async |server| {
        let mut silent = Vec::new();
        for beginning in ["", "G", "GET /", "GET / HTTP/1.1\r\n", "GET / HTTP/1.1\r\nHost: a\r\n"] {
            for _ in 0..20 {
                let mut connection = connect(server).await;
                connection.write_all(beginning.as_bytes()).await.expect("it listens");
                silent.push(connection);
            }
        }
        // A client that asks many times and reads no answer.
        let mut deaf = connect(server).await;
        let question = format!("GET /openapi.json HTTP/1.1\r\nHost: {}\r\n\r\n", server.address).repeat(20_000);
        let deaf = async {
            let _ = timeout(Duration::from_secs(3), deaf.write_all(question.as_bytes())).await;
            deaf
        };
        let deaf = others_are_answered_while(server, "one who does not listen", deaf).await;
        // Half-open: they have nothing more to say, and may still be answered.
        let mut closed = Vec::new();
        for _ in 0..50 {
            let mut connection = connect(server).await;
            let question = format!("GET {TARGET} HTTP/1.1\r\nHost: {}\r\n\r\n", server.address);
            connection.write_all(question.as_bytes()).await.expect("it listens");
            connection.shutdown().await.expect("it is open");
            closed.push(connection);
        }
        for mut connection in closed {
            let mut answer = Vec::new();
            let read = timeout(OTHERS_WAIT_MAX, connection.read_to_end(&mut answer)).await;
            read.expect("in time").expect("it is answered, or closed");
            assert!(answer.is_empty() || Answer::of(&answer).expect("an answer").status == 200);
        }
        others_are_answered(server, "connections that are gone").await;
        let all = async {
            for mut connection in silent {
                let mut answer = Vec::new();
                let closed = timeout(PATIENCE_MAX, connection.read_to_end(&mut answer)).await;
                assert!(closed.is_ok(), "after {PATIENCE_MAX:?}, it is still waited for");
            }
        };
        others_are_answered_while(server, "silent ones", all).await;
        drop(deaf);
    });
}

#[test]
#[expect(clippy::print_stderr, reason = "whoever runs it must know what was not tried")]
fn thousands_may_be_idle() {
    let limit = Command::new("sh").args(["-c", "ulimit -Hn"]).output().expect("a shell");
    // `ulimit` prints `unlimited` where there is no limit.
    let files = String::from_utf8_lossy(&limit.stdout).trim().parse().unwrap_or(1_048_576_usize);
    let idle = IDLE.min(files.saturating_sub(OTHER_FILES));
    if idle < IDLE {
        eprintln!("only {idle} connections are tried: a process may have {files} files here");
    }
    let (_folder, path) = lake();
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n $(ulimit -Hn) && exec \"$0\" serve --listen 127.0.0.1:0 --lake \"$1\""]);
    command.args([env!("CARGO_BIN_EXE_clicklake"), &path]);
    let mut server = Server::of(command);
    server.is_found();
    let mut holder = Command::new(python())
        .args([HOLDER, &server.address, &idle.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python runs");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let mut held = BufReader::new(holder.stdout.take().expect("piped")).lines();
    let held = runtime.block_on(async {
        let held = tokio::task::spawn_blocking(move || held.next());
        others_are_answered_while(&server, "connections that come", held).await
    });
    let held = held.expect("it does not panic").expect("it says something").expect("a line");
    assert_eq!(held, idle.to_string(), "{}", server.said());
    runtime.block_on(async {
        for _ in 0..20 {
            others_are_answered(&server, "idle connections").await;
            sleep(Duration::from_millis(100)).await;
        }
    });
    assert!(server.memory_kb("VmRSS") < MEMORY_KB_MAX, "{} kB are held", server.memory_kb("VmRSS"));
    drop(holder.stdin.take());
    assert!(holder.wait().expect("it ends").success());
    runtime.block_on(others_are_answered(&server, "connections that are gone"));
    assert!(server.is_running(), "it has ended:\n{}", server.said());
}

#[test]
fn silent_connections_take_no_files_from_what_others_ask() {
    let (_folder, path) = lake();
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n 256 && exec \"$0\" serve --listen 127.0.0.1:0 --lake \"$1\""]);
    command.args([env!("CARGO_BIN_EXE_clicklake"), &path]);
    let mut server = Server::of(command);
    server.is_found();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        // More than it may have files, and again and again.
        for _ in 0..3 {
            let mut silent = Vec::new();
            for _ in 0..300 {
                silent.push(connect(&server).await);
            }
            for _ in 0..5 {
                others_are_answered(&server, "silent connections").await;
            }
        }
    });
    assert!(server.is_running() && !server.said().contains("Too many open files"), "{}", server.said());
}

/// Sends bytes and no more. Returns the answer, if there is one.
async fn answered(server: &Server, bytes: &[u8]) -> Option<Answer> {
    let mut connection = connect(server).await;
    // It need not read all of what it refuses.
    let _ = connection.write_all(bytes).await;
    let _ = connection.shutdown().await;
    let mut answer = Vec::new();
    let _ = timeout(PATIENCE_MAX, connection.read_to_end(&mut answer)).await.expect("it is answered, or closed");
    Answer::of(&answer)
}

#[test]
fn what_is_no_http_harms_nobody() {
    run(async |server| {
        let mut rng = ChaCha8Rng::seed_from_u64(8);
        let mut garbage = vec![
            Vec::new(),
            b"\r\n\r\n".to_vec(),
            b"\0".repeat(100_000),
            b"GET".repeat(100_000),
            b"GET / HTTP/9.9\r\n\r\n".to_vec(),
            b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n".to_vec(),
            b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n".to_vec(),
            b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 5\r\n\r\nabcde".to_vec(),
            b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\nzz\r\n".to_vec(),
            b"GET / HTTP/1.1\nHost: a\n\n".to_vec(),
            b"GET / HTTP/1.1\r\n Host: a\r\n\r\n".to_vec(),
            b"GET http://[::1 HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(),
            b"GET /v1/total?ad=\xff\x00\x7f HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(),
            b"CONNECT example.org:443 HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(),
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec(),
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(),
            b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n".to_vec(),
            [b"GET / HTTP/1.1\r\n".as_slice(), &b"X-A: b\r\n".repeat(20_000), b"\r\n"].concat(),
            [b"GET / HTTP/1.1\r\nX-A: ".as_slice(), &b"b".repeat(2_000_000), b"\r\n\r\n"].concat(),
        ];
        garbage.extend((0..50).map(|_| {
            let mut bytes = vec![0; rng.random_range(1..2_000)];
            rng.fill(&mut bytes[..]);
            bytes
        }));
        garbage.extend((0..100).map(|_| {
            let question = format!("GET {TARGET} HTTP/1.1\r\nHost: {}\r\nAccept: */*\r\n\r\n", server.address);
            let mut bytes = question.into_bytes();
            let (at, byte) = (rng.random_range(0..bytes.len()), rng.random());
            bytes[at] = byte;
            bytes
        }));
        for bytes in garbage {
            let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(80)]).into_owned();
            let answer = others_are_answered_while(server, &shown, answered(server, &bytes)).await;
            assert!(answer.is_none_or(|answer| answer.status < 500), "{shown:?}");
        }
    });
}

#[test]
fn old_clients_bodies_and_requests_in_a_row_are_answered() {
    run(async |server| {
        let alone = server.get(TARGET, None).await;
        let old = server.send(format!("GET {TARGET} HTTP/1.0\r\n\r\n").as_bytes()).await;
        assert_eq!((old.status, &old.body), (200, &alone.body));
        let head = format!("GET {TARGET} HTTP/1.1\r\nHost: {}\r\n", server.address);
        // A body says nothing to a GET.
        for body in ["Content-Length: 5\r\n\r\nhello", "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"] {
            let answer = server.send(format!("{head}Connection: close\r\n{body}").as_bytes()).await;
            assert!(answer.status < 500, "{answer:?}");
        }
        let large = [head.as_bytes(), b"Content-Length: 50000000\r\n\r\n", &b"x".repeat(50_000_000)].concat();
        let large = others_are_answered_while(server, "a large body", answered(server, &large)).await;
        assert!(large.is_none_or(|answer| answer.status < 500), "it is answered, or hung up on");
        // A hundred in a row, and all their answers in a row.
        let pipelined = format!("{head}\r\n").repeat(99) + &head + "Connection: close\r\n\r\n";
        let answers = String::from_utf8(server.exchange(pipelined.as_bytes()).await).expect("UTF-8");
        assert_eq!(answers.matches("HTTP/1.1 200").count(), 100);
        assert_eq!(answers.matches(&alone.body).count(), 100);
    });
}
