//! Law: roll-ups and totals commute. At every version, hours and days are what the minutes, and the hours, were at the
//! version that they name; and when all is quiet, what the newest are. Whatever is asked meanwhile, of any time and any
//! version, is answered with the plain sum over the minutes. This holds beside live jobs, backfills, promotions, two
//! compactors and rewrites of files, through crashes, rebalances, zombies, faults and lost replies.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::Mutex;

use lake_schemas::stand::source_version;
use lake_schemas::{Table, Width};
use lake_store::Lake;

use crate::minutes::{Counts, at_every_commit, parameters_of};
use crate::simulation::{
    Actor, Computation, Survivors, Version, answers, compact, contents, for_seeds, survive_beside, versions,
};

/// Other writers in the worlds.
const ACTORS: [Actor; 7] = [
    Actor::Compact,
    Actor::Compact,
    Actor::Backfill,
    Actor::Promote,
    Actor::Ask,
    Actor::Rewrite(Table::ClicksMinute),
    Actor::Rewrite(Table::Clicks),
];

/// Seeds of a run of the tests.
const SEEDS: Range<u64> = 0..30;

/// Versions in all seeds, by table and the job that wrote them.
static WRITTEN: Mutex<BTreeMap<(Table, String), usize>> = Mutex::new(BTreeMap::new());

async fn disaster(seed: u64) -> Result<(), String> {
    let computations = [Computation::Raw, Computation::Minutes(parameters_of(seed))];
    let Survivors { lake, history, log, .. } = survive_beside(seed, &computations, &ACTORS).await?;
    at_every_commit(&history, &log).await?;
    compact(&lake, 1).await.map_err(|error| error.to_string())?;
    let written = are_rolled_up(&history).await?;
    are_newest(&written)?;
    count(Table::ClicksMinute, &written[0]);
    Ok(())
}

/// Checks that hours and days are at each of their versions what they are rolled up from. Returns the versions of
/// minutes, hours and days.
pub async fn are_rolled_up(lake: &Lake) -> Result<[Vec<Version>; 3], String> {
    let minutes = versions(lake, Table::ClicksMinute).await;
    let hours = agree(lake, Table::ClicksHourly, &minutes).await?;
    let days = agree(lake, Table::ClicksDaily, &hours).await?;
    Ok([minutes, hours, days])
}

/// Checks that a roll-up is at each of its versions what its source was. Returns its versions.
async fn agree(lake: &Lake, table: Table, source: &[Version]) -> Result<Vec<Version>, String> {
    let rolled_up = versions(lake, table).await;
    let (names, width) = (source_version(table), table.window_width());
    let named: Vec<_> = rolled_up.iter().map(|version| version.txn(&names)).collect();
    let is_wanted = |(at, _): &(i64, Counts)| named.contains(&Some(*at));
    let at_source: HashMap<i64, Counts> = (0..).zip(contents(source)).filter(is_wanted).collect();
    for ((number, found), from) in contents(&rolled_up).enumerate().zip(&named) {
        let expected = from.map(|from| summed(&at_source[&from], width)).unwrap_or_default();
        if found != expected {
            return Err(format!("{table} version {number}, of version {from:?}: {found:?}, not {expected:?}"));
        }
    }
    count(table, &rolled_up);
    Ok(rolled_up)
}

/// Checks that hours and days are what the newest minutes are.
pub fn are_newest([minutes, rolled_up @ ..]: &[Vec<Version>; 3]) -> Result<(), String> {
    let newest = contents(minutes).last().unwrap_or_default();
    for (table, versions) in Table::ROLLED_UP.into_iter().zip(rolled_up) {
        let found = contents(versions).last().unwrap_or_default();
        if found != summed(&newest, table.window_width()) {
            return Err(format!("{table} is not what the newest minutes are"));
        }
    }
    Ok(())
}

/// Sums counts up by wider windows.
fn summed(counts: &Counts, width: Width) -> Counts {
    let mut summed = Counts::new();
    for ((start_ms, dimensions), sums) in counts {
        let window = summed.entry((width.start_ms(*start_ms), dimensions.clone())).or_default();
        window.iter_mut().zip(sums).for_each(|(sum, more)| *sum += more);
    }
    summed
}

fn count(table: Table, versions: &[Version]) {
    let mut written = WRITTEN.lock().expect("no panic under the lock");
    for version in versions {
        *written.entry((table, version.job.clone())).or_default() += 1;
    }
}

#[test]
fn hours_days_and_totals_are_sums_of_the_minutes() {
    for_seeds(SEEDS, disaster);
    let answers = answers().unwrap_or_else(|wrong| panic!("{wrong}"));
    let written = WRITTEN.lock().expect("no panic under the lock");
    let of = |table: Table, job: &str| written.get(&(table, job.to_owned())).copied().unwrap_or_default();
    let made = of(Table::ClicksMinute, "");
    assert!(made < 10 || answers > made, "too little is asked: {answers} answers");
    let jobs = [(Table::ClicksMinute, "backfill"), (Table::ClicksMinute, "promote"), (Table::ClicksHourly, "roll-up")];
    for (table, job) in jobs {
        // By chance, a run of few seeds may have no commit of a job.
        assert!(made < 10 || of(table, job) * 2 > made, "too little is tried: {written:?}");
    }
}
