//! Laws of the commands that answer, as people type them: what they print, where, in which form, and how they end.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use lake_schemas::Code;
use lake_store::Lake;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::world;
use crate::simulation::simulate;
use crate::start_up::{clicklake, fails, refused, the_error};

/// The lake of the files of queries.
struct Typed {
    folder: TempDir,
    lake: String,
}

impl Typed {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let lake = folder.path().join("lake").to_str().expect("UTF-8").to_owned();
        simulate(world::write(&Lake::at(&lake).expect("a lake"), Path::new(&lake)));
        Self { folder, lake }
    }

    /// Returns what a command prints on stdout and on stderr.
    fn says(&self, arguments: &[&str]) -> (String, String) {
        let output = clicklake(&[arguments, &["--lake", &self.lake]].concat());
        let said = String::from_utf8(output.stderr).expect("UTF-8");
        assert!(output.status.success(), "{arguments:?}: {said}");
        (String::from_utf8(output.stdout).expect("UTF-8"), said)
    }

    fn prints(&self, arguments: &[&str]) -> String {
        self.says(arguments).0
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let file = self.folder.path().join(name);
        std::fs::write(&file, text).expect("a disk");
        file
    }
}

#[test]
fn statements_come_from_arguments_files_and_a_pipe() {
    let typed = Typed::new();
    let count = "select count(*) as n from clicks VERSION AS OF 1";
    assert_eq!(typed.prints(&["sql", count, "--format", "csv"]), "n\n3\n");
    assert_eq!(
        typed.prints(&["sql", "-c", count, "-c", "select 7 as m; select 8 as m", "--format", "tsv"]),
        "n\n3\nm\n7\nm\n8\n"
    );
    assert_eq!(typed.prints(&["sql", count, "--format", "json"]), "[{\"n\":3}]\n");
    assert_eq!(typed.prints(&["sql", count, "--format", "nd-json"]), "{\"n\":3}\n");
    let table = "+---+\n| n |\n+---+\n| 3 |\n+---+\n";
    let none = "select ad_id, 1 as one from clicks where false";
    for (format, expected) in [("csv", "ad_id,one\n"), ("tsv", "ad_id\tone\n"), ("json", "[]\n"), ("nd-json", "")] {
        assert_eq!(typed.prints(&["sql", none, "--format", format]), expected, "{format}");
    }
    let all = typed.prints(&["sql", "select kafka_offset from clicks", "--maxrows", "2", "--format", "csv"]);
    assert_eq!(all.lines().count(), 8, "{all}");
    let some = typed.prints(&["sql", "select kafka_offset from clicks", "--maxrows", "2"]);
    assert!(some.contains("| .") && some.lines().count() == 9, "{some}");
    assert_eq!(typed.prints(&["sql", count]), table, "results only");
    let script = format!(
        "#!/usr/bin/env clicklake\n-- a comment; with a semicolon\ncreate view was as {count};\n\nselect n\nfrom was;"
    );
    let script = typed.file("a.sql", &script);
    assert_eq!(typed.prints(&["sql", "-f", script.to_str().expect("UTF-8"), "--format", "csv"]), "n\n3\n");
    let mut piped = Command::new(env!("CARGO_BIN_EXE_clicklake"));
    piped.args(["sql", "--format", "csv", "--lake", &typed.lake]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut piped = piped.spawn().expect("the program runs");
    piped.stdin.take().expect("a pipe").write_all(format!("{count};\nselect 1 as one").as_bytes()).expect("a pipe");
    let output = piped.wait_with_output().expect("it ends");
    assert_eq!(String::from_utf8(output.stdout).expect("UTF-8"), "n\n3\none\n1\n");
}

#[test]
fn who_reads_only_the_beginning_is_no_error() {
    let typed = Typed::new();
    for command in ["sql 'select a.* from clicks a, clicks b, clicks c, clicks d, clicks e' --format csv", "man"] {
        let program = env!("CARGO_BIN_EXE_clicklake");
        let piped = format!("set -o pipefail; {program} {command} --lake {} | head -1", typed.lake);
        let output = Command::new("bash").args(["-c", &piped]).output().expect("bash runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.is_empty(), "{command}: {said}");
        assert_eq!(String::from_utf8_lossy(&output.stdout).lines().count(), 1, "{command}");
    }
}

#[test]
fn the_first_statement_that_fails_ends_it() {
    let typed = Typed::new();
    let script = typed.file("a.sql", "select 1 as one;\nselect * from clicks_rejected;\nselect 2 as two;");
    let output = clicklake(&["sql", "-f", script.to_str().expect("UTF-8"), "--format", "csv", "--lake", &typed.lake]);
    assert_eq!(output.status.code(), Some(4));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "one\n1\n");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(the_error(&said).starts_with(&format!("error[{}]: ", Code::TableMissing)), "{said}");
    assert!(the_error(&said).contains("no table clicks_rejected yet; `clicklake ingest` makes it"), "{said}");
    let lake = ["--lake", typed.lake.as_str()];
    let sql = |words: &[&'static str]| [&["sql"], words, &lake].concat();
    fails(&sql(&["selec 1"]), 3, &["sql parser error: Expected: an SQL statement, found: selec"]);
    fails(&sql(&["select * from nowhere"]), 3, &["nowhere", "not found"]);
    let pattern = "select to_char(window_start, 'YYYY-MM-DD') from clicks_minute";
    refused(&sql(&[pattern]), Code::StatementUnsupported, 3, &["a format without % in to_char()", "'%Y-%m-%d'"]);
    refused(&sql(&["insert into clicks select * from clicks"]), Code::ReadOnly, 3, &["clicks"]);
    refused(&sql(&["-f", "/nowhere.sql"]), Code::StatementUnclear, 3, &["/nowhere.sql", "No such file"]);
    fails(&sql(&["select 1", "-c", "select 2"]), 2, &["cannot be used with"]);
    refused(&["sql", "select * from clicks", "--lake", "/nowhere/lake"], Code::TableMissing, 4, &["clicks"]);
}

/// A version whose log was cleaned up, one whose files are lost, and a table that is being made.
#[test]
fn errors_about_versions_files_and_tables_that_are_not_there_are_sentences() {
    let typed = Typed::new();
    let clicks = Path::new(&typed.lake).join("clicks");
    let sql = |sql: &'static str| ["sql", sql, "--lake", typed.lake.as_str()];
    let files = std::fs::read_dir(clicks.join("log_date=2026-03-07")).expect("a folder");
    for file in files {
        std::fs::remove_file(file.expect("a file").path()).expect("a disk");
    }
    refused(
        &sql("select sum(kafka_offset) from clicks VERSION AS OF 1"),
        Code::FileDamaged,
        4,
        &["log_date=2026-03-07", "though its version 3 names it", "put back a copy"],
    );
    let hourly = Path::new(&typed.lake).join("clicks_hourly/_delta_log/00000000000000000000.json");
    std::fs::remove_file(hourly).expect("a disk");
    fails(&sql("select * from clicks_hourly VERSION AS OF 0"), 4, &["clicks_hourly"]);
    std::fs::create_dir_all(Path::new(&typed.lake).join("clicks_rejected/_delta_log")).expect("a disk");
    refused(&sql("select * from clicks_rejected"), Code::TableMissing, 4, &["clicks_rejected"]);
}

#[test]
fn reports_say_what_the_lake_says() {
    let typed = Typed::new();
    let (top, stands) = typed.says(&["top", "--format", "csv"]);
    assert_eq!(top, "ad_id,clicks,cost_micros,duplicates,late,filtered\nad-a,4,0,0,0,0\nad-b,2,0,0,0,0\n");
    assert!(stands.starts_with("at clicks_minute version 3") && stands.contains("; cut clicks 0@5;"), "{stands}");
    let top = typed.prints(&[
        "top",
        "-n",
        "1",
        "--from",
        "2026-03-07T12:00:00Z",
        "--to",
        "2026-03-07T12:01:00Z",
        "--format",
        "tsv",
    ]);
    assert_eq!(top.lines().nth(1), Some("ad-a\t3\t0\t0\t0\t0"));
    let top = typed.prints(&["top", "--by", "campaign", "--format", "nd-json"]);
    assert_eq!(
        top,
        "{\"campaign_id\":\"spring\",\"clicks\":6,\"cost_micros\":0,\"duplicates\":0,\"late\":0,\"filtered\":0}\n"
    );
    assert_eq!(typed.prints(&["top", "--last", "1m", "--format", "csv"]).lines().count(), 1);
    // A comma is part of a name. Who has meant several names by it is told how to give them.
    for command in ["total", "series", "top"] {
        let hint = "nothing is of one ad_id \"ad-a,ad-b\"; for several write --where ad_id=ad-a,ad-b";
        assert!(typed.says(&[command, "--ad", "ad-a,ad-b"]).1.contains(hint), "{command}");
        assert!(!typed.says(&[command, "--ad", "ad-a"]).1.contains("for several"), "{command}");
    }
    let history = typed.prints(&["history", "clicks", "--format", "csv"]);
    let lines: Vec<_> = history.lines().collect();
    assert_eq!(lines[0], "version,time,operation,rows,cut");
    assert_eq!(lines[1], "3,2026-03-07T12:03:00Z,ingest,2,clicks 0@5");
    assert_eq!(lines.len(), 5);
    let tables = typed.prints(&["history", "--format", "csv"]);
    let lines: Vec<_> = tables.lines().map(|line| line.split(',').collect::<Vec<_>>()).collect();
    assert_eq!(lines[0], ["table", "version", "written", "rows", "files", "bytes", "cut"]);
    assert_eq!(lines[1][..5], ["clicks", "3", "2026-03-07T12:03:00Z", "7", "3"]);
    assert_eq!(lines[1][6], "clicks 0@5 1@2");
    assert_eq!(
        lines.iter().map(|line| line[0]).collect::<Vec<_>>(),
        ["table", "clicks", "clicks_minute", "clicks_hourly", "clicks_daily", "by_country"]
    );
    let lake = typed.lake.as_str();
    refused(&["history", "clicks_rejected", "--lake", lake], Code::TableMissing, 4, &["clicks_rejected"]);
    fails(&["top", "-n", "0", "--lake", lake], 2, &["-n"]);
    fails(&["top", "--by", "user", "--lake", lake], 2, &["ad_id", "campaign_id"]);
}

/// Typed on a terminal, which `script` provides, a line at a time, as people type.
#[test]
fn statements_typed_on_a_terminal_are_answered() {
    let typed = Typed::new();
    let state = typed.folder.path().join("state");
    let program = format!("{} sql --lake {}", env!("CARGO_BIN_EXE_clicklake"), typed.lake);
    let typing = "for line; do sleep 0.7; echo \"$line\"; done | script -qec \"$PROGRAM\" /dev/null";
    let mut shell = Command::new("bash");
    shell.args(["-c", typing, "bash", "\\d", "select count(*) as counted", "from clicks VERSION AS OF 1;"]);
    shell.args([
        "select * from nowhere;",
        "\\d by_country",
        "\\pset format csv",
        "select 1 as one;",
        // Tab ends the name, of the only table that begins so.
        "select sum(clicks) as ended from clicks_h\t;",
        "\\nothing",
        "\\q",
    ]);
    shell.env("PROGRAM", &program).env("XDG_STATE_HOME", &state).env("TERM", "xterm");
    let output = shell.output().expect("bash runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}");
    let words = [
        ["| clicks_minute ", "clicks 0@5 1@2", "| counted |"],
        ["| 3       |", "row(s) fetched", "'clicklake.public.nowhere' not found"],
        ["| country ", "one\r\n1\r\n", "\\nothing is no command"],
        ["ended\r\n5\r\n", "clicks_hourly", "row(s) fetched"],
    ];
    for words in words.concat() {
        assert!(said.contains(words), "{words:?} is not in: {said}");
    }
    let typed = std::fs::read_to_string(state.join("clicklake/sql_history")).expect("what was typed");
    assert!(typed.contains("from clicks VERSION AS OF 1;"), "{typed}");
}

#[test]
fn shells_and_man_are_told_of_every_command() {
    let folder = tempfile::tempdir().expect("a folder");
    let help = String::from_utf8(clicklake(&["--help"]).stdout).expect("UTF-8");
    let commands: Vec<_> =
        help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty()).collect();
    let commands = commands
        .iter()
        .filter_map(|line| line.strip_prefix("  ").filter(|line| !line.starts_with(' '))?.split_whitespace().next());
    let commands: Vec<_> = commands.filter(|command| *command != "help").collect();
    assert!(commands.contains(&"sql") && commands.len() > 15, "{help}");
    let script = String::from_utf8(clicklake(&["completions", "bash"]).stdout).expect("UTF-8");
    let output = clicklake(&["man", folder.path().to_str().expect("UTF-8")]);
    assert!(output.status.success());
    for command in commands {
        assert!(
            script.contains(&format!("clicklake__{}", command.replace('-', "__"))) || script.contains(command),
            "{command}"
        );
        let page = std::fs::read_to_string(folder.path().join(format!("clicklake-{command}.1"))).expect("a page");
        assert!(page.contains(&format!("clicklake\\-{command}")), "{page}");
        // Help alone is enough to find one's way: each command shows how it is used.
        let help = String::from_utf8(clicklake(&[command, "--help"]).stdout).expect("UTF-8");
        assert!(help.contains("Example"), "{command}: {help}");
    }
    assert!(folder.path().join("clicklake.1").is_file());
}

#[test]
fn a_panic_of_the_engine_is_a_line_and_an_error() {
    let typed = Typed::new();
    // It makes room for as many as it is told of.
    let panics = "select approx_percentile_cont(0.5, 9223372036854775807) within group (order by x) \
                  from (values (1.5)) as t(x)";
    let output = clicklake(&["sql", panics, "--lake", &typed.lake]);
    let said = String::from_utf8(output.stderr).expect("UTF-8");
    let lines: Vec<_> = said.lines().collect();
    assert!(lines.iter().all(|line| !line.starts_with("thread ")), "{said}");
    assert_eq!(lines.iter().filter(|line| line.contains("a bug: panicked at")).count(), 1, "{said}");
    let begins = format!("error[{}]: this statement meets a bug", Code::StatementBug);
    assert!(lines.last().is_some_and(|line| line.starts_with(&begins)), "{said}");
    assert_eq!(output.status.code(), Some(3), "{said}");
}

#[test]
fn a_value_that_cannot_be_written_is_an_error_and_no_cell() {
    let typed = Typed::new();
    for format in ["table", "csv", "tsv", "json", "nd-json"] {
        for value in ["from_unixtime(99999999999999)", "arrow_cast(2147483647, 'Date32')"] {
            let sql = format!("select {value} as v");
            let words =
                if ["csv", "tsv"].contains(&format) { "Failed to convert" } else { "cannot be written as a time" };
            fails(&["sql", &sql, "--format", format, "--lake", &typed.lake], 3, &[words]);
        }
        assert!(!typed.prints(&["sql", "select to_timestamp(0) as v", "--format", format]).contains("ERROR"));
    }
    let zero = "select arrow_cast(1, 'Decimal128(38,-3)') as v";
    for format in ["json", "nd-json"] {
        fails(&["sql", zero, "--format", format, "--lake", &typed.lake], 3, &["column v", "no form in JSON"]);
    }
}

#[test]
fn status_tells_everything_beside_pins_that_cannot_be_read() {
    let typed = Typed::new();
    typed.prints(&["pin", "whole", "--version", "1"]);
    let pins = Path::new(&typed.lake).join("_clicklake/pins");
    std::fs::write(pins.join("broken.json"), "{\"table\":\"clicks_minute\"").expect("a disk");
    let status = |format: &str, words: &[&str]| {
        let output = clicklake(&["status", "--format", format, "--lake", &typed.lake]);
        assert_eq!(output.status.code(), Some(4));
        let said = String::from_utf8(output.stderr).expect("UTF-8");
        assert!(the_error(&said).starts_with(&format!("error[{}]: ", Code::PinDamaged)), "{said}");
        assert!(words.iter().all(|word| the_error(&said).contains(word)), "{said}");
        String::from_utf8(output.stdout).expect("UTF-8")
    };
    let way_out = "`clicklake unpin broken` removes it";
    let table = status("table", &["the pin broken", way_out]);
    for line in ["clicks_minute    version 3", "pin              whole: version 1 of clicks_minute, kept"] {
        assert!(table.lines().any(|said| said.starts_with(line)), "{table}");
    }
    assert!(table.lines().any(|line| line.starts_with("pin              the pin broken") && line.contains(way_out)));
    let output = clicklake(&["pins", "--format", "csv", "--lake", &typed.lake]);
    assert_eq!(output.status.code(), Some(4));
    let listed = String::from_utf8(output.stdout).expect("UTF-8");
    for line in ["whole,clicks_minute,1,,kept", "broken,,,,damaged"] {
        assert!(listed.lines().any(|said| said == line), "{listed}");
    }
    std::fs::write(pins.join("empty.json"), "").expect("a disk");
    let object: Value = serde_json::from_str(&status("json", &[way_out, "1 more"])).expect("an object");
    let pins =
        object["pins"].as_array().expect("pins").iter().map(|pin| (&pin["name"], &pin["version"], &pin["holds"]));
    let (held, none) = (json!(true), Value::Null);
    assert_eq!(
        pins.collect::<Vec<_>>(),
        [(&json!("whole"), &json!(1), &held), (&json!("broken"), &none, &held), (&json!("empty"), &none, &held)]
    );
}

#[test]
fn what_is_deeper_than_a_stack_is_refused() {
    let typed = Typed::new();
    let lake = typed.lake.as_str();
    let deep = [
        format!("select 1{}", "+1".repeat(200_000)),
        format!("select 1{}", " union all select 1".repeat(3_000)),
        format!("select count(*) from clicks{}", ", clicks".repeat(3_000)),
    ];
    for (at, text) in deep.iter().enumerate() {
        let file = typed.file(&format!("deep-{at}.sql"), text);
        let arguments = ["sql", "-f", file.to_str().expect("UTF-8"), "--lake", lake];
        refused(&arguments, Code::StatementTooComplex, 3, &[]);
    }
    // Statements below the limits are answered, and fit on the stack.
    let sums = typed.file("sums.sql", &format!("select 1{} as n", "+1".repeat(950)));
    let sums = typed.prints(&["sql", "-f", sums.to_str().expect("UTF-8"), "--format", "csv"]);
    assert_eq!(sums, "n\n951\n");
    let unions = typed.file("unions.sql", &format!("select 1 as n{}", " union all select 1".repeat(60)));
    let unions = typed.prints(&["sql", "-f", unions.to_str().expect("UTF-8"), "--format", "csv"]);
    assert_eq!(unions.lines().count(), 62, "{unions}");
}
