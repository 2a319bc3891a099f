//! Law: `verify` finds tampering. Whatever is changed in a table behind the jobs' backs, it names the window and the
//! clicks.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int32Array, Int64Array, RecordBatch};
use arrow::compute::{concat_batches, filter_record_batch};
use arrow::datatypes::{DataType, Int32Type, Int64Type, SchemaRef, TimestampMicrosecondType};
use deltalake::kernel::Add;
use lake_schemas::minute::Parameters;
use lake_schemas::{Code, Table, TopicPartition, Windows};
use lake_store::commit::{Commit, ForeignChange, Outcome, TableLog};
use lake_store::path::path_of;
use lake_store::{Lake, files};
use object_store::ObjectStoreExt;
use object_store::memory::InMemory;
use query::totals::{self, Totals};
use query::verify::{Audit, Cause, Difference, Question, conservation, verify};

use crate::simulation::{Computation, Log, compact, lake_on, named as named_partition, simulate};
use crate::totals::others::{Others, WAY_OUT, files_of};

const MEMORY: usize = 1 << 30;

/// Makes a lake with both raw tables and minutes, all of one log.
async fn lake(parameters: Parameters) -> Lake {
    let (lake, log) = (lake_on(Arc::new(InMemory::new())), Arc::new(Log::of_seed(8, 3, 400)));
    Computation::Raw.read_all(&lake, &log).await.expect("ingest ends");
    Computation::Minutes(parameters).read_all(&lake, &log).await.expect("aggregate ends");
    lake
}

async fn audit(lake: &Lake) -> Audit {
    verify(lake, Question::default(), MEMORY).await.expect("an audit")
}

/// Returns the one difference that an audit finds.
async fn the_difference(lake: &Lake) -> Difference {
    let found = audit(lake).await;
    assert_eq!(found.differences.len(), 1, "{found}");
    found.differences.into_iter().next().expect("there is one")
}

/// Returns the rows of a table for which a condition is true, in the columns of the table, and in the order of the log.
async fn rows(lake: &Lake, table: Table, condition: &str) -> RecordBatch {
    let columns: Vec<_> = table.schema().fields().iter().map(|field| field.name().clone()).collect();
    let order = if table == Table::ClicksMinute { "offset_first" } else { "kafka_offset" };
    let sql = format!("select {} from {table} where {condition} order by {order}", columns.join(", "));
    let batches = query::run(lake, &sql).await.expect("the lake can be read");
    table.as_written(&concat_batches(&batches[0].schema(), &batches).expect("rows")).expect("its types")
}

/// Replaces files of a table by rows, in a commit that moves no stand.
async fn replace(lake: &Lake, table: Table, removes: Vec<Add>, rows: &[RecordBatch]) {
    let mut log = TableLog::open(lake, table).await.expect("the table opens");
    let files = files::encode(table, rows).await.expect("files");
    for file in &files {
        file.put(log.object_store().as_ref()).await.expect("memory");
    }
    let adds = files.into_iter().map(|file| file.add).collect();
    let commit = Commit { adds, removes, ..Commit::new("tampering") };
    assert!(matches!(log.commit(&commit).await, Ok(Outcome::Committed(_))));
}

/// All files of a table.
async fn all_files(lake: &Lake, table: Table) -> Vec<Add> {
    let log = TableLog::open(lake, table).await.expect("the table opens");
    let mut files = Vec::new();
    for version in 1..=log.version() {
        files.extend(log.files_of(version).await.expect("memory").expect("an entry").adds);
    }
    files
}

/// Loses the files of the first day of minutes.
pub async fn lose_the_first_day(lake: &Lake) {
    let mut files = all_files(lake, Table::ClicksMinute).await;
    let first = files.iter().map(|file| file.partition_values["date"].clone()).min().expect("there is one");
    files.retain(|file| file.partition_values["date"] == first);
    replace(lake, Table::ClicksMinute, files, &[]).await;
}

/// Replaces all rows of the minutes.
async fn rewrite(lake: &Lake, change: impl Fn(RecordBatch) -> Vec<RecordBatch>) {
    let rows = rows(lake, Table::ClicksMinute, "true").await;
    let removes = all_files(lake, Table::ClicksMinute).await;
    replace(lake, Table::ClicksMinute, removes, &change(rows)).await;
}

