//! Law: totals are exact at any moment. Each equals the plain sum over `clicks_minute` at the version that the answer
//! names, the newest or an earlier one, however much or little has been rolled up by then.

mod earlier;
pub mod others;
pub mod questions;
mod replaced;
mod said;
pub mod world;

use std::ops::Range;
use std::sync::atomic::Ordering;
use std::time::Duration;

use chrono::DateTime;
use deltalake::DeltaTable;
use lake_schemas::{EventTime, Table, TopicPartition, Width};
use object_store::ObjectStoreExt;
use object_store::path::Path;
use query::RowAccess;
use query::totals::{AsOf, Question, Totals};
use rand::SeedableRng;
use rand::seq::IteratorRandom;
use rand_chacha::ChaCha8Rng;
use tokio::time::{Instant, sleep};

use self::questions::{
    ANSWERS, Content, answer, asked, by_ad, contents, expected, granularities, is_refused, is_right, sums_of,
};
use self::world::World;
use crate::minutes::parameters_of;
use crate::simulation::{Actor, Computation, compact, for_seeds, simulate, survive_beside};

const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 60 * MINUTE_MS;
const DAY_MS: i64 = 24 * HOUR_MS;

/// Time at which worlds begin, 2026-03-30T00:00:00Z: days and a month end while clicks come in.
const START_MS: i64 = 1_774_828_800_000;

/// Seeds of the worlds of one run.
const SEEDS: Range<u64> = 0..16;

/// Seeds of the worlds with crashes and faults.
const DISASTERS: Range<u64> = 0..16;

/// Time between two events of a world. Reads of its slow store take up to four times as long.
const STEP: Duration = Duration::from_secs(1);

/// Longest time that adding up may take. Simulated time does not pass while a process computes.
const SUMMING_MAX: Duration = Duration::from_secs(60);

/// Checks answers after each step of a world, by totals that keep the lake open from question to question. At the end,
/// checks answers about each earlier version, and those of SQL.
async fn world(seed: u64) -> Result<(), String> {
    let mut world = World::of_seed(seed).await;
    let open = Totals::new(world.lake.clone()).map_err(|error| error.to_string())?;
    let looking = Totals::new(world.lake.clone()).map_err(|error| error.to_string())?;
    for _ in 0..25 {
        world.step().await;
        looking.look(Instant::now() + SUMMING_MAX).await.map_err(|error| error.to_string())?;
        let contents = contents(&world.lake).await;
        let newest = contents.last().expect("a version");
        for totals in [&open, &looking, &looking] {
            let asked = asked(&mut world.rng, newest);
            let answer = answer(totals, &asked).await?;
            is_right(&answer, &contents, &asked)?;
            let partition = TopicPartition::new("clicks", 0);
            if (answer.at.minutes, answer.at.cut().get(&partition))
                != (world.log.version(), world.log.stand(&partition).cut.as_ref())
            {
                return Err(format!("asked of {}, answered of {}", world.log.version(), answer.at));
            }
        }
    }
    let contents = contents(&world.lake).await;
    let fresh = Totals::new(world.lake.clone()).map_err(|error| error.to_string())?;
    for (version, counts) in (0..).zip(&contents) {
        for _ in 0..2 {
            let asked = Question { as_of: AsOf::Version(version), ..asked(&mut world.rng, counts) };
            let answer = answer(&fresh, &asked).await?;
            if answer.at.minutes != version {
                return Err(format!("asked of {version}, answered of {}", answer.at));
            }
            is_right(&answer, &contents, &asked)?;
        }
    }
    for _ in 0..6 {
        says_the_same_in_sql(&mut world, contents.last().expect("a version")).await?;
    }
    Ok(())
}

/// Checks answers of totals that read a slow store while the world goes on, so that a change is seen in one table and
/// not yet in another.
async fn beside(seed: u64) -> Result<(), String> {
    let mut world = World::of_seed(seed).await;
    let totals = Totals::new(world.slow_lake()).map_err(|error| error.to_string())?;
    for _ in 0..25 {
        let asked = asked(&mut world.rng, contents(&world.lake).await.last().expect("a version"));
        let happens = async {
            for _ in 0..3 {
                sleep(STEP).await;
                world.step().await;
            }
        };
        let (answer, ()) = tokio::join!(answer(&totals, &asked), happens);
        let contents = contents(&world.lake).await;
        match answer {
            Err(why) if is_refused(&why, contents.iter(), &asked) => {}
            answer => is_right(&answer?, &contents, &asked)?,
        }
    }
    Ok(())
}

