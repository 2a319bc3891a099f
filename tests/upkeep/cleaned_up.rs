//! Law: clean-up runs beside everything that writes. Days pass, versions expire and forgotten files are swept, while
//! live jobs, backfills, promotions, undone promotions, rewrites and two compactors go on, die and are stopped. Kept
//! versions can be read to their last file, pinned versions are kept, no answer changes, and no file is deleted that
//! somebody still commits.

use std::ops::Range;

use lake_schemas::Table;
use lake_store::commit::TableView;
use query::totals::{AsOf, Question, Totals};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::rolled_up::are_rolled_up;
use crate::minutes::{at_every_commit, parameters_of};
use crate::simulation::{
    Actor, Computation, Survivors, answers, clean_up_once, cleaned, for_seeds, raw_is_the_log, survive_beside,
    what_is_kept_is_whole,
};
use crate::totals::questions::{answer, asked, contents, is_right};

/// Other writers in the worlds.
const ACTORS: [Actor; 8] = [
    Actor::CleanUp,
    Actor::CleanUp,
    Actor::Backfill,
    Actor::Promote,
    Actor::Pin,
    Actor::Ask,
    Actor::Rewrite(Table::ClicksMinute),
    Actor::Rewrite(Table::Clicks),
];

/// Seeds of a run of the tests.
const SEEDS: Range<u64> = 0..10;

/// Number of versions that totals are asked of.
const ASKED: usize = 4;

async fn disaster(seed: u64) -> Result<(), String> {
    let computations = [Computation::Raw, Computation::Minutes(parameters_of(seed))];
    let world = survive_beside(seed, &computations, &ACTORS).await?;
    clean_up_once(&world.lake, &world.store).await.map_err(|error| error.to_string())?;
    raw_is_the_log(&world.lake, &world.log).await?;
    at_every_commit(&world.history, &world.log).await?;
    are_rolled_up(&world.history).await?;
    what_is_kept_is_whole(&world, seed).await?;
    totals_are_right(&world, seed).await
}

/// Checks that totals at the kept versions are the plain sums over them.
async fn totals_are_right(Survivors { lake, history, .. }: &Survivors, seed: u64) -> Result<(), String> {
    let (contents, mut rng) = (contents(history).await, ChaCha8Rng::seed_from_u64(seed));
    let view = TableView::newest(lake, Table::ClicksMinute).await;
    let view = view.map_err(|error| error.to_string())?.ok_or("no minutes")?;
    let first = view.first().await.map_err(|error| error.to_string())?;
    let totals = Totals::new(lake.clone()).map_err(|error| error.to_string())?;
    for _ in 0..ASKED {
        let version = rng.random_range(first..=view.version());
        let question = asked(&mut rng, &contents[version as usize]);
        let asked = Question { as_of: AsOf::Version(version), ..question };
        is_right(&answer(&totals, &asked).await?, &contents, &asked)?;
    }
    Ok(())
}

#[test]
fn what_is_kept_can_be_read_and_no_file_is_missed_whatever_is_cleaned_up() {
    for_seeds(SEEDS, disaster);
    let (answers, [given_up, swept]) = (answers().unwrap_or_else(|wrong| panic!("{wrong}")), cleaned());
    // By chance, a run of few seeds may expire few versions.
    let is_enough = answers < 100 || (given_up > 50 && swept > 5);
    assert!(is_enough, "too little is tried: {given_up} versions given up, {swept} files swept, {answers} answers");
}
