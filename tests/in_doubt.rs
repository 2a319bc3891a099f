//! Law of two faults on one commit: the reply to its put is lost, and then the search for it fails, too, or takes so
//! long that the writer no longer trusts what it knows of the table. The maker of the commit finds in the end that it
//! happened: it is not fenced by itself, deletes nothing that is live, and removes no pin for what it has done.
//!
//! Every commit of each job is tried, and with each every doubt of [`doubts`].

use std::sync::Arc;
use std::time::Duration;

use backfill::{Promote, Promoted, Range, Replace, Staging, What, Work, Writes};
use chrono::DateTime;
use compactor::{Compactor, Plan};
use ingest::drive::{DriveError, Progress};
use lake_schemas::minute::{Dimension, Parameters, Requested};
use lake_schemas::{Field, Table};
use lake_store::Lake;
use lake_store::commit::TableLog;
use object_store::memory::InMemory;
use tokio_util::sync::CancellationToken;

use crate::fault_store::{Fault, FaultStore};
use crate::history::{damaged, is_right};
use crate::minutes::at_every_commit;
use crate::simulation::{
    Computation, Log, START_MS, WorldStore, compact, contents, lake_on, share_of_this_run, simulate, versions,
};
use crate::upkeep::{are_rolled_up, half_rolled_up};

/// Memory of the compactor, in bytes.
const MEMORY: usize = 1 << 28;

/// How long the store's client waits before it retries by itself.
const SOON: Duration = Duration::from_secs(1);

/// How long the client waits if the process was stopped meanwhile: longer than the ten minutes for which a writer
/// trusts what it knows of a table.
const LATE: Duration = Duration::from_secs(601);

/// Operations after a commit of which one fails: they look for the commit, and for what came after it.
const FAILING: std::ops::RangeInclusive<u64> = 1..=4;

/// Faults of one commit.
#[derive(Clone, Copy, Debug)]
struct Doubt {
    /// Fault of the put of its entry.
    first: Fault,
    /// Which of the operations after that fails, if one does.
    fails: Option<u64>,
    /// Which of the operations after that meets a process that is being told to stop.
    stops: Option<u64>,
}

/// Returns everything that can happen to a commit.
fn doubts() -> Vec<Doubt> {
    let lost = [Fault::LoseReply, Fault::Repeat(SOON)].into_iter();
    let lost = lost.flat_map(|first| FAILING.map(move |fails| (first, Some(fails))));
    let late = [None, Some(1), Some(2)].map(|fails| (Fault::Repeat(LATE), fails));
    lost.chain(late).map(|(first, fails)| Doubt { first, fails, stops: None }).collect()
}

/// Returns the same doubts, with a stop at each of the next operations.
fn doubts_and_stops() -> Vec<Doubt> {
    let stops = |doubt: Doubt| (1..=5).map(move |stops| Doubt { stops: Some(stops), ..doubt });
    doubts().into_iter().flat_map(stops).collect()
}

/// Runs a work on a copy of a store, with a doubt about one of its commits, counted from 1. Returns the copy, the
/// result of the work, and how many commits there were.
async fn in_doubt<T>(
    store: &InMemory,
    commit: u64,
    doubt: Doubt,
    work: impl AsyncFn(Lake, CancellationToken) -> T,
) -> (WorldStore, T, u64) {
    let (copied, stop) = (WorldStore::of(store).await, CancellationToken::new());
    let stops = stop.clone();
    let plan = move |number: u64, since: u64| {
        if number == commit && doubt.stops == Some(since) {
            stops.cancel();
        }
        match since {
            0 if number == commit => doubt.first,
            _ if number == commit && doubt.fails == Some(since) => Fault::Fail,
            _ => Fault::None,
        }
    };
    let faulty = FaultStore::by_commit(Arc::new(copied.clone()), plan);
    let done = work(lake_on(Arc::new(faulty.clone())), stop).await;
    (copied, done, faulty.commits())
}

/// Tries each doubt about each commit of a work, and holds the result to a law.
async fn in_each_doubt<T>(
    store: &InMemory,
    doubts: &[Doubt],
    work: impl AsyncFn(Lake, CancellationToken) -> T,
    law: impl AsyncFn(WorldStore, T) -> Result<(), String>,
) {
    let none = Doubt { first: Fault::None, fails: None, stops: None };
    let (left, done, commits) = in_doubt(store, 0, none, &work).await;
    law(left, done).await.expect("without a doubt");
    assert!(commits > 0, "nothing is committed");
    let tried = share_of_this_run(0..doubts.len() as u64).end as usize;
    for commit in 1..=commits {
        for doubt in &doubts[..tried] {
            let (left, done, _) = in_doubt(store, commit, *doubt, &work).await;
            let held = match left.verdict() {
                Ok(()) => law(left, done).await,
                wrong => wrong,
            };
            held.unwrap_or_else(|why| panic!("{doubt:?} about commit {commit} of {commits}: {why}"));
        }
    }
}

