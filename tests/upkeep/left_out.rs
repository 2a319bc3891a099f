//! Law: one failure is one failure. A file that cannot be read or put, or a roll-up that fails, is reported and left
//! out, and the rest of the round is done. However often it fails, no files are left behind; and when the cause is
//! gone, it is done.

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chrono::DateTime;
use compactor::{CompactError, Compactor, Done, Keep, Plan};
use deltalake::kernel::Add;
use futures::TryStreamExt;
use ingest::decode::{BatchBuilder, Message};
use lake_schemas::job::Step;
use lake_schemas::minute::Parameters;
use lake_schemas::table::TIME_IN_FUTURE_MS;
use lake_schemas::{LogTime, Stand, Table, TopicPartition};
use lake_store::commit::{Commit, Outcome, TableLog};
use lake_store::{Lake, Statistics, files};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use serde_json::json;
use tokio::time::sleep;

use super::are_rolled_up;
use crate::NOON_MS;
use crate::by_hand::{MINUTE_MS, Row, append, minutes};
use crate::fault_store::{Does, Fault, FaultStore, Judge};
use crate::simulation::{lake_on, simulate};

const DAY_MS: i64 = 24 * 60 * MINUTE_MS;

/// Memory of the compactor, in bytes.
pub const MEMORY: usize = 1 << 28;

/// Makes a lake in memory.
pub fn lake() -> (Arc<InMemory>, Lake) {
    let store = Arc::new(InMemory::new());
    let lake = lake_on(Arc::clone(&store) as Arc<dyn ObjectStore>);
    (store, lake)
}

/// Returns another view of the content of a store.
pub fn seen(store: &Arc<InMemory>, judge: Judge) -> Lake {
    lake_on(Arc::new(FaultStore::judged(Arc::clone(store) as Arc<dyn ObjectStore>, judge)))
}

/// Commits clicks whose messages are of a day, each with `noise` bytes that do not compress.
pub async fn append_clicks(log: &mut TableLog, day: i64, clicks: i64, noise: usize) {
    let partition = TopicPartition::new("clicks", 0);
    let from = log.stand(&partition);
    let first = from.cut.unwrap_or(0);
    let mut batch = BatchBuilder::new(partition.clone(), first, TIME_IN_FUTURE_MS);
    let mut state = first.cast_unsigned() + 1;
    let mut random = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        char::from_digit(u32::try_from(state >> 59).expect("five bits"), 36).expect("a digit")
    };
    for offset in first..first + clicks {
        let noise: String = (0..noise).map(|_| random()).collect();
        let click = json!({ "ad_id": "one", "timestamp": NOON_MS + day * DAY_MS, "noise": noise }).to_string();
        let log_time = LogTime::from_millis(NOON_MS + day * DAY_MS);
        batch.push(&Message { offset, log_time, key: None, payload: Some(click.as_bytes()) });
    }
    let to = Stand { cut: Some(first + clicks), read: Some(first + clicks), ..Stand::default() };
    let step = Step { table: Table::Clicks, partition, rows: vec![batch.finish().events], from, to };
    let mut adds = Vec::new();
    for file in files::encode(Table::Clicks, &step.rows).await.expect("files") {
        file.put(log.object_store().as_ref()).await.expect("memory");
        adds.push(file.add);
    }
    let committed = log.commit(&Commit::epoch("ingest", &[step], adds)).await.expect("memory");
    assert!(matches!(committed, Outcome::Committed(_)), "{committed:?}");
    if let Some(checkpoint) = log.take_checkpoint_owed() {
        checkpoint.write_or_warn().await;
    }
}

/// Makes three days of clicks, each in a commit and a file; the last day still grows.
async fn three_days(lake: &Lake) -> TableLog {
    let mut log = TableLog::open(lake, Table::Clicks).await.expect("the table");
    for day in 0..3 {
        for _ in 0..40 {
            append_clicks(&mut log, day, 5, 0).await;
        }
    }
    log
}

pub fn path_of(table: Table, file: &Add) -> Path {
    Path::from_url_path(format!("lake/{table}/{}", file.path)).expect("a path")
}

/// Returns the live files of a table by their folder, in the order of their offsets.
async fn live(lake: &Lake, table: Table) -> BTreeMap<String, Vec<Add>> {
    let mut log = TableLog::find(lake, table).await.expect("memory").expect("the table");
    let mut live: BTreeMap<String, Vec<Add>> = BTreeMap::new();
    let mut files = log.live_files().await.expect("memory");
    files.sort_by_key(|file| lake_store::RawFile::of(file).map_or(0, |file| file.offsets.first));
    for file in files {
        let folder = file.path.rsplit_once('/').expect("a folder").0.to_owned();
        live.entry(folder).or_default().push(file);
    }
    live
}