/// Checks that the SQL functions `totals` and `series` answer a question with the expected sums.
async fn says_the_same_in_sql(world: &mut World, content: &Content) -> Result<(), String> {
    let (question, group_by) = (asked(&mut world.rng, content), content.dimensions.clone());
    let question = Question { group_by, access: RowAccess::All, ..question };
    let time = |time: Option<EventTime>| time.map_or_else(|| "null".to_owned(), |time| format!("'{time}'"));
    let (from, to) = (time(question.from), time(question.to));
    let function = match question.granularity {
        None => format!("totals({from}, {to})"),
        Some(width) => format!("series({from}, {to}, '{}')", width.word()),
    };
    let conditions = question.filter.iter().map(|filter| {
        let column = filter.dimension.column();
        let is_one = filter.values.iter().map(|value| match value {
            Some(value) => format!("{column} = '{value}'"),
            None => format!("{column} is null"),
        });
        format!("({})", is_one.collect::<Vec<_>>().join(" or "))
    });
    let condition = std::iter::once("true".to_owned()).chain(conditions).collect::<Vec<_>>().join(" and ");
    let order = question.granularity.map_or(String::new(), |_| "window_start, ".to_owned());
    let order = format!("{order}{} nulls first", world.parameters.dimension_columns().join(" nulls first, "));
    let sql = format!("select * from {function} where {condition} order by {order}");
    let rows = query::run(&world.lake, &sql).await.map_err(|error| error.to_string())?;
    let (found, expected) = (sums_of(&rows, question.granularity), expected(content, &question));
    if found == expected { Ok(()) } else { Err(format!("{sql}: {found:?}, not {expected:?}")) }
}

#[test]
fn totals_are_the_sum_of_the_minutes_whatever_is_rolled_up() {
    for_seeds(SEEDS, world);
    let [days, hours, all] = ANSWERS.each_ref().map(|answers| answers.load(Ordering::Relaxed));
    // By chance, a run of few seeds may take little from days and hours.
    let is_enough = all < 1_000 || (days > all / 8 && hours > all / 4);
    assert!(is_enough, "too little is tried: {days} from days, {hours} from hours, of {all}");
}

#[test]
fn totals_are_the_sum_of_the_minutes_whatever_happens_while_they_look() {
    for_seeds(SEEDS, beside);
}

#[test]
fn totals_at_every_version_are_the_sum_of_its_minutes_after_a_disaster() {
    for_seeds(DISASTERS, |seed| async move {
        let computations = [Computation::Raw, Computation::Minutes(parameters_of(seed))];
        let actors =
            [Actor::Compact, Actor::Compact, Actor::Backfill, Actor::Promote, Actor::Rewrite(Table::ClicksMinute)];
        let world = survive_beside(seed, &computations, &actors).await?;
        let (contents, mut rng) = (contents(&world.history).await, ChaCha8Rng::seed_from_u64(seed));
        let totals = Totals::new(world.lake).map_err(|error| error.to_string())?;
        let newest = contents.len() - 1;
        for version in (0..newest).choose_multiple(&mut rng, 30).into_iter().chain([newest; 5]) {
            let as_of = if version == newest { AsOf::Newest } else { AsOf::Version(version as u64) };
            let asked = Question { as_of, ..asked(&mut rng, &contents[version]) };
            is_right(&answer(&totals, &asked).await?, &contents, &asked)?;
        }
        Ok(())
    });
}

#[test]
fn without_the_entries_of_the_log_nothing_counts_as_clean() {
    simulate(async {
        let mut world = World::of_seed(7).await;
        for _ in 0..4 {
            world.append().await;
        }
        compact(&world.lake, 1).await.expect("memory works");
        for _ in 0..3 {
            world.append().await;
        }
        let contents = contents(&world.lake).await;
        // Only the entries after a version tell which of its hours are still clean.
        let mut table = DeltaTable::new(world.lake.log_store("clicks_minute").expect("an address"));
        table.load().await.expect("memory works");
        deltalake::checkpoints::create_checkpoint(&table, None).await.expect("a checkpoint");
        let entry = format!("_delta_log/{:020}.json", world.log.version() - 1);
        world.log.object_store().delete(&Path::from(entry)).await.expect("memory works");
        let totals = Totals::new(world.lake).expect("a session");
        for granularity in granularities() {
            let asked = by_ad(granularity);
            let answer = answer(&totals, &asked).await.expect("an answer");
            assert_eq!((answer.at.hourly, answer.at.daily), (None, None));
            is_right(&answer, &contents, &asked).expect("the plain sum");
        }
    });
}