/// Returns the first row that counts `clicks` clicks.
fn row_of(rows: &RecordBatch, clicks: i64) -> usize {
    let counts = rows["clicks"].as_primitive::<Int64Type>();
    counts.values().iter().position(|found| *found == clicks).expect("there is such a row")
}

/// Returns the ids of the clicks that a row counts, by the raw table, each once.
async fn ids_of(lake: &Lake, rows: &RecordBatch, row: usize) -> Vec<String> {
    let number = |name: &str| rows[name].as_primitive::<Int64Type>().value(row);
    let partition = rows["kafka_partition"].as_primitive::<Int32Type>().value(row);
    let (topic, ad) = (rows["topic"].as_string::<i32>().value(row), rows["ad_id"].as_string::<i32>().value(row));
    let window = rows["window_start"].as_primitive::<TimestampMicrosecondType>().value(row);
    let sql = format!(
        "topic = '{topic}' and kafka_partition = {partition} and ad_id = '{ad}' and kafka_offset >= {} and \
         kafka_offset < {} and date_trunc('minute', event_time) = to_timestamp_micros({window})",
        number("offset_first"),
        number("offset_next")
    );
    let clicks = self::rows(lake, Table::Clicks, &sql).await;
    let mut ids: Vec<_> = clicks["click_id"].as_string::<i32>().iter().flatten().map(str::to_owned).collect();
    ids.dedup();
    ids
}

/// Returns the ids that a difference names for a cause.
fn named(difference: &Difference, cause: Cause) -> Vec<String> {
    let found = difference.clicks.iter().find(|(found, _)| *found == cause);
    found.unwrap_or_else(|| panic!("{difference}")).1.clone()
}

fn with_column(rows: &RecordBatch, name: &str, column: ArrayRef) -> RecordBatch {
    let schema: SchemaRef = rows.schema();
    let mut columns = rows.columns().to_vec();
    columns[schema.index_of(name).expect("a column")] = column;
    RecordBatch::try_new(schema, columns).expect("the same columns")
}

#[test]
fn an_untouched_lake_is_equal_and_conserved() {
    simulate(async {
        let lake = lake(Parameters::default()).await;
        let found = audit(&lake).await;
        assert!(found.is_equal() && found.windows > 3 && found.clicks > 100, "{found}");
        assert!(conservation(&lake, Table::ClicksMinute, MEMORY).await.expect("an audit").holds());
    });
}

#[test]
fn a_changed_count_is_named() {
    simulate(async {
        let lake = lake(Parameters::default()).await;
        let before = rows(&lake, Table::ClicksMinute, "true").await;
        let row = row_of(&before, 1);
        rewrite(&lake, |rows| {
            let counts = rows["clicks"].as_primitive::<Int64Type>().iter().enumerate();
            let counts: Int64Array =
                counts.map(|(at, count)| count.map(|count| count + i64::from(at == row))).collect();
            vec![with_column(&rows, "clicks", Arc::new(counts))]
        })
        .await;
        let difference = the_difference(&lake).await;
        assert_eq!((difference.found[0], difference.recounted[0]), (2, 1));
        assert_eq!(named(&difference, Cause::Among), ids_of(&lake, &before, row).await);
        let law = conservation(&lake, Table::ClicksMinute, MEMORY).await.expect("an audit");
        assert!(!law.holds() && law.to_string().contains("broken"), "{law}");
    });
}

#[test]
fn a_dropped_row_is_named() {
    simulate(async {
        let lake = lake(Parameters::default()).await;
        let before = rows(&lake, Table::ClicksMinute, "true").await;
        let row = row_of(&before, 1);
        rewrite(&lake, |rows| {
            let kept = (0..rows.num_rows()).map(|at| Some(at != row)).collect();
            vec![filter_record_batch(&rows, &kept).expect("rows")]
        })
        .await;
        let difference = the_difference(&lake).await;
        assert_eq!(named(&difference, Cause::Missing), ids_of(&lake, &before, row).await);
    });
}

#[test]
fn a_click_that_is_counted_twice_is_named() {
    simulate(async {
        let lake = lake(Parameters::default()).await;
        let before = rows(&lake, Table::ClicksMinute, "true").await;
        let row = row_of(&before, 1);
        rewrite(&lake, |rows| vec![rows.clone(), rows.slice(row, 1)]).await;
        let difference = the_difference(&lake).await;
        assert_eq!(named(&difference, Cause::Twice), ids_of(&lake, &before, row).await);
    });
}

