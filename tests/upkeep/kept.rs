//! Law: kept versions can be read, file by file; expired versions are refused by name, and their files are gone.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use arrow::array::RecordBatch;
use chrono::{DateTime, Utc};
use compactor::{Compactor, Done, Keep, Plan};
use futures::TryStreamExt;
use lake_schemas::minute::{Pane, Parameters};
use lake_schemas::stand::source_version;
use lake_schemas::{Code, Table};
use lake_store::commit::{Commit, Move, Outcome, TableLog, TableView};
use lake_store::pins::{self, Pin, Pinned};
use lake_store::{Lake, files};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use tokio::time::{Instant, sleep};

use crate::clock_store::ClockStore;
use crate::fault_store::{Does, Fault, FaultStore, Judge};
use crate::history::{copy, entry, write_at};
use crate::simulation::{Engine, lake_on, simulate};

/// Number of versions of the lake's minutes; each was written a second after the one before.
const VERSIONS: u64 = 330;

/// Memory of the compactor, in bytes.
const MEMORY: usize = 1 << 28;

/// Returns Delta's unique id of the lake's minutes.
pub async fn id_of(lake: &Lake) -> String {
    let view = TableView::newest(lake, Table::ClicksMinute).await.expect("the store works");
    view.expect("the table is there").id().to_owned()
}

/// Makes one row of minutes.
fn row(number: i64) -> RecordBatch {
    use arrow::array::{ArrayRef, Int32Array, Int64Array, StringArray, TimestampMicrosecondArray, new_null_array};
    use arrow::compute::cast;
    let schema = Parameters::default().schema(Table::ClicksMinute);
    let columns = schema.fields().iter().map(|field| -> ArrayRef {
        let values: ArrayRef = match field.name().as_str() {
            "window_start" => Arc::new(TimestampMicrosecondArray::from(vec![1_772_884_800_000_000])),
            "window_end" => Arc::new(TimestampMicrosecondArray::from(vec![1_772_884_860_000_000])),
            "ad_id" | "topic" => Arc::new(StringArray::from(vec!["one"])),
            "pane" => Arc::new(StringArray::from(vec![Pane::OnTime.as_str()])),
            "campaign_id" => return new_null_array(field.data_type(), 1),
            "date" => Arc::new(Int32Array::from(vec![20_519])),
            "hour" => Arc::new(Int32Array::from(vec![12])),
            "kafka_partition" => Arc::new(Int32Array::from(vec![0])),
            "offset_next" => Arc::new(Int64Array::from(vec![number + 1])),
            _ => Arc::new(Int64Array::from(vec![number])),
        };
        cast(&values, field.data_type()).expect("a value of its type")
    });
    RecordBatch::try_new(Arc::clone(&schema), columns.collect()).expect("a row")
}

/// Makes a lake whose minutes gain a file with each version; every tenth version replaces ten files by one.
async fn lake() -> (Lake, Arc<InMemory>) {
    let store = Arc::new(InMemory::new());
    let lake = lake_on(Arc::clone(&store) as Arc<dyn ObjectStore>);
    let mut log = TableLog::open(&lake, Table::ClicksMinute).await.expect("the table");
    for version in 1..=VERSIONS {
        let rows = [row(version.cast_signed())];
        let mut adds = Vec::new();
        for file in files::encode(Table::ClicksMinute, &rows).await.expect("a file") {
            file.put(log.object_store().as_ref()).await.expect("memory");
            adds.push(file.add);
        }
        let live = if version % 10 == 0 { log.live_files().await.expect("memory") } else { Vec::new() };
        let commit = Commit { adds, removes: live, data_change: version % 10 != 0, ..Commit::new("test") };
        assert_eq!(log.commit(&commit).await.expect("memory"), Outcome::Committed(version));
        if let Some(checkpoint) = log.take_checkpoint_owed() {
            checkpoint.write_or_warn().await;
        }
    }
    for version in 0..=VERSIONS {
        write_at(&store, Table::ClicksMinute, version.cast_signed(), version.cast_signed()).await;
    }
    (lake, store)
}

fn second(second: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(second, 0).expect("a time")
}

/// Returns the lake on a store with this time, which took each version in the second of its number.
fn at(lake: &Lake, now: DateTime<Utc>) -> Lake {
    taken_at(lake, now, 0)
}