/// Returns the data files of all tables that no version names.
pub async fn unnamed(lake: &Lake, store: &InMemory) -> Vec<Path> {
    let mut named = HashSet::new();
    for table in Table::ALL {
        let Some(mut log) = TableLog::find(lake, table).await.expect("memory") else { continue };
        named.extend(log.live_files().await.expect("memory").iter().map(|file| path_of(table, file)));
        for version in 0..=log.version() {
            let Some(files) = log.files_of(version).await.expect("memory") else { continue };
            named.extend(files.adds.iter().map(|file| path_of(table, file)));
            let path = |path: &String| Path::from_url_path(format!("lake/{table}/{path}")).expect("a path");
            named.extend(files.removes.iter().map(path));
        }
    }
    let all: Vec<_> = store.list(None).try_collect().await.expect("memory");
    let data = all.into_iter().map(|file| file.location);
    let is_data = |path: &Path| path.as_ref().ends_with(".parquet") && !path.as_ref().contains("_delta_log");
    data.filter(|path| is_data(path) && !named.contains(path)).collect()
}

/// Does a round. Returns its reports, and how it ended.
pub async fn round(compactor: &mut Compactor, plan: &Plan) -> (Vec<Done>, Result<(), CompactError>) {
    let mut told = Vec::new();
    let done = compactor.round(plan, &mut |done| told.push(done)).await;
    (told, done)
}

/// Returns the plan of a round that expires everything it may, by the clock of the store.
async fn keep(store: &InMemory) -> Plan {
    let path = Path::from("what time it is");
    store.put(&path, "now".into()).await.expect("memory");
    let now = store.head(&path).await.expect("memory").last_modified;
    store.delete(&path).await.expect("memory");
    Plan { keep: Some(Keep { now, keep: Duration::ZERO, orphans: false }), ..Plan::default() }
}

/// Returns the plan of a round `hours` hours after noon.
fn at(hours: i64) -> Plan {
    Plan { now: DateTime::from_timestamp_millis(NOON_MS + hours * 60 * MINUTE_MS), ..Plan::default() }
}

fn is_merged(done: &[Done], of: Table) -> bool {
    done.iter().any(|done| matches!(done, Done::Merged { table, .. } if *table == of))
}

#[test]
fn a_file_that_cannot_be_read_is_left_out_and_the_rest_of_the_round_is_done() {
    simulate(async {
        let (store, lake) = lake();
        three_days(&lake).await;
        let before = live(&lake, Table::Clicks).await;
        let [first, second, third] = ["2026-03-07", "2026-03-08", "2026-03-09"].map(|day| format!("log_date={day}"));
        let lost = &before[&second][20];
        store.delete(&path_of(Table::Clicks, lost)).await.expect("memory");
        let mut compactor = Compactor::new(lake.clone(), MEMORY);
        let (told, done) = round(&mut compactor, &keep(&store).await).await;
        let error = done.expect_err("it ends with what went wrong");
        let text = error.to_string();
        assert!(error.is_retryable() && text.contains("clicks: reading") && text.contains(&lost.path), "{text}");
        assert!(is_merged(&told, Table::Clicks), "{told:?}");
        assert!(told.iter().any(|done| matches!(done, Done::GaveUp { .. })), "{told:?}");
        let after = live(&lake, Table::Clicks).await;
        assert_eq!([&first, &second, &third].map(|day| after[day].len()), [1, 40, 1]);
        assert_eq!(unnamed(&lake, &store).await, []);
        let objects = async || store.list(None).try_collect::<Vec<_>>().await.expect("memory").len();
        for number in 0..8 {
            sleep(Duration::from_secs(60)).await;
            let _ = round(&mut compactor, &Plan::default()).await;
            assert_eq!(unnamed(&lake, &store).await, [], "round {number}");
        }
        // The files around the unreadable one are merged without it.
        let after = live(&lake, Table::Clicks).await;
        assert_eq!([&first, &second, &third].map(|day| after[day].len()), [1, 3, 1]);
        let settled = objects().await;
        for _ in 0..30 {
            sleep(Duration::from_secs(60)).await;
            let _ = round(&mut compactor, &Plan::default()).await;
        }
        assert_eq!(objects().await, settled, "nothing is written any more");
    });
}

