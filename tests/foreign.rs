//! Law: whatever Apache Spark does to the tables of a lake, clicklake loses or doubles no row. Each table is read and
//! written right, or refused with the statement that repairs it, and that statement does.
//!
//! In simulated worlds another engine also does what it likes while jobs run, and undoes what it did to rows: when it
//! is over, each row is there once.
//!
//! One Spark session, of the version that `localstack/spark/ask --install-only` installs, does all of it, because
//! starting one takes longer than most tests.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{AsArray, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use chrono::Utc;
use compactor::{Compactor, Done, Keep, Plan};
use lake_schemas::minute::Parameters;
use lake_schemas::{Stand, Table};
use lake_store::commit::{Commit, Outcome};
use lake_store::{Lake, files, read};
use object_store::memory::InMemory;
use serde_json::Value;
use tempfile::TempDir;

use crate::NOON_MS;
use crate::by_hand::{self, Row};
use crate::minutes::{at_the_last_commit, parameters_of};
use crate::simulation::{
    Actor, Computation, Engine, Log, Survivors, check_raw_is_the_log, compact, for_seeds, lake_on, simulate,
    survive_beside,
};
use crate::start_up::{clicklake, the_error};
use crate::upkeep::{are_newest, are_rolled_up};

/// Memory of the compactor, in bytes.
const MEMORY: usize = 1 << 28;

/// The Spark session, which ends when this is dropped.
struct Spark {
    process: Child,
    statements: ChildStdin,
    answers: BufReader<ChildStdout>,
    _warehouse: TempDir,
}

impl Spark {
    fn start() -> Self {
        let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
        let home = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
        let home = cache.or(home).expect("there is a home").join("clicklake/localstack/spark");
        let python = home.join("venv/bin/python");
        assert!(python.exists(), "{} is missing; run localstack/spark/ask --install-only", python.display());
        let jars = std::fs::read_dir(home.join("delta")).expect("jars").map(|jar| jar.expect("a jar").path());
        let jars: Vec<_> = jars.map(|jar| jar.display().to_string()).collect();
        let warehouse = tempfile::tempdir().expect("a folder");
        let mut process = Command::new(python)
            .arg(Path::new("tests/foreign/session.py"))
            .args([jars.join(","), warehouse.path().display().to_string()])
            .env("SPARK_LOCAL_IP", "127.0.0.1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("python runs");
        let (statements, answers) = (process.stdin.take().expect("a pipe"), process.stdout.take().expect("a pipe"));
        Self { process, statements, answers: BufReader::new(answers), _warehouse: warehouse }
    }

    /// Returns the rows of a statement; `LAKE/` in it stands for the lake.
    #[track_caller]
    fn run(&mut self, lake: &str, statement: &str) -> Vec<Vec<String>> {
        let statement = statement.replace("LAKE/", &format!("{lake}/"));
        writeln!(self.statements, "{}", Value::from(statement.clone())).expect("Spark is there");
        let mut answer = String::new();
        // Other lines are of Spark's own logging.
        while !answer.starts_with('{') {
            answer.clear();
            assert!(self.answers.read_line(&mut answer).expect("Spark is there") > 0, "Spark has ended at {statement}");
        }
        let answer: Value = serde_json::from_str(&answer).expect("an answer");
        assert!(answer.get("error").is_none(), "{statement}: {}", answer["error"]);
        serde_json::from_value(answer["rows"].clone()).expect("rows")
    }

    #[track_caller]
    fn number(&mut self, lake: &str, sql: &str) -> i64 {
        self.run(lake, sql)[0][0].parse().expect("a number")
    }

    /// Alters a table of a lake.
    #[track_caller]
    fn alter(&mut self, lake: &str, table: &str, what: &str) {
        self.run(lake, &format!("ALTER TABLE delta.`LAKE/{table}` {what}"));
    }

    /// Does what an error tells the user to do.
    #[track_caller]
    fn obey(&mut self, lake: &str, error: &str) {
        let (_, statement) = error.rsplit_once("ALTER TABLE ").unwrap_or_else(|| panic!("no way out in: {error}"));
        let (table, what) = statement.split_once(' ').expect("a table");
        self.alter(lake, table, what.trim());
    }
}

impl Drop for Spark {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Makes all messages for a lake that has been used.
fn whole_log() -> Log {
    Log::of_seed(3, 2, 120)
}

/// Reads the remaining messages into `clicks`.
fn go_on(lake: &str) {
    simulate(async {
        let lake = Lake::at(lake).expect("a lake");
        Computation::Raw.read_all(&lake, &Arc::new(whole_log())).await.expect("ingest ends");
    });
}

/// A lake that has been used, of which each scenario gets a copy.
struct Used {
    folder: TempDir,
}

impl Used {
    /// Makes a lake that has read the first messages of each partition: `messages` gives their number from that of all.
    fn with(messages: impl Fn(usize) -> usize) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let lake = folder.path().join("lake").display().to_string();
        simulate(async {
            let lake = Lake::at(&lake).expect("a lake");
            let log = whole_log();
            let half = Arc::new(log.earlier(|_, all| all / 2));
            let rest = Arc::new(log.earlier(|_, all| messages(all)));
            for log in [half, rest] {
                Computation::Raw.read_all(&lake, &log).await.expect("ingest ends");
                Computation::Minutes(Parameters::default()).read_all(&lake, &log).await.expect("aggregate ends");
            }
            compact(&lake, 1).await.expect("a disk");
        });
        Self { folder }
    }

