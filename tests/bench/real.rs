//! Measurements on Apache Kafka and S3: ingest beside its floor, and how fast a backlog is brought in by one process
//! and by two.

use std::cell::Cell;
use std::time::Instant;

use localstack::generate::Settings;
use serde_json::{Value, json};

use crate::ingest::{self, OffsetPlace, start_job};
use crate::stack::RealStack;
use crate::{NOON_MS, Scale, aggregate, embedded};

/// Number of partitions: enough for two processes to share.
const PARTITIONS: i32 = 12;

/// Number of minutes that the clicks of the minute counts fall into: about 5,000 clicks a second.
const MINUTES: u64 = 4;

/// Measures the minute counts of realistic clicks: most are of few ads.
pub fn measure_aggregate(scale: Scale) -> Value {
    let stack = RealStack::start();
    let place = place(&stack, "counted", 0);
    for minute in 0..MINUTES {
        let settings = Settings { seed: minute, ..Settings::default() };
        let start_ms = NOON_MS + i64::try_from(minute).expect("few") * 60_000;
        embedded::fill(&place.servers, &place.topic, scale.clicks / MINUTES, settings, start_ms);
    }
    aggregate::measure(&OffsetPlace { clicks: scale.clicks, ..place })
}

/// Measures ingest, in one run.
pub fn measure_ingest(scale: Scale) -> Value {
    let stack = RealStack::start();
    let ingest = ingest::measure(&place(&stack, "clicks", scale.clicks));
    let backlog = place(&stack, "backlog", scale.backlog);
    json!({
        "ingest": ingest,
        "backlog": {
            "clicks": scale.backlog,
            "clicks_a_second_of_one_process": catch_up(&backlog, 1),
            "clicks_a_second_of_two_processes": catch_up(&backlog, 2),
        },
    })
}

/// Fills a topic. Returns it, with lakes in the stack's bucket.
fn place(stack: &RealStack, topic: &str, clicks: u64) -> OffsetPlace {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(stack.create_topic(topic, PARTITIONS, &[]));
    embedded::fill(&stack.bootstrap_servers(), topic, clicks, embedded::even(), NOON_MS);
    let (prefix, lakes) = (stack.lake_url(topic), Cell::new(0));
    let new_lake = move || {
        lakes.set(lakes.get() + 1);
        format!("{prefix}-{}", lakes.get())
    };
    OffsetPlace {
        servers: stack.bootstrap_servers(),
        topic: topic.to_owned(),
        clicks,
        environment: stack.environment().collect(),
        new_lake: Box::new(new_lake),
    }
}

/// Returns the clicks a second of `processes` processes that share a topic until all of it is in the lake.
#[expect(clippy::disallowed_methods, reason = "the figure is about real time")]
fn catch_up(place: &OffsetPlace, processes: usize) -> u64 {
    let (lake, began) = ((place.new_lake)(), Instant::now());
    let members: Vec<_> = (0..processes).map(|_| start_job("ingest", place, &lake)).collect();
    for mut member in members {
        assert!(member.wait().expect("it ends").success(), "ingest failed");
    }
    (place.clicks as f64 / began.elapsed().as_secs_f64()) as u64
}
