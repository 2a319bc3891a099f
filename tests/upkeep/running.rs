//! Law: `compact` as a process does rounds until it is told to stop, reports each thing it does, and serves metrics of
//! it. A failure in a round does not end it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;

use lake_schemas::Table;
use lake_schemas::minute::Parameters;
use lake_store::Lake;
use lake_store::commit::TableLog;
use serde_json::json;

use crate::simulation::{Computation, Log, simulate};
use crate::start_up::{clicklake, folder, the_error};

/// Brings a log into a lake in a folder.
fn fill(path: &str, log: &Arc<Log>) {
    simulate(async {
        let lake = Lake::at(path).expect("a lake");
        Computation::Raw.read_all(&lake, log).await.expect("ingest ends");
        Computation::Minutes(Parameters::default()).read_all(&lake, log).await.expect("aggregate ends");
    });
}

#[test]
fn a_roll_up_that_fails_ends_one_round_and_not_those_that_follow() {
    let (_folder, path) = folder();
    fill(&path, &Arc::new(Log::of_seed(3, 2, 300)));
    let lost = simulate(async {
        let lake = Lake::at(&path).expect("a lake");
        let mut log = TableLog::find(&lake, Table::ClicksMinute).await.expect("a folder").expect("the table");
        let live = log.live_files().await.expect("a folder");
        PathBuf::from(&path).join("clicks_minute").join(&live[0].path)
    });
    let bytes = std::fs::read(&lost).expect("a file");
    std::fs::remove_file(&lost).expect("it goes");
    let name = lost.file_name().and_then(|name| name.to_str()).expect("a name");
    let once = clicklake(&["compact", "--once", "--lake", &path]);
    let said = String::from_utf8(once.stderr).expect("UTF-8");
    assert_eq!(once.status.code(), Some(3), "{said}");
    assert!(the_error(&said).contains("clicks_minute: reading") && the_error(&said).contains(name), "{said}");
    assert!(the_error(&said).contains("`clicklake backfill --into` another table"), "{said}");
    let mut child = Command::new(env!("CARGO_BIN_EXE_clicklake"))
        .args(["compact", "--every", "200ms", "--lake", &path])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("clicklake starts");
    let mut said = BufReader::new(child.stderr.take().expect("piped")).lines();
    assert!(said.any(|line| line.expect("a line").contains("the next round tries again")), "it says what is wrong");
    std::fs::write(&lost, bytes).expect("it comes back");
    let mut told = BufReader::new(child.stdout.take().expect("piped")).lines();
    assert!(told.any(|line| line.expect("a line").contains("clicks_hourly version 1: ")), "it goes on");
    let kill = Command::new("kill").args(["-TERM", &child.id().to_string()]).status().expect("kill runs");
    assert!(kill.success() && child.wait().expect("it ends").success());
}

#[test]
fn rounds_go_on_until_it_is_told_to_stop() {
    let (_folder, path) = folder();
    let log = Arc::new(Log::of_seed(3, 2, 300));
    fill(&path, &Arc::new(log.earlier(|_, all| all / 2)));
    let mut child = Command::new(env!("CARGO_BIN_EXE_clicklake"))
        .args(["compact", "--every", "200ms", "--metrics", "127.0.0.1:0", "--lake", &path])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("clicklake starts");
    let mut said = BufReader::new(child.stderr.take().expect("piped")).lines();
    let address = said.find_map(|line| line.expect("a line").split_once("address=").map(|(_, at)| at.to_owned()));
    let address = address.expect("it says where");
    let mut told = BufReader::new(child.stdout.take().expect("piped")).lines();
    let mut wait_for = |words: &str| told.by_ref().map(|line| line.expect("a line")).find(|line| line.contains(words));
    assert!(wait_for("clicks_daily version 1: ").is_some());
    // Messages that come later are rolled up by a later round.
    fill(&path, &log);
    let summed = wait_for(" summed from version").expect("it goes on");
    assert!(summed.starts_with("clicks_hourly version 2: "), "{summed}");
    let mut stream = TcpStream::connect(address.trim()).expect("it listens");
    stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").expect("it takes a request");
    let mut metrics = String::new();
    stream.read_to_string(&mut metrics).expect("it answers");
    let hours = metrics
        .lines()
        .find_map(|line| line.strip_prefix("clicklake_windows_summed_total{job=\"compact\",table=\"clicks_hourly\"} "));
    assert!(hours.is_some_and(|hours| hours.parse::<f64>().expect("a number") >= 2.0), "{metrics}");
    let kill = Command::new("kill").args(["-TERM", &child.id().to_string()]).status().expect("kill runs");
    assert!(kill.success() && child.wait().expect("it ends").success());
}

#[test]
fn what_another_program_did_is_told_at_each_start_and_is_nothing_to_do() {
    let (_folder, path) = folder();
    fill(&path, &Arc::new(Log::of_seed(3, 2, 300)));
    let (version, file) = simulate(async {
        let lake = Lake::at(&path).expect("a lake");
        let mut log = TableLog::find(&lake, Table::Clicks).await.expect("a folder").expect("the table");
        (log.version() + 1, log.live_files().await.expect("a folder").remove(0))
    });
    let info = json!({ "commitInfo": { "timestamp": 1, "operation": "DELETE", "engineInfo": "Another/1.0" } });
    let remove = json!({ "remove": {
        "path": file.path, "dataChange": true, "deletionTimestamp": 1, "extendedFileMetadata": true,
        "partitionValues": file.partition_values, "size": file.size
    } });
    let entry = PathBuf::from(&path).join(format!("clicks/_delta_log/{version:020}.json"));
    std::fs::write(entry, format!("{info}\n{remove}\n")).expect("it is the next version");
    let said = [(); 3].map(|()| {
        let once = clicklake(&["compact", "--once", "--lake", &path]);
        assert!(once.status.success(), "{}", String::from_utf8_lossy(&once.stderr));
        String::from_utf8(once.stdout).expect("UTF-8")
    });
    let told = format!("so said at each start: clicks version {version}: DELETE by Another/1.0");
    assert!(said.iter().all(|said| said.contains(&told)), "{said:?}");
    assert!(said[0].contains("clicks_daily version 1: ") && said[2].ends_with("nothing to do\n"), "{said:?}");
}
