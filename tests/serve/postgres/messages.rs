//! Law: a malformed message, or a malformed value, is refused by PostgreSQL's code; the session goes on if the
//! beginning of the next message is still known.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::lake::{self, Rows};
use super::{MEMORY, Served};

/// How long a client waits for all of its answers.
const SOON: Duration = Duration::from_secs(20);

/// Returns a message with a kind.
pub(super) fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    [&[kind][..], &counted(body)].concat()
}

/// Returns bytes behind their length, which counts itself.
fn counted(body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).expect("it is short").to_be_bytes();
    [&length[..], body].concat()
}

/// Returns the message with which a session begins.
pub(super) fn startup() -> Vec<u8> {
    counted(b"\0\x03\0\0user\0a\0\0")
}

/// Sends bytes, and returns everything that the server answers to the end.
pub(super) fn answered(served: &Served, said: &[u8]) -> Vec<u8> {
    served.runtime.block_on(async {
        let mut socket = TcpStream::connect(("127.0.0.1", served.port)).await.expect("a connection");
        socket.write_all(said).await.expect("it reads");
        let mut answer = Vec::new();
        timeout(SOON, socket.read_to_end(&mut answer)).await.expect("in time").expect("it is answered");
        answer
    })
}

/// Begins a session, sends messages and a farewell. Returns the kinds and bodies of the answers.
fn messages(served: &Served, said: &[Vec<u8>]) -> Vec<(u8, Vec<u8>)> {
    let said = [vec![startup()], said.to_vec(), vec![message(b'X', b"")]].concat().concat();
    let (answer, mut messages) = (answered(served, &said), Vec::new());
    let mut rest = &answer[..];
    while let Some((head, after)) = rest.split_first_chunk::<5>() {
        let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize - 4;
        let (body, after) = after.split_at(length);
        rest = after;
        // Leave out the messages of the login, which are always the same.
        if !matches!(head[0], b'R' | b'S' | b'K') {
            messages.push((head[0], body.to_vec()));
        }
    }
    // The first message that is left says that the client may begin.
    assert_eq!(messages.remove(0), (b'Z', b"I".to_vec()));
    messages
}

/// Returns the severity and the code of an error.
fn code(body: &[u8]) -> String {
    let field = |kind: u8| body.split(|byte| *byte == 0).find_map(|field| field.strip_prefix(&[kind]));
    let [severity, code] = [b'S', b'C'].map(|kind| String::from_utf8_lossy(field(kind).unwrap_or_default()));
    format!("{severity} {code}")
}

/// Sends messages as [`messages`] does. Returns the kinds of the answers, and the codes of errors.
fn told(served: &Served, said: &[Vec<u8>]) -> Vec<String> {
    let told = |(kind, body): (u8, Vec<u8>)| if kind == b'E' { code(&body) } else { char::from(kind).to_string() };
    messages(served, said).into_iter().map(told).collect()
}

/// Sends messages as [`messages`] does. Returns the commands that completed, the errors, and the state of the
/// transaction each time.
fn done(served: &Served, said: &[Vec<u8>]) -> Vec<String> {
    let done = |(kind, body): (u8, Vec<u8>)| match kind {
        b'E' => Some(code(&body)),
        b'C' | b'Z' => Some(String::from_utf8_lossy(&body).trim_end_matches('\0').to_owned()),
        _ => None,
    };
    messages(served, said).into_iter().filter_map(done).collect()
}

/// Returns the message that prepares a statement with a name and types of parameters.
fn parse(name: &str, text: &str, types: &[u32]) -> Vec<u8> {
    let count = u16::try_from(types.len()).expect("few").to_be_bytes();
    let types = types.iter().flat_map(|of| of.to_be_bytes()).collect::<Vec<_>>();
    message(b'P', &[name.as_bytes(), b"\0", text.as_bytes(), b"\0", &count, &types].concat())
}

