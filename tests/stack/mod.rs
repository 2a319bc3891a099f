//! An Apache Kafka and an S3 server of the test's own, started by `localstack/up` on free ports, and gone when the test
//! is.

pub mod member;
pub mod proxy;
pub mod topic;

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, Weak};

use lake_store::Lake;
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::client::ClientOptions;
use url::Url;

/// A running stack; dropping it takes it down.
pub struct RealStack {
    folder: tempfile::TempDir,
    ports: [u16; 4],
    /// Environment that `localstack/up` asks for.
    environment: Vec<(String, String)>,
}

/// One of its servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Server {
    Kafka,
    S3,
}

impl RealStack {
    /// Starts a stack that no other test uses.
    pub fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut stack = Self { ports: free_ports(), folder, environment: Vec::new() };
        stack.environment = stack.up();
        stack
    }

    /// Returns the stack of all tests that harm nothing but their own parts of it. It ends with the last of them.
    pub fn shared() -> Arc<Self> {
        static SHARED: Mutex<Weak<RealStack>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        shared.upgrade().unwrap_or_else(|| {
            let stack = Arc::new(Self::start());
            *shared = Arc::downgrade(&stack);
            stack
        })
    }

    /// Starts the servers that do not run. Returns the environment that leads to them.
    pub fn up(&self) -> Vec<(String, String)> {
        let ports = self.ports.map(|port| port.to_string()).join(",");
        let output =
            script("up").arg("--folder").arg(self.path()).args(["--ports", &ports]).output().expect("bash runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "localstack/up: {said}");
        let exports = String::from_utf8(output.stdout).expect("UTF-8");
        let pair =
            |line: &str| line.strip_prefix("export ")?.split_once('=').map(|(key, value)| (key.into(), value.into()));
        exports.lines().map(|line| pair(line).expect("export KEY=VALUE")).collect()
    }

    /// Kills a server, as a crash would.
    pub fn kill(&self, server: Server) {
        self.signal(server, "KILL");
    }

    /// Sends a signal to a server.
    pub fn signal(&self, server: Server, name: &str) {
        signal(self.process(server).expect("it has run"), name);
    }

    /// Returns the process that a server is, or was.
    pub fn process(&self, server: Server) -> Option<u32> {
        let folder = if server == Server::Kafka { "kafka" } else { "s3" };
        std::fs::read_to_string(self.path().join(folder).join("pid")).ok()?.trim().parse().ok()
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    pub fn environment(&self) -> impl Iterator<Item = (String, String)> {
        self.environment.iter().cloned()
    }

    pub fn variable(&self, key: &str) -> &str {
        let found = self.environment.iter().find(|(name, _)| name == key);
        &found.unwrap_or_else(|| panic!("up names no {key}")).1
    }

    pub fn bootstrap_servers(&self) -> String {
        self.variable("CLICKLAKE_BOOTSTRAP_SERVERS").to_owned()
    }

    /// Returns the address at which clients log in by SASL, over TLS.
    pub fn secure_servers(&self) -> String {
        format!("127.0.0.1:{}", self.ports[1])
    }

    /// Returns the properties file for that.
    pub fn secure_properties(&self) -> PathBuf {
        self.path().join("client.properties")
    }

    /// Returns the address of a lake: in the stack's bucket for a name, in a folder for a path.
    pub fn lake_url(&self, lake: &str) -> String {
        if Path::new(lake).is_absolute() { lake.to_owned() } else { format!("s3://clicklake/{lake}") }
    }

    /// Returns the stack's bucket, for this process: the environment is for other processes.
    pub fn bucket(&self) -> AmazonS3 {
        AmazonS3Builder::new()
            .with_endpoint(self.variable("AWS_ENDPOINT_URL"))
            .with_region(self.variable("AWS_REGION"))
            .with_access_key_id(self.variable("AWS_ACCESS_KEY_ID"))
            .with_secret_access_key(self.variable("AWS_SECRET_ACCESS_KEY"))
            .with_bucket_name("clicklake")
            .with_client_options(ClientOptions::new().with_allow_http(true))
            .build()
            .expect("an S3 store")
    }

    /// Returns a lake in the bucket, for reading in this process.
    pub fn lake(&self, lake: &str) -> Lake {
        match Url::parse(&self.lake_url(lake)) {
            Ok(url) => Lake::on(Arc::new(self.bucket()), url),
            Err(_) => Lake::at(lake).expect("a folder"),
        }
    }

    /// Returns the program as a command, with the stack's environment.
    pub fn clicklake(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_clicklake"));
        command.args(arguments).envs(self.environment());
        command
    }
}

impl Drop for RealStack {
    #[expect(clippy::print_stderr, reason = "where to look for why")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            // `down` would remove what they hold.
            for id in [Server::Kafka, Server::S3].into_iter().filter_map(|server| self.process(server)) {
                let _ = Command::new("kill").args(["-KILL", &id.to_string()]).status();
            }
            self.folder.disable_cleanup(true);
            eprintln!("what the test has left is in {}", self.path().display());
            return;
        }
        let down = script("down").arg("--folder").arg(self.path()).output();
        assert!(down.is_ok_and(|output| output.status.success()), "localstack/down failed");
    }
}

/// Sends a signal to a process.
pub fn signal(process: u32, name: &str) {
    let sent = Command::new("kill").args([&format!("-{name}"), &process.to_string()]).status().expect("kill runs");
    assert!(sent.success(), "kill -{name} {process}");
}

/// Returns one of the scripts of `localstack` as a command.
pub fn script(name: &str) -> Command {
    let mut command = Command::new("bash");
    command.arg(Path::new("localstack").join(name));
    command
}

/// Returns four ports that were free just now.
fn free_ports() -> [u16; 4] {
    let listeners: [_; 4] = std::array::from_fn(|_| TcpListener::bind("127.0.0.1:0").expect("a free port"));
    listeners.map(|listener| listener.local_addr().expect("an address").port())
}
