//! Law: a fault at start-up is reported in one line, within 15 seconds, with the right exit code.

use std::process::{Command, Output};
use std::sync::Arc;
use std::time::{Duration, Instant};

use lake_schemas::Code;
use lake_schemas::minute::Parameters;
use lake_store::Lake;
use localstack::broker::Broker;

use crate::simulation::{Computation, Log, simulate};

/// Promised bound on start-up errors.
const ERROR_MAX: Duration = Duration::from_secs(15);

/// A port of this machine at which nothing listens.
const NOBODY: &str = "127.0.0.1:1";

pub fn clicklake(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_clicklake")).args(arguments).output().expect("the program runs")
}

/// Returns the one line that says why a command failed.
#[track_caller]
pub fn the_error(said: &str) -> &str {
    let is_error = |line: &&str| line.starts_with("error: ") || line.starts_with("error[CL");
    let errors: Vec<_> = said.lines().filter(is_error).collect();
    assert_eq!(errors.len(), 1, "{said}");
    errors[0]
}

/// Runs a command that must fail with a code, and one line that has all these words.
#[track_caller]
#[expect(clippy::disallowed_methods, reason = "the law is about real time")]
pub fn fails(arguments: &[&str], code: i32, words: &[&str]) {
    let began = Instant::now();
    let output = clicklake(arguments);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(began.elapsed() < ERROR_MAX, "{arguments:?} took {:?}", began.elapsed());
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
    assert!(output.stdout.is_empty(), "{arguments:?} prints results");
    let error = the_error(&said);
    for word in words {
        assert!(error.contains(word), "{arguments:?}: {word:?} is not in: {}", error);
    }
}

/// Runs a command that must be refused: with this code of ours in front of one line that has all these words, and with
/// this exit code.
#[track_caller]
pub fn refused(arguments: &[&str], code: Code, exit: i32, words: &[&str]) {
    let begins = format!("error[{code}]: ");
    fails(arguments, exit, &[&[begins.as_str()][..], words].concat());
}

pub fn folder() -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("lake").to_str().expect("UTF-8").to_owned();
    (folder, path)
}

#[test]
fn an_unreachable_broker() {
    let (_folder, lake) = folder();
    fails(&["ingest", "--bootstrap-servers", NOBODY, "--lake", &lake], 3, &["kafka", NOBODY]);
    fails(
        &["lag", "--bootstrap-servers", NOBODY, "--lake", &lake],
        3,
        &["kafka at 127.0.0.1:1", "--bootstrap-servers"],
    );
}

#[test]
fn a_missing_topic() {
    let (_folder, lake) = folder();
    let broker = Broker::start().expect("the broker starts");
    let servers = broker.bootstrap_servers();
    let arguments = ["ingest", "--bootstrap-servers", &servers, "--topic", "nobody-made-it", "--lake", &lake];
    fails(&arguments, 3, &["nobody-made-it", "does not exist", "--topic"]);
}

#[test]
fn an_unwritable_lake() {
    fails(
        &["ingest", "--bootstrap-servers", NOBODY, "--lake", "/dev/null/lake"],
        3,
        &["/dev/null/lake", "cannot write"],
    );
    let arguments = ["ingest", "--bootstrap-servers", NOBODY, "--lake", "ftp://lake"];
    refused(&arguments, Code::LakeAddress, 4, &["ftp://"]);
}

#[test]
fn settings_of_kafka_that_are_ours_or_nonsense() {
    let (_folder, lake) = folder();
    let base = ["ingest", "--bootstrap-servers", NOBODY, "--lake", &lake];
    let with = |property| [&base[..], &["-X", property]].concat();
    refused(&with("enable.auto.commit=true"), Code::KafkaSetting, 4, &["enable.auto.commit"]);
    for property in ["no.such.property=x", "session.timeout.ms=x"] {
        let name = property.trim_end_matches("=x");
        refused(&with(property), Code::KafkaSetting, 4, &["kafka setting", name, "-X"]);
    }
    let newer = ["--instance", "one", "-X", "group.protocol=consumer"];
    refused(&[&base[..], &newer].concat(), Code::KafkaSetting, 4, &["group.protocol=consumer", "--instance"]);
    refused(&with("group.instance.id=one"), Code::KafkaSetting, 4, &["group.instance.id", "use --instance"]);
    fails(&[&base[..], &["--metrics", "192.0.2.1:1"]].concat(), 3, &["--metrics", "192.0.2.1:1"]);
    fails(&[&base[..], &["-F", "/no/such/file"]].concat(), 3, &["/no/such/file"]);
}

#[test]
fn a_file_that_is_not_there() {
    let (_folder, lake) = folder();
    let nowhere = "/no/such/file";
    for flags in [&["--keys", nowhere][..], &["--tls-cert", nowhere, "--tls-key", nowhere]] {
        let arguments = [&["serve", "--listen", "127.0.0.1:0", "--lake", lake.as_str()], flags].concat();
        fails(&arguments, 3, &[flags[0], nowhere, "No such file"]);
    }
}