#[test]
fn a_file_that_cannot_be_put_is_left_out_and_leaves_nothing() {
    simulate(async {
        let (store, lake) = lake();
        three_days(&lake).await;
        let tried = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&tried);
        let judge: Judge = Box::new(move |asked| {
            let is_it = asked.does == Does::Write && asked.path.as_ref().contains("log_date=2026-03-08/");
            if is_it && asked.bytes > 0 {
                counted.fetch_add(1, Ordering::Relaxed);
                return Fault::LoseReply;
            }
            Fault::None
        });
        let mut compactor = Compactor::new(seen(&store, judge), MEMORY);
        let (told, done) = round(&mut compactor, &keep(&store).await).await;
        let text = done.expect_err("it ends with what went wrong").to_string();
        assert!(text.contains("clicks: writing the data file log_date=2026-03-08/"), "{text}");
        assert!(is_merged(&told, Table::Clicks) && told.iter().any(|done| matches!(done, Done::GaveUp { .. })));
        for number in 0..120 {
            assert_eq!(unnamed(&lake, &store).await, [], "round {number}");
            sleep(Duration::from_secs(60)).await;
            let _ = round(&mut compactor, &Plan::default()).await;
        }
        // It is not encoded and put again each minute.
        let tried = tried.load(Ordering::Relaxed);
        assert!((4..=12).contains(&tried), "tried {tried} times in two hours");
    });
}

#[test]
fn a_roll_up_that_cannot_be_done_holds_up_nothing_else_and_is_done_when_it_can_be() {
    simulate(async {
        let (store, lake) = lake();
        three_days(&lake).await;
        let mut log = minutes(&lake, Table::ClicksMinute, &Parameters::default()).await;
        for hour in 0..3 {
            let row = Row { minute: hour * 60, ad: "one".to_owned(), clicks: 7, ..Row::default() };
            append(&mut log, &[row], &BTreeMap::new()).await;
        }
        let lost = path_of(Table::ClicksMinute, &log.live_files().await.expect("memory")[1]);
        let bytes = store.get(&lost).await.expect("it is there").bytes().await.expect("memory");
        store.delete(&lost).await.expect("memory");
        let mut compactor = Compactor::new(lake.clone(), MEMORY);
        let (told, done) = round(&mut compactor, &keep(&store).await).await;
        let error = done.expect_err("it ends with what went wrong");
        assert!(error.is_retryable() && error.to_string().contains("clicks_minute: reading"), "{error}");
        assert!(is_merged(&told, Table::Clicks) && told.iter().any(|done| matches!(done, Done::GaveUp { .. })));
        for _ in 0..10 {
            assert_eq!(unnamed(&lake, &store).await, []);
            sleep(Duration::from_secs(60)).await;
            let _ = round(&mut compactor, &Plan::default()).await;
        }
        store.put(&lost, bytes.into()).await.expect("memory");
        sleep(Duration::from_secs(16 * 60)).await;
        round(&mut compactor, &Plan::default()).await.1.expect("all can be read");
        let [_, hours, days] = are_rolled_up(&lake).await.expect("they are the sums");
        assert!(hours.len() > 1 && days.len() > 1);
    });
}

#[test]
fn a_store_that_fails_while_a_roll_up_reads_is_waited_for() {
    simulate(async {
        let (store, lake) = lake();
        let mut log = minutes(&lake, Table::ClicksMinute, &Parameters::default()).await;
        let row = Row { minute: 0, ad: "one".to_owned(), clicks: 7, ..Row::default() };
        append(&mut log, &[row], &BTreeMap::new()).await;
        let failed = AtomicU64::new(0);
        let judge: Judge = Box::new(move |asked| {
            let is_it = asked.does == Does::Read && asked.path.as_ref().contains("clicks_minute/date=");
            if is_it && failed.fetch_add(1, Ordering::Relaxed) == 0 { Fault::Fail } else { Fault::None }
        });
        let mut compactor = Compactor::new(seen(&store, judge), MEMORY);
        let error = round(&mut compactor, &Plan::default()).await.1.expect_err("the first read fails");
        assert!(matches!(&error, CompactError::Lake(error) if error.is_retryable()), "{error:?}");
        sleep(Duration::from_secs(60)).await;
        round(&mut compactor, &Plan::default()).await.1.expect("the store is back");
        are_rolled_up(&lake).await.expect("they are the sums");
    });
}

#[test]
fn a_roll_up_puts_each_file_before_it_reads_all_of_its_source() {
    simulate(async {
        const HOURS: i64 = 200;
        let (store, lake) = lake();
        let mut log = minutes(&lake, Table::ClicksMinute, &Parameters::default()).await;
        for hour in 0..HOURS {
            let row = Row { minute: hour * 60, ad: "one".to_owned(), clicks: 1, ..Row::default() };
            append(&mut log, &[row], &BTreeMap::new()).await;
        }
        let (read, written) = ("clicks_minute/date=", "clicks_hourly/date=");
        let asked: Arc<Mutex<Vec<Does>>> = Arc::default();
        let record = Arc::clone(&asked);
        let judge: Judge = Box::new(move |asked| {
            let is_it = match asked.does {
                Does::Read => asked.path.as_ref().contains(read),
                Does::Write => asked.path.as_ref().contains(written),
                Does::List => false,
            };
            if is_it {
                record.lock().expect("no panic").push(asked.does);
            }
            Fault::None
        });
        round(&mut Compactor::new(seen(&store, judge), MEMORY), &Plan::default()).await.1.expect("memory");
        let asked = asked.lock().expect("no panic").clone();
        let reads = asked.iter().filter(|does| **does == Does::Read).count();
        assert!(reads >= usize::try_from(HOURS).expect("small"), "{reads} reads");
        // A day is put before the next but one is read.
        let first = asked.iter().position(|does| *does == Does::Write).expect("hours are written");
        let before = asked[..first].iter().filter(|does| **does == Does::Read).count();
        assert!(before <= 48, "the first file was put after {before} of {reads} reads");
        are_rolled_up(&lake).await.expect("they are the sums");
    });
}

