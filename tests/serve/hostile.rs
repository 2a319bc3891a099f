//! Law: whatever SQL one key sends for as long as it likes, all other keys are answered, right and in time, over HTTP
//! and over the PostgreSQL protocol; and the server's own memory stays what it was.
//!
//! `attack.py` is the hostile key, and sends what a seed makes up. `others.py` asks for the other keys, at a steady
//! rate; it is first measured while there is no attack.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::Value;
use serve::new_key;
use tokio::runtime::Runtime;
use tokio::time::{Instant, sleep};

use super::load::setting;
use super::page;
use super::server::Server;
use crate::readers::python;

const ATTACK: &str = "tests/serve/hostile/attack.py";
const OTHERS: &str = "tests/serve/hostile/others.py";

/// Seconds of the attack; `CLICKLAKE_SECONDS` says otherwise, and also that nobody else uses the machine.
const SECONDS: u64 = 15;

/// Seed of the attack; `CLICKLAKE_SEED` says otherwise.
const SEED: u64 = 21;

/// Number of other keys, each with a process of its own.
const KEYS: u8 = 50;

/// Seconds between two questions of each other key: all together keep less than half of a processor busy.
const EVERY: &str = "2";

/// How long the other keys are measured before the attack: each asks each of its questions.
const AT_REST: Duration = Duration::from_secs(12);

/// How soon all are connected: each starts a process.
const READY_MAX: Duration = Duration::from_secs(120);

/// How soon one of these programs must end when it is told to.
const END_MAX: Duration = Duration::from_secs(20);

/// Interval between two looks at something.
const LOOK: Duration = Duration::from_millis(250);

/// How much later than at rest an answer may be, in seconds.
const LATER_MAX: f64 = 1.0;

/// The same bound when other tests run beside this one, which may begin after the measurement.
const LATER_BESIDE_MAX: f64 = 15.0;

/// Memory limit of all answers together, as the server is given it.
const MEMORY: &str = "6GiB";

/// Part of the memory limit that is for SQL, in kB: the processes of the other keys take half of it.
const SQL_KB: u64 = (6 << 20) / 3 * 2;

/// Fraction of [`SQL_KB`] by which it may be exceeded until the largest process is ended: it is checked ten times a
/// second, and memory is filled at some gigabytes a second.
const BEYOND: u64 = 2;

/// How much more memory the server itself may take than at rest, in kB: buffers of the connections that one key may
/// have.
const GROWTH_KB_MAX: u64 = 50_000;

/// Lines of the attack's output that are shown when the law fails.
const SHOWN: usize = 40;

/// A Python program that goes on until its input ends.
struct Program {
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
    reader: Option<JoinHandle<()>>,
}

