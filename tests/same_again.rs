//! Law: a seed tells the same story each time, so that whoever looks for a fault can repeat it.
//!
//! This holds where ingest and aggregate are alone. Backfills and compactors read files in an order that depends on
//! random names: most of their worlds go the same way again, and some do not.

use lake_schemas::Table;

use crate::minutes::parameters_of;
use crate::simulation::{Computation, for_each_seed, simulate, survive, versions};

/// Number of seeds that are run twice.
const SEEDS: u64 = 100;

/// Returns what happened in the world of a seed: each version of each table, who made it, and how much it added and
/// removed.
async fn story(seed: u64) -> Vec<String> {
    let computations = [Computation::Raw, Computation::Minutes(parameters_of(seed))];
    let world = survive(seed, &computations).await.expect("it catches up");
    let mut story = Vec::new();
    for table in Table::ALL {
        let versions = versions(&world.history, table).await;
        story.extend(versions.iter().enumerate().map(|(number, version)| format!("{table} {number}: {version}")));
    }
    story
}

#[test]
fn a_seed_tells_the_same_story() {
    for_each_seed(0..SEEDS, |seed| {
        let (first, second) = (simulate(story(seed)), simulate(story(seed)));
        let differing = first.iter().zip(&second).find(|(first, second)| first != second);
        assert!(first == second, "seed {seed}: {differing:#?}");
    });
}