/// Returns the lake on a store with this time, which took each version `later` seconds after it was written.
fn taken_at(lake: &Lake, now: DateTime<Utc>, later: i64) -> Lake {
    let store = ClockStore::new(lake.outer_store().expect("a store").expect("in memory").1, now);
    for version in 0..=VERSIONS.cast_signed() {
        store.put_at(&entry(Table::ClicksMinute, version), second(version + later));
    }
    lake_on(Arc::new(store))
}

/// Cleans up at this time, and expires everything that is older than 150 s. Returns the reports.
async fn clean_up(lake: &Lake, now: DateTime<Utc>) -> Result<Vec<Done>, compactor::CompactError> {
    let lake = at(lake, now);
    let keep = Keep { now, keep: Duration::from_secs(150), orphans: true };
    let (mut told, plan) = (Vec::new(), Plan { keep: Some(keep), ..Plan::default() });
    Compactor::new(lake.clone(), MEMORY).round(&plan, &mut |done| told.push(done)).await?;
    Ok(told)
}

/// Records that the roll-ups are made of this version of the minutes, and of no later one.
async fn stand_on(lake: &Lake, version: i64) {
    let mut log = TableLog::open(lake, Table::ClicksHourly).await.expect("the table");
    let app_id = source_version(Table::ClicksHourly);
    let from = log.txn(&app_id);
    let moves = vec![Move { app_id, from, to: Some(version) }];
    assert!(matches!(log.commit(&Commit { moves, ..Commit::new("test") }).await, Ok(Outcome::Committed(_))));
}

async fn view(lake: &Lake) -> TableView {
    TableView::newest(lake, Table::ClicksMinute).await.expect("the table").expect("it is there")
}

/// Returns all data files that there are.
async fn data_files(store: &InMemory) -> BTreeSet<Path> {
    let folder = Path::from("lake/clicks_minute");
    let all: Vec<_> = store.list(Some(&folder)).try_collect().await.expect("memory");
    let paths = all.into_iter().map(|file| file.location);
    paths.filter(|path| !path.as_ref().contains("_delta_log")).collect()
}

/// Checks that every version from this one on can be read, to the last file, and that those before are refused.
async fn is_kept(lake: &Lake, store: &InMemory, from: u64) {
    can_be_read(lake, store, from, 1).await;
}

/// Checks every `one_in`th version as [`is_kept`] does.
async fn can_be_read(lake: &Lake, store: &InMemory, from: u64, one_in: usize) {
    let (newest, there) = (view(lake).await, data_files(store).await);
    assert_eq!(newest.first().await.expect("memory"), from);
    for version in (from..=newest.version()).step_by(one_in) {
        let files = newest.at(version).await.expect("it is kept").live_files().await.expect("it is kept");
        for file in files {
            let path = Path::from_url_path(format!("lake/clicks_minute/{}", file.path)).expect("a path");
            assert!(there.contains(&path), "version {version} lacks {path}");
        }
    }
    if let Some(before) = from.checked_sub(1) {
        let refused = newest.at(before).await.err().expect("refused");
        assert_eq!(refused.code(), Some(Code::VersionGone), "{refused}");
        let refused = (refused.code(), refused.to_string());
        // SQL says the same, of the version and of what it added.
        let sums = |of: String| async move { query::run(lake, &format!("select sum(clicks) from {of}")).await };
        let error = sums(format!("clicks_minute VERSION AS OF {before}")).await.expect_err("it is gone");
        assert_eq!((error.code(), error.to_string()), refused);
        let error = sums(format!("changes('clicks_minute', {before}, {from})")).await.expect_err("it is gone");
        assert_eq!((error.code(), error.to_string()), refused);
        sums(format!("clicks_minute VERSION AS OF {from}")).await.expect("it is kept");
    }
}

fn pin(name: &str, version: u64, expires: Option<DateTime<Utc>>) -> Pin {
    Pin { name: name.parse().expect("a name"), table: "clicks_minute".to_owned(), version, expires }
}

#[test]
fn versions_that_are_kept_can_be_read_and_others_are_gone_with_their_files() {
    simulate(async {
        let (lake, store) = lake().await;
        stand_on(&lake, VERSIONS.cast_signed()).await;
        let before = data_files(&store).await.len();
        // Version 250 is the last that is too old: what can be kept begins at the checkpoint before it.
        clean_up(&lake, second(400)).await.expect("memory");
        is_kept(&lake, &store, 200).await;
        let left = data_files(&store).await.len();
        // Before version 200, each ten files were replaced by one. Files that the checkpoint names are kept.
        assert!(left < before - 150, "{before} files before, {left} after");
        let again = clean_up(&lake, second(400)).await.expect("memory");
        assert!(!again.iter().any(|done| matches!(done, Done::GaveUp { .. })), "{again:?}");
    });
}

