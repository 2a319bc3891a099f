//! Laws of the terminal: people are shown text and nothing else, whatever ids publishers send; a result that cannot be
//! written is an error, and a log line that cannot be is none; and the environment changes no answer, and no history.

use std::fs::File;
use std::io::Write;
use std::process::{Command, Output, Stdio};

use lake_schemas::{Stand, Table};
use lake_store::Lake;
use lake_store::commit::TableLog;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::NOON_MS;
use crate::by_hand::{self, Row};
use crate::readers::python;
use crate::simulation::simulate;
use crate::start_up::{fails, folder, the_error};

/// Ids that would clear the screen, set a title, return, change colours, link elsewhere, or add a line.
const HOSTILE: [&str; 6] = [
    "\u{1b}[2Jcleared",
    "\u{1b}]0;owned\u{7}title",
    "over\rwritten",
    "\u{9b}31mred",
    "\u{1b}]8;;https://evil.example\u{1b}\\link",
    "two\nlines",
];

/// Makes a lake of such ads, each with a click.
fn hostile() -> (TempDir, String) {
    let (folder, path) = folder();
    simulate(async {
        let lake = Lake::at(&path).expect("a lake");
        let mut log = by_hand::minutes(&lake, Table::ClicksMinute, &Default::default()).await;
        let rows =
            HOSTILE.map(|id| Row { ad: id.to_owned(), campaign: Some(id.to_owned()), clicks: 1, ..Row::default() });
        by_hand::append(&mut log, &rows, &[(0, Stand { cut: Some(6), ..Stand::default() })].into()).await;
    });
    (folder, path)
}

fn command(lake: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_clicklake"));
    command.args(arguments).args(["--lake", lake]);
    command
}

