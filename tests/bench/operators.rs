//! Cost of the minute operators on decoded batches, beside a bare hash insert of the same ids; and the memory that a
//! remembered id takes, averaged over the growth of the table.

use std::time::{Duration, Instant};

use hashbrown::HashTable;
use ingest::decode::{BatchBuilder, Message};
use lake_schemas::job::Flush;
use lake_schemas::job::LogBatch;
use lake_schemas::minute::Parameters;
use lake_schemas::rows::Events;
use lake_schemas::table::TIME_IN_FUTURE_MS;
use lake_schemas::{LogTime, Stand, TopicPartition};
use localstack::generate::{Generator, Settings};
use serde_json::{Value, json};
use stream_agg::minutes::Minutes;
use xxhash_rust::xxh3::xxh3_128;

use crate::{NOON_MS, Scale};

const BATCH_ROWS: u64 = 8_192;

/// Messages a second of event time: all ids are remembered to the end, as in an hour of steady load.
const MESSAGES_A_SECOND: u64 = 2_500;

/// Batches between two commits: about five seconds.
const BATCHES_A_COMMIT: u64 = 2;

/// Measures both over the same batches, in turn.
pub fn measure(scale: Scale) -> Value {
    let partition = TopicPartition::new("clicks", 0);
    let mut minutes = Minutes::begin(partition.clone(), Parameters::default(), Stand::default());
    let mut bare = HashTable::new();
    let mut generator = Generator::new(Settings::default());
    let (mut operators, mut inserts) = (Duration::ZERO, Duration::ZERO);
    let (mut ids, mut bytes, mut samples) = (0_usize, 0.0, 0_u32);
    for batch in 0..scale.ids / BATCH_ROWS {
        let events = decoded(&mut generator, &partition, batch);
        ids += usize::try_from(events.read).expect("a batch is small");
        inserts += timed(|| insert_all(&mut bare, &events));
        operators += timed(|| {
            minutes.push(&events.events, events.offsets.next).expect("rows of clicks");
            if batch % BATCHES_A_COMMIT == 0 {
                drop(minutes.emit(Flush::Closed));
            }
        });
        // While it is small, what it takes is not what matters.
        if minutes.remembered() > 100_000 {
            bytes += minutes.remembered_bytes() as f64 / minutes.remembered() as f64;
            samples += 1;
        }
    }
    let nanos = |time: Duration| (time.as_nanos() as f64 / ids as f64).round();
    json!({
        "messages": ids,
        "nanoseconds_a_message": nanos(operators),
        "nanoseconds_a_bare_insert": nanos(inserts),
        "ratio": (operators.as_secs_f64() / inserts.as_secs_f64() * 100.0).round() / 100.0,
        "ratio_max": 1.5,
        "bytes_an_id": (bytes / f64::from(samples.max(1))).round(),
        "bytes_an_id_max": 48,
    })
}

fn decoded(generator: &mut Generator, partition: &TopicPartition, batch: u64) -> LogBatch {
    let first = batch * BATCH_ROWS;
    let at = |number: u64| i64::try_from(number).expect("small");
    let mut builder = BatchBuilder::new(partition.clone(), at(first), TIME_IN_FUTURE_MS);
    for number in first..first + BATCH_ROWS {
        let now_ms = NOON_MS + at(number * 1_000 / MESSAGES_A_SECOND);
        let payload = generator.next_at(now_ms).payload;
        let log_time = LogTime::from_millis(now_ms);
        builder.push(&Message { offset: at(number), log_time, key: None, payload: Some(&payload) });
    }
    builder.finish()
}

/// Measures the floor: inserts each id into a table of 128-bit identities.
fn insert_all(table: &mut HashTable<u128>, batch: &LogBatch) {
    let events = Events::of(&batch.events).expect("rows of clicks");
    for row in 0..batch.events.num_rows() {
        if let Some(id) = events.click_id(row) {
            let identity = xxh3_128(id.as_bytes());
            if table.find(identity as u64, |known| *known == identity).is_none() {
                table.insert_unique(identity as u64, identity, |known| *known as u64);
            }
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the figure is about real time")]
fn timed(work: impl FnOnce()) -> Duration {
    let began = Instant::now();
    work();
    began.elapsed()
}
