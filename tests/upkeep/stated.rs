//! Law: roll-ups whose files have no statistics, or wrong ones, as another engine may leave them, lose no row and cause
//! no panic. A watermark in the future closes no folder of today.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::AsArray;
use arrow::compute::sum;
use arrow::datatypes::Int64Type;
use chrono::DateTime;
use compactor::{Compactor, Done, Plan};
use deltalake::kernel::Add;
use lake_schemas::minute::Parameters;
use lake_schemas::{Stand, Table};
use lake_store::commit::{Commit, Outcome, TableLog};
use lake_store::{Lake, read};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};

use super::are_rolled_up;
use crate::NOON_MS;
use crate::by_hand::{MINUTE_MS, Row, append, minutes};
use crate::simulation::{lake_on, simulate};

/// Memory of the compactor, in bytes.
const MEMORY: usize = 1 << 28;

/// Adds one click in each of these hours, counted from noon.
async fn click(log: &mut TableLog, hours: impl IntoIterator<Item = i64>) {
    for hour in hours {
        let row = Row { minute: hour * 60, ad: "one".to_owned(), clicks: 1, ..Row::default() };
        append(log, &[row], &BTreeMap::new()).await;
    }
}

async fn round(lake: &Lake, plan: &Plan) -> Vec<Done> {
    let mut told = Vec::new();
    Compactor::new(lake.clone(), MEMORY).round(plan, &mut |done| told.push(done)).await.expect("memory");
    told
}

/// Replaces the live files of a table by copies whose entries in the log are changed by `change`.
async fn replace(store: &InMemory, lake: &Lake, table: Table, change: impl Fn(Add) -> Add) {
    let mut log = TableLog::find(lake, table).await.expect("memory").expect("the table");
    let removes = log.live_files().await.expect("memory");
    let mut adds = Vec::new();
    for file in &removes {
        let path = |path: &str| Path::from_url_path(format!("lake/{table}/{path}")).expect("a path");
        let other = file.path.replace("part-", "other-");
        store.copy(&path(&file.path), &path(&other)).await.expect("memory");
        adds.push(change(Add { path: other, ..file.clone() }));
    }
    let commit = Commit { adds, removes, data_change: false, ..Commit::new("another engine") };
    assert!(matches!(log.commit(&commit).await, Ok(Outcome::Committed(_))));
}

/// Rolls up, changes the entries of the files in the log, rolls up again, and checks that no sum is lost.
fn survives(change: impl Fn(Add) -> Add) {
    simulate(async {
        let store = Arc::new(InMemory::new());
        let lake = lake_on(Arc::clone(&store) as Arc<dyn ObjectStore>);
        let mut log = minutes(&lake, Table::ClicksMinute, &Parameters::default()).await;
        // Clicks of two days, of which only the second changes in the second round, and the first in the third.
        click(&mut log, [0, 1, 2, 3, 4, 5, 20, 21, 22, 23, 24, 25]).await;
        round(&lake, &Plan::default()).await;
        for table in Table::ROLLED_UP {
            replace(&store, &lake, table, &change).await;
        }
        click(&mut log, [21]).await;
        round(&lake, &Plan::default()).await;
        let [_, hours, days] = are_rolled_up(&lake).await.expect("they are the sums");
        assert!(hours.len() > 3 && days.len() > 3, "both were rolled up again");
        click(&mut log, [1]).await;
        round(&lake, &Plan::default()).await;
        are_rolled_up(&lake).await.expect("they are the sums");
    });
}

#[test]
fn files_without_statistics_keep_their_rows() {
    survives(|file| Add { stats: None, ..file });
    survives(|file| Add { stats: Some(r#"{"numRecords": 6}"#.to_owned()), ..file });
}

#[test]
fn statistics_that_end_before_they_begin_state_nothing() {
    survives(|file| {
        let stats = r#"{"minValues":{"window_start":"2026-03-09T00:00:00.000Z"},
            "maxValues":{"window_start":"2026-03-01T00:00:00.000Z"},"numRecords":6}"#;
        Add { stats: Some(stats.to_owned()), ..file }
    });
}

#[test]
fn a_file_without_a_partition_value_makes_the_whole_table_be_rolled_up_again() {
    simulate(async {
        let store = Arc::new(InMemory::new());
        let lake = lake_on(Arc::clone(&store) as Arc<dyn ObjectStore>);
        let mut log = minutes(&lake, Table::ClicksMinute, &Parameters::default()).await;
        click(&mut log, [0, 1, 20, 21]).await;
        // One compactor for both rounds, which follows the log: a table that is opened anew cannot list such a file.
        let mut compactor = Compactor::new(lake.clone(), MEMORY);
        compactor.round(&Plan::default(), &mut |_| ()).await.expect("memory");
        let nobodys = |file: Add| Add { partition_values: [("date".to_owned(), None)].into(), ..file };
        replace(&store, &lake, Table::ClicksHourly, nobodys).await;
        compactor.round(&Plan::default(), &mut |_| ()).await.expect("memory");
        let mut hours = TableLog::find(&lake, Table::ClicksHourly).await.expect("memory").expect("the table");
        let live = hours.live_files().await.expect("memory");
        assert!(live.iter().all(|file| file.partition_values["date"].is_some()), "{live:?}");
        let (schema, store) = (hours.schema(), hours.object_store());
        let mut clicks = 0;
        for file in live {
            let rows = read::all_rows(Arc::clone(&store), Table::ClicksHourly, Arc::clone(&schema), file).await;
            let rows = rows.expect("a file");
            clicks += rows.iter().map(|rows| sum(rows["clicks"].as_primitive::<Int64Type>()).unwrap_or(0)).sum::<i64>();
        }
        assert_eq!(clicks, 4);
    });
}

#[test]
fn a_watermark_ahead_of_time_closes_no_folder_of_today() {
    simulate(async {
        let store = Arc::new(InMemory::new());
        let lake = lake_on(Arc::clone(&store) as Arc<dyn ObjectStore>);
        let mut log = minutes(&lake, Table::ClicksMinute, &Parameters::default()).await;
        let at = |hours: i64| DateTime::from_timestamp_millis(NOON_MS + hours * 60 * MINUTE_MS);
        let ahead =
            Stand { cut: Some(1), watermark_ms: Some(NOON_MS + 10 * 365 * 24 * 60 * MINUTE_MS), ..Stand::default() };
        let is_merged = |done: &Done| matches!(done, Done::Merged { table: Table::ClicksHourly, .. });
        for hour in 0..6 {
            click(&mut log, [hour]).await;
            if hour == 0 {
                append(&mut log, &[], &BTreeMap::from([(0, ahead)])).await;
            }
            let told = round(&lake, &Plan { now: at(hour), ..Plan::default() }).await;
            assert!(!told.iter().any(is_merged), "today's file is written again by the next round: {told:?}");
        }
        let told = round(&lake, &Plan { now: at(13), ..Plan::default() }).await;
        assert!(told.iter().any(is_merged), "the day is over: {told:?}");
        are_rolled_up(&lake).await.expect("they are the sums");
    });
}
