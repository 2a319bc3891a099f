//! Measures what it costs to read a topic from its beginning to its end, message by message or in batches: CPU of the
//! whole process, with librdkafka's threads, as Linux counts it.
//!
//! `cargo run --release --example cost -- poll|take BROKERS TOPIC PARTITIONS [TIMES]`

#![allow(clippy::print_stdout)]

use std::error::Error;
use std::ffi::CString;
use std::sync::Arc;
use std::time::Duration;

use consume_batch::DataQueue;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::{ClientConfig, Message, Offset, TopicPartitionList};

/// Longest wait of one call.
const PATIENCE: Duration = Duration::from_millis(100);

/// Largest number of messages of a batch.
const BATCH_MAX: usize = 4_096;

/// Milliseconds of one tick of Linux's clock of a process.
const TICK_MS: u64 = 10;

/// Number of messages that were read, and of bytes in them.
#[derive(Default)]
struct Sums {
    messages: u64,
    bytes: u64,
}

impl Sums {
    fn add(&mut self, payload: Option<&[u8]>) {
        self.messages += 1;
        self.bytes += payload.map_or(0, |payload| payload.len() as u64);
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [way, brokers, topic, partitions, times @ ..] = arguments.as_slice() else {
        return Err("say: poll|take BROKERS TOPIC PARTITIONS [TIMES]".into());
    };
    let (partitions, times): (i32, u32) = (partitions.parse()?, times.first().map_or(Ok(5), |times| times.parse())?);
    let (before, mut sums) = (cpu_ms()?, Sums::default());
    for _ in 0..times {
        let consumer: Arc<BaseConsumer> = Arc::new(config(brokers).create()?);
        let mut all = TopicPartitionList::new();
        for partition in 0..partitions {
            all.add_partition_offset(topic, partition, Offset::Beginning)?;
        }
        match way.as_str() {
            "poll" => poll(&consumer, &all, &mut sums)?,
            "take" => take(&consumer, &all, topic, &mut sums)?,
            _ => return Err("say poll or take".into()),
        }
    }
    let millis = cpu_ms()? - before;
    let for_a_million = millis as f64 * 1e3 / sums.messages as f64;
    println!("{way}: {} messages, {} bytes, {for_a_million:.2} CPU-s a million", sums.messages, sums.bytes);
    Ok(())
}

fn poll(consumer: &BaseConsumer, all: &TopicPartitionList, sums: &mut Sums) -> Result<(), Box<dyn Error>> {
    consumer.assign(all)?;
    let mut ends = 0;
    while ends < all.count() {
        match consumer.poll(PATIENCE) {
            Some(Ok(message)) => sums.add(message.payload()),
            Some(Err(KafkaError::PartitionEOF(_))) => ends += 1,
            Some(Err(error)) => return Err(error.into()),
            None => {}
        }
    }
    Ok(())
}

fn take(
    consumer: &Arc<BaseConsumer>,
    all: &TopicPartitionList,
    topic: &str,
    sums: &mut Sums,
) -> Result<(), Box<dyn Error>> {
    let (mut queue, topic) = (DataQueue::new(consumer), CString::new(topic)?);
    for one in all.elements() {
        queue.divert(&topic, one.partition())?;
    }
    consumer.assign(all)?;
    let mut ends = 0;
    while ends < all.count() {
        if let Some(Err(error)) = consumer.poll(Duration::ZERO) {
            return Err(error.into());
        }
        for one in queue.take(BATCH_MAX, PATIENCE).iter() {
            match one.fault() {
                None => sums.add(one.payload()),
                Some(_) if one.is_end() => ends += 1,
                Some((_, text)) => return Err(text.into()),
            }
        }
    }
    Ok(())
}

/// Returns the settings that clicklake reads with.
fn config(brokers: &str) -> ClientConfig {
    let settings = [
        ("group.id", "cost"),
        ("enable.auto.commit", "false"),
        ("enable.auto.offset.store", "false"),
        ("enable.partition.eof", "true"),
        ("isolation.level", "read_committed"),
        ("check.crcs", "true"),
        ("queued.max.messages.kbytes", "32768"),
        ("queued.min.messages", "20000"),
        ("fetch.queue.backoff.ms", "50"),
        ("fetch.min.bytes", "262144"),
        ("fetch.wait.max.ms", "150"),
    ];
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers);
    for (key, value) in settings {
        config.set(key, value);
    }
    config
}

/// Returns the CPU that the process has used, in user and in kernel mode.
fn cpu_ms() -> Result<u64, Box<dyn Error>> {
    let text = std::fs::read_to_string("/proc/self/stat")?;
    // The name of the program comes in brackets, and may have blanks.
    let (_, rest) = text.rsplit_once(')').ok_or("no name in /proc/self/stat")?;
    let ticks = rest.split_whitespace().skip(11).take(2).map(str::parse::<u64>).sum::<Result<u64, _>>()?;
    Ok(ticks * TICK_MS)
}
