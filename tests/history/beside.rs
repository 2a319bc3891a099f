//! Law: backfills in place run beside live jobs and rewrites of files, through crashes, rebalances, zombies, faults,
//! lost replies and drains; and at every commit the table is what its stand says, whoever has written which part of it.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Mutex;

use lake_schemas::Table;

use crate::minutes::{at_every_commit, parameters_of};
use crate::simulation::{Actor, Computation, for_seeds, survive_beside};

/// Other writers: two backfills at once, and rewrites of both tables.
const ACTORS: [Actor; 4] =
    [Actor::Backfill, Actor::Backfill, Actor::Rewrite(Table::ClicksMinute), Actor::Rewrite(Table::Clicks)];

/// Seeds of a run of the tests, each with several backfills.
const SEEDS: Range<u64> = 0..50;

/// Versions of `clicks_minute` in all seeds, by the job that wrote them.
static WRITTEN: Mutex<BTreeMap<String, usize>> = Mutex::new(BTreeMap::new());

async fn disaster(seed: u64) -> Result<(), String> {
    let parameters = parameters_of(seed);
    let computations = [Computation::Raw, Computation::Minutes(parameters.clone())];
    let world = survive_beside(seed, &computations, &ACTORS).await?;
    for version in at_every_commit(&world.history, &world.log).await? {
        *WRITTEN.lock().expect("no panic under the lock").entry(version.job).or_default() += 1;
    }
    Ok(())
}

#[test]
fn backfills_and_live_jobs_share_a_table() {
    for_seeds(SEEDS, disaster);
    let written = WRITTEN.lock().expect("no panic under the lock");
    // Each seed has made the table once. Of a few seeds, by chance, some have nothing else.
    let seeds = written.get("").copied().unwrap_or_default();
    for job in ["aggregate", "backfill", "rewrite"] {
        let versions = written.get(job).copied().unwrap_or_default();
        assert!(seeds < 10 || versions > seeds, "too little is tried: {written:?}");
    }
}
