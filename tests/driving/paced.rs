//! Commits cost: how many there are does not hang on how many partitions fall silent, or how old their clicks are.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use ingest::drive::Pace;
use lake_schemas::{Lake, Table};
use object_store::memory::InMemory;

use super::minutes;
use crate::simulation::{Log, START_MS, lake_on, simulate, versions};

const HOUR_MS: i64 = 3_600_000;

/// What all versions of the minutes have counted, whatever it was taken for.
async fn counted(lake: &Lake) -> i64 {
    let rows = versions(lake, Table::ClicksMinute).await.into_iter().flat_map(|version| version.rows);
    let sums = rows.map(|rows| {
        let sum = |name: &str| rows[name].as_primitive::<Int64Type>().values().iter().sum::<i64>();
        sum("clicks") + sum("late") + sum("duplicates")
    });
    sums.sum()
}

#[test]
fn partitions_that_fall_silent_one_by_one_share_their_commits() {
    const PARTITIONS: usize = 100;
    const EVERY_MS: u64 = 30_000;
    const RUNS: Duration = Duration::from_secs(240);
    simulate(async {
        // One message each every half minute, and never two at once.
        let after = |partition: usize, number: usize| {
            let (partition, number) = (partition as u64, number as u64);
            Duration::from_millis(number * EVERY_MS + partition * EVERY_MS / PARTITIONS as u64)
        };
        let time = |partition: usize, number: usize| START_MS + after(partition, number).as_millis() as i64;
        let times = |partition| (0..8).map(|number| time(partition, number)).map(|ms| (ms, ms)).collect();
        let log = Arc::new(Log::of_times((0..PARTITIONS).map(times)).coming(after));
        let (lake, interval) = (lake_on(Arc::new(InMemory::new())), Duration::from_secs(5));
        minutes().run_for(&lake, &log, Pace::every(interval), RUNS + Duration::from_secs(30)).await;
        let versions = versions(&lake, Table::ClicksMinute).await.len() as u64;
        let most = RUNS.as_secs() / interval.as_secs() + 6;
        assert!(versions <= most, "{versions} versions in {RUNS:?}");
        let a_day = versions * 86_400 / RUNS.as_secs();
        assert!(a_day <= 20_000, "{a_day} versions a day");
        assert_eq!(counted(&lake).await, 8 * PARTITIONS as i64, "all are idle by now, and written out");
    });
}

#[test]
fn clicks_of_thousands_of_hours_cost_few_commits() {
    const CLICKS: i64 = 5_000;
    simulate(async {
        // A client whose clock is anywhere: an hour for each click, and all of them late.
        let times = (0..CLICKS).map(|number| (START_MS - number * HOUR_MS, START_MS)).collect();
        let after = |_, number: usize| Duration::from_millis(number as u64 * 10);
        let log = Arc::new(Log::of_times([times].into_iter()).coming(after));
        let lake = lake_on(Arc::new(InMemory::new()));
        minutes().run_for(&lake, &log, Pace::every(Duration::from_millis(500)), Duration::from_secs(240)).await;
        let versions = versions(&lake, Table::ClicksMinute).await.len();
        assert!(versions <= 10, "{versions} versions of a minute's clicks");
        assert_eq!(counted(&lake).await, CLICKS);
    });
}
