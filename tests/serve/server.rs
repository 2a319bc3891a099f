//! `clicklake serve` as a process of its own, on ports that it chooses; and HTTP down to the bytes, so that tests can
//! send what no library would send.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

/// How long it may take to be ready, on a machine that is busy with other tests.
const READY_MAX: Duration = Duration::from_secs(30);

/// Interval between two looks at something.
const LOOK: Duration = Duration::from_millis(20);

/// How long any answer may take, on such a machine.
const ANSWER_MAX: Duration = Duration::from_secs(30);

/// A process that is killed when this is dropped.
pub struct Running {
    child: Child,
    said: Arc<Mutex<String>>,
}

impl Running {
    /// Starts a program, and waits for the line on stderr that `look` finds.
    pub fn start(mut command: Command, look: impl Fn(&str) -> Option<String> + Send + 'static) -> (Self, String) {
        let child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the program runs");
        let mut running = Self { child, said: Arc::default() };
        let lines = BufReader::new(running.child.stderr.take().expect("piped")).lines();
        let (said, (find, found)) = (Arc::clone(&running.said), mpsc::channel());
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                if let Some(found) = look(&line) {
                    // Nobody listens any more once it is found.
                    let _ = find.send(found);
                }
                *said.lock().unwrap_or_else(PoisonError::into_inner) += &(line + "\n");
            }
        });
        let found = found.recv_timeout(READY_MAX);
        let found = found.unwrap_or_else(|_| panic!("it does not say what it should:\n{}", running.said()));
        (running, found)
    }

    /// Returns what it has printed on stderr so far.
    pub fn said(&self) -> String {
        self.said.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("it can be waited for").is_none()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // If it has ended by itself, so much the better.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A running server.
pub struct Server {
    process: Running,
    /// Address at which it listens for HTTP.
    pub address: String,
}

impl Server {
    /// Serves a lake on this machine, on free ports, and waits until the server has found it.
    pub fn start(lake: &str, more: &[&str]) -> Self {
        let server = Self::begin(lake, more);
        server.is_found();
        server
    }

    /// Serves a lake that may not exist yet.
    pub fn begin(lake: &str, more: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_clicklake"));
        command.args(["serve", "--listen", "127.0.0.1:0", "--lake", lake]).args(more);
        Self::of(command)
    }

    /// Waits until the server has found the lake.
    pub fn is_found(&self) {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        runtime.block_on(async {
            let began = Instant::now();
            while self.get("/readyz", None).await.status != 200 {
                assert!(began.elapsed() < READY_MAX, "it does not find the lake:\n{}", self.said());
                sleep(LOOK).await;
            }
        });
    }

    /// Starts the server by a command that becomes it.
    pub fn of(command: Command) -> Self {
        let (process, address) = Running::start(command, |line| {
            let address = line.strip_prefix("serving http://")?;
            Some(address.trim_end_matches('/').to_owned())
        });
        Self { process, address }
    }

    /// Returns what it has printed on stderr so far.
    pub fn said(&self) -> String {
        self.process.said()
    }

    pub fn is_running(&mut self) -> bool {
        self.process.is_running()
    }

    /// Returns the id of the server's process.
    pub fn id(&self) -> u32 {
        self.process.child.id()
    }

    /// Returns a field of its status, in kB.
    pub fn memory_kb(&self, field: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id())).expect("it runs, on Linux");
        let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':')).expect("a field of it");
        line.trim().trim_end_matches(" kB").parse().expect("a number")
    }

    /// Sends a request, with this key if one is given.
    pub async fn get(&self, target: &str, key: Option<&str>) -> Answer {
        let key = key.map(|key| format!("Authorization: Bearer {key}\r\n")).unwrap_or_default();
        self.get_with(target, &key).await
    }

    /// Sends a request with further headers, each with its end of line.
    pub async fn get_with(&self, target: &str, headers: &str) -> Answer {
        let host = &self.address;
        let head = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{headers}\r\n");
        self.send(head.as_bytes()).await
    }

    /// Sends bytes, and parses what comes until the server closes the connection.
    pub async fn send(&self, bytes: &[u8]) -> Answer {
        let answer = self.exchange(bytes).await;
        Answer::of(&answer).unwrap_or_else(|| {
            let asked = String::from_utf8_lossy(&bytes[..bytes.len().min(300)]);
            panic!("{asked:?} is answered by {:?}:\n{}", String::from_utf8_lossy(&answer), self.said())
        })
    }

    /// Sends bytes, and returns whatever comes.
    pub async fn exchange(&self, bytes: &[u8]) -> Vec<u8> {
        exchange(&self.address, bytes).await
    }
}

/// Sends bytes to an address, and returns what comes until the connection is closed.
pub async fn exchange(address: &str, bytes: &[u8]) -> Vec<u8> {
    let exchange = async {
        let mut connection = TcpStream::connect(address).await.expect("somebody listens");
        let mut answer = Vec::new();
        // Nobody need read all of what is refused.
        let _ = connection.write_all(bytes).await;
        let _ = connection.read_to_end(&mut answer).await;
        answer
    };
    timeout(ANSWER_MAX, exchange).await.unwrap_or_else(|_| panic!("no answer of {address} in {ANSWER_MAX:?}"))
}

/// A response of HTTP.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    /// Headers, a line each.
    pub head: String,
    pub body: String,
}

impl Answer {
    /// Parses the first response in what a server has sent; `None` if there is none.
    pub fn of(bytes: &[u8]) -> Option<Self> {
        let text = String::from_utf8_lossy(bytes);
        let (head, body) = text.split_once("\r\n\r\n")?;
        let (line, head) = head.split_once("\r\n").unwrap_or((head, ""));
        let status = line.strip_prefix("HTTP/1.")?.split(' ').nth(1)?.parse().ok()?;
        let answer = Self { status, head: head.to_owned(), body: body.to_owned() };
        assert_eq!(answer.header("transfer-encoding"), None, "answers of this API have a length");
        Some(answer)
    }

    /// Returns a header, by its name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut pairs = self.head.lines().filter_map(|line| line.split_once(':'));
        pairs.find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    }

    /// Returns the JSON of a response that must have status 200.
    #[track_caller]
    pub fn json(&self) -> Value {
        assert_eq!(self.status, 200, "{}", self.body);
        assert_eq!(self.header("content-type"), Some("application/json"));
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    /// Requires an error in the form of RFC 9457, and returns its detail.
    #[track_caller]
    pub fn problem(&self, status: u16) -> String {
        assert_eq!(self.status, status, "{}", self.body);
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{}", self.body);
        let problem: Value = serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body));
        assert_eq!(problem["status"], status, "{problem}");
        for member in ["type", "title", "detail"] {
            assert!(problem[member].is_string(), "{member} of {problem}");
        }
        problem["detail"].as_str().unwrap_or_default().to_owned()
    }
}

/// Returns a text as it is written in a query.
pub fn encoded(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}