#[test]
fn an_empty_lake() {
    let (_folder, lake) = folder();
    let cases: [(&[&str], &[&str]); 13] = [
        (&["sql", "select * from clicks"], &["clicks", "clicklake ingest"]),
        (&["history"], &["clicklake up"]),
        (&["history", "clicks"], &["clicks", "clicklake ingest"]),
        (&["status"], &["clicklake up"]),
        (&["total", "--ad", "a"], &["clicks_minute", "clicklake aggregate"]),
        (&["series", "--ad", "a", "--by", "day"], &["clicks_minute", "clicklake aggregate"]),
        (&["top"], &["clicks_minute", "clicklake aggregate"]),
        (&["verify"], &["clicks_minute", "clicklake aggregate"]),
        (&["verify", "--conservation"], &["no tables yet"]),
        (&["live", "clicks_minute"], &["clicks_minute", "clicklake aggregate"]),
        (&["live", "by_country", "--stop"], &["no table by_country", "backfill --into by_country"]),
        (&["compact", "--once"], &["no tables yet", "clicklake up"]),
        (&["compact", "--dry-run"], &["no tables yet", "clicklake up"]),
    ];
    for (arguments, words) in cases {
        refused(&[arguments, &["--lake", &lake]].concat(), Code::TableMissing, 4, words);
    }
    assert!(!std::path::Path::new(&lake).exists(), "nothing is written");
}

#[test]
fn a_lake_that_is_a_file() {
    let (folder, _) = folder();
    let file = folder.path().join("file");
    std::fs::write(&file, "text").expect("a disk");
    let lake = file.to_str().expect("UTF-8");
    for arguments in [&["compact", "--once"][..], &["status"], &["ingest", "--bootstrap-servers", NOBODY]] {
        refused(&[arguments, &["--lake", lake]].concat(), Code::LakeAddress, 4, &[lake, "is a file", "--lake"]);
    }
}

