//! Law: the drivers of programming languages log in by SCRAM, find tables, columns and keys, bind their values (times,
//! lists, numbers, null), and are answered right, in each of the ways in which they ask.
//!
//! All questions are in `drivers/asks.json`; beside it is a program for each driver. The programs run far from UTC, so
//! that a time without its zone would come out as another one. Npgsql is not here; what it sends is in `tools`.

use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};
use serve::new_key;

use super::logged_in::{printed, served};
use crate::readers::python;

const FOLDER: &str = "tests/serve/postgres/drivers";

/// Returns what `tests/run` has installed for other languages than Python: `CLICKLAKE_DRIVERS`, or where it puts it.
fn installed(name: &str) -> PathBuf {
    let folder = std::env::var_os("CLICKLAKE_DRIVERS").map(PathBuf::from).unwrap_or_else(|| {
        let home = std::env::var_os("HOME").expect("there is a home");
        PathBuf::from(home).join(".cache/clicklake/drivers")
    });
    let installed = folder.join(name);
    assert!(installed.exists(), "{} is missing; run the tests with tests/run, which makes it", installed.display());
    installed
}

/// Returns what a program with a driver prints.
fn found(mut program: Command) -> Value {
    let folder = tempfile::tempdir().expect("a folder");
    let (all, line) = new_key([2; 32], "*");
    let served = served(folder.path(), &line, None);
    program.arg(served.port.to_string()).args([&all, &format!("{FOLDER}/asks.json")]).env("TZ", "Asia/Tokyo");
    let output = program.output().expect("the program runs; tests/run installs what it needs");
    served.end();
    serde_json::from_str(&printed(&output)).expect("what it finds")
}

/// Compares a driver's answers with the expected ones, and the rest with what the driver reports about itself.
fn holds(mut found: Value, cancelled: &str, own: &Value) {
    let asks = std::fs::read_to_string(format!("{FOLDER}/asks.json")).expect("a text");
    let asks: Vec<Value> = serde_json::from_str(&asks).expect("questions");
    let asked = found["asked"].take();
    let mut wrong = Vec::new();
    for (way, answers) in asked.as_object().expect("the ways to ask") {
        let Some(answers) = answers.as_array() else {
            wrong.push(format!("{way}: {answers}"));
            continue;
        };
        // Some ways are for a few questions; null is one that was not asked.
        for (ask, answer) in asks.iter().zip(answers).filter(|(_, answer)| !answer.is_null()) {
            if *answer != ask["rows"] {
                wrong.push(format!("{way}: {}: expected {}, found {answer}", ask["sql"], ask["rows"]));
            }
        }
    }
    assert!(
        asked.as_object().is_some_and(|ways| ways.values().any(|all| all.as_array().map(Vec::len) == Some(asks.len())))
    );
    let expected = json!({
        "asked": null, "wrong_key": "28P01", "copied": "ad_id,clicks\n1,30\n2,60\n", "cancelled": cancelled,
        "timed_out": "57014", "refused": "25006", "unknown": "42703", "goes_on": 1, "own": own,
    });
    for (what, expected) in expected.as_object().expect("names") {
        if found[what] != *expected {
            wrong.push(format!("{what}: expected {expected}, found {}", found[what]));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn of_python(script: &str) -> Command {
    let mut program = Command::new(python());
    // Without `-B`, Python would write the compiled common module into this folder.
    program.arg("-B").arg(format!("{FOLDER}/{script}"));
    program
}

#[test]
fn psycopg_is_answered() {
    let own = json!({ "timestamptz": [1184, 1185], "below": [4, 4, 0] });
    holds(found(of_python("by_psycopg.py")), "57014", &own);
}

#[test]
fn asyncpg_is_answered() {
    let own = json!({
        "codec": null,
        "prepared": [["array", "scalar"], [["clicks", "int8"]]],
        "copied": "2\n",
    });
    // It tells of its own clock, and not of the error that follows.
    holds(found(of_python("by_asyncpg.py")), "timeout", &own);
}

#[test]
fn pgjdbc_is_answered_and_describes_what_there_is() {
    let mut program = Command::new("java");
    // The program runs for a second, so the JVM should not spend long on compiling it.
    program.args(["-XX:TieredStopAtLevel=1", "-cp"]).arg(installed("java").join("*"));
    program.arg(format!("{FOLDER}/ByPgjdbc.java"));
    let own = json!({
        "tables": ["clicks", "clicks_daily", "clicks_hourly", "clicks_minute"],
        "columns": ["campaign_id", "clicks", "cost_micros"],
        "types": ["text", "int8", "int8"],
        "schemas": ["information_schema", "pg_catalog", "public"],
        "primary": [], "imported": [], "exported": [], "crossed": [], "indexes": [], "best": [],
        "procedures": [], "types_of_users": [],
        "takes": ["from_json", "key", "value"],
        "has_types": true, "has_functions": true, "has_databases": true, "has_privileges": true,
        "fetched": 24, "below": [4, 4, 0], "nullable": "texttruepublic",
    });
    holds(found(program), "57014", &own);
}

#[test]
fn node_pg_is_answered() {
    let mut program = Command::new("node");
    program.arg("--no-deprecation").arg(format!("{FOLDER}/by_pg.js")).env("NODE_PATH", installed("node_modules"));
    holds(found(program), "57014", &json!({ "types": [1184, 20, 25], "pool": [40, 80, 40, 80] }));
}

#[test]
fn pgx_is_answered() {
    let own = json!({
        "type": 1185,
        "pool": [{ "AdID": "1", "Clicks": 40 }, { "AdID": "2", "Clicks": 80 }],
        "database/sql": ["2026-03-07T12:00:00Z", 20],
    });
    holds(found(Command::new(installed("by_pgx"))), "57014", &own);
}