#[test]
fn a_writer_and_a_reader_that_were_there_before_go_on() {
    simulate(async {
        let (lake, _) = lake().await;
        stand_on(&lake, VERSIONS.cast_signed()).await;
        let (mut log, view) = (TableLog::open(&lake, Table::ClicksMinute).await.expect("the table"), view(&lake).await);
        clean_up(&lake, second(400)).await.expect("memory");
        assert!(!view.live_files().await.expect("its version is kept").is_empty());
        let newest = log.commit(&Commit::new("test")).await.expect("memory");
        assert!(matches!(newest, Outcome::Committed(version) if version > VERSIONS), "{newest:?}");
    });
}

#[test]
fn nothing_is_given_up_that_a_roll_up_has_yet_to_see() {
    simulate(async {
        let (lake, store) = lake().await;
        stand_on(&lake, 120).await;
        let late = at(&lake, second(400));
        let mut log = TableLog::open(&late, Table::ClicksMinute).await.expect("the table");
        let keep = Keep { now: second(400), keep: Duration::from_secs(150), orphans: false };
        let done = keep.apply(&late, &mut log, &[120], lake_store::commit::Deletes::Yes).await;
        assert!(matches!(done.expect("memory").done[..], [Done::GaveUp { cleaned, .. }] if cleaned.from == 100));
        is_kept(&lake, &store, 100).await;
    });
}

#[test]
fn a_pinned_version_survives_until_it_is_unpinned_or_its_time_is_up() {
    simulate(async {
        let (lake, store) = lake().await;
        stand_on(&lake, VERSIONS.cast_signed()).await;
        let (invoice, expiring) = (pin("invoice", 150, None), pin("expiring", 10, Some(second(390))));
        for pin in [&invoice, &expiring] {
            assert_eq!(pins::pin(&lake, Table::ClicksMinute, pin).await.expect("memory"), Pinned::Done);
        }
        let taken = pins::pin(&lake, Table::ClicksMinute, &pin("invoice", 151, None)).await.expect("memory");
        assert_eq!(taken, Pinned::Taken(invoice.clone()));
        assert_eq!(pins::all(&lake).await.expect("memory").pins, [expiring, invoice.clone()]);
        clean_up(&lake, second(400)).await.expect("memory");
        is_kept(&lake, &store, 100).await;
        assert!(pins::unpin(&lake, invoice.name).await.expect("memory"));
        assert!(!pins::unpin(&lake, invoice.name).await.expect("memory"));
        clean_up(&lake, second(400)).await.expect("memory");
        is_kept(&lake, &store, 200).await;
    });
}

/// Whichever of the two comes first, one sees the other.
#[test]
fn what_clean_up_has_announced_cannot_be_pinned_any_more() {
    simulate(async {
        let (lake, _) = lake().await;
        let late = pin("late", 150, None);
        pins::announce(&lake, Table::ClicksMinute, &id_of(&lake).await, 200).await.expect("memory");
        let refused = pins::pin(&lake, Table::ClicksMinute, &late).await.expect_err("refused");
        assert_eq!(refused.code(), Some(Code::VersionGone), "{refused}");
        assert!(refused.to_string().contains("version 150 of clicks_minute"), "{refused}");
        assert_eq!(pins::all(&lake).await.expect("memory").pins, []);
        for gone in [VERSIONS + 1, VERSIONS * 2] {
            let unknown = pins::pin(&lake, Table::ClicksMinute, &pin("unknown", gone, None)).await;
            assert_eq!(unknown.expect_err("refused").code(), Some(Code::VersionUnknown));
        }
    });
}

#[test]
fn a_file_that_no_version_names_goes_when_nobody_would_commit_it_any_more() {
    simulate(async {
        let (lake, store) = lake().await;
        stand_on(&lake, VERSIONS.cast_signed()).await;
        let orphan = Path::from("lake/clicks_minute/date=2026-03-07/hour=12/0123456789abcdef0123456789abcdef.parquet");
        store.put(&orphan, "rows".into()).await.expect("memory");
        let written = store.head(&orphan).await.expect("memory").last_modified;
        clean_up(&lake, written + chrono::Duration::days(6)).await.expect("memory");
        assert!(store.head(&orphan).await.is_ok(), "somebody may be about to commit it");
        clean_up(&lake, written + chrono::Duration::days(8)).await.expect("memory");
        assert!(store.head(&orphan).await.is_err());
        // By then all versions are too old, but the newest is kept.
        is_kept(&lake, &store, 300).await;
    });
}

