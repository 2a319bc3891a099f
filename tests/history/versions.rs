//! Laws of a table's versions: which of them can still be read, and which was the newest at a time.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use lake_schemas::job::Step;
use lake_schemas::{Code, Stand, Table, TopicPartition};
use lake_store::Lake;
use lake_store::commit::{Commit, Outcome, TableLog, TableView};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::clock_store::ClockStore;
use crate::fault_store::{Fault, FaultStore};
use crate::simulation::{for_seeds, lake_on, simulate};

/// Makes a lake with this number of versions of `clicks`, each of which moves a cut by one.
async fn lake_of(versions: i64) -> (Lake, Arc<InMemory>) {
    let store = Arc::new(InMemory::new());
    let lake = lake_on(Arc::clone(&store) as Arc<dyn ObjectStore>);
    let mut log = TableLog::open(&lake, Table::Clicks).await.expect("the table");
    let mut from = Stand::default();
    for cut in 1..=versions {
        let to = Stand { cut: Some(cut), read: Some(cut), ..Stand::default() };
        let partition = TopicPartition::new("clicks", 0);
        let step = Step { table: Table::Clicks, partition, rows: Vec::new(), from, to };
        let commit = Commit::epoch("test", &[step], Vec::new());
        assert!(matches!(log.commit(&commit).await, Ok(Outcome::Committed(_))));
        if let Some(checkpoint) = log.take_checkpoint_owed() {
            checkpoint.write().await.expect("a checkpoint");
        }
        from = to;
    }
    (lake, store)
}

/// Returns the path of the entry of a version.
pub fn entry(table: Table, version: i64) -> Path {
    Path::from(format!("lake/{table}/_delta_log/{version:020}.json"))
}

/// Makes a version look as if it had been written at that second.
pub async fn write_at(store: &dyn ObjectStore, table: Table, version: i64, second: i64) {
    let bytes = store.get(&entry(table, version)).await.expect("an entry").bytes().await.expect("memory");
    let text = String::from_utf8(bytes.to_vec()).expect("UTF-8");
    let lines = text.lines().map(|line| {
        let mut action: serde_json::Value = serde_json::from_str(line).expect("JSON");
        if let Some(info) = action.get_mut("commitInfo") {
            info["timestamp"] = (second * 1_000).into();
        }
        action.to_string()
    });
    let text = lines.collect::<Vec<_>>().join("\n");
    store.put(&entry(table, version), text.into()).await.expect("memory");
}

async fn newest(lake: &Lake) -> TableView {
    TableView::newest(lake, Table::Clicks).await.expect("the table").expect("it is there")
}

#[test]
fn what_was_cleaned_up_is_refused_with_what_is_left() {
    simulate(async {
        let (lake, store) = lake_of(120).await;
        for version in 0..100 {
            store.delete(&entry(Table::Clicks, version)).await.expect("memory");
        }
        let view = newest(&lake).await;
        for version in [100, 101, 120] {
            let cut: Vec<_> = view.at(version).await.expect("it is there").cut().into_values().collect();
            assert_eq!(cut, [version as i64]);
        }
        let gone = view.at(99).await.err().expect("refused");
        assert_eq!(gone.code(), Some(Code::VersionGone));
        assert_eq!(gone.to_string(), "version 99 of clicks is gone; versions 100 to 120 are still there");
        let unknown = view.at(121).await.err().expect("refused");
        assert_eq!(unknown.code(), Some(Code::VersionUnknown));
        assert_eq!(unknown.to_string(), "clicks has no version 121; its newest is 120");
    });
}

#[test]
fn a_versions_time_never_lies_before_that_of_the_one_before() {
    simulate(async {
        let (lake, store) = lake_of(4).await;
        for (version, second) in (0..).zip([100, 110, 130, 120, 140]) {
            write_at(&store, Table::Clicks, version, second).await;
        }
        let view = newest(&lake).await;
        let at = |second: i64| -> DateTime<Utc> { DateTime::from_timestamp(second, 0).expect("a time") };
        for (second, version) in [(100, 0), (109, 0), (110, 1), (120, 1), (129, 1), (130, 3), (139, 3), (9_999, 4)] {
            assert_eq!(view.version_at(at(second)).await.expect("there is one"), version, "at {second}");
        }
        let before = view.version_at(at(99)).await.expect_err("refused");
        assert_eq!(before.code(), Some(Code::VersionUnknown), "{before}");
        assert!(before.to_string().contains("1970-01-01T00:01:40"), "{before}");
    });
}

