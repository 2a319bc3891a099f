//! CPU seconds a million clicks of `clicklake aggregate`, from Kafka to committed minutes, beside the floor: a bare
//! drain of the same topic, a bare parse of the members that count, and one insert of each id into a hash table.

use std::borrow::Cow;
use std::hint::black_box;

use hashbrown::HashTable;
use serde::Deserialize;
use serde_json::{Value, json};
use xxhash_rust::xxh3::xxh3_128;

use crate::ingest::{OffsetPlace, Payload, drain, median, payloads, per_million, run_job};
use crate::process::cpu_seconds;

/// Number of rounds; the median of their figures counts.
const ROUNDS: usize = 5;

/// Members of a message that minute counts are made of.
#[derive(Deserialize)]
#[allow(dead_code, reason = "it is parsed for its own sake")]
struct Counted<'a> {
    #[serde(borrow)]
    ad_id: Cow<'a, str>,
    #[serde(borrow)]
    campaign_id: Option<Cow<'a, str>>,
    #[serde(borrow, alias = "event_id")]
    click_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    event_type: Option<Cow<'a, str>>,
    #[serde(borrow)]
    timestamp: Option<Cow<'a, str>>,
    event_time: Option<i64>,
    cost_micros: Option<i64>,
}

/// Figures of one round, in CPU seconds and MB.
struct Round {
    drained: f64,
    parsed: f64,
    inserted: f64,
    aggregated: f64,
    peak_mb: f64,
}

/// Measures everything in one run, round by round.
pub fn measure(place: &OffsetPlace) -> Value {
    let payloads = payloads(place);
    let rounds: Vec<_> = (0..ROUNDS)
        .map(|_| {
            let (drained, (parsed, inserted)) = (drain(place), parse_and_insert(&payloads));
            let (aggregated, peak_mb) = run_job("aggregate", place);
            Round { drained, parsed, inserted, aggregated, peak_mb }
        })
        .collect();
    let figure = |figure: fn(&Round) -> f64| median(rounds.iter().map(figure).collect());
    let (drained, parsed, inserted) =
        (figure(|round| round.drained), figure(|round| round.parsed), figure(|round| round.inserted));
    let (aggregated, floor) = (figure(|round| round.aggregated), drained + parsed + inserted);
    let per_million = |seconds: f64| per_million(place, seconds);
    json!({
        "clicks": place.clicks,
        "cpu_seconds_a_million": {
            "aggregate": per_million(aggregated),
            "floor": per_million(floor),
            "of_which": {
                "drain": per_million(drained), "parse": per_million(parsed), "insert": per_million(inserted),
            },
        },
        "ratio": (aggregated / floor * 100.0).round() / 100.0,
        "ratio_max": 1.3,
        "peak_memory_mb": figure(|round| round.peak_mb).round(),
    })
}

/// Returns the CPU seconds of parsing each message, and of inserting each id.
fn parse_and_insert(payloads: &[Payload]) -> (f64, f64) {
    let began = cpu_seconds();
    let counted: Vec<_> =
        payloads.iter().filter_map(|payload| serde_json::from_slice::<Counted<'_>>(&payload.bytes).ok()).collect();
    let parsed = cpu_seconds();
    let mut table: HashTable<u128> = HashTable::new();
    for id in counted.iter().filter_map(|click| click.click_id.as_deref()) {
        let identity = xxh3_128(id.as_bytes());
        if table.find(identity as u64, |known| *known == identity).is_none() {
            table.insert_unique(identity as u64, identity, |known| *known as u64);
        }
    }
    black_box(table.len());
    (parsed - began, cpu_seconds() - parsed)
}
