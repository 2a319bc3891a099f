//! Law: an earlier version is read once for all who ask for it, is kept for a minute within the memory that there is,
//! and costs a bounded number of requests, however long the log is.

use std::time::Duration;

use chrono::DateTime;
use futures::future::join_all;
use lake_schemas::Table;
use lake_schemas::table::Version;
use query::totals::{AsOf, Question, Totals};
use tokio::time::{Instant, advance};

use super::SUMMING_MAX;
use super::questions::{answer, by_ad, contents, granularities, is_right, sums_of};
use super::world::World;
use crate::fault_store::FaultStore;
use crate::history::{EVERY, asked_of, asked_since, lengthen};
use crate::simulation::{compact, simulate};

/// Memory of questions, in bytes, which many share at a time.
const MEMORY: usize = 1 << 30;

/// Number of questions that are asked at a time.
const AT_ONCE: usize = 32;

/// A little longer than an earlier version is kept.
const FORGOTTEN: Duration = Duration::from_secs(61);

fn all(as_of: AsOf) -> Question {
    Question { as_of, ..by_ad(None) }
}

/// Returns totals that have looked at the lake, and the store that counts their requests.
async fn looking(world: &World) -> (Totals, FaultStore) {
    let (lake, counted) = world.counted_lake();
    let totals = Totals::within(lake, MEMORY).expect("a session");
    totals.look(Instant::now() + SUMMING_MAX).await.expect("memory works");
    (totals, counted)
}

/// Makes a world in which something was rolled up, and something came after that.
async fn rolled_up() -> World {
    let mut world = World::of_seed(6).await;
    for _ in 0..6 {
        world.append().await;
    }
    compact(&world.lake, 1).await.expect("memory works");
    world.append().await;
    world
}

#[test]
fn an_earlier_version_is_read_once_for_all_who_ask_for_it_and_kept_for_a_minute() {
    simulate(async {
        let world = rolled_up().await;
        let contents = contents(&world.lake).await;
        for version in [3, world.log.version()] {
            let asked = all(AsOf::Version(version));
            let (alone, counted) = looking(&world).await;
            let before = asked_of(&counted);
            answer(&alone, &asked).await.expect("an answer");
            let [_, pages, _] = asked_since(before, &counted);

            let (totals, counted) = looking(&world).await;
            let before = asked_of(&counted);
            for answer in join_all((0..AT_ONCE).map(|_| answer(&totals, &asked))).await {
                is_right(&answer.expect("an answer"), &contents, &asked).expect("the plain sum");
            }
            let [_, pages_of_all, _] = asked_since(before, &counted);
            assert_eq!(pages_of_all, pages, "as if one had asked");

            let before = asked_of(&counted);
            for granularity in granularities() {
                let asked = Question { granularity, ..asked.clone() };
                let answer = answer(&totals, &asked).await.expect("an answer");
                is_right(&answer, &contents, &asked).expect("the plain sum");
            }
            let [_, pages_again, _] = asked_since(before, &counted);
            assert_eq!(pages_again, 0, "it is known");

            advance(FORGOTTEN).await;
            answer(&totals, &asked).await.expect("an answer");
            let [_, pages_later, _] = asked_since(before, &counted);
            assert_eq!(pages_later, pages, "it is read again");
        }
    });
}

#[test]
fn a_time_is_of_the_version_that_was_the_newest_when_it_was_asked_for() {
    simulate(async {
        let mut world = rolled_up().await;
        let (totals, _) = looking(&world).await;
        let as_of = AsOf::Time(DateTime::from_timestamp(253_402_300_799, 0).expect("a time"));
        for _ in 0..3 {
            let newest: Version = world.log.version();
            for _ in 0..2 {
                assert_eq!(answer(&totals, &all(as_of)).await.map(|answer| answer.at.minutes), Ok(newest));
            }
            world.append().await;
            totals.see().await.expect("memory works");
        }
    });
}

#[test]
fn what_is_known_of_earlier_versions_takes_its_part_of_the_memory_and_no_more() {
    simulate(async {
        let world = rolled_up().await;
        let (lake, _) = world.counted_lake();
        let totals = Totals::within(lake, 64).expect("a session");
        let error = answer(&totals, &all(AsOf::Version(3))).await.map(|answer| answer.at.minutes);
        assert!(error.as_ref().is_err_and(|error| error.contains("exhausted")), "{error:?}");
    });
}

#[test]
fn an_earlier_version_in_a_log_of_a_week_costs_few_requests() {
    const VERSIONS: i64 = 6_000;
    const READS_MAX: u64 = 800;
    const PAGES_MAX: u64 = 10;
    simulate(async {
        let mut world = World::of_seed(7).await;
        for _ in 0..4 {
            world.append().await;
        }
        for checkpoint in [2_400, 2_500, VERSIONS] {
            lengthen(&world.lake, &world.store, Table::ClicksMinute, checkpoint).await;
        }
        let (totals, _) = looking(&world).await;
        let newest = answer(&totals, &all(AsOf::Newest)).await.expect("an answer");
        let time = DateTime::from_timestamp(2_450 * EVERY + 1, 0).expect("a time");
        for as_of in [AsOf::Version(2_450), AsOf::Time(time)] {
            let (totals, counted) = looking(&world).await;
            let before = asked_of(&counted);
            let answer = answer(&totals, &all(as_of)).await.expect("an answer");
            let [reads, pages, names] = asked_since(before, &counted);
            assert_eq!((answer.at.minutes, sums_of(&answer.rows, None)), (2_450, sums_of(&newest.rows, None)));
            assert!(reads < READS_MAX, "{reads} reads as of {as_of:?}");
            assert!(pages <= PAGES_MAX, "{pages} pages of {names} names as of {as_of:?}");
        }
    });
}
