//! A job as a process of its own, which can be killed, paused and told to leave.

use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

use super::{RealStack, signal};

/// Session timeout: short, so that a dead member's partitions move within the test. In the newer protocol of groups the
/// brokers set it: `localstack/up` says the same.
pub const SESSION_TIMEOUT: Duration = Duration::from_secs(6);

/// Property with which a member takes part in the newer protocol of groups.
pub const NEWER_PROTOCOL: &str = "group.protocol=consumer";

/// How long a member may take to leave, as promised.
const LEAVE_MAX: Duration = Duration::from_secs(20);

/// Interval between two looks at something.
const LOOK: Duration = Duration::from_millis(50);

/// Job of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Job {
    Ingest,
    Aggregate,
    Compact,
    /// Computes all windows again, once.
    Backfill,
}

impl Job {
    /// Returns the command that runs this job.
    fn command(self) -> &'static str {
        match self {
            Self::Ingest => "ingest",
            Self::Aggregate => "aggregate",
            Self::Compact => "compact",
            Self::Backfill => "backfill",
        }
    }

    /// Returns whether the members of the job share the topic's partitions.
    pub fn is_group(self) -> bool {
        matches!(self, Self::Ingest | Self::Aggregate)
    }
}

/// A running member. Dropping it kills it.
pub struct Member {
    pub job: Job,
    child: Child,
    log: PathBuf,
}

impl Member {
    /// Starts a member that ingests a topic into a lake, and logs into a file of the stack's folder.
    pub fn start(stack: &RealStack, topic: &str, lake: &str, more: &[&str]) -> Self {
        Self::of(Job::Ingest, stack, topic, lake, more)
    }

    /// Starts such a member with another address of S3.
    pub fn start_at(stack: &RealStack, s3: &str, topic: &str, lake: &str, more: &[&str]) -> Self {
        Self::run(Job::Ingest, stack, Some(s3), topic, lake, more)
    }

    /// Starts a member with any job.
    pub fn of(job: Job, stack: &RealStack, topic: &str, lake: &str, more: &[&str]) -> Self {
        Self::run(job, stack, None, topic, lake, more)
    }

    fn run(job: Job, stack: &RealStack, s3: Option<&str>, topic: &str, lake: &str, more: &[&str]) -> Self {
        let name = job.command();
        let (log, file) = (0..)
            .map(|number| stack.path().join(format!("{name}-{topic}-{number}.log")))
            .find_map(|path| File::create_new(&path).ok().map(|file| (path, file)))
            .expect("one of them is free");
        let session = format!("session.timeout.ms={}", SESSION_TIMEOUT.as_millis());
        let lake = stack.lake_url(lake);
        let grouped =
            ["--topic", topic, "--commit-interval", "300ms", "-X", &session, "-X", "heartbeat.interval.ms=500"];
        // A client may not set there what the brokers set.
        let set_by_brokers = if more.contains(&NEWER_PROTOCOL) { 4 } else { 0 };
        let usual: &[&str] = match job {
            Job::Ingest | Job::Aggregate => &grouped[..grouped.len() - set_by_brokers],
            Job::Compact => &["--every", "1s"],
            Job::Backfill => &["--replace"],
        };
        let child = stack
            .clicklake(&[name, "--lake", &lake])
            .args(usual)
            .args(more)
            .envs(s3.map(|url| ("AWS_ENDPOINT_URL", url)))
            .stdout(Stdio::null())
            .stderr(file)
            .spawn()
            .expect("clicklake starts");
        Self { job, child, log }
    }

    /// Returns all that the member has logged so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).expect("a log")
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("it can be waited for").is_none()
    }

    pub fn signal(&self, name: &str) {
        signal(self.child.id(), name);
    }

    /// Kills the member, as a crash would.
    pub fn kill(&mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it ends");
    }

    /// Waits until the member's log contains `what`.
    pub async fn says(&mut self, what: &str, within: Duration) {
        let began = Instant::now();
        while !self.log().contains(what) {
            assert!(self.is_running(), "it ended before it said {what:?}:\n{}", self.log());
            assert!(began.elapsed() < within, "it did not say {what:?} within {within:?}:\n{}", self.log());
            sleep(LOOK).await;
        }
    }

    /// Returns the number of commits that the member has logged.
    pub fn commits(&self) -> usize {
        self.log().matches(" committed ").count()
    }

    /// Waits until the member has logged more commits than that.
    pub async fn commits_more_than(&mut self, commits: usize, within: Duration) {
        let began = Instant::now();
        while self.commits() <= commits {
            assert!(self.is_running(), "it ended:\n{}", self.log());
            assert!(began.elapsed() < within, "nothing is committed within {within:?}:\n{}", self.log());
            sleep(LOOK).await;
        }
    }

    /// Returns the metrics that the member serves at `--metrics 127.0.0.1:0`; empty until it does.
    pub async fn metrics(&self) -> String {
        let log = self.log();
        let Some((_, after)) = log.split_once("metrics address=") else { return String::new() };
        let address = after.split_whitespace().next().expect("an address");
        let mut connection = TcpStream::connect(address).await.expect("it listens");
        let request = format!("GET /metrics HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        connection.write_all(request.as_bytes()).await.expect("it listens");
        let mut answer = String::new();
        connection.read_to_string(&mut answer).await.expect("it answers");
        let (head, body) = answer.split_once("\r\n\r\n").expect("head and body");
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        body.to_owned()
    }

    /// Returns how many partitions it owns, by its metrics.
    pub async fn partitions(&self) -> usize {
        self.metrics().await.lines().filter(|line| line.starts_with("clicklake_owned{")).count()
    }

    /// Waits until it owns so many partitions, by its metrics.
    pub async fn owns(&mut self, partitions: usize, within: Duration) {
        let began = Instant::now();
        loop {
            assert!(self.is_running(), "it ended:\n{}", self.log());
            let owned = self.partitions().await;
            if owned == partitions {
                return;
            }
            assert!(began.elapsed() < within, "it owns {owned}, not {partitions}, after {within:?}:\n{}", self.log());
            sleep(LOOK).await;
        }
    }

    /// Waits until the member ends by itself.
    pub async fn ends(&mut self, within: Duration) -> ExitStatus {
        let began = Instant::now();
        while self.is_running() {
            assert!(began.elapsed() < within, "it has not ended after {within:?}:\n{}", self.log());
            sleep(LOOK).await;
        }
        self.child.wait().expect("it has ended")
    }

    /// Tells the member to leave, which it must do in time and with everything committed. A member that is told before
    /// it can listen has not begun anything.
    pub async fn leaves(mut self) {
        let (status, log) = self.is_told_to_leave().await;
        assert!(status.success() || log.is_empty(), "{status}:\n{log}");
    }

    /// Tells the member to leave, which it must do in time. Returns how it ended, and everything that it logged.
    pub async fn is_told_to_leave(&mut self) -> (ExitStatus, String) {
        self.signal("TERM");
        (self.ends(LEAVE_MAX).await, self.log())
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