/// The link moves a megabyte a second for each request, none of which may take longer than ten seconds.
#[test]
fn a_closed_day_is_put_together_over_a_slow_link() {
    simulate(async {
        const LINK_BYTES: f64 = 1e6;
        let (store, lake) = lake();
        let mut log = TableLog::open(&lake, Table::Clicks).await.expect("the table");
        for (day, noise) in [(0, 2_000); 4].into_iter().chain([(1, 1)]) {
            append_clicks(&mut log, day, 3_000, noise).await;
        }
        let judge: Judge = Box::new(|asked| {
            let takes = Duration::from_secs_f64(asked.bytes as f64 / LINK_BYTES);
            if takes > Duration::from_secs(10) { Fault::Fail } else { Fault::Slow(takes) }
        });
        let mut compactor = Compactor::new(seen(&store, judge), MEMORY);
        round(&mut compactor, &Plan::default()).await.1.expect("each request is small");
        let live = live(&lake, Table::Clicks).await;
        let [file] = &live["log_date=2026-03-07"][..] else { panic!("{live:?}") };
        assert!(file.size > 12_000_000, "{}", file.size);
        let got = store.get(&path_of(Table::Clicks, file)).await.expect("it is there").meta.size;
        assert_eq!(got, file.size.unsigned_abs());
        assert_eq!(unnamed(&lake, &store).await, []);
    });
}

#[test]
fn a_file_of_a_roll_up_that_cannot_be_read_is_left_out_by_itself() {
    simulate(async {
        let (store, lake) = lake();
        let mut log = minutes(&lake, Table::ClicksMinute, &Parameters::default()).await;
        let mut compactor = Compactor::new(lake.clone(), MEMORY);
        // The watermark is ahead, so that the clock says when the day is closed.
        let ahead = Stand { cut: Some(1), watermark_ms: Some(NOON_MS + 365 * DAY_MS), ..Stand::default() };
        append(&mut log, &[], &BTreeMap::from([(0, ahead)])).await;
        for hour in 0..7 {
            let row = Row { minute: hour * 60, ad: "one".to_owned(), clicks: 7, ..Row::default() };
            append(&mut log, &[row], &BTreeMap::new()).await;
            round(&mut compactor, &at(hour)).await.1.expect("memory");
        }
        let mut hours: Vec<_> = live(&lake, Table::ClicksHourly).await.into_values().flatten().collect();
        hours.sort_by_key(|file| Statistics::of(file).window_starts());
        assert_eq!(hours.len(), 7);
        let lost = &hours[3];
        store.delete(&path_of(Table::ClicksHourly, lost)).await.expect("memory");
        let text = round(&mut compactor, &at(13)).await.1.expect_err("it is lost").to_string();
        assert!(text.contains("clicks_hourly: reading") && text.contains(&lost.path), "{text}");
        sleep(Duration::from_secs(60)).await;
        let (told, done) = round(&mut compactor, &at(13)).await;
        done.expect("it is left alone");
        let is_it = |done: &Done| matches!(done, Done::Merged { table: Table::ClicksHourly, files: (6, 2), .. });
        assert!(told.iter().any(is_it), "what is around it is put together: {told:?}");
        assert_eq!(unnamed(&lake, &store).await, []);
    });
}

#[test]
fn a_message_ahead_of_time_closes_no_raw_folder_of_today() {
    simulate(async {
        let (_, lake) = lake();
        let mut log = TableLog::open(&lake, Table::Clicks).await.expect("the table");
        let mut compactor = Compactor::new(lake.clone(), MEMORY);
        append_clicks(&mut log, 10 * 365, 5, 0).await;
        for hour in 0..6 {
            append_clicks(&mut log, 0, 5, 0).await;
            let (told, done) = round(&mut compactor, &at(hour)).await;
            done.expect("memory");
            assert!(!is_merged(&told, Table::Clicks), "today's files are written again by each round: {told:?}");
        }
        append_clicks(&mut log, 1, 5, 0).await;
        let (told, done) = round(&mut compactor, &at(24)).await;
        done.expect("memory");
        assert!(is_merged(&told, Table::Clicks), "the day is over: {told:?}");
    });
}
