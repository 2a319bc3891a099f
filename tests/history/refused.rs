//! Law: a part of history that does not exist, or cannot be computed, is refused in one line, and nothing is written.

use std::path::Path;
use std::sync::Arc;

use lake_schemas::minute::Parameters;
use lake_schemas::{Code, Table};
use lake_store::Lake;
use lake_store::commit::TableLog;

use crate::simulation::{Computation, Log, simulate};
use crate::start_up::{clicklake, fails, folder, refused};

/// Makes a lake in a folder: the raw table of a log, and minutes of the same log.
fn lake(path: &str, raw: &Arc<Log>, minutes: &Arc<Log>) {
    simulate(async {
        let lake = Lake::at(path).expect("a lake");
        Computation::Raw.read_all(&lake, raw).await.expect("ingest ends");
        Computation::Minutes(Parameters::default()).read_all(&lake, minutes).await.expect("aggregate ends");
    });
}

/// Returns all files in a folder, with their sizes.
fn files(folder: &Path) -> Vec<(String, u64)> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry")) {
            let metadata = entry.metadata().expect("a file");
            if metadata.is_dir() {
                folders.push(entry.path());
            } else {
                found.push((entry.path().display().to_string(), metadata.len()));
            }
        }
    }
    found.sort();
    found
}