/// Returns the message that binds one value in the binary format to the statement without a name.
fn bind(value: &[u8]) -> Vec<u8> {
    let length = u32::try_from(value.len()).expect("it is short").to_be_bytes();
    message(b'B', &[&b"\0\0\0\x01\0\x01\0\x01"[..], &length, value, b"\0\0"].concat())
}

#[test]
fn what_is_no_message_is_refused_and_the_next_one_is_answered() {
    let folder = tempfile::tempdir().expect("a folder");
    let served = Served::over(&lake::write(folder.path(), Rows::All), false, MEMORY);
    let sync = || message(b'S', b"");
    let query = || message(b'Q', b"select 1\0");
    for (said, expected) in [
        (vec![message(b'Q', b"select '\xff'\0")], vec!["ERROR 22021", "Z"]),
        (vec![message(b'Q', b"select 1")], vec!["ERROR 08P01", "Z"]),
        (vec![message(b'P', b"\0select '\xff'\0\0\0"), sync()], vec!["ERROR 22021", "Z"]),
        (vec![message(b'B', b"\0\0\0\0\x7f\xff"), sync()], vec!["ERROR 08P01", "Z"]),
        (vec![message(b'B', b"\0\0\0\x01\0\x07\0\0\0\0"), sync()], vec!["ERROR 22023", "Z"]),
        (vec![message(b'F', b"\0\0\x04\xd2\0\0\0\0\0\0")], vec!["ERROR 0A000", "Z"]),
        (vec![message(b'E', b""), message(b'F', b"\0\0\x04\xd2"), sync()], vec!["ERROR 08P01", "Z"]),
        // Messages that are skipped after an error have no effect.
        (vec![message(b'E', b""), parse("s", "select 1", &[]), sync()], vec!["ERROR 08P01", "Z"]),
        (vec![parse("s", "select 1", &[]), sync()], vec!["1", "Z"]),
        (vec![message(b'D', b"S\0"), sync()], vec!["ERROR 26000", "Z"]),
        (vec![message(b'D', b"Pa\0"), sync()], vec!["ERROR 34000", "Z"]),
    ] {
        let goes_on = ["T", "D", "C", "Z"];
        let told = told(&served, &[said, vec![query()]].concat());
        assert_eq!(told, [expected, goes_on.to_vec()].concat());
    }
    for said in [message(b'p', b"x\0"), b"Q\0\0\0\x03".to_vec(), b"Q\x7f\xff\xff\xff".to_vec()] {
        assert_eq!(told(&served, &[said]), ["FATAL 08P01"]);
    }
    let unnamed = [startup(), message(b'D', b"S\0"), message(b'X', b"")].concat();
    let unnamed = String::from_utf8_lossy(&answered(&served, &unnamed)).into_owned();
    assert!(unnamed.contains("unnamed prepared statement does not exist"), "{unnamed:?}");
    served.end();
}

