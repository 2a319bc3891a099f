//! Laws of another program that writes the lake's tables beside clicklake: Spark's statements, by people who know Delta
//! and not clicklake. Our own work on top loses nothing and doubles nothing. A table that must not be written is not
//! written until it may be. A table that no longer agrees with its positions is reported.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Array, AsArray, RecordBatch};
use backfill::{Range as Part, Replace, Work, Writes};
use lake_schemas::Table;
use query::verify::conservation;
use tokio_util::sync::CancellationToken;

use crate::minutes::{at_every_commit, closed_minutes_are_right, parameters_of};
use crate::simulation::{
    Actor, Computation, Does, FOREIGN_COLUMN, Statements, Survivors, Version, are_events, clean_up_once, for_seeds,
    net_positions, positions, raw_is_conserved, raw_is_the_log, survive_beside, survive_in_part, versions,
    what_is_kept_is_whole,
};
use crate::upkeep::are_rolled_up;

/// Checks that all kept versions are whole, after clean-ups that died half-way have been finished.
async fn what_is_given_up_is_gone(world: &Survivors, seed: u64) -> Result<(), String> {
    clean_up_once(&world.lake, &world.store).await.map_err(|error| error.to_string())?;
    what_is_kept_is_whole(world, seed).await
}

/// Seeds of each law, except those in whose worlds days pass.
const SEEDS: Range<u64> = 0..8;

/// Seeds of the laws in whose worlds days pass: fewer, because they take longer.
const SEEDS_OF_DAYS: Range<u64> = 0..3;

/// Memory of an audit, in bytes.
const MEMORY: usize = 1 << 30;

/// Returns both jobs of a seed.
fn jobs(seed: u64) -> [Computation; 2] {
    [Computation::Raw, Computation::Minutes(parameters_of(seed))]
}

/// Checks that everything of ours is as if nobody else had written.
async fn is_as_ever(world: &Survivors) -> Result<(), String> {
    raw_is_the_log(&world.lake, &world.log).await?;
    at_every_commit(&world.history, &world.log).await?;
    are_rolled_up(&world.history).await.map(|_| ())
}

#[test]
fn alterations_that_oblige_nobody_stop_nobody_and_what_others_left_stays() {
    for_seeds(SEEDS_OF_DAYS, |seed| async move {
        let tables = [Table::Clicks, Table::ClicksMinute, Table::ClicksHourly];
        let foreign = tables.map(|table| Actor::Other(table, Does::Alter));
        let actors = [&foreign[..], &[Actor::CleanUp, Actor::Backfill, Actor::Promote]].concat();
        let world = survive_beside(seed, &jobs(seed), &actors).await?;
        is_as_ever(&world).await?;
        what_is_given_up_is_gone(&world, seed).await?;
        for table in tables {
            Statements { store: world.store.clone(), table }.has_all_it_left().await?;
        }
        Ok(())
    });
}

/// Checks that nothing of ours was committed to a table while that was forbidden.
async fn nothing_is_forbidden(world: &Survivors, table: Table) -> Result<(), String> {
    let mut is_forbidden = false;
    for (number, version) in versions(&world.history, table).await.iter().enumerate() {
        if is_forbidden && !version.job.is_empty() {
            return Err(format!("{table}: {} has written version {number}, which was forbidden", version.job));
        }
        is_forbidden = Statements::forbids(&version.properties);
    }
    Ok(())
}

#[test]
fn nothing_is_written_while_a_table_forbids_it_and_all_is_written_when_it_no_longer_does() {
    for_seeds(SEEDS, |seed| async move {
        let tables = [Table::Clicks, Table::ClicksMinute, Table::ClicksHourly];
        let foreign = tables.map(|table| Actor::Other(table, Does::Forbid));
        let ours = [Actor::Compact, Actor::Backfill, Actor::Promote, Actor::Rewrite(Table::Clicks)];
        let world = survive_beside(seed, &jobs(seed), &[&foreign[..], &ours[..]].concat()).await?;
        is_as_ever(&world).await?;
        for table in tables {
            nothing_is_forbidden(&world, table).await?;
        }
        Ok(())
    });
}

#[test]
fn files_that_others_have_put_together_or_deleted_change_no_count() {
    for_seeds(SEEDS, |seed| async move {
        let tables = [Table::Clicks, Table::ClicksMinute];
        let foreign = tables.map(|table| [Actor::Other(table, Does::Optimize), Actor::Other(table, Does::Vacuum)]);
        let ours = [Actor::Compact, Actor::Backfill, Actor::Promote];
        let world = survive_beside(seed, &jobs(seed), &[foreign.as_flattened(), &ours[..]].concat()).await?;
        is_as_ever(&world).await
    });
}

