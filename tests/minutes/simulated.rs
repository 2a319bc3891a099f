//! Law: whatever happens to processes and stores, each commit leaves `clicks_minute` with exactly the counts that the
//! oracle computes for the stands that the commit records.
//!
//! The real job runs in the real loop, by the real commit protocol, beside ingest. The simulated world adds crashes,
//! rebalances, zombies, faults of the store, lost replies and retention.

use arrow::array::{AsArray, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::Int32Type;
use lake_schemas::minute::{Dimension, Parameters};
use lake_schemas::{LogTime, Stand, Table, TopicPartition};
use lake_store::Lake;
use query::verify::{Question, conservation, verify};
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::log::Event;
use super::oracle::{Counts, measured_at, taken};
use super::weigh_rows;
use crate::history::live_is_replay;
use crate::simulation::{
    Computation, Log, LogMessage, Survivors, Version, for_all_seeds, named, raw_is_conserved, survive, versions,
};

/// Number of seeds for each one that is also audited by SQL: an audit takes longer than the simulated world itself.
const SEEDS_AN_AUDIT: u64 = 10;

const MINUTE_MS: i64 = 60_000;

/// Memory of an audit, in bytes.
const MEMORY: usize = 1 << 30;

/// Returns random parameters that are short enough for windows to close, and for ids to be forgotten, within a
/// simulated log.
pub fn parameters_of(seed: u64) -> Parameters {
    let mut rng = ChaCha8Rng::seed_from_u64(seed ^ 0x51);
    let mut choose = |seconds: &[i64]| seconds.choose(&mut rng).expect("there are some") * 1_000;
    let (out_of_orderness_ms, allowed_lateness_ms, dedup_horizon_ms) =
        (choose(&[0, 2, 20]), choose(&[0, 30, 900]), choose(&[0, 30, 3_600]));
    let dimensions = Dimension::ALL.into_iter().filter(|_| rng.random_ratio(1, 3)).collect();
    Parameters { out_of_orderness_ms, allowed_lateness_ms, dedup_horizon_ms, dimensions, ..Parameters::default() }
}

/// Returns those rows of a batch that belong to one partition.
pub fn of_partition(rows: &RecordBatch, partition: &TopicPartition) -> RecordBatch {
    let topics = rows["topic"].as_string::<i32>().iter();
    let positions = topics.zip(rows["kafka_partition"].as_primitive::<Int32Type>());
    let wanted = (Some(partition.topic.as_str()), Some(partition.partition));
    let is_ours: BooleanArray = positions.map(|found| Some(found == wanted)).collect();
    filter_record_batch(rows, &is_ours).expect("a batch")
}

/// Runs the simulated world of a seed, and checks every version of its tables.
async fn disaster(seed: u64) -> Result<(), String> {
    let parameters = parameters_of(seed);
    let computation = Computation::Minutes(parameters.clone());
    let Survivors { lake, log, .. } = survive(seed, &[Computation::Raw, computation]).await?;
    let minutes = at_every_commit(&lake, &log).await?;
    live_is_replay(&lake, &log, &parameters, &minutes).await?;
    if seed.is_multiple_of(SEEDS_AN_AUDIT) { audit(&lake, &log).await } else { Ok(()) }
}

/// Checks that the raw tables conserve the log, and that each version of `clicks_minute` has the counts that the oracle
/// computes for its stands. Returns the versions of `clicks_minute`.
pub async fn at_every_commit(lake: &Lake, log: &Log) -> Result<Vec<Version>, String> {
    at_commits(lake, log, |_, _| true).await
}

/// Does the checks of [`at_every_commit`], but compares only the last version with the oracle.
pub async fn at_the_last_commit(lake: &Lake, log: &Log) -> Result<Vec<Version>, String> {
    at_commits(lake, log, |number, versions| number + 1 == versions).await
}

/// Does the checks of [`at_every_commit`], but compares only the versions for which `at` holds. It is given the number
/// of a version, and how many there are.
async fn at_commits(lake: &Lake, log: &Log, at: impl Fn(usize, usize) -> bool) -> Result<Vec<Version>, String> {
    raw_is_conserved(lake, log).await?;
    let versions = versions(lake, Table::ClicksMinute).await;
    for (partition, messages) in (0..).map(named).zip(&log.partitions) {
        let events = events_of(messages);
        let (mut parameters, mut found) = (versions[0].parameters(), Counts::new());
        let mut now = taken(events.iter(), &parameters);
        for (number, version) in versions.iter().enumerate() {
            // A promotion brings a table that may record other parameters: from there on the oracle counts by these.
            if version.parameters() != parameters {
                parameters = version.parameters();
                now = taken(events.iter(), &parameters);
            }
            version.removed.iter().for_each(|rows| weigh_rows(&mut found, &of_partition(rows, &partition), -1));
            version.rows.iter().for_each(|rows| weigh_rows(&mut found, &of_partition(rows, &partition), 1));
            if !at(number, versions.len()) {
                continue;
            }
            let stand = version.stand(&partition);
            let expected = measured_at(&now, stand, parameters.measures.first_offsets(&partition));
            if found != expected {
                let jobs: Vec<_> = versions[..=number].iter().map(|version| version.job.as_str()).collect();
                let differing = found.iter().filter(|(key, sums)| expected.get(key) != Some(sums));
                let lacking = expected.iter().filter(|(key, sums)| found.get(key) != Some(sums));
                return Err(format!(
                    "version {number}, partition {partition} at {stand:?}, after {jobs:?}: {:?}, not {:?}",
                    differing.take(5).collect::<Vec<_>>(),
                    lacking.take(5).collect::<Vec<_>>()
                ));
            }
        }
    }
    Ok(versions)
}

/// Checks that in the newest of these versions each closed minute has the counts of the log below the version's cut.
pub fn closed_minutes_are_right(versions: &[Version], log: &Log) -> Result<(), String> {
    let Some(newest) = versions.last() else { return Ok(()) };
    let parameters = newest.parameters();
    for (partition, messages) in (0..).map(named).zip(&log.partitions) {
        let mut found = Counts::new();
        for version in versions {
            version.removed.iter().for_each(|rows| weigh_rows(&mut found, &of_partition(rows, &partition), -1));
            version.rows.iter().for_each(|rows| weigh_rows(&mut found, &of_partition(rows, &partition), 1));
        }
        // Only closed minutes are compared, so it does not matter which open ones were drained.
        let stand = Stand { drained: None, ..newest.stand(&partition) };
        let taken = taken(events_of(messages).iter(), &parameters);
        let expected = measured_at(&taken, stand, parameters.measures.first_offsets(&partition));
        let watermark_ms = stand.watermark_ms.unwrap_or(i64::MIN);
        found.retain(|(start_ms, _), _| start_ms + MINUTE_MS <= watermark_ms);
        if found != expected {
            return Err(format!("{partition} at {stand:?}: {found:?}, not {expected:?}"));
        }
    }
    Ok(())
}

/// Checks by `verify` that a recount equals the table, and that no message was lost on the way to it.
async fn audit(lake: &Lake, log: &Log) -> Result<(), String> {
    let found = verify(lake, Question::default(), MEMORY).await.map_err(|error| error.to_string())?;
    if !found.is_equal() || found.cut != log.ends() {
        return Err(found.to_string());
    }
    let found = conservation(lake, Table::ClicksMinute, MEMORY).await.map_err(|error| error.to_string())?;
    if found.holds() { Ok(()) } else { Err(found.to_string()) }
}

/// Decodes messages, and returns those that are events.
pub fn events_of(messages: &[LogMessage]) -> Vec<Event> {
    let event = |message: &LogMessage| {
        Event::decoded(message.offset, message.payload.as_deref(), LogTime::from_millis(message.log_time_ms))
    };
    messages.iter().filter_map(event).collect()
}

#[test]
fn at_every_commit_the_counts_are_those_of_the_log_below_the_stand() {
    for_all_seeds(disaster);
}
