//! Law: whoever has a key logs in by SCRAM, without sending it, within TLS if the server has it, as over HTTP; and
//! whoever has none does not.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

use serve::{Keys, Postgres, Tls, new_key};

use super::lake::{self, Rows};
use super::{MEMORY, Served};
use crate::readers::python;
use crate::serve::server::{Running, exchange};

/// Python program that logs in, and prints what it gets.
const LOGS_IN: &str = "
import sys, psycopg
with psycopg.connect(sys.argv[1], connect_timeout=10) as connection:
    print(connection.execute('select count(*) from clicks').fetchone()[0], connection.pgconn.ssl_in_use)
";

fn logs_in(url: &str) -> Output {
    Command::new(python()).args(["-c", LOGS_IN, url]).output().expect("Python runs")
}

pub(super) fn printed(output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

pub(super) fn served(folder: &Path, keys: &str, tls: Option<Arc<Tls>>) -> Served {
    let lake = lake::write(folder, Rows::All);
    let keys = Arc::new(Keys::parse(keys).expect("keys"));
    let server = Postgres::new(lake, Some(keys), MEMORY).expect("a server");
    Served::of(tls.into_iter().fold(server, Postgres::with_tls))
}

/// Makes a certificate for this machine, and its key.
fn certify(folder: &Path, name: &str) -> (PathBuf, PathBuf) {
    let (certificate, key) = (folder.join(format!("{name}.crt")), folder.join(format!("{name}.key")));
    let mut made = Command::new("openssl");
    made.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]);
    made.args(["-subj", &format!("/CN={name}"), "-addext", "subjectAltName=IP:127.0.0.1"]);
    made.arg("-out").arg(&certificate).arg("-keyout").arg(&key);
    let output = made.output().expect("openssl runs; tests/run installs it");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    (certificate, key)
}

#[test]
fn who_has_a_key_proves_it_and_does_not_send_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let (spring, line) = new_key([1; 32], "spring");
    let (all, other) = new_key([2; 32], "*");
    let (stranger, _) = new_key([3; 32], "*");
    let served = served(folder.path(), &format!("{line}\n{other}\n"), None);
    let by_scram = |key: &str| format!("{}&require_auth=scram-sha-256", served.url(key));
    assert_eq!(printed(&logs_in(&by_scram(&spring))), "6 False");
    assert_eq!(printed(&logs_in(&by_scram(&all))), "18 False");
    for wrong in [stranger.as_str(), "spring", ""] {
        assert!(!logs_in(&by_scram(wrong)).status.success(), "{wrong}");
    }
    // Nobody is asked to send a key.
    assert!(!logs_in(&format!("{}&require_auth=password", served.url(&spring))).status.success());
    served.end();
}

#[test]
fn a_certificate_is_shown_and_read_again_when_it_changes() {
    let folder = tempfile::tempdir().expect("a folder");
    let (certificate, key) = certify(folder.path(), "first");
    let tls = Arc::new(Tls::new(&certificate, &key).expect("a certificate"));
    let (spring, line) = new_key([1; 32], "spring");
    let served = served(folder.path(), &line, Some(Arc::clone(&tls)));
    let verified = |root: &Path| {
        let root = root.to_str().expect("UTF-8");
        logs_in(&format!("{}&sslmode=verify-full&sslrootcert={root}", served.url(&spring)))
    };
    assert_eq!(printed(&verified(&certificate)), "6 True");
    // A client may log in without TLS.
    assert_eq!(printed(&logs_in(&format!("{}&sslmode=disable", served.url(&spring)))), "6 False");
    let (other, other_key) = certify(folder.path(), "second");
    assert!(!verified(&other).status.success());
    let root = folder.path().join("root.crt");
    std::fs::copy(&other, &root).expect("a disk");
    std::fs::rename(&other_key, &key).expect("a disk");
    std::fs::rename(&other, &certificate).expect("a disk");
    tls.look();
    assert_eq!(printed(&verified(&root)), "6 True");
    // A file that is no certificate leaves the one before in force.
    std::fs::write(&certificate, "nothing").expect("a disk");
    tls.look();
    assert_eq!(printed(&verified(&root)), "6 True");
    served.end();
}

