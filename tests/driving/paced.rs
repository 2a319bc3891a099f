//! Laws of how often jobs commit, because commits cost: the number of commits does not depend on how many partitions
//! fall silent, or how old their clicks are; no commit writes into an unbounded number of hours; and a commit without
//! rows waits.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::AsArray;
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use ingest::drive::CommitPolicy;
use lake_schemas::Table;
use object_store::memory::InMemory;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::{all_of, minutes};
use crate::simulation::{Computation, Log, START_MS, Version, lake_on, named, simulate, versions};

const HOUR_MS: i64 = 3_600_000;

/// Most hours that a commit may write into: those at which an epoch is cut, the newest, and those of the last batch.
const HOURS_MAX: usize = 2_020;

/// Returns how many events all versions of the minutes have counted, whatever their verdict.
fn counted(versions: &[Version]) -> i64 {
    let sums = versions.iter().flat_map(|version| &version.rows).map(|rows| {
        let sum = |name: &str| rows[name].as_primitive::<Int64Type>().values().iter().sum::<i64>();
        sum("clicks") + sum("late") + sum("duplicates")
    });
    sums.sum()
}

/// Returns how many hours a version of the minutes wrote into.
fn hours(version: &Version) -> usize {
    let starts = version.rows.iter().flat_map(|rows| rows["window_start"].as_primitive::<TimestampMicrosecondType>());
    starts.flatten().map(|micros| micros.div_euclid(1_000 * HOUR_MS)).collect::<BTreeSet<_>>().len()
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
        minutes().run_for(&lake, &log, CommitPolicy::every(interval), RUNS + Duration::from_secs(30)).await;
        let versions = versions(&lake, Table::ClicksMinute).await;
        let (number, most) = (versions.len() as u64, RUNS.as_secs() / interval.as_secs() + 6);
        assert!(number <= most, "{number} versions in {RUNS:?}");
        let a_day = number * 86_400 / RUNS.as_secs();
        assert!(a_day <= 20_000, "{a_day} versions a day");
        assert_eq!(counted(&versions), 8 * PARTITIONS as i64, "all are idle by now, and written out");
    });
}

#[test]
fn a_stand_alone_waits_a_minute_and_rows_do_not() {
    simulate(async {
        // A click every two seconds: the first minute is over with the click of its 66th second.
        let times = (0..60).map(|number| START_MS + number * 2_000).map(|ms| (ms, ms)).collect();
        let after = |_, number: usize| Duration::from_secs(2 * number as u64);
        let log = Arc::new(Log::of_times([times].into_iter()).coming(after));
        let (lake, began) = (lake_on(Arc::new(InMemory::new())), Instant::now());
        let jobs = [Computation::Raw, minutes()].map(|computation| {
            let ((source, _), lake) = (all_of(&log), lake.clone());
            let (policy, stop) = (CommitPolicy::every(Duration::from_secs(1)), CancellationToken::new());
            tokio::spawn(async move { computation.run(&lake, source, policy, None, stop).await })
        });
        let mut cuts = Vec::new();
        for (seconds, rows) in [(55, 0), (64, 0), (74, 30), (110, 30)] {
            sleep_until(began + Duration::from_secs(seconds)).await;
            let versions = versions(&lake, Table::ClicksMinute).await;
            let cut = versions.last().and_then(|newest| newest.stand(&named(0)).cut).unwrap_or(0);
            assert_eq!(counted(&versions), rows, "after {seconds} s, at {cut}");
            cuts.push(cut);
        }
        assert!(cuts[0] == 0 && cuts[1] > 28, "the first stand waits a minute: {cuts:?}");
        assert!(
            cuts[2] > 33 && cuts[2] == cuts[3],
            "rows take their stand with them, and the next one waits: {cuts:?}"
        );
        // Each commit of clicks has rows, and waits for no stand.
        assert!(versions(&lake, Table::Clicks).await.len() > 50);
        assert!(jobs.iter().all(|job| !job.is_finished()), "the jobs go on");
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
        minutes().run_for(&lake, &log, CommitPolicy::every(Duration::from_millis(500)), Duration::from_secs(240)).await;
        let versions = versions(&lake, Table::ClicksMinute).await;
        assert!(versions.len() <= 10, "{} versions of a minute's clicks", versions.len());
        assert_eq!(counted(&versions), CLICKS);
    });
}

#[test]
fn no_commit_writes_into_hours_without_end_however_long_it_was_waited_for() {
    const CLICKS: i64 = 4_500;
    // All are there at once: of a client whose clock is anywhere, and of a history with a click an hour.
    let anywhere = |number: i64| (START_MS - (number * 991 % CLICKS) * HOUR_MS, START_MS);
    let in_order = |number: i64| (START_MS - (CLICKS - number) * HOUR_MS, START_MS - (CLICKS - number) * HOUR_MS);
    let worlds: [Vec<(i64, i64)>; 2] = [(0..CLICKS).map(anywhere).collect(), (0..CLICKS).map(in_order).collect()];
    for times in worlds {
        simulate(async {
            let (log, lake) = (Arc::new(Log::of_times([times].into_iter())), lake_on(Arc::new(InMemory::new())));
            minutes()
                .run_for(&lake, &log, CommitPolicy::every(Duration::from_secs(60)), Duration::from_secs(240))
                .await;
            let versions = versions(&lake, Table::ClicksMinute).await;
            let hours: Vec<_> = versions.iter().map(hours).collect();
            assert!(hours.iter().all(|hours| *hours <= HOURS_MAX), "{hours:?}");
            assert!(hours.len() <= 10, "{hours:?}: more commits than it takes");
            assert_eq!(counted(&versions), CLICKS);
        });
    }
}