#[test]
fn files_of_several_partitions_are_never_counted_as_those_of_one() {
    for_seeds(SEEDS, |seed| async move {
        let actors = [Actor::Other(Table::Clicks, Does::OptimizeAll), Actor::Compact, Actor::Backfill];
        // Jobs that would have to read such a file refuse it: then they do not come to the end.
        let [raw, minutes] = jobs(seed);
        let world = survive_in_part(seed, &[raw], &[minutes], &actors).await?;
        raw_is_the_log(&world.lake, &world.log).await?;
        at_every_commit(&world.history, &world.log).await.map(|_| ())
    });
}

/// Returns what others have changed of the rows of `clicks`: for each position, how many more or fewer rows there are.
/// All commits of ours together add each event of the log once.
async fn foreign_rows(world: &Survivors) -> Result<BTreeMap<(i32, i64), i64>, String> {
    let (mut ours, mut foreign) = (BTreeMap::new(), BTreeMap::new());
    for (number, version) in versions(&world.history, Table::Clicks).await.iter().enumerate() {
        let net = net_positions(version);
        let is_append = version.removed.is_empty();
        if version.job.is_empty() {
            net.into_iter().for_each(|(position, rows)| *foreign.entry(position).or_default() += rows);
        } else if is_append {
            net.into_iter().for_each(|(position, rows)| *ours.entry(position).or_default() += rows);
        } else if let Some((position, rows)) = net.first_key_value() {
            return Err(format!("version {number}, {}: {rows} rows more of {position:?}", version.job));
        }
    }
    are_events(&ours, &world.log)?;
    foreign.retain(|_, rows| *rows != 0);
    Ok(foreign)
}

#[test]
fn only_rows_that_others_delete_or_restore_are_gone_or_back() {
    for_seeds(SEEDS_OF_DAYS, |seed| async move {
        let does = [Does::Delete, Does::Restore, Does::Optimize];
        let foreign = does.map(|does| Actor::Other(Table::Clicks, does));
        let ours = [Actor::CleanUp, Actor::Pin, Actor::Rewrite(Table::Clicks)];
        let world = survive_beside(seed, &[Computation::Raw], &[&foreign[..], &ours[..]].concat()).await?;
        what_is_given_up_is_gone(&world, seed).await?;
        let foreign = foreign_rows(&world).await?;
        let found = conservation(&world.lake, Table::ClicksMinute, MEMORY).await.map_err(|error| error.to_string())?;
        if found.holds() == foreign.is_empty() { Ok(()) } else { Err(format!("{foreign:?}, but {found}")) }
    });
}

/// Returns the value of the foreign column in each row of a batch that has it, by position.
fn marks(rows: &[RecordBatch]) -> BTreeMap<(i32, i64), String> {
    let marked = rows.iter().flat_map(|rows| {
        let marks = rows.column_by_name(FOREIGN_COLUMN).map(|marks| marks.as_string::<i32>().clone());
        let mark = move |row: usize| {
            let marks = marks.as_ref().filter(|marks| marks.is_valid(row))?;
            Some(marks.value(row).to_owned())
        };
        let marked = positions(rows).into_iter().enumerate();
        marked.filter_map(move |(row, position)| Some((position, mark(row)?))).collect::<Vec<_>>()
    });
    marked.collect()
}

#[test]
fn a_column_of_others_keeps_what_it_holds() {
    for_seeds(SEEDS, |seed| async move {
        let actors = [Actor::Other(Table::Clicks, Does::Fill), Actor::Compact, Actor::Compact];
        let world = survive_beside(seed, &[Computation::Raw], &actors).await?;
        raw_is_the_log(&world.lake, &world.log).await?;
        raw_is_conserved(&world.history, &world.log).await?;
        for (number, version) in versions(&world.history, Table::Clicks).await.iter().enumerate() {
            let (came, went) = (marks(&version.rows), marks(&version.removed));
            if !version.job.is_empty() && came != went {
                let of = version.job.as_str();
                return Err(format!("version {number}, {of}: {} rows with values become {}", went.len(), came.len()));
            }
        }
        Ok(())
    });
}

#[test]
fn minutes_that_others_have_changed_are_put_right_by_a_backfill() {
    for_seeds(SEEDS, |seed| async move {
        let does = [Does::Delete, Does::Restore, Does::Optimize];
        let foreign = does.map(|does| Actor::Other(Table::ClicksMinute, does));
        let world = survive_beside(seed, &jobs(seed), &[&foreign[..], &[Actor::Compact]].concat()).await?;
        let (lake, stop) = (&world.lake, CancellationToken::new());
        let work = Work { lake, range: Part::All, at_a_time: 2, meter: Arc::default(), stop };
        let replace = Replace { work, writes: Writes::Changes, wait: Duration::ZERO };
        replace.run().await.map_err(|error| error.to_string())?;
        let newest: Vec<Version> = versions(&world.history, Table::ClicksMinute).await;
        closed_minutes_are_right(&newest, &world.log)
    });
}
