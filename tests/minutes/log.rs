//! Logs of one partition as a function of a seed: disorder, copies, lateness, other events, nonsense and gaps.

use std::ops::Range;

use ingest::decode::{BatchBuilder, Decoding, Message};
use lake_schemas::job::LogBatch;
use lake_schemas::minute::{Dimension, Parameters};
use lake_schemas::table::TIME_IN_FUTURE_MS;
use lake_schemas::{Field, LogTime, TopicPartition};
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::json;

use crate::NOON_MS;

/// An event, as the oracle sees it.
#[derive(Clone, Debug)]
pub struct Event {
    pub offset: i64,
    pub time_ms: i64,
    pub is_click: bool,
    pub id: Option<String>,
    pub ad: String,
    pub campaign: Option<String>,
    pub publisher: Option<String>,
    pub country: Option<String>,
    pub device: Option<String>,
    pub cost_micros: Option<i64>,
}

/// How far apart the copies of a click lie in event time.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Copies {
    /// Within the dedup horizon of each other, as the design demands of a topic.
    WithinHorizon,
    Anywhere,
}

/// A message: an event, or nonsense at an offset.
pub struct LogMessage {
    offset: i64,
    event: Option<Event>,
}

/// The log of one partition.
pub struct Log {
    pub messages: Vec<LogMessage>,
}

/// Returns parameters small enough that short logs reach every edge.
pub fn parameters_of(seed: u64) -> Parameters {
    let mut rng = ChaCha8Rng::seed_from_u64(seed ^ 0x5eed);
    let mut choose = |seconds: &[i64]| seconds.choose(&mut rng).expect("there are some") * 1_000;
    let (out_of_orderness_ms, allowed_lateness_ms, dedup_horizon_ms) =
        (choose(&[0, 5, 20]), choose(&[0, 10, 60, 120]), choose(&[0, 10, 60, 200]));
    let dimensions = Dimension::ALL.into_iter().filter(|_| rng.random_ratio(1, 3)).collect();
    Parameters { out_of_orderness_ms, allowed_lateness_ms, dedup_horizon_ms, dimensions, ..Parameters::default() }
}

impl Log {
    pub fn of_seed(seed: u64, parameters: &Parameters, copies: Copies) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let (mut now_ms, mut offset) = (NOON_MS, rng.random_range(0..3));
        let mut originals: Vec<Event> = Vec::new();
        let count = rng.random_range(5..120);
        let messages = (0..count).map(|number| {
            now_ms += [0, 0, 1, 2, 5, 20, 60].choose(&mut rng).expect("some") * 1_000 + rng.random_range(0..1_000);
            offset += if rng.random_ratio(1, 8) { rng.random_range(2..5) } else { 1 };
            let event = (!rng.random_ratio(1, 20)).then(|| {
                let recent = &originals[originals.len().saturating_sub(12)..];
                match recent.choose(&mut rng) {
                    Some(original) if rng.random_ratio(3, 10) => {
                        let apart_ms = match copies {
                            Copies::WithinHorizon => rng.random_range(0..=parameters.dedup_horizon_ms),
                            Copies::Anywhere => rng.random_range(-400_000..400_000),
                        };
                        Event { offset, time_ms: original.time_ms + apart_ms, ..original.clone() }
                    }
                    _ => {
                        let event = original(&mut rng, offset, now_ms, number);
                        originals.push(event.clone());
                        event
                    }
                }
            });
            LogMessage { offset, event }
        });
        Self { messages: messages.collect() }
    }

    /// All events, in the order of the log.
    pub fn events(&self) -> impl Iterator<Item = &Event> {
        self.messages.iter().filter_map(|message| message.event.as_ref())
    }

    /// Returns the index of the first message at or above an offset.
    pub fn position(&self, offset: Option<i64>) -> usize {
        offset.map_or(0, |offset| self.messages.partition_point(|message| message.offset < offset))
    }

    /// Returns a stretch of messages, decoded as ingest decodes them.
    pub fn batch(&self, messages: Range<usize>) -> LogBatch {
        let first = self.messages[messages.start].offset;
        let mut batch = BatchBuilder::new(TopicPartition::new("clicks", 0), first, TIME_IN_FUTURE_MS);
        for LogMessage { offset, event } in &self.messages[messages] {
            let payload = event.as_ref().map_or_else(|| "nonsense".to_owned(), Event::json);
            // Late enough that no event is from the future.
            let log_time = LogTime::from_millis(NOON_MS + 100_000_000);
            batch.push(&Message { offset: *offset, log_time, key: None, payload: Some(payload.as_bytes()) });
        }
        batch.finish()
    }
}

fn original(rng: &mut ChaCha8Rng, offset: i64, now_ms: i64, number: i32) -> Event {
    let behind_ms = [0, 0, 1, 3, 10, 40, 100, 300].choose(rng).expect("some") * 1_000;
    let mut maybe = |values: &[&str]| rng.random_ratio(4, 5).then(|| (*values.choose(rng).expect("some")).to_owned());
    let (campaign, publisher) = (maybe(&["summer", ""]), maybe(&["p1", "p2"]));
    let (country, device) = (maybe(&["DE", "FR"]), maybe(&["phone"]));
    Event {
        offset,
        time_ms: now_ms - behind_ms,
        is_click: !rng.random_ratio(1, 10),
        id: (!rng.random_ratio(1, 10)).then(|| format!("click-{number}")),
        ad: format!("ad-{}", rng.random_range(0..3)),
        campaign,
        publisher,
        country,
        device,
        cost_micros: rng.random_ratio(1, 2).then(|| rng.random_range(0..1_000)),
    }
}

impl Event {
    /// Returns the event that a message of a simulated log decodes to.
    pub fn decoded(offset: i64, payload: Option<&[u8]>, log_time: Option<LogTime>) -> Option<Self> {
        let event = Decoding::json(TIME_IN_FUTURE_MS).decode(payload, log_time).ok()?;
        let owned = |field| event.text(field).map(str::to_owned);
        Some(Self {
            offset,
            time_ms: event.event_time.millis(),
            is_click: event.text(Field::EventType).is_none_or(|event_type| event_type == "click"),
            id: owned(Field::ClickId),
            ad: event.ad_id.clone().into_owned(),
            campaign: owned(Field::CampaignId),
            publisher: owned(Field::PublisherId),
            country: owned(Field::Country),
            device: owned(Field::Device),
            cost_micros: event.number(Field::CostMicros),
        })
    }

    fn json(&self) -> String {
        json!({
            "ad_id": self.ad, "event_time": self.time_ms, "event_id": self.id,
            "event_type": if self.is_click { "click" } else { "view" },
            "campaign_id": self.campaign, "publisher_id": self.publisher, "country": self.country,
            "device": self.device, "cost_micros": self.cost_micros,
        })
        .to_string()
    }
}
