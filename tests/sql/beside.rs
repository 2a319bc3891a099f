//! Law: somebody asks in a loop while everything else runs (clicks come in, minutes are counted, rolled up, merged,
//! replaced and promoted), and each statement sees each table at one version, and none fails.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::{session, texts};
use crate::start_up::{clicklake, folder};

/// Seconds for which it runs.
const SECONDS: u64 = 20;

/// Statements whose rows must be true in all columns.
const LAWS: [&str; 5] = [
    "select (select count(*) from clicks) = (select count(kafka_offset) from clicks)",
    "select (select sum(clicks) from clicks_minute) = (select sum(clicks) from totals(null, null))",
    "select (select sum(clicks) from clicks_minute) = (select sum(clicks) from series(null, null, 'hour'))",
    "select (select count(*) from clicks_minute a) = (select count(*) from clicks_minute a join (select distinct pane \
     from clicks_minute) b on a.pane = b.pane)",
    // Roll-ups may be behind the minutes, so their rows are only compared among themselves.
    "select (select count(*) from clicks_hourly) >= (select count(*) from clicks_hourly where clicks < 0)",
];

/// The jobs, which are killed when this is dropped.
struct Up(Child);

impl Drop for Up {
    fn drop(&mut self) {
        // If it has ended by itself, so much the better.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_reader_in_a_loop_sees_one_version_of_each_table() {
    let (_folder, path) = folder();
    let mut up = Command::new(env!("CARGO_BIN_EXE_clicklake"));
    up.args(["up", "--lake", &path, "--rate", "3000", "--for", &format!("{SECONDS}s")]);
    let mut up = Up(up.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the program runs"));
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let (mut asked, mut clicks, mut others) = (0, 0, Others::default());
    runtime.block_on(async {
        let session = session(path.as_ref());
        while up.0.try_wait().expect("a process").is_none() {
            let Ok(rows) = session.rows("select count(*) from clicks_daily").await else {
                // Not all tables are there yet.
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            };
            assert_eq!(texts(&rows[0]).len(), 1);
            for law in LAWS {
                let rows = session.rows(law).await.unwrap_or_else(|error| panic!("{law}: {error}"));
                assert_eq!(texts(&rows[0]), [["true"]], "{law}");
            }
            let rows = session.rows("select count(*), max(version) from clicks, history('clicks')").await;
            let rows = texts(&rows.expect("an answer")[0]);
            let now: i64 = rows[0][0].parse().expect("a number");
            assert!(now >= clicks, "there were {clicks}, and then {now}");
            (asked, clicks) = (asked + 1, now);
            others.step(&path);
        }
    });
    assert!(asked >= 10 && clicks > 0 && others.done >= 2, "asked {asked} times, {clicks} clicks, {others:?}");
}

/// Other things that happen to the lake meanwhile.
#[derive(Debug, Default)]
struct Others {
    begun: usize,
    done: usize,
}

impl Others {
    fn step(&mut self, path: &str) {
        let commands: [&[&str]; 3] = [
            &["backfill", "--into", "again", "--dimensions", "country"],
            &["promote", "again"],
            &["promote", "--undo"],
        ];
        self.begun += 1;
        if !self.begun.is_multiple_of(3) {
            return;
        }
        let Some(command) = commands.get(self.done) else { return };
        let output = clicklake(&[command, &["--lake", path][..]].concat());
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{command:?}: {said}");
        self.done += 1;
    }
}