fn run(lake: &str, arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    command(lake, arguments).envs(variables.iter().copied()).output().expect("the program runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

#[test]
fn no_id_controls_a_terminal() {
    let (_folder, lake) = hostile();
    for arguments in [
        &["top"][..],
        &["top", "--by", "campaign"],
        &["total", "--ad", HOSTILE[1]],
        &["series", "--ad", HOSTILE[0], "--by", "day"],
        &["sql", "select ad_id, campaign_id from clicks_minute"],
        &["sql", "select * from \"\u{1b}[2Jx\""],
        &["sql", "select 1 as \"\u{9b}31m\""],
        &["status"],
    ] {
        let output = run(&lake, arguments, &[]);
        for shown in [text(&output.stdout), text(&output.stderr)] {
            let control = shown.chars().find(|letter| letter.is_control() && *letter != '\n');
            assert_eq!(control, None, "{arguments:?}: {shown:?}");
        }
    }
    let table = text(&run(&lake, &["top"], &[]).stdout);
    assert_eq!(table.lines().count(), HOSTILE.len() + 4, "a row is a line: {table}");
    let rows: Value = serde_json::from_slice(&run(&lake, &["top", "--format", "json"], &[]).stdout).expect("JSON");
    let mut ids: Vec<_> = rows.as_array().expect("rows").iter().filter_map(|row| row["ad_id"].as_str()).collect();
    ids.sort_unstable();
    let mut expected = HOSTILE;
    expected.sort_unstable();
    assert_eq!(ids, expected, "programs get them as they are");
}

/// Python program that runs a command on a terminal of its own, and prints everything that was sent to it.
const ON_A_TERMINAL: &str = "\
import os, pty, sys
child, terminal = pty.fork()
if child == 0:
    os.execv(sys.argv[1], sys.argv[1:])
sent = b''
try:
    while chunk := os.read(terminal, 65536):
        sent += chunk
except OSError:
    pass
os.waitpid(child, 0)
sys.stdout.buffer.write(sent)
";

#[test]
fn a_terminal_is_sent_text_in_each_format() {
    let (_folder, lake) = hostile();
    let ids = "select ad_id, campaign_id from clicks_minute";
    for arguments in [
        &["top"][..],
        &["top", "--format", "json"],
        &["sql", ids],
        &["sql", "--format", "csv", ids],
        &["sql", "--format", "tsv", ids],
        &["sql", "--format", "json", ids],
        &["sql", "--format", "nd-json", ids],
    ] {
        let mut on_a_terminal = Command::new(python());
        on_a_terminal.args(["-c", ON_A_TERMINAL, env!("CARGO_BIN_EXE_clicklake")]);
        on_a_terminal.args(arguments).args(["--lake", &lake]).envs([("NO_COLOR", "1"), ("TERM", "xterm")]);
        let output = on_a_terminal.stdin(Stdio::null()).output().expect("Python runs");
        // A terminal ends its lines so.
        let shown = text(&output.stdout).replace("\r\n", "\n");
        assert!(shown.contains("cleared"), "{arguments:?}: {shown:?}: {}", text(&output.stderr));
        let control = shown.chars().find(|letter| letter.is_control() && *letter != '\n' && *letter != '\t');
        assert_eq!(control, None, "{arguments:?}: {shown:?}");
    }
}

#[test]
fn what_programs_read_of_an_audit_has_ids_as_they_are() {
    let (_folder, path) = hostile();
    simulate(async {
        let lake = Lake::at(&path).expect("a lake");
        let mut clicks = TableLog::open(&lake, Table::Clicks).await.expect("a disk");
        let click = json!({ "ad_id": "a", "event_time": NOON_MS });
        by_hand::append_clicks(&mut clicks, 0, [(5, click)], 6).await;
    });
    let output = run(&path, &["verify", "--format", "json"], &[]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    let found: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let differences = found["differences"].as_array().expect("differences");
    let mut ids: Vec<_> = differences.iter().filter_map(|one| one["dimensions"]["ad_id"].as_str()).collect();
    ids.sort_unstable();
    let mut expected = HOSTILE;
    expected.sort_unstable();
    assert_eq!(ids, expected);
    let of_an_hour = run(&path, &["verify"], &[("CLICKLAKE_TO", "2026-03-07T00:00:00Z")]);
    assert!(text(&of_an_hour.stderr).contains("only windows to 2026-03-07"), "a bound that is left there is said");
}

/// Commands that answer, each with its arguments.
const ANSWERS: [&[&str]; 12] = [
    &["total", "--ad", "x"],
    &["top"],
    &["series", "--ad", "x", "--by", "day"],
    &["history"],
    &["history", "clicks_minute"],
    &["pins"],
    &["status"],
    &["sql", "--format", "table", "select 1 as one"],
    &["sql", "--format", "csv", "select 1 as one"],
    &["sql", "--format", "json", "select 1 as one"],
    &["--help"],
    &["man"],
];

#[test]
fn a_result_that_is_lost_is_an_error_and_a_reader_that_has_enough_is_none() {
    let (_folder, lake) = hostile();
    for arguments in ANSWERS {
        let full = File::options().write(true).open("/dev/full").expect("a device");
        let output = command(&lake, arguments).stdout(full).output().expect("the program runs");
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{arguments:?}: {said}");
        let error = the_error(&said);
        assert!(error.contains("standard output: No space left"), "{arguments:?}: {said}");
        assert!(said.trim_end().ends_with(error) && !said.contains("panicked"), "{arguments:?}: {said}");
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let output = command(&lake, arguments).stdout(writer).output().expect("the program runs");
        let said = text(&output.stderr);
        assert!(output.status.success() && !said.contains("error: "), "{arguments:?}: {said}");
    }
}

#[test]
fn no_result_is_written_into_the_lake() {
    let (folder, lake) = hostile();
    let log = format!("{lake}/clicks_minute/_delta_log");
    let link = folder.path().join("link");
    std::os::unix::fs::symlink(&log, &link).expect("a link");
    let before = std::fs::read_dir(&log).expect("a folder").count();
    for arguments in [
        &["total", "--ad", "x"][..],
        &["top"],
        &["series", "--ad", "x", "--by", "day"],
        &["history"],
        &["history", "clicks_minute"],
        &["pins"],
        &["sql", "select 1 as one"],
    ] {
        for file in [format!("{log}/00000000000000000099.json"), format!("{}/99.json", link.display())] {
            let output = run(&lake, &[arguments, &["--output", &file]].concat(), &[]);
            let said = text(&output.stderr);
            assert_eq!(output.status.code(), Some(3), "{arguments:?}: {said}");
            assert!(the_error(&said).contains("lies in the lake, which is only read"), "{arguments:?}: {said}");
        }
    }
    assert_eq!(std::fs::read_dir(&log).expect("a folder").count(), before);
    let beside = folder.path().join("top.csv");
    let beside = beside.to_str().expect("UTF-8");
    assert!(run(&lake, &["top", "--format", "csv", "-o", beside], &[]).status.success());
}

#[test]
fn a_log_that_cannot_be_written_ends_nothing() {
    let (_folder, lake) = hostile();
    for arguments in [&["total", "--ad", "x", "--format", "json"][..], &["compact", "--once", "-v"]] {
        let full = File::options().write(true).open("/dev/full").expect("a device");
        let output = command(&lake, arguments).stderr(full).stdout(Stdio::piped()).output().expect("the program runs");
        assert!(output.status.success(), "{arguments:?}: {:?}", output.status);
    }
    let full = File::options().write(true).open("/dev/full").expect("a device");
    let failed = command(&lake, &["sql", "select nonsense"]).stderr(full).output().expect("the program runs");
    assert_eq!(failed.status.code(), Some(3));
}

#[test]
fn switches_take_the_usual_words_and_what_is_empty_is_not_set() {
    let (_folder, lake) = hostile();
    for word in ["false", "0", "no", "off", "N", ""] {
        let output = run(&lake, &["compact", "--once"], &[("CLICKLAKE_DRY_RUN", word)]);
        assert!(output.status.success(), "{word:?}: {}", text(&output.stderr));
    }
    let hourly = run(&lake, &["sql", "--format", "csv", "select count(*) as n from clicks_hourly"], &[]);
    assert_eq!(text(&hourly.stdout), "n\n6\n", "a dry run that is off is none");
    let total = ["total", "--ad", HOSTILE[0], "--format", "csv"];
    let plain = text(&run(&lake, &total, &[]).stdout);
    for name in ["FROM", "TO", "LAST", "CAMPAIGN", "AS_OF", "FORMAT", "LOG_FORMAT"] {
        let output = run(&lake, &total, &[(&format!("CLICKLAKE_{name}"), "")]);
        assert_eq!(text(&output.stdout), plain, "CLICKLAKE_{name}: {}", text(&output.stderr));
    }
    let flag = run(&lake, &total, &[("CLICKLAKE_CAMPAIGN", "other")]);
    assert_eq!(text(&flag.stdout), plain, "the flag wins: {}", text(&flag.stderr));
    let flags = [&total[..], &["--from", "2026-03-07", "--to", "2026-03-08"]].concat();
    let (plain, both) = (run(&lake, &flags, &[]), [("CLICKLAKE_CAMPAIGN", "other"), ("CLICKLAKE_LAST", "1h")]);
    let beaten = run(&lake, &flags, &both);
    assert_eq!(beaten.stdout, plain.stdout, "each wins against its own: {}", text(&beaten.stderr));
    let contradiction = [("CLICKLAKE_FROM", "2026-03-07"), ("CLICKLAKE_LAST", "1h")];
    assert_eq!(run(&lake, &total, &contradiction).status.code(), Some(2), "neither of two variables is passed over");
    let beside = [&total[..], &["--to", "2026-03-08"]].concat();
    let of_variable = run(&lake, &beside, &contradiction);
    let of_flag = run(&lake, &[&beside[..], &["--from", "2026-03-07"]].concat(), &[]);
    assert_eq!(of_variable.stdout, of_flag.stdout, "what agrees with a flag holds: {}", text(&of_variable.stderr));
    let off = run(&lake, &["verify"], &[("CLICKLAKE_CONSERVATION", "no"), ("CLICKLAKE_FROM", "2026-03-07")]);
    assert_ne!(off.status.code(), Some(2), "a switch that is off contradicts nothing: {}", text(&off.stderr));
    assert!(run(&lake, &["status"], &[("CLICKLAKE_FORMAT", "csv")]).status.success());
    assert!(text(&run(&lake, &["top", "--help"], &[]).stdout).contains("CLICKLAKE_TOP_BY"), "help names variables");
    // No history is rewritten because of what was left in an environment.
    let replace = run(&lake, &["backfill"], &[("CLICKLAKE_REPLACE", "true")]);
    let undo = run(&lake, &["promote"], &[("CLICKLAKE_UNDO", "true")]);
    assert_eq!((replace.status.code(), undo.status.code()), (Some(2), Some(2)));
    let help = text(&run(&lake, &["backfill", "--help"], &[]).stdout);
    let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
    let heeded: Vec<_> = help.split("[env: CLICKLAKE_").skip(1).filter_map(|rest| rest.split('=').next()).collect();
    for name in ["REPLACE", "FROM", "TO", "FROM_VERSION", "TO_VERSION", "AS_OF", "AS_OF_VERSION"] {
        assert!(!heeded.contains(&name), "{heeded:?}");
    }
    for name in ["LAKE", "INTO", "DRY_RUN", "PARALLELISM", "WAIT", "DIMENSIONS", "DEDUP_HORIZON"] {
        assert!(heeded.contains(&name), "{heeded:?}");
    }
    assert!(run(&lake, &["top"], &[("CLICKLAKE_SERIES_BY", "hour")]).status.success());
    let fails_of_words = run(&lake, &["compact", "--once"], &[("CLICKLAKE_DRY_RUN", "perhaps")]);
    assert_eq!(fails_of_words.status.code(), Some(2));
}

#[test]
fn help_tells_of_a_command_first_and_of_all_commands_then() {
    let (_folder, lake) = hostile();
    for command in ["total", "compact", "serve"] {
        let help = text(&run(&lake, &[command, "--help"], &[]).stdout);
        let (own, common) = help.split_once("\nOptions of all commands:\n").expect("a heading");
        for flag in ["--lake <", "--verbose", "--log-format <"] {
            assert!(common.contains(flag) && !own.contains(flag), "{flag}: {help}");
        }
        assert!(own.contains("\n  -h, --help") && !common.contains("\n  -h, --help"), "{help}");
    }
}

#[test]
fn scripts_come_from_all_editors() {
    let (folder, lake) = hostile();
    let marked = "\u{feff}-- of Windows\r\nselect 41 + 1 as answer,\r\n  1 as n;\r\n";
    let file = folder.path().join("marked.sql");
    std::fs::write(&file, marked).expect("a disk");
    let of_file = run(&lake, &["sql", "--format", "csv", "-f", file.to_str().expect("UTF-8")], &[]);
    assert_eq!(text(&of_file.stdout), "answer,n\n42,1\n", "{}", text(&of_file.stderr));
    let mut piped = command(&lake, &["sql", "--format", "csv"]);
    let mut piped = piped.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the program runs");
    piped.stdin.take().expect("a pipe").write_all(marked.as_bytes()).expect("it reads");
    assert_eq!(text(&piped.wait_with_output().expect("it ends").stdout), "answer,n\n42,1\n");
    std::fs::write(&file, [0xff, 0xfe, b's', 0]).expect("a disk");
    fails(&["sql", "-f", file.to_str().expect("UTF-8"), "--lake", &lake], 3, &["marked.sql", "is not UTF-8"]);
}

/// Python program that runs a command, and prints how it ended, and its peak memory in kB.
const PEAK: &str = "import resource, subprocess, sys; \
                    code = subprocess.call(sys.argv[1:], stdout=subprocess.DEVNULL); \
                    print(code, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)";

/// Most memory for an answer of 600 MB, in kB: less than half of it, the program included.
const PEAK_KB_MAX: u64 = 300_000;

#[test]
fn a_large_answer_is_printed_as_it_comes() {
    let (_folder, lake) = hostile();
    let many = "select a.value as a, b.value as b, repeat('x', 100) as c \
                from generate_series(1, 3000) a cross join generate_series(1, 1500) b";
    for format in ["csv", "tsv", "json", "nd-json"] {
        let program = env!("CARGO_BIN_EXE_clicklake");
        let arguments = [program, "sql", "--memory-limit", "128MiB", "--format", format, many, "--lake", &lake];
        let output = Command::new(python()).args(["-c", PEAK]).args(arguments).output().expect("Python runs");
        let said = text(&output.stdout);
        let (code, peak_kb) = said.trim().split_once(' ').expect("two numbers");
        let peak_kb: u64 = peak_kb.parse().expect("a number");
        assert!(code == "0" && peak_kb < PEAK_KB_MAX, "{format}: {said}: {}", text(&output.stderr));
    }
}

#[test]
fn a_result_goes_into_a_file_if_that_is_wanted() {
    let (folder, lake) = hostile();
    let file = folder.path().join("top.csv");
    let name = file.to_str().expect("UTF-8");
    for arguments in
        [&["top", "--format", "csv", "-o", name][..], &["sql", "--format", "csv", "select 1 as one", "-o", name]]
    {
        let printed = run(&lake, &arguments[..arguments.len() - 2], &[]);
        let written = run(&lake, arguments, &[]);
        assert!(written.status.success() && written.stdout.is_empty(), "{}", text(&written.stderr));
        assert_eq!(std::fs::read(&file).expect("a file"), printed.stdout, "{arguments:?}");
    }
    let failed = run(&lake, &["sql", "select nonsense", "-o", name], &[]);
    assert_eq!(failed.status.code(), Some(3));
    assert_eq!(std::fs::read_to_string(&file).expect("a file"), "one\n1\n", "what was there stays");
}

#[test]
fn the_state_of_the_pipeline_is_some_lines_or_an_object() {
    let (_folder, lake) = hostile();
    let lines = text(&run(&lake, &["status"], &[]).stdout);
    assert!(
        lines.contains("\nclicks_minute    version 1, ")
            && !lines.contains("retired")
            && lines.contains("complete until"),
        "{lines}"
    );
    let status: Value = serde_json::from_slice(&run(&lake, &["status", "--format", "json"], &[]).stdout).expect("JSON");
    assert_eq!(status["tables"][0]["table"], "clicks_minute", "{status}");
    assert_eq!(status["tables"][0]["version"], 1, "{status}");
    assert_eq!(status["tables"][0]["cut"]["clicks"]["0"], 6, "{status}");
    assert!(status["tables"][0]["age_seconds"].is_i64(), "{status}");
    assert_eq!((&status["pins"], &status["retired"]), (&json!([]), &json!([])), "{status}");
}
