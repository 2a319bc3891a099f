//! The job in the real loop and the real commit protocol, through crashes, rebalances, zombies, faults and lost
//! replies: at the end the table of each partition is what its stand says, and nothing else.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int32Type, Int64Type, TimestampMicrosecondType};
use lake_schemas::minute::{Dimension, Measure, Parameters};
use lake_schemas::{Lake, LogTime, TopicPartition};
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::log::Event;
use super::oracle::{Counts, counts_at, taken};
use crate::simulation::{Computation, TOPIC, for_all_seeds, survive};

/// Parameters under which windows close, and memory ends, within a simulated log.
fn parameters_of(seed: u64) -> Parameters {
    let mut rng = ChaCha8Rng::seed_from_u64(seed ^ 0x51);
    let mut choose = |seconds: &[i64]| seconds.choose(&mut rng).expect("there are some") * 1_000;
    let (out_of_orderness_ms, allowed_lateness_ms, dedup_horizon_ms) =
        (choose(&[0, 2, 20]), choose(&[0, 30, 900]), choose(&[0, 30, 3_600]));
    let dimensions = Dimension::ALL.into_iter().filter(|_| rng.random_ratio(1, 3)).collect();
    Parameters { out_of_orderness_ms, allowed_lateness_ms, dedup_horizon_ms, dimensions }
}

/// The sums of one partition's rows.
async fn counts_in(lake: &Lake, partition: i32, parameters: &Parameters) -> Counts {
    let dimensions = parameters.dimension_columns();
    let measures = Measure::ALL.map(Measure::column);
    let sql = format!(
        "select kafka_partition, window_start, {}, {} from clicks_minute where kafka_partition = {partition}",
        measures.join(", "),
        dimensions.join(", ")
    );
    let mut counts = Counts::new();
    for batch in query::run(lake, &sql).await.expect("the lake can be read") {
        let starts = batch.column(1).as_primitive::<TimestampMicrosecondType>();
        let values: Vec<_> = batch.columns()[2 + measures.len()..]
            .iter()
            .map(|column| cast(column, &DataType::Utf8).expect("text"))
            .collect();
        for row in 0..batch.num_rows() {
            assert_eq!(batch.column(0).as_primitive::<Int32Type>().value(row), partition);
            let value =
                |column: &ArrayRef| column.is_valid(row).then(|| column.as_string::<i32>().value(row).to_owned());
            let key = (starts.value(row) / 1_000, values.iter().map(value).collect());
            for (at, sum) in counts.entry(key).or_default().iter_mut().enumerate() {
                *sum += batch.column(2 + at).as_primitive::<Int64Type>().value(row);
            }
        }
    }
    counts
}

async fn disaster(seed: u64) -> Result<(), String> {
    let parameters = parameters_of(seed);
    let computation = Computation::Minutes(parameters.clone());
    let (lake, log) = survive(seed, &[Computation::Raw, computation.clone()]).await?;
    let table = computation.open(&lake).await.map_err(|error| error.to_string())?;
    for (partition, messages) in (0..).zip(&log.partitions) {
        let events: Vec<_> = messages
            .iter()
            .filter_map(|message| {
                let log_time = LogTime::from_millis(message.log_time_ms);
                Event::decoded(message.offset, message.payload.as_deref(), log_time)
            })
            .collect();
        let stand = table.stand(&TopicPartition::new(TOPIC, partition));
        let expected = counts_at(&taken(events.iter(), &parameters), stand);
        let found = counts_in(&lake, partition, &parameters).await;
        if found != expected {
            return Err(format!("partition {partition} at {stand:?}: {found:?}, not {expected:?}"));
        }
    }
    Ok(())
}

#[test]
fn the_table_is_what_its_stand_says_whatever_happens() {
    for_all_seeds(disaster);
}