/// Returns how many versions of the minutes are left, and whether a file that nobody has committed yet is there.
async fn left(lake: &Lake, store: &InMemory, file: &Path) -> (u64, bool) {
    (view(lake).await.first().await.expect("memory"), store.head(file).await.is_ok())
}

#[test]
fn a_compactor_whose_clock_is_wrong_deletes_nothing() {
    simulate(async {
        let (lake, store) = lake().await;
        stand_on(&lake, VERSIONS.cast_signed()).await;
        let file = Path::from("lake/clicks_minute/date=2026-03-07/hour=12/about-to-be-committed.parquet");
        store.put(&file, "rows".into()).await.expect("memory");
        let now = store.head(&file).await.expect("memory").last_modified;
        for apart in [chrono::Duration::days(30), chrono::Duration::days(-30), chrono::Duration::minutes(6)] {
            let keep = Keep { now: now + apart, keep: Duration::ZERO, orphans: true };
            let (mut told, plan) = (Vec::new(), Plan { keep: Some(keep), ..Plan::default() });
            Compactor::new(lake.clone(), MEMORY).round(&plan, &mut |done| told.push(done)).await.expect("it goes on");
            assert!(!told.iter().any(|done| matches!(done, Done::GaveUp { .. } | Done::Swept { .. })), "{told:?}");
            assert_eq!(left(&lake, &store, &file).await, (0, true), "{apart}");
        }
    });
}

#[test]
fn a_version_whose_writer_has_a_clock_that_is_behind_is_not_old_for_that() {
    simulate(async {
        let (lake, store) = lake().await;
        stand_on(&lake, VERSIONS.cast_signed()).await;
        let (hour, now) = (3_600, second(3_600 + 400));
        let late = taken_at(&lake, now, hour);
        let mut log = TableLog::open(&late, Table::ClicksMinute).await.expect("the table");
        let keep = Keep { now, keep: Duration::from_secs(150), orphans: false };
        keep.apply(&late, &mut log, &[VERSIONS], lake_store::commit::Deletes::Yes).await.expect("memory");
        is_kept(&lake, &store, 200).await;
    });
}

/// Returns a view of a lake whose operations are judged.
fn judged(lake: &Lake, judge: Judge) -> Lake {
    let store = lake.outer_store().expect("a store").expect("in memory").1;
    lake_on(Arc::new(FaultStore::judged(store, judge)))
}

/// Time of a round that has much to merge: longer than clocks may differ.
const LONG: Duration = Duration::from_secs(360);

#[test]
fn a_round_that_takes_long_gives_up_history_all_the_same() {
    simulate(async {
        let (lake, store) = lake().await;
        stand_on(&lake, VERSIONS.cast_signed()).await;
        let is_first = AtomicBool::new(true);
        let judge: Judge = Box::new(move |asked| {
            let is_slow = asked.does == Does::Write && is_first.swap(false, Ordering::Relaxed);
            if is_slow { Fault::Slow(LONG) } else { Fault::None }
        });
        // By the clock of the store it is so late when the round comes to history.
        let (slow, began) = (judged(&at(&lake, second(400)), judge), Instant::now());
        let keep = Keep { now: second(400) - LONG, keep: Duration::from_secs(150), orphans: false };
        let (mut told, plan) = (Vec::new(), Plan { keep: Some(keep), ..Plan::default() });
        Compactor::new(slow, MEMORY).round(&plan, &mut |done| told.push(done)).await.expect("memory");
        assert!(began.elapsed() >= LONG, "it took {:?}", began.elapsed());
        let is_it = |done: &Done| matches!(done, Done::GaveUp { cleaned, .. } if cleaned.from == 200);
        assert!(told.iter().any(is_it), "{told:?}");
        is_kept(&lake, &store, 200).await;
    });
}