    /// Returns a copy, and its path.
    fn copy(&self) -> (TempDir, String) {
        let folder = tempfile::tempdir().expect("a folder");
        let copied = Command::new("cp").arg("-r").arg(self.folder.path().join("lake")).arg(folder.path()).status();
        assert!(copied.expect("cp runs").success());
        let path = folder.path().join("lake").display().to_string();
        (folder, path)
    }
}

/// Returns the one number that our SQL answers.
#[track_caller]
fn ours(lake: &str, sql: &str) -> i64 {
    let output = clicklake(&["sql", sql, "--format", "csv", "--lake", lake]);
    let (said, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let number = said.lines().nth(1).unwrap_or_else(|| panic!("{sql}: {error}"));
    number.parse().expect("a number")
}

/// Returns what a command prints when it must succeed.
#[track_caller]
fn says(lake: &str, arguments: &[&str], code: i32) -> String {
    let output = clicklake(&[arguments, &["--lake", lake]].concat());
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
    said
}

/// Returns why a command refuses: a writing command at its start, a reading one when it should answer. Both end alike.
#[track_caller]
fn refuses(lake: &str, arguments: &[&str], words: &[&str]) -> String {
    let said = says(lake, arguments, 4);
    let error = the_error(&said).to_owned();
    for word in words {
        assert!(error.contains(word), "{arguments:?}: {word:?} is not in: {error}");
    }
    assert!(!said.contains("panicked"), "{said}");
    error
}

/// Returns the newest version of a table.
fn newest(lake: &str, table: &str) -> usize {
    let log = std::fs::read_dir(Path::new(lake).join(table).join("_delta_log")).expect("a log");
    let names = log.map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8"));
    names.filter_map(|name| name.strip_suffix(".json")?.parse().ok()).max().expect("versions")
}

/// Returns the data files of a table.
fn data_files(lake: &str, table: &str) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    let mut folders = vec![Path::new(lake).join(table)];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()) {
            match entry.is_dir() {
                true if !entry.ends_with("_delta_log") => folders.push(entry),
                false if entry.extension().is_some_and(|extension| extension == "parquet") => {
                    found.insert(entry);
                }
                _ => {}
            }
        }
    }
    found
}

/// Does a round of compaction that expires everything it may. Returns its reports.
fn upkeep(lake: &str) -> Vec<Done> {
    let mut told = Vec::new();
    #[expect(clippy::disallowed_methods, reason = "Spark's clock is the real one")]
    let now = Utc::now();
    // All that is there is made older than clean-up spares.
    let aged =
        Command::new("find").args([lake, "-type", "f", "-exec", "touch", "-d", "30 days ago", "{}", "+"]).status();
    assert!(aged.expect("find runs").success());
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let lake = Lake::at(lake).expect("a lake");
        let keep = Keep { now, keep: Duration::from_secs(3_600), orphans: true };
        let plan = Plan { keep: Some(keep), ..Plan::default() };
        Compactor::new(lake, MEMORY).round(&plan, &mut |done| told.push(done)).await.expect("a disk");
    });
    told
}

/// Seeds of a run of the tests.
const SEEDS: Range<u64> = 0..30;

const COUNT: &str = "select count(*) from clicks";
const SUM: &str = "select sum(clicks) from clicks_minute";
const SUM_OF_SPARK: &str = "select sum(clicks) from delta.`LAKE/clicks_minute`";

