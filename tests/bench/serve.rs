//! How long an advertiser's page waits: for the total of an ad over two years, and for the top of the last five
//! minutes, asked over HTTP of a server that has one processor, at a steady rate whether it keeps up or not.
//!
//! A time is counted from when a request was due, so that a server that stalls cannot hide it by being asked less.

use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use lake_schemas::EventTime;
use lake_store::Lake;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use crate::Scale;
use crate::process::{cpu_seconds_of, memory_mb_of};
use crate::totals::{Made, name};

/// Requests a second.
const RATE: u64 = 500;

/// Number of clients that ask side by side.
const CLIENTS: u64 = 16;

/// Number of requests of a kind, after those that warm it up.
const REQUESTS: u64 = 10_000;

/// How long the server may take to know its lake.
const READY_MAX: Duration = Duration::from_secs(60);

/// Makes the lake, and measures.
pub fn measure(scale: Scale) -> Value {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().to_str().expect("UTF-8");
    let made = Made::of(scale.ads, scale.days);
    let requests = REQUESTS * scale.ads.unsigned_abs() / 10_000;
    runtime.block_on(async {
        made.make(&Lake::at(path).expect("a lake")).await;
        let server = Server::start(path).await;
        let time = |millis: i64| EventTime::from_millis(millis).expect("a time").to_string();
        let (from, to) = (time(made.ends_ms() - 5 * 60_000), time(made.ends_ms()));
        let ads = scale.ads;
        let total = move |number: u64| format!("/v1/total?ad={}", name("ad", number.cast_signed() * 7_919 % ads));
        let top = move |_| format!("/v1/top?from={from}&to={to}");
        let total = server.ask(total, RATE, requests).await;
        let top = server.ask(top, RATE / 10, requests / 10).await;
        json!({
            "ads": scale.ads,
            "days": scale.days,
            "requests_a_second": RATE,
            "total_median_ms": total.median_ms,
            "total_median_ms_max": 5,
            "total_p99_ms": total.p99_ms,
            "total_p99_ms_max": 20,
            "total_cpu_ms": total.cpu_ms,
            "top_median_ms": top.median_ms,
            "top_p99_ms": top.p99_ms,
            "top_p99_ms_max": 50,
            "top_cpu_ms": top.cpu_ms,
            "memory_mb": memory_mb_of(server.child.id()),
        })
    })
}

/// The program, on one processor.
struct Server {
    child: Child,
    address: String,
}

/// Times that requests took.
struct Times {
    median_ms: f64,
    p99_ms: f64,
    cpu_ms: f64,
}

impl Server {
    async fn start(lake: &str) -> Self {
        let mut command = Command::new("taskset");
        command.args(["-c", "0", env!("CARGO_BIN_EXE_clicklake"), "serve", "--listen", "127.0.0.1:0", "--lake", lake]);
        let mut child = command.stderr(Stdio::piped()).spawn().expect("taskset runs");
        let said = tokio::process::ChildStderr::from_std(child.stderr.take().expect("it is piped")).expect("a pipe");
        let line = BufReader::new(said).lines().next_line().await.expect("a line").expect("it says where");
        let address = line.rsplit('/').next().expect("an address").to_owned();
        let (server, began) = (Self { child, address }, Instant::now());
        while server.get(&mut server.connect().await, "/readyz").await.0 != 200 {
            assert!(began.elapsed() < READY_MAX, "it is not ready");
            sleep(Duration::from_millis(100)).await;
        }
        // Give the server time to add up files for later questions.
        sleep(Duration::from_secs(3)).await;
        server
    }

    async fn connect(&self) -> BufReader<TcpStream> {
        BufReader::new(TcpStream::connect(&self.address).await.expect("it listens"))
    }

    async fn get(&self, connection: &mut BufReader<TcpStream>, path: &str) -> (u16, Vec<u8>) {
        get(connection, path).await
    }

    /// Asks `requests` times, at a rate.
    async fn ask(&self, path: impl Fn(u64) -> String + Send + Sync + 'static, rate: u64, requests: u64) -> Times {
        let (path, next, mut clients) = (Arc::new(path), Arc::new(AtomicU64::new(0)), JoinSet::new());
        let (began, cpu) = (Instant::now(), cpu_seconds_of(self.child.id()));
        for _ in 0..CLIENTS {
            let (mut connection, path, next) = (self.connect().await, Arc::clone(&path), Arc::clone(&next));
            clients.spawn(async move {
                let mut times = Vec::new();
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= requests {
                        return times;
                    }
                    let due = began
                        + Duration::from_secs(1) * u32::try_from(number).expect("few")
                            / u32::try_from(rate).expect("few");
                    sleep_until(due).await;
                    let (status, said) = get(&mut connection, &path(number)).await;
                    let said = String::from_utf8_lossy(&said);
                    assert!(status == 200 && said.contains("\"clicks\":") && !said.contains("\"clicks\":0,"), "{said}");
                    times.push(due.elapsed().as_secs_f64() * 1e3);
                }
            });
        }
        let mut times: Vec<f64> = clients.join_all().await.into_iter().flatten().collect();
        times.sort_by(f64::total_cmp);
        let cpu_ms = (cpu_seconds_of(self.child.id()) - cpu) * 1e3 / requests as f64;
        let round = |millis: f64| (millis * 100.0).round() / 100.0;
        Times {
            median_ms: round(times[times.len() / 2]),
            p99_ms: round(times[times.len() * 99 / 100]),
            cpu_ms: round(cpu_ms),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns the answer at a path, over a connection that stays open.
async fn get(connection: &mut BufReader<TcpStream>, path: &str) -> (u16, Vec<u8>) {
    let request = format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n");
    connection.write_all(request.as_bytes()).await.expect("it is there");
    let (mut status, mut length) = (0, 0);
    for number in 0.. {
        let mut line = String::new();
        connection.read_line(&mut line).await.expect("it answers");
        let line = line.trim().to_ascii_lowercase();
        if number == 0 {
            status = line.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        } else if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().expect("a number");
        } else if line.is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    connection.read_exact(&mut body).await.expect("a body");
    (status, body)
}