impl Program {
    fn start(script: &str, arguments: &[String], errors: Stdio) -> Self {
        let mut command = Command::new(python());
        command.arg(script).args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(errors);
        let mut child = command.spawn().expect("python runs");
        let said = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        let lines = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&lines);
        let reader = std::thread::spawn(move || {
            for line in said.map_while(Result::ok) {
                kept.lock().unwrap_or_else(PoisonError::into_inner).push(line);
            }
        });
        Self { child, lines, reader: Some(reader) }
    }

    /// Returns the output of the program since the last call.
    fn said(&self) -> Vec<String> {
        std::mem::take(&mut *self.lines.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("it can be waited for").is_none()
    }

    /// Ends the input of the program, and returns its output up to its end.
    async fn end(mut self) -> Vec<String> {
        drop(self.child.stdin.take());
        let began = Instant::now();
        while self.is_running() {
            assert!(began.elapsed() < END_MAX, "it does not end");
            sleep(LOOK).await;
        }
        let status = self.child.wait().expect("it has ended");
        assert!(status.success(), "{status}");
        if let Some(reader) = self.reader.take() {
            reader.join().expect("it reads to the end");
        }
        self.said()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // If it has ended by itself, so much the better.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Times of answers, in seconds and in order, by question.
struct Took(BTreeMap<String, Vec<f64>>);

impl Took {
    /// Reads the times from the lines of `others.py`; none may have failed.
    fn of(lines: &[String], told: &dyn Fn() -> String) -> Self {
        let mut took: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for line in lines {
            let parts: Vec<_> = line.splitn(3, '\t').collect();
            let [asked, seconds, outcome] = parts[..] else { panic!("{line}") };
            assert_eq!(outcome, "ok", "{asked} after {seconds} s\n{}", told());
            let seconds: f64 = seconds.parse().unwrap_or_else(|error| panic!("{line}: {error}"));
            took.entry(asked.to_owned()).or_default().push(seconds);
        }
        took.values_mut().for_each(|seconds| seconds.sort_by(f64::total_cmp));
        Self(took)
    }

    /// Prints a line for each question.
    #[expect(clippy::print_stdout, reason = "figures, for those who look for how close it was")]
    fn print(&self, when: &str) {
        for (asked, seconds) in &self.0 {
            let at = |percent: usize| 1_000.0 * seconds[(seconds.len() - 1) * percent / 100];
            let (half, most, all) = (at(50), at(99), at(100));
            let count = seconds.len();
            println!("{asked:<12} {when}: {count:>6} answers, p50 {half:.1} ms, p99 {most:.1} ms, max {all:.1} ms");
        }
    }

    fn longest(&self, asked: &str) -> f64 {
        self.0.get(asked).and_then(|seconds| seconds.last()).copied().unwrap_or(0.0)
    }
}

/// Memory over time, in kB, one value for each look.
#[derive(Default)]
struct Held {
    server: Vec<u64>,
    /// Memory of the processes of all keys together.
    processes: Vec<u64>,
}

impl Held {
    /// Looks at the memory for this time, or until one of the programs has ended.
    async fn watch(server: &mut Server, programs: &mut [&mut Program], time: Duration) -> Self {
        let (mut held, until) = (Self::default(), Instant::now() + time);
        while Instant::now() < until {
            assert!(server.is_running(), "the server has ended:\n{}", server.said());
            assert!(programs.iter_mut().all(|program| program.is_running()), "a client has ended:\n{}", server.said());
            held.server.push(server.memory_kb("VmRSS"));
            held.processes.push(processes_kb(server.id()));
            sleep(LOOK).await;
        }
        held
    }
}

fn most(held: &[u64]) -> u64 {
    held.iter().copied().max().unwrap_or_default()
}

/// Returns the private memory of all child processes of a process, in kB.
fn processes_kb(of: u32) -> u64 {
    let of = of.to_string();
    let all = fs::read_dir("/proc").expect("processes").flatten();
    // Others come and go meanwhile.
    let all = all.filter_map(|process| fs::read_to_string(process.path().join("status")).ok());
    let field = |status: &str, name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.map(|value| value.trim().trim_end_matches(" kB").to_owned())
    };
    let own = all.filter(|status| field(status, "PPid").as_ref() == Some(&of));
    own.filter_map(|status| field(&status, "RssAnon")?.parse::<u64>().ok()).sum()
}

/// Makes the file of keys. Returns it, the hostile key, which sees everything, and the other keys with their campaigns.
fn keys(folder: &Path) -> (String, String, Vec<String>) {
    let mut lines = String::new();
    let mut key = |number: u8, campaigns: &str| {
        let (key, line) = new_key([number; 32], campaigns);
        // Without what proves that one has a key, all of them show it.
        let hash = line.split_once(':').expect("a hash").0;
        lines += &format!("{hash} {campaigns}\n");
        key
    };
    let hostile = key(u8::MAX, "*");
    let others = (0..KEYS).map(|number| {
        let campaign = format!("campaign-{number}");
        format!("{}={campaign}", key(number, &campaign))
    });
    let others = others.collect();
    let file = folder.join("keys.txt");
    fs::write(&file, lines).expect("a disk");
    (file.to_str().expect("UTF-8").to_owned(), hostile, others)
}

/// Starts a server of a lake with a file of keys. Returns it with its address for clients of PostgreSQL.
fn server(lake: &str, keys: &str) -> (Server, String) {
    let more = ["--keys", keys, "--postgres", "127.0.0.1:0", "--memory-limit", MEMORY];
    let server = Server::start(lake, &more);
    let said = server.said();
    let postgres = said.lines().find_map(|line| line.strip_prefix("serving postgresql://")?.strip_suffix("/clicklake"));
    (server, postgres.unwrap_or_else(|| panic!("{said}")).to_owned())
}

/// Returns the last lines of a file.
fn last_lines(file: &Path) -> String {
    let text = fs::read(file).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(SHOWN)..].join("\n")
}