#[test]
fn whatever_spark_does_no_row_is_lost_or_doubled_by_us() {
    let (mut spark, used) = (Spark::start(), Used::with(|all| all));
    deletion_vectors(&mut spark, &used);
    each_way_out_leads_out(&mut spark, &used);
    columns_of_others(&mut spark, &used);
    restore(&mut spark, &Used::with(|all| all * 3 / 4));
    optimize_and_vacuum(&mut spark, &used);
}

fn deletion_vectors(spark: &mut Spark, used: &Used) {
    let (_folder, lake) = used.copy();
    let before = spark.number(&lake, SUM_OF_SPARK);
    spark.alter(&lake, "clicks_minute", "SET TBLPROPERTIES ('delta.enableDeletionVectors' = 'true')");
    // Delete rows of a closed window, because only closed ones can be counted again.
    let first = spark.run(&lake, "select min(window_start) from delta.`LAKE/clicks_minute`")[0][0].clone();
    spark.run(&lake, &format!("DELETE FROM delta.`LAKE/clicks_minute` WHERE window_start = timestamp'{first}'"));
    let left = spark.number(&lake, SUM_OF_SPARK);
    assert!(left < before, "{left} of {before} are left");
    let there = data_files(&lake, "clicks_minute");
    let words = ["clicks_minute", "deletionVectors", "ALTER TABLE clicks_minute DROP FEATURE deletionVectors"];
    for arguments in [
        &["sql", SUM][..],
        &["verify"],
        &["verify", "--replay"],
        &["top", "--last", "100d"],
        &["history"],
        &["pin", "now", "--version", "1"],
        &["backfill", "--replace"],
    ] {
        refuses(&lake, arguments, &words);
    }
    let error = refuses(&lake, &["compact", "--once"], &words);
    assert_eq!(data_files(&lake, "clicks_minute"), there, "nothing is written, and nothing deleted");
    spark.obey(&lake, &error);
    assert_eq!(ours(&lake, SUM), left);
    // The deleted rows are missing from the sums. As long as the version is kept, `verify` says who deleted them; and
    // they can be counted again.
    let said = says(&lake, &["verify"], 1);
    assert!(said.contains("DELETE by Apache-Spark") && said.contains("backfill --replace"), "{said}");
    upkeep(&lake);
    assert_eq!((ours(&lake, SUM), spark.number(&lake, SUM_OF_SPARK)), (left, left));
    says(&lake, &["backfill", "--replace"], 0);
    says(&lake, &["verify"], 0);
    assert_eq!((ours(&lake, SUM), spark.number(&lake, SUM_OF_SPARK)), (before, before));
}

fn each_way_out_leads_out(spark: &mut Spark, used: &Used) {
    let (_folder, lake) = used.copy();
    let rows = ours(&lake, COUNT);
    for property in ["delta.appendOnly", "delta.enableChangeDataFeed"] {
        let set = format!("SET TBLPROPERTIES ('{property}' = 'true')");
        spark.alter(&lake, "clicks_minute", &set);
        let error = refuses(&lake, &["compact", "--once"], &["clicks_minute", property]);
        spark.obey(&lake, &error);
        // The property demands nothing of writers of a table that only grows.
        spark.alter(&lake, "clicks", &set);
        says(&lake, &["compact", "--once"], 0);
    }
    for (alter, word) in [
        (
            "SET TBLPROPERTIES ('delta.setTransactionRetentionDuration' = 'interval 1 days')",
            "delta.setTransactionRetentionDuration",
        ),
        ("ADD CONSTRAINT positive CHECK (cost_micros is null or cost_micros >= 0)", "delta.constraints.positive"),
        ("SET TBLPROPERTIES ('delta.enableInCommitTimestamps' = 'true')", "delta.enableInCommitTimestamps"),
        ("ALTER COLUMN ad_id DROP NOT NULL", ""),
    ] {
        spark.alter(&lake, "clicks", alter);
        if !word.is_empty() {
            let error = refuses(&lake, &["compact", "--once"], &["clicks", word]);
            assert_eq!(ours(&lake, COUNT), rows, "who reads is not concerned");
            spark.obey(&lake, &error);
        }
        says(&lake, &["compact", "--once"], 0);
    }
    spark.alter(&lake, "clicks", "SET TBLPROPERTIES ('delta.columnMapping.mode' = 'name')");
    let error = refuses(&lake, &["sql", COUNT], &["clicks", "delta.columnMapping.mode"]);
    spark.obey(&lake, &error);
    assert_eq!(ours(&lake, COUNT), rows);
    says(&lake, &["compact", "--once"], 0);
    says(&lake, &["verify", "--replay"], 0);
}