#[test]
fn a_lost_day_of_minutes_is_named_click_by_click() {
    simulate(async {
        let lake = lake(Parameters::default()).await;
        let before = audit(&lake).await;
        lose_the_first_day(&lake).await;
        let found = audit(&lake).await;
        assert!(!found.is_equal() && (found.windows, found.clicks) == (before.windows, before.clicks), "{found}");
        // The clicks of the first differences are looked for.
        let causes: Vec<_> = found.differences.iter().filter_map(|one| one.clicks.first()).collect();
        assert!(!causes.is_empty() && causes.iter().all(|(cause, _)| *cause == Cause::Missing), "{found}");
    });
}

#[test]
fn a_lost_file_of_raw_clicks_is_found_out() {
    simulate(async {
        let lake = lake(Parameters::default()).await;
        let lost = all_files(&lake, Table::Clicks).await.remove(0);
        replace(&lake, Table::Clicks, vec![lost], &[]).await;
        let found = audit(&lake).await;
        assert!(!found.is_equal(), "{found}");
        let law = conservation(&lake, Table::ClicksMinute, MEMORY).await.expect("an audit").to_string();
        assert_eq!(law.matches("broken").count(), 2, "{law}");
    });
}

#[test]
fn a_raw_click_that_is_there_twice_is_found_out() {
    simulate(async {
        let lake = lake(Parameters::default()).await;
        let clicks = rows(&lake, Table::Clicks, "coalesce(event_type, 'click') = 'click'").await;
        replace(&lake, Table::Clicks, Vec::new(), &[clicks.slice(0, 1)]).await;
        let found = audit(&lake).await;
        assert!(!found.is_equal(), "{found}");
        assert!(!conservation(&lake, Table::ClicksMinute, MEMORY).await.expect("an audit").holds());
    });
}

#[test]
fn rows_of_a_partition_that_no_position_is_known_of_are_named() {
    simulate(async {
        let lake = lake(Parameters::default()).await;
        let row = rows(&lake, Table::ClicksMinute, "true").await.slice(0, 1);
        let row = with_column(&row, "kafka_partition", Arc::new(Int32Array::from(vec![99])));
        let row = with_column(&row, "clicks", Arc::new(Int64Array::from(vec![1_000_000])));
        replace(&lake, Table::ClicksMinute, Vec::new(), &[row]).await;
        let found = audit(&lake).await;
        assert!(!found.is_equal() && found.differing == 0, "{found}");
        let stranger = &found.strangers[0];
        assert_eq!((stranger.partition.partition, stranger.rows), (99, 1));
        assert!(found.to_string().starts_with("differs") && found.to_string().contains("/99: 1 row of clicks_minute"));
        assert_eq!(found.to_json()["strangers"][0]["partition"], 99);
        assert_eq!(found.to_json()["clicks"].as_i64().map(i128::from), Some(found.clicks));
        let law = conservation(&lake, Table::ClicksMinute, MEMORY).await.expect("an audit");
        assert!(!law.holds() && law.to_string().contains("/99: 1 row of clicks_minute"), "{law}");
    });
}

#[test]
fn hours_and_days_are_compared_with_what_they_are_made_of() {
    simulate(async {
        let lake = lake(Parameters::default()).await;
        compact(&lake, 1).await.expect("memory");
        let found = audit(&lake).await;
        let compared: Vec<_> = found.rolled_ups.compared.iter().map(|(table, ..)| *table).collect();
        assert!(found.is_equal() && compared == Table::ROLLED_UP, "{found}");
        for (table, source) in [(Table::ClicksDaily, "clicks_daily"), (Table::ClicksHourly, "clicks_hourly")] {
            let lost = files_of(&lake, table).await.swap_remove(0);
            replace(&lake, table, vec![lost], &[]).await;
            let found = audit(&lake).await;
            assert!(!found.is_equal() && found.differing == 0, "{found}");
            assert!(found.rolled_ups.differences.iter().any(|one| one.table == table), "{found}");
            assert!(found.to_string().contains(&format!("  {source} 2026-")), "{found}");
            assert_eq!(found.to_json()["equal"], false);
        }
    });
}

