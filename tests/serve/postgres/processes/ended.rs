//! Law: whatever ends a process of a key, its clients are told why, the next one gets another process, and nothing of
//! it remains when the server is gone; and a key that only stays connected keeps no other out.

use super::*;
use crate::readers::python;
use crate::serve::server::Running;

/// Demand for two processes, beside the memory that one key may take for statements.
const ROOM_FOR_TWO: usize = 150 << 20;

/// Statement that makes DataFusion panic: it reserves room for as many sums as it is told to keep, and no memory is as
/// large.
const PANICS: &str = "select approx_percentile_cont(0.5, 9223372036854775807) within group (order by x) \
     from (values (1.5)) as t(x)";

/// Waits until a condition holds.
fn until(runtime: &tokio::runtime::Runtime, why: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < SOON, "{why}");
        runtime.block_on(async { sleep(LOOK).await });
    }
}

#[test]
fn a_key_that_only_stays_connected_gives_way_to_another() {
    let folder = tempfile::tempdir().expect("a folder");
    let (served, _) = served_within(folder.path(), ROOM_FOR_TWO);
    let (mut idle, mut busy) = (Open::of(&served, "all-of-it"), Open::of(&served, "spring-key"));
    assert_eq!(idle.asks("select count(*) from clicks;"), "18");
    assert_eq!(busy.asks("begin; select count(*) from clicks;"), "6");
    // There is no room, and both were there a moment ago.
    let refused = served.psql("nothing-key", &["select 1"]);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(said.contains("too many keys"), "{said}");
    until(&served.runtime, "nobody gives way", || {
        let output = served.psql("nothing-key", &["select count(*) from clicks"]);
        String::from_utf8_lossy(&output.stdout).trim_end() == "0"
    });
    assert_eq!(busy.asks("select count(*) from clicks;"), "6", "who has a transaction does not give way");
    assert_eq!(idle.asks("select 1;"), "");
    let said = idle.last_words();
    assert!(said.contains("given way to those of another key"), "{said}");
    drop(busy);
    served.end();
}

#[test]
fn who_does_not_come_back_from_a_statement_is_ended_and_said_to_be_too_slow() {
    let folder = tempfile::tempdir().expect("a folder");
    lake::write(folder.path(), Rows::All);
    // In place of the program: a process that says of itself what its watch would say.
    let arguments = [OsString::from("tests/serve/postgres/processes/stuck.py")].to_vec();
    let program = Program { file: python(), arguments };
    let keys = Arc::new(Keys::parse(KEYS).expect("keys"));
    let served = Served::of(Postgres::by_processes(program, Some(keys), MEMORY).expect("a folder for sockets"));
    let output = served.psql("spring-key", &["select 1"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("did not end in time"), "{said}");
    served.end();
}

#[test]
fn a_panic_ends_a_session_and_no_other() {
    let folder = tempfile::tempdir().expect("a folder");
    let (served, _) = served(folder.path());
    let mut same_key = Open::of(&served, "spring-key");
    assert_eq!(same_key.asks("select count(*) from clicks;"), "6");
    let before = processes(folder.path());
    let output = served.psql("spring-key", &[PANICS]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("XX000") && said.contains("came upon a bug"), "{said}");
    assert_eq!(same_key.asks("select count(*) from clicks;"), "6");
    assert_eq!((count(&served, "spring-key").as_str(), count(&served, "all-of-it").as_str()), ("6", "18"));
    let after = processes(folder.path());
    assert!(before.iter().all(|id| after.contains(id)), "{before:?}, {after:?}");
    drop(same_key);
    served.end();
}

#[test]
fn a_server_that_is_killed_leaves_no_process_behind() {
    let folder = tempfile::tempdir().expect("a folder");
    lake::write(folder.path(), Rows::All);
    let place = folder.path().join("lake");
    let mut serve = Command::new(env!("CARGO_BIN_EXE_clicklake"));
    serve.args(["serve", "--listen", "127.0.0.1:0", "--postgres", "127.0.0.1:0", "--lake"]).arg(&place);
    let (server, address) = Running::start(serve, |line| {
        line.strip_prefix("serving postgresql://").map(|address| address.trim_end_matches('/').to_owned())
    });
    let url = format!("postgresql://someone@{address}/clicklake?connect_timeout=20");
    // One that does something is there, too.
    let mut psql = Command::new("psql");
    let asks = psql.args(["-X", "-d", &url, "-c", ENDLESS]).stdout(Stdio::null()).stderr(Stdio::null());
    let mut asks = asks.spawn().expect("psql runs");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    until(&runtime, "no process is started", || processes(folder.path()).iter().any(|id| busy(*id) > 0));
    // It is killed, as by nobody who could be asked to wait.
    drop(server);
    until(&runtime, "a process is left behind", || processes(folder.path()).is_empty());
    assert!(!asks.wait().expect("psql ends").success());
}

#[test]
fn a_process_that_stands_still_is_ended_and_the_next_client_has_another() {
    let folder = tempfile::tempdir().expect("a folder");
    let (served, _) = served(folder.path());
    let mut session = Open::of(&served, "spring-key");
    assert_eq!(session.asks("select count(*) from clicks;"), "6");
    let stopped = processes(folder.path());
    let ids = stopped.iter().map(u32::to_string);
    assert!(Command::new("kill").arg("-STOP").args(ids).status().expect("kill").success());
    until(&served.runtime, "nobody takes its place", || {
        let output = served.psql("spring-key", &["select count(*) from clicks"]);
        String::from_utf8_lossy(&output.stdout).trim_end() == "6"
    });
    assert!(processes(folder.path()).iter().all(|id| !stopped.contains(id)), "{stopped:?} is there");
    assert_eq!(session.asks("select 1;"), "");
    let said = session.last_words();
    assert!(said.contains("has ended"), "{said}");
    served.end();
}