/// Checks that a job was never fenced, if no other writer was beside it.
fn was_alone(done: Result<Progress, DriveError>) -> Result<(), String> {
    let Progress { fenced, abandoned, .. } = done.map_err(|error| error.to_string())?;
    if (fenced, abandoned) == (0, 0) { Ok(()) } else { Err(format!("fenced {fenced} times, abandoned {abandoned}")) }
}

#[test]
fn a_job_that_is_alone_is_not_fenced_by_what_it_has_committed_itself() {
    simulate(async {
        let log = Arc::new(Log::of_seed(11, 2, 60));
        let lake_of = |store: &WorldStore| lake_on(Arc::new(store.clone()));
        let ingest = async |lake: Lake, _| Computation::Raw.read_all(&lake, &log).await;
        let (raw, minutes) = (Arc::new(InMemory::new()), Computation::Minutes(Parameters::default()));
        // A start may fail; what is tried are the commits of a job that runs.
        let lake = lake_on(raw.clone());
        TableLog::open_all(&lake, &Table::RAW).await.expect("memory");
        in_each_doubt(&raw, &doubts(), ingest, async |left, done| {
            crate::simulation::check_raw_is_the_log(&lake_of(&left), &log).await?;
            was_alone(done)
        })
        .await;
        Computation::Raw.read_all(&lake, &log).await.expect("memory");
        minutes.open(&lake).await.expect("memory");
        let aggregate = async |lake: Lake, _| minutes.read_all(&lake, &log).await;
        in_each_doubt(&raw, &doubts(), aggregate, async |left, done| {
            at_every_commit(&lake_of(&left), &log).await?;
            was_alone(done)
        })
        .await;
    });
}

#[test]
fn a_backfill_that_is_stopped_in_doubt_deletes_nothing_that_is_live() {
    simulate(async {
        let (store, log) = damaged().await;
        let replace = async |lake: Lake, stop: CancellationToken| {
            let work = Work { lake: &lake, range: Range::All, at_a_time: 2, meter: Arc::default(), stop };
            Replace { work, writes: Writes::Changes, wait: Duration::ZERO }.run().await.map(|_| ())
        };
        in_each_doubt(&store, &doubts_and_stops(), replace, async |left, _| {
            // It may say that it was stopped, or failed, but it has happened.
            is_right(&lake_on(Arc::new(left)), &log).await
        })
        .await;
    });
}

fn staging() -> Table {
    Table::Staging("by_country".parse().expect("a name"))
}

async fn promote(lake: &Lake, what: What, stop: CancellationToken) -> Result<Option<Promoted>, DriveError> {
    let now = DateTime::from_timestamp_millis(START_MS).expect("a time");
    Promote { lake, what, now, stop }.run().await
}

#[test]
fn a_promotion_in_doubt_can_be_undone() {
    simulate(async {
        let (store, log) = half_rolled_up().await;
        let lake = lake_on(store.clone());
        let requested = Requested { dimensions: Some(vec![Dimension::of(Field::Country)]), ..Requested::default() };
        let stop = CancellationToken::new();
        let work = Work { lake: &lake, range: Range::All, at_a_time: 2, meter: Arc::default(), stop };
        Staging { work, table: staging(), requested }.run().await.expect("memory");
        let wanted = contents(&versions(&lake, staging()).await).last().expect("it has versions");
        let before = contents(&versions(&lake, Table::ClicksMinute).await).last().expect("it has versions");
        let promotes = async |lake: Lake, stop| promote(&lake, What::Staging(staging()), stop).await;
        in_each_doubt(&store, &doubts_and_stops(), promotes, async |left, promoted| {
            let newest = async |lake: &Lake| {
                contents(&versions(lake, Table::ClicksMinute).await).last().expect("it has versions")
            };
            let lake = lake_on(Arc::new(left));
            if newest(&lake).await != wanted {
                return Err(format!("{promoted:?}, but it is not there"));
            }
            at_every_commit(&lake, &log).await?;
            let undone = promote(&lake, What::Before, CancellationToken::new()).await;
            undone.map_err(|error| format!("{promoted:?}, and cannot be undone: {error}"))?;
            if newest(&lake).await == before { Ok(()) } else { Err("it is not what was there before".to_owned()) }
        })
        .await;
    });
}

#[test]
fn a_round_deletes_nothing_that_it_may_have_committed() {
    simulate(async {
        let (store, log) = half_rolled_up().await;
        let round = async |lake: Lake, _| {
            let mut compactor = Compactor::new(lake, MEMORY);
            // Work that fails in one round is left to the next.
            for _ in 0..2 {
                let _ = compactor.round(&Plan::default(), &mut |_| ()).await;
            }
        };
        in_each_doubt(&store, &doubts(), round, async |left, ()| {
            let lake = lake_on(Arc::new(left));
            are_rolled_up(&lake).await?;
            compact(&lake, 1).await.map_err(|error| error.to_string())?;
            are_rolled_up(&lake).await?;
            at_every_commit(&lake, &log).await.map(|_| ())
        })
        .await;
    });
}
