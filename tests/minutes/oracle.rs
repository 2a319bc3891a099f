//! The oracle of the minute counts: computes what is right by a plain loop over the events of one partition, and shares
//! no code with the operator.

use std::collections::{BTreeMap, HashMap};

use lake_schemas::measure::{MEASURES, Measure};
use lake_schemas::minute::Parameters;
use lake_schemas::{Stand, Verdict};

use super::log::Event;

const MINUTE_MS: i64 = 60_000;

/// Sums in the order of the measures, by the start of the window and the dimensions.
pub type Counts = BTreeMap<(i64, Vec<Option<String>>), [i64; MEASURES]>;

/// An event with the verdict on it.
pub struct Taken {
    offset: i64,
    window_ms: i64,
    dimensions: Vec<Option<String>>,
    verdict: Verdict,
    cost_micros: i64,
}

/// Returns the verdict on each event of a partition, in the order of its log.
pub fn taken<'a>(events: impl Iterator<Item = &'a Event>, parameters: &Parameters) -> Vec<Taken> {
    let mut counted: HashMap<&str, i64> = HashMap::new();
    let mut largest_ms = i64::MIN;
    let mut all = Vec::new();
    for event in events {
        largest_ms = largest_ms.max(event.time_ms);
        let watermark_ms = largest_ms - parameters.out_of_orderness_ms;
        let window_ms = event.time_ms - event.time_ms.rem_euclid(MINUTE_MS);
        let memory_ms = parameters.allowed_lateness_ms + MINUTE_MS + parameters.dedup_horizon_ms;
        let is_copy = |id: &str| counted.get(id).is_some_and(|time_ms| *time_ms >= watermark_ms - memory_ms);
        let verdict = if !event.is_click {
            Verdict::Filtered
        } else if window_ms + MINUTE_MS + parameters.allowed_lateness_ms <= watermark_ms {
            Verdict::Late
        } else if event.id.as_deref().is_some_and(is_copy) {
            Verdict::Duplicate
        } else {
            if let Some(id) = &event.id {
                counted.insert(id, event.time_ms);
            }
            Verdict::Counted
        };
        all.push(Taken {
            offset: event.offset,
            window_ms,
            dimensions: dimensions(event, parameters),
            verdict,
            cost_micros: event.cost_micros.unwrap_or(0),
        });
    }
    all
}

impl Taken {
    /// Returns the offset of the event.
    pub fn offset(&self) -> i64 {
        self.offset
    }

    /// Returns the verdict on the event.
    pub fn verdict(&self) -> Verdict {
        self.verdict
    }

    /// Returns the start of the event's window, in milliseconds.
    pub fn window_ms(&self) -> i64 {
        self.window_ms
    }
}

/// Returns the sums of the events that `which` selects.
pub fn counts_of(taken: &[Taken], which: impl Fn(&Taken) -> bool) -> Counts {
    sum(taken.iter().filter(|one| which(one)), [0; MEASURES])
}

/// Returns the sums that a table with this stand must have: of the events below the cut whose window is closed, or that
/// were drained, and of no others.
pub fn counts_at(taken: &[Taken], stand: Stand) -> Counts {
    measured_at(taken, stand, [0; MEASURES])
}

/// Returns the sums that a table with this stand must have, if it counts each measure only from an offset on.
pub fn measured_at(taken: &[Taken], stand: Stand, first_offsets: [i64; MEASURES]) -> Counts {
    let of_the_table = taken.iter().filter(|one| {
        let below = |offset: Option<i64>| offset.is_some_and(|offset| one.offset < offset);
        let is_closed = stand.watermark_ms.is_some_and(|watermark_ms| one.window_ms + MINUTE_MS <= watermark_ms);
        below(stand.cut) && (is_closed || below(stand.drained))
    });
    sum(of_the_table, first_offsets)
}

fn sum<'a>(taken: impl Iterator<Item = &'a Taken>, first_offsets: [i64; MEASURES]) -> Counts {
    let mut counts = Counts::new();
    for one in taken {
        let sums = counts.entry((one.window_ms, one.dimensions.clone())).or_default();
        for ((sum, measure), first) in sums.iter_mut().zip(Measure::ALL).zip(first_offsets) {
            *sum += if one.offset < first { 0 } else { adds(one, measure.column()) };
        }
    }
    counts
}

/// Returns the amount that an event adds to the measure with this name.
fn adds(one: &Taken, measure: &str) -> i64 {
    match (one.verdict, measure) {
        (Verdict::Counted, "clicks") => 1,
        (Verdict::Counted, "cost_micros") => one.cost_micros,
        (Verdict::Duplicate, "duplicates") => 1,
        (Verdict::Late, "late") => 1,
        (Verdict::Filtered, "filtered") => 1,
        _ => 0,
    }
}

fn dimensions(event: &Event, parameters: &Parameters) -> Vec<Option<String>> {
    let chosen = parameters.dimensions.iter().map(|dimension| match dimension.column() {
        "publisher_id" => event.publisher.clone(),
        "country" => event.country.clone(),
        "device" => event.device.clone(),
        other => panic!("an event of the oracle has no {other}"),
    });
    [Some(event.ad.clone()), event.campaign.clone()].into_iter().chain(chosen).collect()
}