#[test]
fn a_time_is_looked_up_without_reading_all_versions() {
    simulate(async {
        let (lake, store) = lake_of(400).await;
        let at = |minute: i64| -> DateTime<Utc> { DateTime::from_timestamp(minute * 60, 0).expect("a time") };
        let clock = ClockStore::new(Arc::clone(&store) as Arc<dyn ObjectStore>, at(400));
        for version in 0..=400 {
            write_at(&store, Table::Clicks, version, version * 60).await;
            clock.put_at(&entry(Table::Clicks, version), at(version));
        }
        // A writer whose clock is hours ahead: what comes after it is not hidden behind it.
        write_at(&store, Table::Clicks, 200, 300 * 60).await;
        // One that is minutes ahead counts as it says.
        write_at(&store, Table::Clicks, 100, 105 * 60).await;
        drop(lake);
        let counted = FaultStore::new(Arc::new(clock), Box::new(|_| Fault::None));
        let view = newest(&lake_on(Arc::new(counted.clone()))).await;
        for (minute, version) in [(399, 399), (350, 350), (250, 250), (214, 199), (216, 216), (104, 99), (105, 105)] {
            let before = counted.operations();
            assert_eq!(view.version_at(at(minute)).await.expect("there is one"), version, "in minute {minute}");
            let operations = counted.operations() - before;
            assert!(operations < 120, "{operations} operations in minute {minute}");
        }
    });
}

/// Makes a log of one version for each of `seconds`, at which it was written, in a store that holds a copy of the log,
/// so that all its files have the same age.
async fn copied(seconds: &[i64]) -> (Lake, Arc<InMemory>) {
    let (lake, store) = lake_of(0).await;
    for (version, second) in (0..).zip(seconds) {
        if version == 0 {
            write_at(&store, Table::Clicks, 0, *second).await;
            continue;
        }
        write_empty_at(&store, Table::Clicks, version, *second).await;
    }
    (lake, store)
}

/// Writes a version that changes nothing, as if at that second.
async fn write_empty_at(store: &dyn ObjectStore, table: Table, version: i64, second: i64) {
    let entry_of = serde_json::json!({ "commitInfo": { "timestamp": second * 1_000, "operation": "WRITE" } });
    store.put(&entry(table, version), entry_of.to_string().into()).await.expect("memory");
}

/// Seconds between two versions of a long log.
pub const EVERY: i64 = 5;

/// Makes a log longer, up to a version that has a checkpoint: an entry every five seconds, none of which changes
/// anything.
pub async fn lengthen(lake: &Lake, store: &dyn ObjectStore, table: Table, until: i64) {
    let newest = TableView::newest(lake, table).await.expect("the table").expect("it is there").version();
    for version in newest.cast_signed() + 1..until {
        write_empty_at(store, table, version, version * EVERY).await;
    }
    let mut log = TableLog::open(lake, table).await.expect("the table");
    let outcome = log.commit(&Commit::new("test")).await.expect("memory");
    assert!(matches!(outcome, Outcome::Committed(version) if version == until.unsigned_abs()), "{outcome:?}");
    log.take_checkpoint_owed().expect("it is due").write().await.expect("a checkpoint");
    write_at(store, table, until, until * EVERY).await;
}

/// Returns the requests to a store since an earlier count: operations, pages of names, and names.
pub fn asked_since([operations, pages, names]: [u64; 3], store: &FaultStore) -> [u64; 3] {
    let [operations_now, pages_now, names_now] = asked_of(store);
    [operations_now - operations, pages_now - pages, names_now - names]
}

/// Returns the requests to a store: operations, pages of names, and names.
pub fn asked_of(store: &FaultStore) -> [u64; 3] {
    [store.operations(), store.pages(), store.names()]
}

#[test]
fn a_time_in_a_log_of_a_week_costs_few_reads_though_its_store_tells_no_times() {
    const VERSIONS: i64 = 6_000;
    const READS_MAX: u64 = 100;
    simulate(async {
        // A commit every five seconds, and a writer that is a little ahead.
        let seconds: Vec<_> = (0..VERSIONS).map(|number| number * 5 + number % 3 * 4).collect();
        let (lake, store) = copied(&seconds).await;
        drop(lake);
        let counted = FaultStore::new(store, Box::new(|_| Fault::None));
        let view = newest(&lake_on(Arc::new(counted.clone()))).await;
        for second in [0, 5, 777, 7_500, VERSIONS * 5, VERSIONS * 50] {
            let before = asked_of(&counted);
            let time = DateTime::from_timestamp(second, 0).expect("a time");
            let found = view.version_at(time).await.expect("there is one");
            let later = seconds.iter().position(|written| *written > second).unwrap_or(seconds.len());
            assert_eq!(found, later as u64 - 1, "at {second}");
            let [reads, pages, names] = asked_since(before, &counted);
            assert!(reads < READS_MAX, "{reads} reads at {second}");
            assert_eq!((pages, names), (1, 1), "only what the log begins with is listed");
        }
    });
}