#[test]
fn files_that_are_no_certificate_are_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let (certificate, key) = certify(folder.path(), "first");
    let (other, other_key) = certify(folder.path(), "second");
    let nothing = folder.path().join("nothing");
    std::fs::write(&nothing, "nothing").expect("a disk");
    for (certificate, key, said) in [
        (&nothing, &key, "--tls-cert "),
        (&certificate, &nothing, "--tls-key "),
        (&folder.path().join("missing"), &key, "--tls-cert "),
        (&certificate, &other_key, "the certificate of another key than --tls-key "),
        (&other, &key, "the certificate of another key than --tls-key "),
    ] {
        let why = Tls::new(certificate, key).err().map(|why| why.to_string()).expect("it is none");
        assert!(why.contains(said) && why.lines().count() == 1, "{why}");
    }
}

/// Python program that logs in with another time zone, and prints what it is told and answered.
const BEGINS_ELSEWHERE: &str = "
import os, sys
os.environ.update(PGTZ='Europe/Berlin', PGOPTIONS='-c TimeZone=Asia/Tokyo')
import psycopg
with psycopg.connect(sys.argv[1], connect_timeout=10) as connection:
    shown = connection.execute('show timezone').fetchone()[0]
    first = connection.execute('select min(window_start) from clicks_minute').fetchone()[0]
    print(connection.pgconn.parameter_status(b'TimeZone').decode(), shown, first.isoformat())
";

#[test]
fn who_begins_in_another_time_zone_is_told_and_answered_utc() {
    let folder = tempfile::tempdir().expect("a folder");
    let served = Served::over(&lake::write(folder.path(), Rows::All), true, MEMORY);
    let begun = Command::new(python()).args(["-c", BEGINS_ELSEWHERE, &served.url("all-of-it")]).output();
    let printed = printed(&begun.expect("Python runs"));
    assert_eq!(printed, "UTC UTC 2026-03-07T12:00:00+00:00");
    served.end();
}

/// Python program that asks over HTTP within TLS, and verifies the certificate by a file.
const GETS: &str = "
import ssl, sys, urllib.request
context = ssl.create_default_context(cafile=sys.argv[2])
# Newer ones want more of a root than openssl puts into one.
context.verify_flags &= ~ssl.VERIFY_X509_STRICT
with urllib.request.urlopen(sys.argv[1], context=context, timeout=10) as answer:
    print(answer.status)
";

#[test]
fn http_is_served_within_tls_and_not_without() {
    let folder = tempfile::tempdir().expect("a folder");
    lake::write(folder.path(), Rows::All);
    let (certificate, key) = certify(folder.path(), "first");
    let (other, _) = certify(folder.path(), "second");
    let mut command = Command::new(env!("CARGO_BIN_EXE_clicklake"));
    command.args(["serve", "--listen", "127.0.0.1:0", "--lake"]).arg(folder.path());
    command.arg("--tls-cert").arg(&certificate).arg("--tls-key").arg(&key);
    let (running, address) = Running::start(command, |line| {
        let address = line.strip_prefix("serving https://")?;
        Some(address.trim_end_matches('/').to_owned())
    });
    let gets = |root: &Path| {
        let address = format!("https://{address}/healthz");
        Command::new(python()).args(["-c", GETS, &address]).arg(root).output().expect("Python runs")
    };
    assert_eq!(printed(&gets(&certificate)), "200", "{}", running.said());
    assert!(!gets(&other).status.success(), "it is not who it should be");
    let question = format!("GET /healthz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let plain = runtime.block_on(exchange(&address, question.as_bytes()));
    assert!(!String::from_utf8_lossy(&plain).contains("HTTP/1.1"), "{plain:?}");
}
