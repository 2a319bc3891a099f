//! Law: partitions that have fallen silent before a promotion, or before it is undone, are counted to the end of the
//! log all the same: no message, rebalance or restart has to come first.
//!
//! ```text
//!   messages ──> staging begun ──> messages ──> drained, silent ──> promoted ───────> undone
//!                                                                      └─ two minutes ──┴─ two minutes, and each
//!                                                                         partition stands at the end of the log
//! ```

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use backfill::{Promote, Range as Part, Staging, What, Work};
use ingest::drive::CommitPolicy;
use lake_schemas::minute::{Dimension, Requested};
use lake_schemas::{Field, Table};
use lake_store::Lake;
use lake_store::commit::TableLog;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::minutes::{at_every_commit, parameters_of};
use crate::simulation::{Clock, Computation, Log, WorldStore, for_seeds, lake_on, named};

/// Seeds of a run of the tests.
const SEEDS: Range<u64> = 0..12;

/// Time at which the second half of the messages of the partition comes, which is silent from then on: after the
/// staging table is made, and long enough before the promotion for the partition to be drained.
const LAST_MESSAGES: Duration = Duration::from_secs(40);

/// Time of the promotion.
const PROMOTED: Duration = Duration::from_secs(80);

/// How long it may take until everything is counted again.
const SEEN_MAX: Duration = Duration::from_secs(120);

/// How long messages of other partitions come.
const BUSY: Duration = Duration::from_secs(300);

async fn world(seed: u64) -> Result<(), String> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let logs = (0..).map(|more| Log::of_seed(seed + more * 1_000, 1 + seed as usize % 4, 300));
    let log = logs.into_iter().find(|log| log.partitions.iter().all(|messages| messages.len() > 10));
    let busy: Vec<_> = (0..4).map(|_| rng.random_ratio(1, 4)).collect();
    let log = log.expect("without end");
    let lengths: Vec<_> = log.partitions.iter().map(Vec::len).collect();
    let log = log.coming(|partition, at| match (busy[partition], at < lengths[partition] / 2) {
        (_, true) => Duration::ZERO,
        (false, false) => LAST_MESSAGES,
        (true, false) => BUSY.mul_f64(at as f64 / lengths[partition] as f64),
    });
    let (lake, log, began) = (lake_on(Arc::new(WorldStore::new(Clock::start()))), Arc::new(log), Clock::start());
    let policy = CommitPolicy::every(Duration::from_millis(rng.random_range(300..5_000)));
    let minutes = Computation::Minutes(parameters_of(seed));
    let shares_parameters = rng.random_ratio(2, 3);
    tokio::select! {
        error = Computation::Raw.go_on(&lake, &log, policy) => Err(format!("ingest: {error}")),
        error = minutes.go_on(&lake, &log, policy) => Err(format!("aggregate: {error}")),
        done = promoted_and_undone(&lake, &log, &began, shares_parameters) => done,
    }?;
    at_every_commit(&lake, &log).await.map(|_| ())
}

async fn promoted_and_undone(lake: &Lake, log: &Log, began: &Clock, shares_parameters: bool) -> Result<(), String> {
    sleep(Duration::from_secs(20)).await;
    let table = Table::Staging("again".parse().expect("a name"));
    let dimensions = (!shares_parameters).then(|| vec![Dimension::of(Field::Device)]);
    let requested = Requested { dimensions, ..Requested::default() };
    let stop = CancellationToken::new();
    let work = Work { lake, range: Part::All, at_a_time: 2, meter: Arc::default(), stop: stop.clone() };
    Staging { work, table, requested }.run().await.map_err(|error| error.to_string())?;
    sleep(PROMOTED - Duration::from_secs(20)).await;
    for what in [What::Staging(table), What::Before] {
        let promote = Promote { lake, what, now: began.now(), stop: stop.clone() };
        promote.run().await.map_err(|error| error.to_string())?.ok_or("it is stopped")?;
        sleep(SEEN_MAX).await;
        let stands = TableLog::open(lake, Table::ClicksMinute).await.map_err(|error| error.to_string())?;
        for (number, partition) in (0..log.partitions.len() as i32).map(|number| (number, named(number))) {
            let (found, there) = (stands.stand(&partition).cut, log.messages(number));
            let end = log.partitions[number as usize][..there].last().map(|last| last.offset + 1);
            // Messages that have just come may not be counted yet.
            let is_silent = there == log.partitions[number as usize].len();
            if is_silent && found != end {
                return Err(format!("{what:?}: two minutes later {partition} stands at {found:?}, not {end:?}"));
            }
        }
    }
    Ok(())
}

#[test]
fn partitions_that_fell_silent_before_a_promotion_are_counted_to_their_ends() {
    for_seeds(SEEDS, world);
}