#[test]
fn ranges_that_are_no_part_of_history_are_refused() {
    let (_folder, path) = folder();
    let log = Arc::new(Log::of_seed(3, 2, 300));
    lake(&path, &log, &log);
    let into = |more: &[&'static str]| [&["backfill", "--into", "again"], more].concat();
    let in_place = |more: &[&'static str]| [&["backfill", "--replace"], more].concat();
    let (nothing, unknown, range) = (Code::NothingThere, Code::VersionUnknown, Code::RangeImpossible);
    let refusals: [(Vec<&str>, Code, i32, &[&str]); 9] = [
        (into(&["--from", "2001-01-01", "--to", "2001-01-02"]), nothing, 4, &["clicks", "2001-01-01"]),
        (in_place(&["--from", "2031-01-01"]), nothing, 4, &["clicks_minute"]),
        (into(&["--to-version", "9999"]), unknown, 4, &["9999", "newest is"]),
        (into(&["--from-version", "9998", "--to-version", "9999"]), unknown, 4, &["9999"]),
        (in_place(&["--from-version", "9999"]), unknown, 4, &["from 9999 on", "exchange"]),
        (into(&["--as-of-version", "9999"]), unknown, 4, &["9999"]),
        (in_place(&["--as-of", "2001-01-01"]), unknown, 4, &["at 2001-01-01"]),
        (into(&["--from-version", "2", "--to-version", "1"]), range, 2, &["2", "1", "exchange"]),
        (into(&["--from", "2026-03-08", "--to", "2026-03-07"]), range, 2, &["2026-03-08", "2026-03-07", "exchange"]),
    ];
    let cases: [(Vec<&str>, i32, &[&str]); 5] = [
        (into(&["--from", "2026-03-08T00:00:01Z"]), 2, &["whole minute"]),
        (vec!["backfill", "--into", "clicks_daily"], 2, &["clicks_daily", "another name"]),
        (vec!["backfill", "--into", "No"], 2, &["lower-case"]),
        (in_place(&["--allowed-lateness", "1h"]), 2, &["--allowed-lateness"]),
        (vec!["backfill"], 2, &["--into", "--replace"]),
    ];
    let before = files(Path::new(&path));
    for (arguments, code, exit, words) in refusals {
        refused(&[&arguments[..], &["--lake", &path]].concat(), code, exit, words);
        assert_eq!(files(Path::new(&path)), before, "{arguments:?}");
    }
    for (arguments, code, words) in cases {
        fails(&[&arguments[..], &["--lake", &path]].concat(), code, words);
        // The object by which the start-up tries whether it may write is gone again.
        assert_eq!(files(Path::new(&path)), before, "{arguments:?}");
    }
}

#[test]
fn a_table_that_is_there() {
    let (_folder, path) = folder();
    let log = Arc::new(Log::of_seed(3, 2, 300));
    lake(&path, &log, &log);
    let into = |more: &[&'static str]| [&["backfill", "--into", "again", "--lake", &path], more].concat();
    let made = clicklake(&into(&["--allowed-lateness", "0s"]));
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    assert!(String::from_utf8_lossy(&made.stdout).contains("again is complete"));
    let before = files(Path::new(&path));
    let there = Code::StagingExists;
    refused(&into(&["--allowed-lateness", "0s"]), there, 4, &["again", "complete", "another name"]);
    refused(&into(&["--as-of-version", "1"]), there, 4, &["again", "--as-of-version 1", "another name"]);
    refused(&into(&["--dry-run"]), there, 4, &["again", "another name"]);
    assert_eq!(files(Path::new(&path)), before);
    let verified = clicklake(&["verify", "--table", "again", "--replay", "--lake", &path]);
    assert!(String::from_utf8_lossy(&verified.stdout).starts_with("equal: "), "{verified:?}");
}

#[test]
fn minutes_that_are_not_complete() {
    let (_folder, path) = folder();
    // Long enough that the minutes before midnight are complete.
    let mut logs = (0..).map(|seed| Log::of_seed(seed, 2, 180));
    let log = Arc::new(logs.find(|log| log.partitions.iter().all(|all| all.len() > 130)).expect("without end"));
    lake(&path, &log, &log);
    for more in [&["--dry-run"][..], &[]] {
        let done = clicklake(&[&["backfill", "--replace", "--lake", path.as_str()][..], more].concat());
        let said = String::from_utf8_lossy(&done.stdout).into_owned();
        assert!(done.status.success() && said.starts_with("nothing to change in "), "{done:?}");
        let left_out = said.lines().last().expect("a line");
        assert!(left_out.starts_with("left out: ") && left_out.contains("watermark"), "{said}");
    }
    // Nobody has asked for those at the end.
    let early = ["backfill", "--replace", "--to", "2026-04-01", "--lake", path.as_str()];
    assert!(!String::from_utf8_lossy(&clicklake(&early).stdout).contains("left out"));
}

/// Removes a live file of a table from its folder. Returns its path in the table.
fn lose_a_file(path: &str, table: Table) -> String {
    simulate(async {
        let lake = Lake::at(path).expect("a lake");
        let mut log = TableLog::find_to_read(&lake, table).await.expect("a folder").expect("the table");
        let lost = log.live_files().await.expect("a folder").swap_remove(0).path;
        std::fs::remove_file(Path::new(path).join(table.name()).join(&lost)).expect("it goes");
        lost
    })
}

#[test]
fn a_file_of_minutes_that_is_lost() {
    let (_folder, path) = folder();
    let log = Arc::new(Log::of_seed(3, 2, 300));
    lake(&path, &log, &log);
    let made = clicklake(&["backfill", "--into", "again", "--lake", &path]);
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let lost = lose_a_file(&path, Table::ClicksMinute);
    let of_an_hour = ["clicks_minute: its file", lost.as_str(), "it held windows from 2026-0", "backfill --into"];
    refused(&["verify", "--lake", &path], Code::FileDamaged, 4, &of_an_hour);
    refused(&["verify", "--conservation", "--lake", &path], Code::FileDamaged, 4, &of_an_hour);
    let words =
        ["clicks_minute", lost.as_str(), "is not there", "`clicklake backfill --into` another table", "promote"];
    for of in [&["--replace"][..], &["--replace", "--dry-run"], &["--into", "other", "--dry-run"]] {
        refused(&[&["backfill", "--lake", path.as_str()][..], of].concat(), Code::FileDamaged, 4, &words);
    }
    let lost = lose_a_file(&path, Table::Staging("again".parse().expect("a name")));
    let words = ["again: its file", &lost, "is not there", "nothing was promoted"];
    refused(&["promote", "again", "--lake", &path], Code::FileDamaged, 4, &words);
}

#[test]
fn a_table_that_may_still_be_needed() {
    let (_folder, path) = folder();
    let log = Arc::new(Log::of_seed(3, 2, 300));
    lake(&path, &log, &log);
    let drop = ["drop", "again", "--lake", &path];
    refused(&drop, Code::TableMissing, 4, &["no table again", "`clicklake history` shows which there are"]);
    for arguments in [&["backfill", "--into", "again"][..], &["pin", "keep", "--table", "again", "--version", "0"]] {
        let done = clicklake(&[arguments, &["--lake", &path]].concat());
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }
    let before = files(Path::new(&path));
    for table in Table::ALL {
        let words = format!("{table} is a table of the lake itself");
        fails(&["drop", table.name(), "--lake", &path], 2, &[&words]);
    }
    for force in [&["--force"][..], &[]] {
        refused(
            &[&drop[..], force].concat(),
            Code::StagingNeeded,
            4,
            &["version 0 of again", "`clicklake unpin keep`"],
        );
    }
    assert_eq!(files(Path::new(&path)), before);
    for arguments in [&["unpin", "keep"][..], &["live", "again"]] {
        let done = clicklake(&[arguments, &["--lake", &path]].concat());
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }
    let before = files(Path::new(&path));
    for force in [&["--force"][..], &[]] {
        let words = ["again is counted live, by `clicklake run`", "`clicklake live again --stop`"];
        refused(&[&drop[..], force].concat(), Code::StagingNeeded, 4, &words);
    }
    assert_eq!(files(Path::new(&path)), before);
}

#[test]
fn raw_behind_the_minutes() {
    let (_folder, path) = folder();
    let log = Log::of_seed(3, 2, 300);
    let (earlier, log) = (Arc::new(log.earlier(|_, messages| messages / 2)), Arc::new(log));
    lake(&path, &earlier, &log);
    let before = files(Path::new(&path));
    let (behind, words) = (Code::RawBehind, ["clicks/", "clicklake ingest", "--wait"]);
    refused(&["backfill", "--replace", "--wait", "0s", "--lake", &path], behind, 4, &words);
    refused(&["backfill", "--replace", "--as-of-version", "1", "--lake", &path], behind, 4, &[]);
    assert_eq!(files(Path::new(&path)), before);
}

#[test]
fn a_lake_without_what_is_needed() {
    let (_folder, path) = folder();
    for (arguments, words) in [
        (&["backfill", "--into", "again"][..], ["table clicks ", "clicklake ingest"]),
        (&["backfill", "--replace"], ["clicks_minute", "clicklake aggregate"]),
        (&["verify", "--table", "again"], ["table again", "backfill --into"]),
    ] {
        refused(&[arguments, &["--lake", &path]].concat(), Code::TableMissing, 4, &words);
    }
}