#[test]
fn bad_flags_are_usage_errors() {
    for arguments in [
        &["ingest"][..],
        &["ingest", "--bootstrap-servers", NOBODY, "--commit-interval", "soon"],
        &["ingest", "--bootstrap-servers", NOBODY, "--topic", "a/b"],
        &["ingest", "--bootstrap-servers", NOBODY, "-X", "nonsense"],
        &["generate", "--bootstrap-servers", NOBODY, "--late", "2"],
        &["generate", "--bootstrap-servers", NOBODY, "--rate", "0"],
        &["aggregate", "--bootstrap-servers", NOBODY, "--dimensions", "planet"],
        &["aggregate", "--bootstrap-servers", NOBODY, "--memory-limit", "much"],
        &["verify", "--from", "2026-03-07T12:00:30Z"],
        &["verify", "--from", "yesterday"],
        &["verify", "--from", "2016-12-31T23:59:60Z"],
        &["total", "--as-of", "2016-12-31T23:59:60Z"],
        &["live"],
        &["live", "clicks_hourly"],
        &["live", "by_country", "--by", "me"],
        &["live", "by_country", "--by", "run", "--stop"],
        &["fly"],
    ] {
        let output = clicklake(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(String::from_utf8_lossy(&output.stderr).starts_with("error: "), "{arguments:?}");
    }
}

#[test]
fn what_a_flag_expects_is_said() {
    let address = "expected an address and a port, such as 127.0.0.1:8080";
    let cases: &[(&[&str], &str)] = &[
        (&["serve", "--memory-limit", "1MiB"], "expected 64MiB at least"),
        (&["sql", "select 1", "--memory-limit", "1"], "expected 64MiB at least"),
        (&["serve", "--memory-limit", "much"], "expected a size"),
        (&["serve", "--listen", "38083"], address),
        (&["serve", "--postgres", "localhost"], address),
        (&["serve", "--postgres", "localhost:5432"], address),
        (&["compact", "--metrics", ""], address),
        (&["top", "-n", "0"], "expected a number, 1 at least"),
        (&["total", "--ad", ""], "expected a name"),
        (&["key", ""], "expected campaigns by comma"),
        (&["key", "campaign-3,"], "a campaign has no name"),
        (&["key", " campaign-3"], "a campaign begins or ends with a blank"),
        (&["key", "campaign-3 "], "a campaign begins or ends with a blank"),
        (&["key", "spring, summer"], "a campaign begins or ends with a blank"),
        (&["key", "spring,*"], "* stands alone"),
        (&["key", "spring\n*"], "no end of a line"),
        (&["verify", "--from", "2026-03-07", "--to", "2026-03-07"], "the end is not included; give a later one"),
    ];
    for &(arguments, words) in cases {
        fails(arguments, 2, &[words]);
    }
    let shares = ["generate", "--bootstrap-servers", NOBODY, "--late", "0.5", "--duplicates", "0.5"];
    refused(&shares, Code::SettingsImpossible, 2, &["--late", "1.001", "1 at most in all"]);
    for campaigns in ["spring", "spring,campaign-3", "*", "[people] spring", "Summer 24"] {
        let made = clicklake(&["key", campaigns]);
        let line = String::from_utf8_lossy(&made.stdout).into_owned();
        assert!(made.status.success() && line.ends_with(&format!(" {campaigns}\n")), "{campaigns}: {line}");
    }
}

#[test]
fn live_is_said_of_tables_of_all_history_and_of_no_others() {
    let (_folder, path) = folder();
    let log = Arc::new(Log::of_seed(3, 2, 300));
    simulate(async {
        let lake = Lake::at(&path).expect("a lake");
        Computation::Raw.read_all(&lake, &log).await.expect("ingest ends");
        Computation::Minutes(Parameters::default()).read_all(&lake, &log).await.expect("aggregate ends");
    });
    let says = |arguments: &[&str]| {
        let done = clicklake(&[arguments, &["--lake", &path]].concat());
        assert!(done.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8(done.stdout).expect("UTF-8")
    };
    says(&["backfill", "--into", "whole"]);
    says(&["backfill", "--into", "in_part", "--from", "2026-03-31", "--to", "2026-04-01"]);
    let words = ["in_part is of a part of history", "without a range"];
    refused(&["live", "in_part", "--lake", &path], Code::StagingIncomplete, 4, &words);
    let cases: [(&[&str], &str); 8] = [
        (&["in_part", "--stop"], "in_part says already that nobody counts it live"),
        (&["whole", "--stop"], "whole says already that nobody counts it live"),
        (&["whole"], " of whole says that run counts it live; a clicklake that does not know its property"),
        (&["whole", "--by", "run"], "whole says already that run counts it live; nothing was changed"),
        (&["clicks_minute", "--by", "aggregate"], " of clicks_minute says that aggregate counts it live"),
        // Unless it is named, the program is the one that counts the minutes.
        (&["whole"], " of whole says that aggregate counts it live"),
        (&["whole", "--stop"], " of whole says that nobody counts it live"),
        (&["clicks_minute", "--stop"], " of clicks_minute says that nobody counts it live"),
    ];
    for (arguments, words) in cases {
        let said = says(&[&["live"][..], arguments].concat());
        assert!(said.contains(words), "{arguments:?}: {said}");
    }
    assert!(says(&["verify"]).starts_with("equal"));
}

/// Removes a file from a table's log, as if it had never been committed.
fn lose_a_file(log: &str) {
    for version in 1.. {
        let entry = format!("{log}/{version:020}.json");
        let text = std::fs::read_to_string(&entry).expect("a version that adds a file");
        let add = text.lines().find(|line| line.starts_with("{\"add\""));
        if let Some(add) = add {
            return std::fs::write(&entry, text.replace(&format!("{add}\n"), "")).expect("it can be written");
        }
    }
}

#[test]
fn up_runs_and_sums_up() {
    let (_folder, lake) = folder();
    let output = clicklake(&["up", "--for", "3s", "--rate", "1000", "--lake", &lake]);
    let (said, shown) = (String::from_utf8_lossy(&output.stderr), String::from_utf8_lossy(&output.stdout));
    assert!(output.status.success(), "{said}");
    for word in ["produced", "committed", "rejected", "bytes a row", "version"] {
        assert!(shown.contains(word), "{word:?} is not in: {shown}");
    }
    assert!(!shown.contains("left "), "{shown}");
    let asked = said.split_whitespace().skip_while(|word| *word != "--bootstrap-servers").nth(1).expect("a broker");
    assert!(said.contains(&format!("kafka {asked}, in this process")) && said.contains("--topic up-"), "{said}");
    let counted = clicklake(&["sql", "select count(*) > 2000 as enough from clicks", "--lake", &lake]);
    assert!(String::from_utf8_lossy(&counted.stdout).contains("true"), "{counted:?}");
    for writes in ["insert into clicks select * from clicks", "drop table clicks"] {
        refused(&["sql", writes, "--lake", &lake], Code::ReadOnly, 3, &["clicks"]);
    }
    fails(&["sql", "selec", "--lake", &lake], 3, &["selec"]);
    let audited = clicklake(&["verify", "--lake", &lake]);
    let said = String::from_utf8_lossy(&audited.stdout);
    assert!(audited.status.success() && said.starts_with("equal: ") && said.contains(" clicks, at version "), "{said}");
    lose_a_file(&format!("{lake}/clicks_minute/_delta_log"));
    let audited = clicklake(&["verify", "--lake", &lake]);
    let said = String::from_utf8_lossy(&audited.stdout);
    assert_eq!(audited.status.code(), Some(1), "{said}");
    assert!(said.starts_with("differs: ") && said.contains("missing: "), "{said}");
    assert_eq!(clicklake(&["verify", "--conservation", "--lake", &lake]).status.code(), Some(1));
    // The same lake, as a later clicklake would have made it.
    let definition = format!("{lake}/clicks/_delta_log/00000000000000000000.json");
    let text = std::fs::read_to_string(&definition).expect("the table's first version");
    let newer = text.replace("\"clicklake.format\":\"1\"", "\"clicklake.format\":\"3\"");
    assert_ne!(text, newer);
    std::fs::write(&definition, newer).expect("it can be written");
    let ingest = ["ingest", "--bootstrap-servers", NOBODY, "--lake", &lake];
    refused(&ingest, Code::FormatNewer, 4, &["clicks", "format 3"]);
}