fn columns_of_others(spark: &mut Spark, used: &Used) {
    let (_folder, lake) = used.copy();
    let sum = ours(&lake, SUM);
    let noted = |spark: &mut Spark, table: &str| {
        spark.number(&lake, &format!("select count(note) from delta.`LAKE/{table}` where note = concat('of ', ad_id)"))
    };
    let mut before = Vec::new();
    for table in ["clicks", "clicks_minute"] {
        spark.alter(&lake, table, "ADD COLUMNS (note STRING)");
        spark.run(&lake, &format!("UPDATE delta.`LAKE/{table}` SET note = concat('of ', ad_id) WHERE ad_id < 'ad-3'"));
        before.push(noted(spark, table));
    }
    assert!(before.iter().all(|noted| *noted > 0), "{before:?}");
    // Spark has put partitions together: their order is lost, until compact sorts them.
    refuses(&lake, &["verify", "--replay"], &["clicks", "the file log_date=", ".parquet", "clicklake compact"]);
    let told = upkeep(&lake);
    let of_others = |done: &&Done| matches!(done, Done::Foreign(change) if change.operation == "UPDATE");
    assert_eq!(told.iter().filter(of_others).count(), 2, "{told:?}");
    let is_sorted = |done: &Done| matches!(done, Done::SortedOut { table: Table::Clicks, .. });
    assert!(told.iter().any(is_sorted), "{told:?}");
    says(&lake, &["verify", "--replay"], 0);
    upkeep(&lake);
    assert_eq!(["clicks", "clicks_minute"].map(|table| noted(spark, table)), before[..]);
    assert_eq!(ours(&lake, "select count(note) from clicks_minute"), before[1]);
    assert_eq!((ours(&lake, SUM), spark.number(&lake, SUM_OF_SPARK)), (sum, sum));
    // In a roll-up, a foreign column could not be summed, so `compact` refuses it.
    spark.alter(&lake, "clicks_hourly", "ADD COLUMNS (note STRING)");
    spark.run(&lake, "DELETE FROM delta.`LAKE/clicks_minute` WHERE pane = 'none'");
    spark.run(&lake, "UPDATE delta.`LAKE/clicks_minute` SET note = null");
    refuses(&lake, &["compact", "--once"], &["clicks_hourly", "note", "remove the folder clicks_hourly"]);
    std::fs::remove_dir_all(Path::new(&lake).join("clicks_hourly")).expect("it is there");
    says(&lake, &["compact", "--once"], 0);
    assert_eq!(ours(&lake, "select sum(clicks) from clicks_hourly"), sum);
}

fn restore(spark: &mut Spark, used: &Used) {
    let (_folder, lake) = used.copy();
    let (sum, rows) = (ours(&lake, SUM), ours(&lake, COUNT));
    // Files that were put together are taken apart again: the old ones are live once more.
    spark.run(&lake, "OPTIMIZE delta.`LAKE/clicks_minute`");
    let before = newest(&lake, "clicks_minute") - 1;
    spark.run(&lake, &format!("RESTORE TABLE delta.`LAKE/clicks_minute` TO VERSION AS OF {before}"));
    let said = says(&lake, &["verify"], 0);
    assert!(said.contains("RESTORE by Apache-Spark"), "{said}");
    for _ in 0..3 {
        upkeep(&lake);
        assert_eq!((ours(&lake, SUM), spark.number(&lake, SUM_OF_SPARK)), (sum, sum));
    }
    // Further back: what was read since is missing, which is said, with what brings it back.
    let newest = newest(&lake, "clicks");
    spark.run(&lake, "RESTORE TABLE delta.`LAKE/clicks` TO VERSION AS OF 1");
    assert!(ours(&lake, COUNT) < rows);
    let said = says(&lake, &["compact", "--once"], 0);
    let back = format!("clicks VERSION AS OF {newest} ");
    assert!(said.contains("RESTORE by Apache-Spark") && said.contains(&back), "{said}");
    let insert = &said[said.find("INSERT INTO").expect("what brings the rows back")..];
    let insert = insert.split("; then").next().expect("a statement").replace(" clicks ", " delta.`LAKE/clicks` ");
    // Rows that are read meanwhile stay.
    go_on(&lake);
    let said = says(&lake, &["verify"], 1);
    assert!(said.contains("RESTORE by Apache-Spark"), "{said}");
    spark.run(&lake, &insert);
    let (_folder, unharmed) = used.copy();
    go_on(&unharmed);
    let all = ours(&unharmed, COUNT);
    assert!(all > rows);
    assert_eq!(ours(&lake, COUNT), all);
    upkeep(&lake);
    says(&lake, &["verify", "--replay"], 0);
}