#[test]
fn clean_days_are_taken_from_days_and_what_changed_since_from_below() {
    simulate(async {
        let mut world = World::of_seed(3).await;
        for _ in 0..8 {
            world.append().await;
        }
        compact(&world.lake, 1).await.expect("memory works");
        let totals = Totals::new(world.lake.clone()).expect("a session");
        let at = async |by: Option<Width>| {
            let answer = answer(&totals, &by_ad(by)).await.expect("an answer");
            (answer.at.hourly.is_some(), answer.at.daily.is_some())
        };
        assert_eq!(at(None).await, (false, true), "all days are clean");
        assert_eq!(at(Some(Width::Hour)).await, (true, false));
        assert_eq!(at(Some(Width::Minute)).await, (false, false));
        world.append().await;
        assert_eq!(at(None).await, (true, true), "of a day with dirty hours, the others are clean");
    });
}

#[test]
fn answers_take_the_memory_that_there_is_and_no_more() {
    simulate(async {
        let mut world = World::of_seed(4).await;
        for _ in 0..6 {
            world.append().await;
        }
        compact(&world.lake, 1).await.expect("memory works");
        let contents = contents(&world.lake).await;
        for memory in [64 << 20, 64] {
            let totals = Totals::within(world.lake.clone(), memory).expect("a session");
            totals.look(Instant::now() + SUMMING_MAX).await.expect("a look takes none");
            for granularity in granularities() {
                let asked = by_ad(granularity);
                match answer(&totals, &asked).await {
                    Ok(answer) if memory > 64 => is_right(&answer, &contents, &asked).expect("the plain sum"),
                    Err(error) if memory == 64 => assert!(error.contains("exhausted"), "{error}"),
                    answer => panic!("{memory} bytes: {granularity:?}: {:?}", answer.map(|answer| answer.at.minutes)),
                }
            }
        }
    });
}

#[test]
fn a_time_is_answered_by_the_version_that_was_there() {
    simulate(async {
        let mut world = World::of_seed(5).await;
        world.append().await;
        let totals = Totals::new(world.lake.clone()).expect("a session");
        let at = async |millis: i64| {
            let as_of = AsOf::Time(DateTime::from_timestamp_millis(millis).expect("a time"));
            answer(&totals, &Question { as_of, ..Question::default() }).await.map(|answer| answer.at.minutes)
        };
        assert_eq!(at(253_402_300_799_999).await, Ok(world.log.version()));
        let error = at(0).await.expect_err("before the table was made");
        assert!(error.contains("clicks_minute had no version yet at 1970-01-01T00:00:00.000Z"), "{error}");
        let asked = Question { as_of: AsOf::Version(99), ..Question::default() };
        let error = answer(&totals, &asked).await.expect_err("it has fewer");
        assert_eq!(error, format!("clicks_minute has no version 99; its newest is {}", world.log.version()));
    });
}

#[test]
fn an_answer_has_at_most_as_many_rows_as_are_allowed() {
    simulate(async {
        let mut world = World::of_seed(8).await;
        for _ in 0..4 {
            world.append().await;
        }
        let totals = Totals::new(world.lake.clone()).expect("a session");
        for granularity in granularities() {
            let question = by_ad(granularity);
            let all = totals.answer(&question).await.expect("an answer");
            let rows = sums_of(&all.rows, granularity);
            let within = totals.answer_within(&question, Some(rows.len())).await.expect("they are no more");
            assert_eq!(sums_of(&within.rows, granularity), rows);
            let error = totals.answer_within(&question, Some(rows.len() - 1)).await.expect_err("one more");
            assert!(error.to_string().starts_with(&format!("that is more than {} rows", rows.len() - 1)), "{error}");
        }
    });
}