#[test]
#[expect(clippy::print_stdout, reason = "figures, for those who look for how close it was")]
fn sql_that_means_harm_harms_nobody_else() {
    let (seconds, seed) = (setting("CLICKLAKE_SECONDS", SECONDS), setting("CLICKLAKE_SEED", SEED));
    let is_alone = std::env::var_os("CLICKLAKE_SECONDS").is_some();
    println!("seed {seed}");
    let (folder, lake) = page::lake();
    let (file, hostile, others) = keys(folder.path());
    let (mut server, postgres) = server(&lake, &file);
    let log = folder.path().join("attack.log");
    Runtime::new().expect("a runtime").block_on(async {
        let arguments = [&[server.address.clone(), postgres.clone(), EVERY.to_owned()][..], &others].concat();
        let mut others = Program::start(OTHERS, &arguments, Stdio::inherit());
        let began = Instant::now();
        while !others.said().contains(&"ready".to_owned()) {
            assert!(others.is_running() && began.elapsed() < READY_MAX, "not all connect:\n{}", server.said());
            sleep(LOOK).await;
        }
        let rest = Held::watch(&mut server, &mut [&mut others], AT_REST).await;
        let at_rest = Took::of(&others.said(), &|| server.said());
        at_rest.print("at rest   ");

        let errors = File::create(&log).expect("a disk");
        let mut attack = Program::start(ATTACK, &[postgres, hostile, seed.to_string()], errors.into());
        let time = Duration::from_secs(seconds);
        let held = Held::watch(&mut server, &mut [&mut others, &mut attack], time).await;
        let attacked = attack.end().await.concat();
        let answers = others.end().await;
        let told = || format!("{attacked}\n{}\n{}", last_lines(&log), server.said());
        let attacked_by: BTreeMap<String, BTreeMap<String, u64>> =
            serde_json::from_str(&attacked).unwrap_or_else(|error| panic!("{error}: {}", told()));
        for (kind, outcomes) in &attacked_by {
            println!("{kind}: {}", Value::from_iter(outcomes.clone()));
        }
        let under_attack = Took::of(&answers, &told);
        under_attack.print("under attack");
        let (server_kb, processes_kb) = (most(&held.server), most(&held.processes));
        println!("the server takes {} kB at rest, {server_kb} kB at most", most(&rest.server));
        println!("its processes take {} kB at rest, {processes_kb} kB at most", most(&rest.processes));

        let later_max = if is_alone { LATER_MAX } else { LATER_BESIDE_MAX };
        for asked in under_attack.0.keys() {
            let (before, now) = (at_rest.longest(asked), under_attack.longest(asked));
            assert!(now <= before + later_max, "{asked} takes {now} s, and {before} s at rest\n{}", told());
        }
        assert!(server_kb <= most(&rest.server) + GROWTH_KB_MAX, "{:?}, after {:?}", held.server, rest.server);
        assert!(processes_kb <= SQL_KB / BEYOND * (BEYOND + 1), "{:?}", held.processes);
        // Check that there was an attack: statements of all kinds, some answered, some refused, some cut off.
        let outcomes: Vec<_> = attacked_by.values().flat_map(BTreeMap::keys).map(String::as_str).collect();
        for outcome in ["rows", "54000", "42601", "dropped"] {
            assert!(outcomes.contains(&outcome), "{outcome} is missing: {}", told());
        }
    });
}
