//! Laws of evolution. A lake that an older program made works on, upgraded or not, whatever else happens to it. A lake
//! of a newer program is read, and is not written unless it is understood. A column that a file lacks because it is
//! older reads as null, and a measure as 0, for every reader.

mod first_program;

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::concat_batches;
use arrow::datatypes::Int64Type;
use arrow::util::pretty::pretty_format_batches;
use backfill::{Promote, Range as Part, Replace, Replaced, Staging, What, Work, Writes};
use chrono::DateTime;
use deltalake::kernel::Add;
use lake_schemas::history::PROPERTY_BACKFILL;
use lake_schemas::minute::{Parameters, Requested};
use lake_schemas::spec::PROPERTY_SPEC;
use lake_schemas::stand::cut_of;
use lake_schemas::table::{FORMAT, FORMAT_OF_NEW, PROPERTY_FORMAT, PROPERTY_NEEDS};
use lake_schemas::time::MILLIS_PER_DAY;
use lake_schemas::{Code, Cut, Measure, Measures, Table};
use lake_store::commit::{Commit, Outcome, TableLog, TableView};
use lake_store::path::path_of;
use lake_store::{Lake, upgrade};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStoreExt, PutMode, PutOptions};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use query::verify::{Question, verify};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::fault_store::{Fault, FaultStore};
use crate::minutes::{at_every_commit, parameters_of};
use crate::simulation::{
    Actor, Computation, Log, Survivors, compact, for_seeds, lake_on, simulate, survive_beside, upgrade_all, versions,
};
use crate::start_up::{clicklake, fails, folder};
use crate::upkeep::{are_newest, are_rolled_up};

/// Memory of an audit, in bytes.
const MEMORY: usize = 1 << 30;

/// Seeds of a run of the tests.
const SEEDS: Range<u64> = 0..20;

/// Other writers while tables are upgraded.
const ACTORS: [Actor; 6] = [
    Actor::Upgrade,
    Actor::Upgrade,
    Actor::Backfill,
    Actor::Compact,
    Actor::Promote,
    Actor::Rewrite(Table::ClicksMinute),
];

/// Versions of `clicks_minute` in all seeds, by the job that wrote them.
static WRITTEN: Mutex<BTreeMap<String, usize>> = Mutex::new(BTreeMap::new());

async fn disaster(seed: u64) -> Result<(), String> {
    // The table lacks what was added since format 1, until it is upgraded, or made by a promotion.
    let parameters = Parameters { measures: Measures::of_format_1(), ..parameters_of(seed) };
    let computations = [Computation::Raw, Computation::Minutes(parameters)];
    let Survivors { lake, history, log, .. } = survive_beside(seed, &computations, &ACTORS).await?;
    // A first roll-up may be made here.
    compact(&lake, 1).await.map_err(|error| error.to_string())?;
    upgrade_all(&lake).await.map_err(|error| error.to_string())?;
    compact(&lake, 1).await.map_err(|error| error.to_string())?;
    let versions = at_every_commit(&history, &log).await?;
    if versions.iter().filter(|version| version.job == "upgrade").count() > 1 {
        return Err("the minutes were upgraded twice".to_owned());
    }
    for version in versions {
        *WRITTEN.lock().expect("no panic under the lock").entry(version.job).or_default() += 1;
    }
    are_newest(&are_rolled_up(&history).await?)?;
    for table in Table::ALL {
        let format = recorded(&lake, table).await.remove(PROPERTY_FORMAT);
        if format != Some(FORMAT.to_string()) {
            return Err(format!("{table} is of format {format:?}"));
        }
    }
    Ok(())
}

#[test]
fn whatever_happens_beside_an_upgrade_the_counts_are_what_they_are() {
    for_seeds(SEEDS, disaster);
    let written = WRITTEN.lock().expect("no panic under the lock");
    let [seeds, upgraded] = ["", "upgrade"].map(|job| written.get(job).copied().unwrap_or_default());
    // A table that a promotion has given all measures needs no upgrade any more.
    let is_enough = if is_of_format_1(Table::ClicksMinute) { upgraded == seeds } else { upgraded > 0 };
    assert!(is_enough, "each table is upgraded once: {written:?}");
}