fn optimize_and_vacuum(spark: &mut Spark, used: &Used) {
    let (_folder, lake) = used.copy();
    let (sum, rows) = (ours(&lake, SUM), ours(&lake, COUNT));
    for table in ["clicks", "clicks_minute"] {
        spark.run(&lake, &format!("OPTIMIZE delta.`LAKE/{table}`"));
        spark.run(&lake, &format!("VACUUM delta.`LAKE/{table}` RETAIN 0 HOURS"));
    }
    assert_eq!((ours(&lake, SUM), ours(&lake, COUNT)), (sum, rows));
    let said = says(&lake, &["verify"], 0);
    assert!(!said.contains("other programs"), "no row was changed: {said}");
    for _ in 0..2 {
        upkeep(&lake);
        assert_eq!((ours(&lake, SUM), ours(&lake, COUNT)), (sum, rows));
        says(&lake, &["verify", "--replay"], 0);
    }
}

async fn world(seed: u64) -> Result<(), String> {
    let computations = [Computation::Raw, Computation::Minutes(parameters_of(seed))];
    let actors = [Actor::Foreign(Table::ClicksMinute), Actor::Foreign(Table::Clicks), Actor::Compact];
    let Survivors { lake, log, .. } = survive_beside(seed, &computations, &actors).await?;
    check_raw_is_the_log(&lake, &log).await?;
    at_the_last_commit(&lake, &log).await?;
    compact(&lake, 1).await.map_err(|error| error.to_string())?;
    are_newest(&are_rolled_up(&lake).await?)
}

#[test]
fn beside_another_engine_each_row_is_there_once() {
    for_seeds(SEEDS, world);
}

/// Makes three files of a closed hour, one of which another engine rewrote with a column of its own.
async fn with_a_column_of_others() -> Lake {
    let lake = lake_on(Arc::new(InMemory::new()));
    let table = Table::ClicksMinute;
    let mut log = by_hand::minutes(&lake, table, &Parameters::default()).await;
    let stand = |cut| Stand {
        cut: Some(cut),
        watermark_ms: Some(NOON_MS + 100 * 3_600_000),
        drained: Some(cut),
        restore: Some(cut),
        ..Stand::default()
    };
    for cut in 1..=3 {
        let row = Row { minute: cut, ad: "ad".to_owned(), clicks: 1, ..Row::default() };
        by_hand::append(&mut log, &[row], &[(0, stand(cut))].into()).await;
    }
    Engine::of(&lake, table).add_column("note").await.expect("memory");
    log.refresh().await.expect("it is harmless");
    let file = log.live_files().await.expect("memory").remove(0);
    let rows = read::all_rows(log.object_store(), table, log.schema(), file.clone()).await.expect("rows");
    let (mut fields, mut columns) = (rows[0].schema().fields().to_vec(), rows[0].columns().to_vec());
    fields.push(Arc::new(Field::new("note", DataType::Utf8, true)));
    columns.push(Arc::new(StringArray::from(vec!["of others"; rows[0].num_rows()])));
    let rows = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).expect("a column more");
    let mut adds = Vec::new();
    for file in files::encode(table, &[rows]).await.expect("a file") {
        file.put(log.object_store().as_ref()).await.expect("memory");
        adds.push(file.add);
    }
    let commit = Commit { adds, removes: vec![file], ..Commit::new("another") };
    assert!(matches!(log.commit(&commit).await, Ok(Outcome::Committed(_))));
    lake
}

#[test]
fn columns_of_others_are_carried_by_whoever_rewrites_files() {
    simulate(async {
        let lake = with_a_column_of_others().await;
        let noted = async || {
            let sql = "select count(*) from clicks_minute where note = 'of others'";
            let answer = query::run(&lake, sql).await.expect("the lake can be read");
            answer[0].column(0).as_primitive::<Int64Type>().value(0)
        };
        assert_eq!(noted().await, 1);
        let (mut told, plan) = (Vec::new(), Plan::default());
        Compactor::new(lake.clone(), MEMORY).round(&plan, &mut |done| told.push(done)).await.expect("memory");
        let is_merged = |done: &Done| matches!(done, Done::Merged { table: Table::ClicksMinute, files: (3, 1), .. });
        assert!(told.iter().any(is_merged), "{told:?}");
        assert_eq!(noted().await, 1);
    });
}
