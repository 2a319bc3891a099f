//! Law: the job runs in the real loop and the real commit protocol, beside ingest, through crashes, rebalances,
//! zombies, faults, lost replies and retention; and at every commit the table of each partition is what its stand says,
//! and nothing else.

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
use super::oracle::{Counts, counts_at, taken};
use super::weigh_rows;
use crate::history::live_is_replay;
use crate::simulation::{
    Computation, Log, LogMessage, Survivors, Version, for_all_seeds, named, raw_is_conserved, survive, versions,
};

/// Number of seeds of which one is audited by SQL, too, which takes longer than the disaster.
const SEEDS_AN_AUDIT: u64 = 10;

const MINUTE_MS: i64 = 60_000;

/// Memory of an audit, in bytes.
const MEMORY: usize = 1 << 30;

/// Returns parameters under which windows close, and memory ends, within a simulated log.
pub fn parameters_of(seed: u64) -> Parameters {
    let mut rng = ChaCha8Rng::seed_from_u64(seed ^ 0x51);
    let mut choose = |seconds: &[i64]| seconds.choose(&mut rng).expect("there are some") * 1_000;
    let (out_of_orderness_ms, allowed_lateness_ms, dedup_horizon_ms) =
        (choose(&[0, 2, 20]), choose(&[0, 30, 900]), choose(&[0, 30, 3_600]));
    let dimensions = Dimension::ALL.into_iter().filter(|_| rng.random_ratio(1, 3)).collect();
    Parameters { out_of_orderness_ms, allowed_lateness_ms, dedup_horizon_ms, dimensions }
}

/// Returns the rows of a batch that are of one partition.
pub fn of_partition(rows: &RecordBatch, partition: &TopicPartition) -> RecordBatch {
    let topics = rows["topic"].as_string::<i32>().iter();
    let positions = topics.zip(rows["kafka_partition"].as_primitive::<Int32Type>());
    let wanted = (Some(partition.topic.as_str()), Some(partition.partition));
    let is_ours: BooleanArray = positions.map(|found| Some(found == wanted)).collect();
    filter_record_batch(rows, &is_ours).expect("a batch")
}

async fn disaster(seed: u64) -> Result<(), String> {
    let parameters = parameters_of(seed);
    let computation = Computation::Minutes(parameters.clone());
    let Survivors { lake, log, .. } = survive(seed, &[Computation::Raw, computation]).await?;
    let minutes = at_every_commit(&lake, &log).await?;
    live_is_replay(&lake, &log, &parameters, &minutes).await?;
    if seed.is_multiple_of(SEEDS_AN_AUDIT) { audit(&lake, &log).await } else { Ok(()) }
}

/// Checks that both tables are what their stands say at every commit, and nothing else. Returns the versions of the
/// minutes.
pub async fn at_every_commit(lake: &Lake, log: &Log) -> Result<Vec<Version>, String> {
    at_commits(lake, log, |_, _| true).await
}

/// Checks the same for the minutes at their last commit only.
pub async fn at_the_last_commit(lake: &Lake, log: &Log) -> Result<Vec<Version>, String> {
    at_commits(lake, log, |number, versions| number + 1 == versions).await
}

/// Checks the same for the minutes at the commits that are asked for, by their number and how many there are.
async fn at_commits(lake: &Lake, log: &Log, at: impl Fn(usize, usize) -> bool) -> Result<Vec<Version>, String> {
    raw_is_conserved(lake, log).await?;
    let versions = versions(lake, Table::ClicksMinute).await;
    for (partition, messages) in (0..).map(named).zip(&log.partitions) {
        let events = events_of(messages);
        let (mut parameters, mut found) = (versions[0].parameters(), Counts::new());
        let mut now = taken(events.iter(), &parameters);
        for (number, version) in versions.iter().enumerate() {
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
            let expected = counts_at(&now, stand);
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

/// Checks that the newest of these versions gives all closed minutes the counts of the log below its cut.
pub fn closed_minutes_are_right(versions: &[Version], log: &Log) -> Result<(), String> {
    let Some(newest) = versions.last() else { return Ok(()) };
    let parameters = newest.parameters();
    for (partition, messages) in (0..).map(named).zip(&log.partitions) {
        let mut found = Counts::new();
        for version in versions {
            version.removed.iter().for_each(|rows| weigh_rows(&mut found, &of_partition(rows, &partition), -1));
            version.rows.iter().for_each(|rows| weigh_rows(&mut found, &of_partition(rows, &partition), 1));
        }
        let stand = Stand { drained: None, ..newest.stand(&partition) };
        let expected = counts_at(&taken(events_of(messages).iter(), &parameters), stand);
        let watermark_ms = stand.watermark_ms.unwrap_or(i64::MIN);
        found.retain(|(start_ms, _), _| start_ms + MINUTE_MS <= watermark_ms);
        if found != expected {
            return Err(format!("{partition} at {stand:?}: {found:?}, not {expected:?}"));
        }
    }
    Ok(())
}

/// Checks that `verify` finds no difference.
async fn audit(lake: &Lake, log: &Log) -> Result<(), String> {
    let found = verify(lake, Question::default(), MEMORY).await.map_err(|error| error.to_string())?;
    if !found.is_equal() || found.cut != log.ends() {
        return Err(found.to_string());
    }
    let found = conservation(lake, Table::ClicksMinute, MEMORY).await.map_err(|error| error.to_string())?;
    if found.holds() { Ok(()) } else { Err(found.to_string()) }
}

/// Returns the events among messages.
pub fn events_of(messages: &[LogMessage]) -> Vec<Event> {
    let event = |message: &LogMessage| {
        Event::decoded(message.offset, message.payload.as_deref(), LogTime::from_millis(message.log_time_ms))
    };
    messages.iter().filter_map(event).collect()
}

#[test]
fn at_every_commit_the_table_is_what_its_stand_says() {
    for_all_seeds(disaster);
}