#[test]
fn of_a_long_log_only_what_is_asked_for_is_listed() {
    const VERSIONS: i64 = 6_000;
    // From one checkpoint to the next: as many entries are read, and some of them again.
    const READS_MAX: u64 = 300;
    simulate(async {
        let (lake, store) = lake_of(0).await;
        for checkpoint in [2_400, 2_500, VERSIONS] {
            lengthen(&lake, &store, Table::Clicks, checkpoint).await;
        }
        let first: i64 = 2_400;
        for (is_cleaned_up, from) in [(false, 0), (true, first)] {
            if is_cleaned_up {
                for version in 0..first {
                    store.delete(&entry(Table::Clicks, version)).await.expect("memory");
                }
            }
            let counted = FaultStore::new(Arc::clone(&store) as Arc<dyn ObjectStore>, Box::new(|_| Fault::None));
            let view = newest(&lake_on(Arc::new(counted.clone()))).await;
            let [_, pages, names] = asked_of(&counted);
            assert!(pages <= 2 && names < 10, "{pages} pages of {names} names to open it");

            let before = asked_of(&counted);
            assert_eq!(view.first().await.expect("memory"), from.unsigned_abs());
            let [_, pages, names] = asked_since(before, &counted);
            assert!(pages == 1 && names < 3, "{pages} pages of {names} names to know the first");

            for version in [first, 2_450, 2_499, 2_500] {
                let before = asked_of(&counted);
                assert_eq!(
                    view.at(version.unsigned_abs()).await.expect("it is there").version(),
                    version.unsigned_abs()
                );
                let [reads, pages, names] = asked_since(before, &counted);
                assert!(reads < READS_MAX, "{reads} reads for version {version}");
                assert!(pages <= 2 && names < 1_200, "{pages} pages of {names} names for version {version}");

                let before = asked_of(&counted);
                let time = DateTime::from_timestamp(version * EVERY + 1, 0).expect("a time");
                assert_eq!(view.version_at(time).await.expect("there is one"), version.unsigned_abs());
                let [reads, pages, names] = asked_since(before, &counted);
                assert!(reads < 100 && pages == 1 && names < 4, "{reads} reads, {pages} pages of {names} names");
            }

            let before = asked_of(&counted);
            let gone = view.at(0).await.map(|view| view.version()).map_err(|error| error.to_string());
            let [_, pages, _] = asked_since(before, &counted);
            match gone {
                Ok(version) => assert!(version == 0 && !is_cleaned_up),
                Err(why) => assert_eq!(why, "version 0 of clicks is gone; versions 2400 to 6000 are still there"),
            }
            assert!(pages <= 3, "{pages} pages to know that it is gone");
        }
    });
}

#[test]
fn which_version_was_the_newest_at_a_time_does_not_change_when_the_log_does() {
    for_seeds(0..20, |seed| async move {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut clock = 1_000;
        let seconds: Vec<_> = (0..random.random_range(1..300))
            .map(|_| {
                clock += random.random_range(0..10);
                clock + random.random_range(0..120)
            })
            .collect();
        let (lake, store) = copied(&seconds).await;
        let view = newest(&lake).await;
        let times: Vec<_> = (0..10).map(|_| random.random_range(1_000..clock + 200)).collect();
        let mut answers = Vec::new();
        for second in times {
            let time = DateTime::from_timestamp(second, 0).expect("a time");
            let Ok(found) = view.version_at(time).await else { continue };
            let later = seconds.iter().position(|written| *written > second).unwrap_or(seconds.len());
            if found + 1 != later as u64 {
                return Err(format!("version {found} was found at {second}, and {later} is the first later one"));
            }
            answers.push((time, found));
        }
        // Clean-up takes what is old, and more comes: what is asked of the rest is answered as before.
        let gone = answers.iter().map(|(_, found)| found.saturating_sub(80)).min().unwrap_or(0);
        for version in 0..gone {
            store.delete(&entry(Table::Clicks, version as i64)).await.map_err(|error| error.to_string())?;
        }
        for (time, found) in answers {
            let again = view.version_at(time).await.map_err(|error| error.to_string())?;
            if again != found {
                return Err(format!("{time}: it was version {found}, and is {again}"));
            }
        }
        Ok(())
    });
}