#[test]
fn one_table_that_cannot_be_done_does_not_have_the_others_looked_through_each_time() {
    simulate(async {
        let (lake, _) = lake().await;
        stand_on(&lake, VERSIONS.cast_signed()).await;
        // Nobody knows the sum of a column of others.
        Engine::of(&lake, Table::ClicksHourly).add_column("note").await.expect("memory");
        let lists = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&lists);
        let judge: Judge = Box::new(move |asked| {
            let is_it = asked.does == Does::List && asked.path.as_ref() == "lake/clicks_minute";
            counted.fetch_add(u64::from(is_it), Ordering::Relaxed);
            Fault::None
        });
        let mut compactor = Compactor::new(judged(&at(&lake, second(400)), judge), MEMORY);
        let (hour, keep) = (Duration::from_secs(3_600), Duration::from_secs(150));
        let keep = Keep { now: second(400), keep, orphans: true };
        let plan = Plan { keep: Some(keep), orphans_every: 24 * hour, ..Plan::default() };
        for number in 0..25 {
            let error = compactor.round(&plan, &mut |_| ()).await.expect_err("the column stays");
            assert_eq!(error.code(), Some(Code::ForeignFeature), "{error}");
            assert!(error.to_string().contains("clicks_hourly: its column note"), "{error}");
            assert_eq!(lists.load(Ordering::Relaxed), 1 + number / 24, "in hour {number}");
            sleep(hour).await;
        }
    });
}

/// Beside a month of history, a look for old versions must not cost a month of requests.
#[test]
fn what_is_old_is_told_without_reading_what_is_kept() {
    simulate(async {
        let (lake, _) = lake().await;
        let counted =
            FaultStore::new(lake.outer_store().expect("a store").expect("in memory").1, Box::new(|_| Fault::None));
        let log = TableLog::open(&lake_on(Arc::new(counted.clone())), Table::ClicksMinute).await.expect("the table");
        let before = counted.operations();
        let now = at(&lake, second(400)).time().await.expect("memory");
        assert_eq!(now, second(400));
        assert_eq!(log.stored_by(second(250)).await.expect("memory"), None, "the store took all of them today");
        assert!(counted.operations() - before < 10, "{} operations", counted.operations() - before);
    });
}

#[test]
fn a_pin_that_cannot_be_read_keeps_its_table_and_stops_nothing_else() {
    simulate(async {
        let (lake, store) = lake().await;
        stand_on(&lake, VERSIONS.cast_signed()).await;
        let broken = Path::from("lake/_clicklake/pins/broken.json");
        for (content, of_minutes) in [("", true), ("{\"table\":\"clicks\",", true), ("{\"table\":\"clicks\"}", false)] {
            store.put(&broken, content.into()).await.expect("memory");
            clean_up(&lake, second(400)).await.expect("it goes on");
            assert_eq!(
                view(&lake).await.first().await.expect("memory"),
                if of_minutes { 0 } else { 200 },
                "{content:?}"
            );
            let error = pins::all(&lake).await.expect("memory").damaged[0].refused();
            assert_eq!(error.code(), Some(Code::PinDamaged), "{error}");
            assert!(error.to_string().contains("clicklake unpin broken"), "{error}");
        }
        assert!(pins::unpin(&lake, "broken".parse().expect("a name")).await.expect("memory"));
        assert_eq!(pins::all(&lake).await.expect("memory").pins, []);
        is_kept(&lake, &store, 200).await;
    });
}

/// Clean-up fails, gets wrong replies, or dies at any operation: the kept versions can be read all the same, and the
/// next clean-up finishes.
#[test]
fn a_clean_up_that_is_interrupted_leaves_what_is_kept() {
    simulate(async {
        let (lake, store) = lake().await;
        stand_on(&lake, VERSIONS.cast_signed()).await;
        drop(lake);
        let counted = FaultStore::new(copy(&store).await, Box::new(|_| Fault::None));
        clean_up(&lake_on(Arc::new(counted.clone())), second(400)).await.expect("memory");
        let operations = counted.operations();
        for number in (0..operations).step_by(usize::try_from(operations / 12).expect("small").max(1)) {
            for fault in [Fault::LoseReply, Fault::DieAfter] {
                let store = copy(&store).await;
                let plan = Box::new(move |operation| if operation == number { fault } else { Fault::None });
                let faulty = lake_on(Arc::new(FaultStore::new(Arc::clone(&store) as Arc<dyn ObjectStore>, plan)));
                let _ = clean_up(&faulty, second(400)).await;
                let lake = lake_on(Arc::clone(&store) as Arc<dyn ObjectStore>);
                let newest = view(&lake).await;
                for version in [200, 201, 250, VERSIONS] {
                    newest.at(version).await.expect("it is kept");
                }
                clean_up(&lake, second(400)).await.expect("memory");
                can_be_read(&lake, &store, 200, 26).await;
            }
        }
    });
}