#[test]
fn a_lost_file_of_hours_or_days_is_a_difference_and_the_minutes_are_compared() {
    simulate(async {
        let lake = lake(Parameters::default()).await;
        compact(&lake, 1).await.expect("memory");
        let whole = audit(&lake).await;
        for table in Table::ROLLED_UP.into_iter().rev() {
            let lost = files_of(&lake, table).await.swap_remove(0).path;
            let store = TableLog::open(&lake, table).await.expect("the table opens").object_store();
            store.delete(&path_of(&lost).expect("a path")).await.expect("memory");
            let found = audit(&lake).await;
            assert!(!found.is_equal() && found.differing == 0, "{found}");
            assert!(found.to_string().starts_with(&format!("differs: {table} cannot be read; ")), "{found}");
            assert_eq!((found.windows, found.clicks), (whole.windows, whole.clicks), "{found}");
            let unreadable = &found.rolled_ups.unreadable;
            assert_eq!(unreadable.len(), 1, "{found}");
            let table = format!("{table}: its file");
            let words: [&str; 4] = [&table, &lost, "it held windows from 2026-", "`clicklake compact` makes it again"];
            assert!(words.into_iter().all(|word| unreadable[0].contains(word)), "{found}");
        }
    });
}

#[test]
fn a_lost_file_of_minutes_is_lost_to_questions_and_statements_too() {
    simulate(async {
        let lake = lake(Parameters::default()).await;
        let lost = files_of(&lake, Table::ClicksMinute).await.swap_remove(0).path;
        let store = TableLog::open(&lake, Table::ClicksMinute).await.expect("the table opens").object_store();
        store.delete(&path_of(&lost).expect("a path")).await.expect("memory");
        let asked = Totals::new(lake.clone()).expect("a session");
        let errors = [
            asked.answer(&totals::Question::default()).await.map(drop),
            query::run(&lake, "select sum(clicks) from clicks_minute where ad_id > ''").await.map(drop),
        ];
        for error in errors {
            let error = error.expect_err("it is lost");
            let said = error.to_string();
            assert_eq!(error.code(), Some(Code::FileDamaged), "{said}");
            assert!(said.starts_with("clicks_minute: its file ") && said.contains("backfill --into"), "{said}");
        }
    });
}

#[test]
fn a_file_of_minutes_that_is_damaged_is_named_with_what_to_do() {
    simulate(async {
        let lake = lake(Parameters::default()).await;
        let file = files_of(&lake, Table::ClicksMinute).await.swap_remove(0);
        let store = TableLog::open(&lake, Table::ClicksMinute).await.expect("the table opens").object_store();
        let path = path_of(&file.path).expect("a path");
        let mut bytes = store.get(&path).await.expect("a file").bytes().await.expect("memory").to_vec();
        let pages = bytes.len() / 2;
        bytes[4..pages].iter_mut().for_each(|byte| *byte ^= 0x55);
        store.put(&path, bytes.into()).await.expect("memory");
        let asked = Totals::new(lake.clone()).expect("a session");
        let errors = [
            asked.answer(&totals::Question::default()).await.map(drop),
            verify(&lake, Question::default(), MEMORY).await.map(drop),
            conservation(&lake, Table::ClicksMinute, MEMORY).await.map(drop),
        ];
        for error in errors {
            let error = error.expect_err("it is damaged");
            let said = error.to_string();
            assert_eq!(error.code(), Some(Code::FileDamaged), "{said}");
            for word in ["clicks_minute", file.path.as_str(), "backfill --into"] {
                assert!(said.contains(word), "{word:?} is not in: {said}");
            }
        }
    });
}

#[test]
fn a_row_that_is_there_twice_does_not_make_up_for_one_that_is_lost() {
    simulate(async {
        let lake = lake(Parameters::default()).await;
        let mut of_partitions = Vec::new();
        for number in 0..3 {
            let TopicPartition { topic, partition } = named_partition(number);
            let condition = format!("topic = '{topic}' and kafka_partition = {partition}");
            of_partitions.push(rows(&lake, Table::Clicks, &condition).await);
        }
        of_partitions.retain(|rows| rows.num_rows() > 2);
        let all = files_of(&lake, Table::Clicks).await;
        let first = of_partitions.remove(0);
        let tampered = [first.slice(0, 1), first.slice(0, 1), first.slice(2, first.num_rows() - 2)];
        replace(&lake, Table::Clicks, all, &tampered).await;
        for rows in of_partitions {
            replace(&lake, Table::Clicks, Vec::new(), &[rows]).await;
        }
        let law = conservation(&lake, Table::ClicksMinute, MEMORY).await.expect("an audit");
        assert!(!law.raw.holds() && law.to_string().contains("1 row at positions that other rows have"), "{law}");
        assert_eq!(law.to_json()["holds"], false);
    });
}