#[test]
fn what_becomes_of_a_transaction_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let served = Served::over(&lake::write(folder.path(), Rows::All), false, MEMORY);
    let text = |text: &str| message(b'Q', &[text.as_bytes(), b"\0"].concat());
    let fails = || text("begin; select nothing from clicks");
    for (said, expected) in [
        (vec![fails(), text("commit")], vec!["BEGIN", "ERROR 42703", "E", "ROLLBACK", "I"]),
        (vec![fails(), text("end")], vec!["BEGIN", "ERROR 42703", "E", "ROLLBACK", "I"]),
        (vec![text("begin; select 1; commit")], vec!["BEGIN", "SELECT 1", "COMMIT", "I"]),
        // Rows that fail on their way, before what stands behind them is done.
        (
            vec![text("begin; select ad_id::int from clicks; commit"), text("rollback; select 1")],
            vec!["BEGIN", "ERROR 22P02", "E", "ROLLBACK", "SELECT 1", "I"],
        ),
        (
            vec![text("begin; savepoint B; select nothing from clicks"), text("rollback to b"), text("commit")],
            vec!["BEGIN", "SAVEPOINT", "ERROR 42703", "E", "ROLLBACK", "T", "COMMIT", "I"],
        ),
        (
            vec![fails(), text("-- a\n rollback to savepoint b"), text("commit")],
            vec!["BEGIN", "ERROR 42703", "E", "ERROR 3B001", "E", "ROLLBACK", "I"],
        ),
        (
            vec![text("begin; savepoint a; release a; release a"), text("commit"), text("rollback to a")],
            vec!["BEGIN", "SAVEPOINT", "RELEASE", "ERROR 3B001", "E", "ROLLBACK", "I", "ERROR 3B001", "I"],
        ),
        (vec![text("/* a /* b */ */ copy (select 1) to stdout")], vec!["COPY 1", "I"]),
        (vec![text("begin; copy (select 1) to stdout; select 2")], vec!["BEGIN", "COPY 1", "SELECT 1", "T"]),
        (
            vec![
                fails(),
                parse("", "commit", &[]),
                message(b'B', &[0; 8]),
                message(b'E', b"\0\0\0\0\0"),
                message(b'S', b""),
            ],
            vec!["BEGIN", "ERROR 42703", "E", "ROLLBACK", "I"],
        ),
    ] {
        assert_eq!(done(&served, &said), expected);
    }
    served.end();
}

#[test]
fn what_a_client_has_set_is_shown() {
    let folder = tempfile::tempdir().expect("a folder");
    let served = Served::over(&lake::write(folder.path(), Rows::All), false, MEMORY);
    let printed =
        served.printed("", &["set statement_timeout = 5000", "show statement_timeout", "show application_name"]);
    assert_eq!(printed, "SET\n5s\npsql");
    served.end();
}

#[test]
fn a_name_is_given_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let served = Served::over(&lake::write(folder.path(), Rows::All), false, MEMORY);
    let sync = || message(b'S', b"");
    let named = |name: &str| parse(name, "select 1", &[]);
    let told_of = |said: &[Vec<u8>]| told(&served, said);
    assert_eq!(told_of(&[named("s"), named("s"), sync()]), ["1", "ERROR 42P05", "Z"]);
    assert_eq!(told_of(&[named(""), named(""), sync()]), ["1", "1", "Z"]);
    assert_eq!(told_of(&[named("s"), message(b'C', b"Ss\0"), named("s"), sync()]), ["1", "3", "1", "Z"]);
    let portal = || message(b'B', b"p\0\0\0\0\0\0\0\0");
    assert_eq!(told_of(&[named(""), portal(), portal(), sync()]), ["1", "2", "ERROR 42P03", "Z"]);
    assert_eq!(told_of(&[named(""), portal(), sync(), portal(), sync()]), ["1", "2", "Z", "2", "Z"]);
    served.end();
}

#[test]
fn a_value_that_is_none_is_refused_before_it_is_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let served = Served::over(&lake::write(folder.path(), Rows::All), false, MEMORY);
    let endless = [1, 0, 23, i32::MAX, 1].map(i32::to_be_bytes).concat();
    let interval = [&i64::MAX.to_be_bytes()[..], &[0; 8]].concat();
    let number = [1_u16, 0, 0, 0, 65_535].map(u16::to_be_bytes).concat();
    for (text, kind, value, code) in [
        ("select $1::int[]", 1_007, endless, "22P03"),
        ("select $1::time", 1_083, i64::MAX.to_be_bytes().to_vec(), "22008"),
        ("select $1::interval", 1_186, interval, "22008"),
        ("select $1::numeric", 1_700, number, "22P03"),
        ("select $1::text", 25, b"a\0b".to_vec(), "22021"),
    ] {
        let said = [parse("", text, &[kind]), bind(&value), message(b'E', b"\0\0\0\0\0"), message(b'S', b"")];
        assert_eq!(told(&served, &said), ["1", "2", &format!("ERROR {code}"), "Z"], "{text}");
    }
    served.end();
}
