//! What the minute counts must be, as a plain loop over the events of one partition.

use std::collections::{BTreeMap, HashMap};

use lake_schemas::Stand;
use lake_schemas::minute::{Dimension, Measure, Parameters};

use super::log::{Event, Log};

const MINUTE_MS: i64 = 60_000;

/// Clicks, cost, duplicates, late, filtered, by start of the window and dimensions.
pub type Counts = BTreeMap<(i64, Vec<Option<String>>), [i64; Measure::ALL.len()]>;

/// The counts of a whole log.
pub fn counts_of(log: &Log, parameters: &Parameters) -> Counts {
    let mut counts = Counts::new();
    let mut counted: HashMap<&str, i64> = HashMap::new();
    let mut largest_ms = i64::MIN;
    for event in log.events() {
        largest_ms = largest_ms.max(event.time_ms);
        let watermark_ms = largest_ms - parameters.out_of_orderness_ms;
        let (start_ms, end_ms) = window(event);
        let known_from_ms = watermark_ms - (parameters.allowed_lateness_ms + MINUTE_MS + parameters.dedup_horizon_ms);
        let is_copy = |id: &str| counted.get(id).is_some_and(|time_ms| *time_ms >= known_from_ms);
        let sums = counts.entry((start_ms, dimensions(event, parameters))).or_default();
        let [clicks, cost, duplicates, late, filtered] = sums;
        if !event.is_click {
            *filtered += 1;
        } else if end_ms + parameters.allowed_lateness_ms <= watermark_ms {
            *late += 1;
        } else if event.id.as_deref().is_some_and(is_copy) {
            *duplicates += 1;
        } else {
            *clicks += 1;
            *cost += event.cost_micros.unwrap_or(0);
            if let Some(id) = &event.id {
                counted.insert(id, event.time_ms);
            }
        }
    }
    counts
}

/// How many events must be in a table that stands there: those below the cut whose window is closed, or that were
/// drained.
pub fn counts_out(log: &Log, stand: Stand) -> i64 {
    let is_out = |event: &&Event| {
        let below = |offset: Option<i64>| offset.is_some_and(|offset| event.offset < offset);
        let is_closed = stand.emitted_ms.is_some_and(|emitted_ms| window(event).1 <= emitted_ms);
        below(stand.cut) && (is_closed || below(stand.drained))
    };
    log.events().filter(is_out).count() as i64
}

fn window(event: &Event) -> (i64, i64) {
    let start_ms = event.time_ms - event.time_ms.rem_euclid(MINUTE_MS);
    (start_ms, start_ms + MINUTE_MS)
}

fn dimensions(event: &Event, parameters: &Parameters) -> Vec<Option<String>> {
    let chosen = parameters.dimensions.iter().map(|dimension| match dimension {
        Dimension::PublisherId => event.publisher.clone(),
        Dimension::Country => event.country.clone(),
        Dimension::Device => event.device.clone(),
    });
    [Some(event.ad.clone()), event.campaign.clone()].into_iter().chain(chosen).collect()
}
