//! Laws of the minute counts, of the operators alone: no I/O, no clock, thousands of seeds.
//!
//! [`oracle`] is the plain loop that a reader can check by eye; [`log`] makes logs with everything that goes wrong with
//! clicks; the files beside [`scenario`] hold one law each; [`simulated`] puts the job through disasters; [`timing`] is
//! about when minutes are written.

mod log;
mod oracle;
mod scenario;
mod simulated;
mod timing;

pub use log::Event;
pub use oracle::{Counts, Taken, counts_of, taken};
pub use simulated::{
    at_every_commit, at_the_last_commit, closed_minutes_are_right, events_of, of_partition, parameters_of,
};

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use lake_schemas::job::Flush;
use lake_schemas::measure::{MEASURES, Measure};
use lake_schemas::minute::Parameters;
use lake_schemas::{Stand, TopicPartition};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use stream_agg::minutes::{Emission, Minutes};

use self::log::Log;
use self::oracle::counts_at;
use crate::simulation::for_each_seed;

/// Number of seeds of each law.
const SEEDS: u64 = 3_000;

/// Content of a table: the sums of its rows, and the stand of the partition.
#[derive(Default)]
struct MinuteTable {
    counts: Counts,
    stand: Stand,
}

impl MinuteTable {
    /// Commits: all of it, or nothing.
    fn commit(&mut self, emission: &Emission) {
        assert_eq!(self.stand, emission.from, "an epoch begins where the table stands");
        assert!(emission.from.is_behind(emission.to), "{:?} is no step", emission.to);
        self.stand = emission.to;
        add_rows(&mut self.counts, &emission.rows);
    }
}

/// Adds rows of `clicks_minute` to sums.
pub fn add_rows(counts: &mut Counts, rows: &RecordBatch) {
    weigh_rows(counts, rows, 1);
}

/// Adds rows of `clicks_minute` to sums, `times` times, and removes sums that are zero.
pub fn weigh_rows(counts: &mut Counts, rows: &RecordBatch, times: i64) {
    let starts = rows["window_start"].as_primitive::<TimestampMicrosecondType>();
    // The dimensions stand between the window and the measures.
    let dimensions = &rows.columns()[2..rows.schema().index_of(Measure::ALL[0].column()).expect("a column")];
    for row in 0..rows.num_rows() {
        let value = |column: &ArrayRef| {
            let text = column.as_string::<i32>();
            text.is_valid(row).then(|| text.value(row).to_owned())
        };
        let key = (starts.value(row) / 1_000, dimensions.iter().map(value).collect());
        let sums = counts.entry(key.clone()).or_default();
        for (sum, measure) in sums.iter_mut().zip(Measure::ALL) {
            // A file of before a measure was added lacks it.
            let values = rows.column_by_name(measure.column()).map(|values| values.as_primitive::<Int64Type>());
            *sum += times * values.map_or(0, |values| values.value(row));
        }
        if *sums == [0; MEASURES] {
            counts.remove(&key);
        }
    }
}

/// Feeds a log to an operator in stretches of any length, and writes at any time. One time in `crashes` it crashes, and
/// goes on with an empty operator from where the table stands. At every commit, the table holds what its stand says.
fn run(log: &Log, parameters: &Parameters, seed: u64, crashes: Option<u32>) -> MinuteTable {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let (mut table, taken) = (MinuteTable::default(), taken(log.events(), parameters));
    let partition = TopicPartition::new("clicks", 0);
    'incarnations: loop {
        let mut minutes = Minutes::begin(partition.clone(), parameters.clone(), table.stand);
        let mut at = log.position(Minutes::restore_position(table.stand));
        let (end, crashes) = (log.messages.len(), crashes.filter(|_| rng.random_ratio(9, 10)));
        while at < end {
            let stop = (at + rng.random_range(1..=8)).min(end);
            let batch = log.batch(at..stop);
            minutes.push(&batch.events, batch.offsets.next).expect("rows of clicks");
            at = stop;
            if rng.random_ratio(3, 10) {
                let which = if rng.random_ratio(1, 6) { Flush::Everything } else { Flush::Closed };
                let emission = minutes.emit(which);
                if crashes.is_some_and(|one_in| rng.random_ratio(1, one_in)) {
                    continue 'incarnations;
                }
                if let Some(emission) = emission {
                    table.commit(&emission);
                    assert_eq!(table.counts, counts_at(&taken, table.stand), "at {:?}", table.stand);
                }
            }
            if crashes.is_some_and(|one_in| rng.random_ratio(1, one_in)) {
                continue 'incarnations;
            }
        }
        if let Some(emission) = minutes.emit(Flush::Everything) {
            table.commit(&emission);
        }
        return table;
    }
}

#[test]
fn the_sums_are_those_of_a_plain_loop_whatever_the_batches_and_the_commits() {
    for_each_seed(0..SEEDS, |seed| {
        let parameters = log::parameters_of(seed);
        let log = Log::of_seed(seed, &parameters, log::Copies::Anywhere);
        let expected = counts_of(&taken(log.events(), &parameters), |_| true);
        for timing in 0..3 {
            let table = run(&log, &parameters, seed * 7 + timing, None);
            assert_eq!(table.counts, expected, "seed {seed}, timing {timing}");
        }
    });
}

#[test]
fn a_restart_from_any_stand_goes_on_as_if_nothing_had_happened() {
    for_each_seed(0..SEEDS, |seed| {
        let parameters = log::parameters_of(seed);
        let log = Log::of_seed(seed, &parameters, log::Copies::WithinHorizon);
        let expected = counts_of(&taken(log.events(), &parameters), |_| true);
        let table = run(&log, &parameters, seed * 7, Some(12));
        assert_eq!(table.counts, expected, "seed {seed}");
    });
}