#[test]
fn a_range_looks_at_its_own_windows_only() {
    simulate(async {
        let lake = lake(Parameters::default()).await;
        let before = rows(&lake, Table::ClicksMinute, "true").await;
        let row = row_of(&before, 1);
        rewrite(&lake, |rows| vec![rows.clone(), rows.slice(row, 1)]).await;
        let window = the_difference(&lake).await.key.window;
        let after = lake_schemas::EventTime::from_millis(window.millis() + 60_000);
        let is_equal = async |from, to| {
            let windows = Windows::between(from, to).expect("whole minutes");
            let found = verify(&lake, Question { windows, ..Question::default() }, MEMORY).await.expect("an audit");
            (found.is_equal(), found.windows)
        };
        assert!(!is_equal(Some(window), after).await.0);
        assert!(!is_equal(Some(window), None).await.0);
        let (earlier, later) = (is_equal(None, Some(window)).await, is_equal(after, None).await);
        assert!(earlier.0 && later.0, "{earlier:?}, {later:?}");
        assert_eq!(earlier.1 + later.1 + 1, audit(&lake).await.windows);
        assert!(Windows::between(lake_schemas::EventTime::from_millis(1), None).is_err());
    });
}

#[test]
fn copies_beyond_the_horizon_are_listed_and_do_not_fail() {
    simulate(async {
        let none = Parameters { dedup_horizon_ms: 0, allowed_lateness_ms: 0, ..Parameters::default() };
        let (lake, log) = (lake_on(Arc::new(InMemory::new())), Arc::new(Log::with_copies_far_apart()));
        Computation::Raw.read_all(&lake, &log).await.expect("ingest ends");
        Computation::Minutes(none).read_all(&lake, &log).await.expect("aggregate ends");
        let found = audit(&lake).await;
        assert!(found.is_equal(), "{found}");
        let ids: Vec<_> = found.counted_again.iter().map(|one| (one.click_id.as_str(), one.counted.len())).collect();
        assert_eq!(ids, [("far-apart", 2), ("in-two-partitions", 2)], "{found}");
        assert_eq!(found.explained.len(), 1, "{found}");
        assert!(found.to_string().contains("beyond the dedup horizon"), "{found}");
    });
}

#[test]
fn what_others_change_is_listed_whatever_table_it_is_of() {
    simulate(async {
        let lake = lake(Parameters::default()).await;
        compact(&lake, 1).await.expect("memory");
        assert!(audit(&lake).await.foreign.changes.is_empty(), "all that is there is ours");
        for table in Table::ALL {
            let (mut others, file) = (Others::of(&lake, table).await, files_of(&lake, table).await.swap_remove(0));
            others.delete(&file).await;
            others.restore(&file).await;
        }
        let done = |changes: &[ForeignChange]| {
            let done = changes.iter().map(|change| (change.table, change.operation.clone()));
            done.collect::<BTreeSet<_>>()
        };
        let expected = Table::ALL.map(|table| ["DELETE", "RESTORE"].map(|name| (table, name.to_owned())));
        let expected: BTreeSet<_> = expected.into_iter().flatten().collect();
        let found = audit(&lake).await;
        assert!(found.is_equal() && done(&found.foreign.changes) == expected, "{found}");
        let law = conservation(&lake, Table::ClicksMinute, MEMORY).await.expect("an audit");
        assert!(law.holds() && done(&law.foreign.changes) == expected, "{law}");
        // One that is refused keeps nobody from comparing others, and is not taken for equal.
        Others::of(&lake, Table::ClicksHourly).await.turn_vectors_on().await;
        let found = audit(&lake).await;
        assert!(!found.is_equal() && found.differing == 0 && found.to_string().contains(WAY_OUT), "{found}");
        assert!(found.to_string().contains("1 roll-up that cannot be read"), "{found}");
        assert!(!found.to_string().contains("differs: 0 sums"), "{found}");
        assert_eq!(found.to_json()["rolled_up"]["unreadable"].as_array().map(Vec::len), Some(1));
    });
}

#[test]
fn the_types_of_a_reader_do_not_matter() {
    let wide =
        RecordBatch::try_from_iter([("click_id", Arc::new(arrow::array::StringViewArray::from(vec!["a"])) as _)]);
    let written = Table::Clicks.as_written(&wide.expect("a batch")).expect("its types");
    assert_eq!(written.column(0).data_type(), &DataType::Utf8);
}