/// Returns whether a table that is made now is of the first format: it is, unless a measure of it was added since.
fn is_of_format_1(table: Table) -> bool {
    table.definition().format() == FORMAT_OF_NEW
}

/// Returns the properties that a table records.
async fn recorded(lake: &Lake, table: Table) -> HashMap<String, String> {
    let view = TableView::newest(lake, table).await.expect("it can be read").expect("it is there");
    view.properties().clone()
}

/// Goes on with a lake in a folder as its jobs do, up to the end of a log, and audits it.
fn goes_on(path: &str, log: &Arc<Log>) {
    simulate(async {
        let lake = Lake::at(path).expect("a lake");
        Computation::Raw.read_all(&lake, log).await.expect("ingest ends");
        Computation::Minutes(Parameters::default()).read_all(&lake, log).await.expect("aggregate ends");
    });
    says(path, &["compact", "--once"]);
    let audited = says(path, &["verify"]);
    assert!(audited.starts_with("equal"), "{audited}");
    says(path, &["verify", "--replay"]);
}

/// Returns what a command prints.
fn says(path: &str, command: &[&str]) -> String {
    let done = clicklake(&[command, &["--lake", path]].concat());
    assert!(done.status.success(), "{command:?}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).expect("UTF-8")
}

/// Checks that tables of a lake are of a format, and that the counts record their spec from the second format on.
fn are_of_format(path: &str, format: impl Fn(Table) -> i64) {
    simulate(async {
        let lake = Lake::at(path).expect("a lake");
        for table in Table::ALL {
            let (recorded, format) = (recorded(&lake, table).await, format(table));
            assert_eq!(recorded[PROPERTY_FORMAT], format.to_string(), "{table}");
            assert_eq!(recorded.contains_key(PROPERTY_SPEC), format >= 2 && table.is_counts(), "{table}");
            assert_eq!(recorded.contains_key("clicklake.dimensions"), table.is_counts(), "{table}");
        }
    });
}

#[test]
fn a_lake_of_the_first_format_is_gone_on_with_and_upgraded_on_the_way() {
    let (_folder, path) = folder();
    fails(&["upgrade", "--lake", &path], 4, &["no table clicks"]);
    let log = Arc::new(Log::of_seed(3, 2, 300));
    let part = |share: usize| Arc::new(log.earlier(|_, all| all * share / 4));
    goes_on(&path, &part(1));
    says(&path, &["backfill", "--into", "by_country", "--dimensions", "country"]);
    says(&path, &["promote", "by_country"]);
    goes_on(&path, &part(2));
    says(&path, &["backfill", "--into", "by_device", "--dimensions", "device"]);
    goes_on_through_an_upgrade(&path, &log);
}

/// Upgrades a lake of the first format in a folder, and goes on with it. The lake has half of a log, counted by
/// country, the staging table that the counts came from, and another one by device.
fn goes_on_through_an_upgrade(path: &str, log: &Arc<Log>) {
    let has_settled = |_: &i32| says(path, &["compact", "--once"]).trim() == "nothing to do";
    (0..5).find(has_settled).expect("compaction comes to an end");
    let as_made = |table: Table| table.definition().format();
    are_of_format(path, as_made);
    let planned = says(path, &["upgrade", "--dry-run"]);
    let of_counts =
        format!("clicks_minute would be upgraded: format {FORMAT} instead of 1, the property {PROPERTY_SPEC}");
    let of_clicks = format!("clicks would be upgraded: format {FORMAT} instead of 1");
    for (table, expected) in [(Table::ClicksMinute, of_counts), (Table::Clicks, of_clicks)] {
        assert_eq!(planned.lines().any(|line| line == expected), is_of_format_1(table), "{planned}");
    }
    are_of_format(path, as_made);
    let sums = "select sum(clicks), sum(cost_micros), sum(duplicates), sum(late), sum(filtered) from clicks_minute";
    let before = says(path, &["sql", sums]);
    let done = says(path, &["upgrade"]);
    let upgraded: Vec<_> = done.lines().filter_map(|line| line.split(" was upgraded ").next()).collect();
    let counts_first = ["by_country", "by_device", "clicks_minute", "clicks_hourly", "clicks_daily"];
    let counts_first = if is_of_format_1(Table::ClicksMinute) { &counts_first[..] } else { &[] };
    assert_eq!(upgraded, [counts_first, &["clicks_rejected", "clicks"]].concat(), "{done}");
    are_of_format(path, |_| FORMAT);
    assert_eq!(says(path, &["sql", sums]), before);
    assert!(says(path, &["upgrade"]).contains("nothing to do"));
    assert_eq!(says(path, &["compact", "--once"]).trim(), "nothing to do", "no row has changed");

    goes_on(path, &Arc::new(log.earlier(|_, all| all * 3 / 4)));
    says(path, &["promote", "by_device"]);
    goes_on(path, log);
    let [device, country] = ["device", "country"].map(|name| format!("\"dimensions\":[\"{name}\"]"));
    let spec = || simulate(async { recorded(&Lake::at(path).expect("a lake"), Table::ClicksMinute).await });
    assert!(spec()[PROPERTY_SPEC].contains(&device));
    // Back to what was there when the table was of the first format, or the second: it stays of the second.
    says(path, &["promote", "--undo"]);
    goes_on(path, log);
    assert!(spec()[PROPERTY_SPEC].contains(&country));
    are_of_format(path, |_| FORMAT);
}

/// Returns the path of an entry of a table's log.
fn entry(table: Table, version: u64) -> Path {
    Path::from(format!("{table}/_delta_log/{version:020}.json"))
}

/// Alters a table's definition, as another program does.
async fn alter(lake: &Lake, table: Table, change: impl FnOnce(&mut Value)) {
    let store = lake.object_store().expect("an address");
    let newest = TableView::newest(lake, table).await.expect("it can be read").expect("it is there").version();
    let mut found = None;
    for version in (0..=newest).rev() {
        let bytes = store.get(&entry(table, version)).await.expect("an entry").bytes().await.expect("memory");
        let text = String::from_utf8(bytes.to_vec()).expect("UTF-8");
        let mut actions = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
        found = actions.find_map(|mut action| action.get_mut("metaData").map(Value::take));
        if found.is_some() {
            break;
        }
    }
    let mut metadata = found.expect("a table has a definition");
    change(&mut metadata);
    let info = json!({ "commitInfo": { "timestamp": 1, "operation": "ALTER TABLE", "engineInfo": "Another/1.0" } });
    let lines = [info, json!({ "metaData": metadata })].map(|action| action.to_string()).join("\n");
    let put = store.put_opts(&entry(table, newest + 1), lines.into(), PutOptions::from(PutMode::Create)).await;
    put.expect("nobody else writes");
}

/// Changes the columns of a definition.
fn columns(metadata: &mut Value, change: impl FnOnce(&mut Vec<Value>)) {
    let text = metadata["schemaString"].as_str().expect("text").to_owned();
    let mut schema: Value = serde_json::from_str(&text).expect("JSON");
    change(schema["fields"].as_array_mut().expect("a list"));
    metadata["schemaString"] = json!(schema.to_string());
}

/// Parameters under which windows close within a log.
fn parameters() -> Parameters {
    Parameters { allowed_lateness_ms: 30_000, dedup_horizon_ms: 60_000, ..Parameters::default() }
}

/// Makes a lake with both raw tables and minutes, all of one log.
async fn filled() -> (Lake, Arc<Log>) {
    filled_by(parameters()).await
}

/// Like [`filled`], with counts by these parameters.
async fn filled_by(parameters: Parameters) -> (Lake, Arc<Log>) {
    let (lake, log) = (lake_on(Arc::new(InMemory::new())), Arc::new(Log::of_seed(8, 3, 400)));
    Computation::Raw.read_all(&lake, &log).await.expect("ingest ends");
    Computation::Minutes(parameters).read_all(&lake, &log).await.expect("aggregate ends");
    (lake, log)
}

/// Returns the answer to a statement, as text.
async fn answered(lake: &Lake, sql: &str) -> String {
    let rows = query::run(lake, sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    pretty_format_batches(&rows).expect("text").to_string()
}

/// Questions that are asked before and after.
const QUESTIONS: [&str; 4] = [
    "select count(*), count(country), count(user_id), count(publisher_id), count(ip), sum(cost_micros) from clicks",
    "select window_start, ad_id, sum(clicks), sum(cost_micros), sum(duplicates), sum(late), sum(filtered) \
     from clicks_minute group by window_start, ad_id order by window_start, ad_id",
    "select ad_id, clicks, cost_micros, duplicates, late, filtered from totals(null, null) order by ad_id",
    "select count(*) from clicks_minute where late = 0 and filtered >= 0",
];

async fn answers(lake: &Lake) -> Vec<String> {
    let mut answers = Vec::new();
    for sql in QUESTIONS {
        answers.push(answered(lake, sql).await);
    }
    answers
}

async fn is_audited(lake: &Lake) {
    let found = verify(lake, Question::default(), MEMORY).await.expect("an audit");
    assert!(found.is_equal(), "{found}");
}

#[test]
fn a_lake_of_a_newer_program_is_read_and_not_written_unless_it_is_understood() {
    simulate(async {
        let (lake, log) = filled().await;
        let before = answers(&lake).await;
        for (table, name, of) in [(Table::Clicks, "network", "string"), (Table::ClicksMinute, "people", "long")] {
            alter(&lake, table, |metadata| {
                metadata["configuration"][PROPERTY_FORMAT] = json!(FORMAT.to_string());
                metadata["configuration"][PROPERTY_NEEDS] = json!("sessions");
                columns(metadata, |all| {
                    all.push(json!({ "name": name, "type": of, "nullable": true, "metadata": {} }));
                });
            })
            .await;
        }
        let is_refused = |what: &str, code: Option<Code>| assert_eq!(code, Some(Code::NeedUnknown), "{what}");
        for table in [Table::Clicks, Table::ClicksMinute] {
            let error = TableLog::open(&lake, table).await.err().expect("refused");
            let words = ["must understand sessions", PROPERTY_NEEDS, "upgrade clicklake"];
            assert!(words.iter().all(|word| error.to_string().contains(word)), "{error}");
            is_refused("a writer", error.code());
            TableLog::find_to_read(&lake, table).await.expect("readers go on").expect("it is there");
        }
        let ingest = Computation::Raw.read_all(&lake, &log).await;
        is_refused("ingest", ingest.expect_err("refused").code());
        let aggregate = Computation::Minutes(parameters()).read_all(&lake, &log).await;
        is_refused("aggregate", aggregate.expect_err("refused").code());
        is_refused("compact", compact(&lake, 1).await.expect_err("refused").code());
        is_refused("upgrade", upgrade_all(&lake).await.expect_err("refused").code());
        assert_eq!(answers(&lake).await, before);
        assert!(answered(&lake, "select count(*) from clicks where network is not null").await.contains("| 0 "));
        assert!(answered(&lake, "select count(people) from clicks_minute").await.contains("| 0 "));
        is_audited(&lake).await;
    });
}

#[test]
fn a_spec_that_is_not_understood_is_refused_by_what_is_not_known_and_its_rows_are_read() {
    simulate(async {
        let (lake, _) = filled().await;
        let spec = "{\"caps\":[{\"at_most\":5}]}";
        let records = |metadata: &mut Value| metadata["configuration"][PROPERTY_SPEC] = json!(spec);
        alter(&lake, Table::ClicksMinute, records).await;
        let error = TableLog::open(&lake, Table::ClicksMinute).await.err().expect("refused");
        assert_eq!(error.code(), Some(Code::NeedUnknown), "{error}");
        let words = ["clicks_minute", PROPERTY_SPEC, "caps"];
        assert!(words.iter().all(|word| error.to_string().contains(word)), "{error}");
        assert!(answered(&lake, "select sum(clicks) > 0 as counted from clicks_minute").await.contains("true"));
    });
}

/// Rewrites files of a table without columns that carry no value in them, as if the files were older than these
/// columns: columns that are all null, and measures that are all 0. Returns how many columns of files it removed.
async fn forget_columns(lake: &Lake, table: Table) -> usize {
    if table.is_counts() {
        let is_measure = |name: &Value| Measure::ALL.iter().any(|measure| name == measure.column());
        alter(lake, table, |metadata| {
            columns(metadata, |all| {
                let measures = all.iter_mut().filter(|column| is_measure(&column["name"]));
                measures.for_each(|column| column["nullable"] = json!(true));
            });
        })
        .await;
    }
    let mut log = TableLog::open(lake, table).await.expect("the table opens");
    let (store, removes) = (log.object_store(), log.live_files().await.expect("memory"));
    let (mut adds, mut forgotten) = (Vec::new(), 0);
    for (number, file) in removes.iter().enumerate() {
        let path = path_of(&file.path).expect("a path");
        let bytes = store.get(&path).await.expect("a file").bytes().await.expect("memory");
        let reader = ParquetRecordBatchReaderBuilder::try_new(bytes).expect("Parquet").build().expect("a reader");
        let rows: Vec<_> = reader.map(|rows| rows.expect("rows")).collect();
        let rows = concat_batches(&rows[0].schema(), &rows).expect("rows");
        let kept: Vec<_> = (0..rows.num_columns()).filter(|at| says_something(table, &rows, *at)).collect();
        forgotten += rows.num_columns() - kept.len();
        let rows = rows.project(&kept).expect("its columns");
        let mut writer = ArrowWriter::try_new(Vec::new(), rows.schema(), None).expect("a writer");
        writer.write(&rows).expect("memory");
        let bytes = writer.into_inner().expect("memory");
        let folder = file.path.rsplit_once('/').map_or("", |(folder, _)| folder);
        let path = format!("{folder}/older-{number}.parquet");
        let size = i64::try_from(bytes.len()).expect("small");
        store.put(&path_of(&path).expect("a path"), bytes.into()).await.expect("memory");
        adds.push(Add { path, size, ..file.clone() });
    }
    let commit = Commit { adds, removes, data_change: false, ..Commit::new("rewrite") };
    assert!(matches!(log.commit(&commit).await, Ok(Outcome::Committed(_))));
    forgotten
}

/// Returns whether a column of rows has a value that is not null and, if it is a measure, not 0.
fn says_something(table: Table, rows: &RecordBatch, at: usize) -> bool {
    let (column, schema) = (rows.column(at), rows.schema());
    let is_measure = |measure: &Measure| measure.column() == schema.field(at).name();
    if table.is_counts() && Measure::ALL.iter().any(is_measure) {
        return column.as_primitive::<Int64Type>().iter().any(|value| value != Some(0));
    }
    column.null_count() < column.len()
}

#[test]
fn a_staging_table_is_opened_once_to_see_what_it_lacks() {
    simulate(async {
        let store = FaultStore::new(Arc::new(InMemory::new()), Box::new(|_| Fault::None));
        let lake = lake_on(Arc::new(store.clone()));
        let staging = Table::Staging("again".parse().expect("a name"));
        let looked = async || {
            let before = store.operations();
            let found = upgrade::lacking(&lake).await.expect("it is told");
            (found.iter().any(|lacking| lacking.table == staging), store.operations() - before)
        };
        TableLog::open(&lake, Table::Clicks).await.expect("memory");
        let (_, without) = looked().await;
        let mut definition = Parameters::default().definition(staging);
        definition.properties.push((PROPERTY_BACKFILL.to_owned(), "{}".to_owned()));
        TableLog::open_or_make(&lake, &definition).await.expect("memory");
        let before = store.operations();
        TableLog::find(&lake, staging).await.expect("memory").expect("the table");
        let (opened, (is_among, with)) = (store.operations() - before, looked().await);
        assert!(is_among && with <= without + opened, "{with} operations, {without} without it, {opened} to open it");
    });
}

async fn replaced(lake: &Lake, writes: Writes) -> Replaced {
    let stop = CancellationToken::new();
    let work = Work { lake, range: Part::All, at_a_time: 2, meter: Arc::default(), stop };
    Replace { work, writes, wait: Duration::ZERO }.run().await.expect("nothing fails")
}

#[test]
fn what_files_lack_reads_as_null_and_a_measure_as_nothing_whoever_reads() {
    simulate(async {
        // Nothing is late within a month, so that the minutes have a measure that is 0 in every file.
        let parameters = Parameters { allowed_lateness_ms: 30 * MILLIS_PER_DAY, ..parameters() };
        let (lake, log) = filled_by(parameters.clone()).await;
        let before = answers(&lake).await;
        for table in [Table::Clicks, Table::ClicksMinute] {
            assert!(forget_columns(&lake, table).await > 0, "{table}: no column of a file says nothing");
        }
        assert_eq!(answers(&lake).await, before);
        is_audited(&lake).await;
        // Counts that are computed again from the raw table equal those in the table.
        let Replaced::Compared(changes) = replaced(&lake, Writes::Nothing).await else { panic!("it writes nothing") };
        assert_eq!(changes.windows_changed(), 0, "{changes:?}");
        // Roll-ups, and files that are put together.
        compact(&lake, 2).await.expect("memory works");
        // With names of their own: the engine's would name the table.
        let sums = "sum(clicks) as clicks, sum(cost_micros) as cost_micros, sum(duplicates) as duplicates, \
                    sum(late) as late, sum(filtered) as filtered";
        let of_minutes = answered(&lake, &format!("select {sums} from clicks_minute")).await;
        for table in Table::ROLLED_UP {
            assert_eq!(answered(&lake, &format!("select {sums} from {table}")).await, of_minutes, "{table}");
        }
        assert_eq!(answers(&lake).await, before);
        is_audited(&lake).await;
        // An upgrade, and all of it counted again.
        for lacking in upgrade::lacking(&lake).await.expect("it is told") {
            upgrade::upgrade(&lake, lacking.table).await.expect("memory");
        }
        assert!(matches!(replaced(&lake, Writes::Always).await, Replaced::Committed(..)));
        Computation::Raw.read_all(&lake, &log).await.expect("ingest ends");
        Computation::Minutes(parameters).read_all(&lake, &log).await.expect("aggregate ends");
        assert_eq!(answers(&lake).await, before);
        is_audited(&lake).await;
        let jobs = versions(&lake, Table::ClicksMinute).await.into_iter().map(|version| version.job);
        assert!(jobs.into_iter().any(|job| job == "upgrade"));
    });
}

/// Returns the measures that the minutes record, and their cut.
async fn measured(lake: &Lake) -> (Measures, Cut) {
    let minutes = TableLog::find(lake, Table::ClicksMinute).await.expect("memory").expect("it is there");
    (minutes.parameters().expect("its own").measures, cut_of(&minutes.stands()))
}

#[test]
fn a_measure_that_an_upgrade_adds_counts_from_its_cut_on_and_once_promoted_from_the_start() {
    simulate(async {
        let (lake, log) = (lake_on(Arc::new(InMemory::new())), Arc::new(Log::of_seed(8, 3, 400)));
        let first = Parameters { measures: Measures::of_format_1(), ..parameters() };
        drop(TableLog::open_or_make(&lake, &first.definition(Table::ClicksMinute)).await.expect("a table"));
        let goes_on = async |log: &Arc<Log>| {
            Computation::Raw.read_all(&lake, log).await.expect("ingest ends");
            Computation::Minutes(parameters()).read_all(&lake, log).await.expect("aggregate ends");
            compact(&lake, 1).await.expect("memory works");
            is_audited(&lake).await;
        };
        goes_on(&Arc::new(log.earlier(|_, all| all / 2))).await;
        let (before, cut) = measured(&lake).await;
        assert_eq!(before, first.measures, "no job adds any");
        upgrade_all(&lake).await.expect("memory works");
        let (upgraded, _) = measured(&lake).await;
        assert_eq!(upgraded, first.measures.completed(&Measures::default(), &cut));
        goes_on(&log).await;
        // All that is closed, again: what was not counted then is not counted now.
        let Replaced::Compared(changes) = replaced(&lake, Writes::Nothing).await else { panic!("it writes nothing") };
        assert_eq!(changes.windows_changed(), 0, "{changes:?}");
        let (table, stop) = (Table::Staging("again".parse().expect("a name")), CancellationToken::new());
        let work = Work { lake: &lake, range: Part::All, at_a_time: 2, meter: Arc::default(), stop: stop.clone() };
        Staging { work, table, requested: Requested::default() }.run().await.expect("memory works");
        let (what, now) = (What::Staging(table), DateTime::UNIX_EPOCH);
        Promote { lake: &lake, what, now, stop }.run().await.expect("memory works").expect("nothing stops it");
        assert_eq!(measured(&lake).await.0, Measures::default(), "from the start");
        goes_on(&log).await;
        let stop = CancellationToken::new();
        let undo = Promote { lake: &lake, what: What::Before, now, stop };
        undo.run().await.expect("memory works").expect("nothing stops it");
        assert_eq!(measured(&lake).await.0, upgraded);
        goes_on(&log).await;
    });
}
