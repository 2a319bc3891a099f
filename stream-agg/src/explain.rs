//! Explains one count: lists the events of an ad in a minute, each with the verdict of the operator.

use std::collections::HashMap;

use arrow::array::RecordBatch;
use lake_schemas::Invalid;
use lake_schemas::minute::Parameters;
use lake_schemas::rows::{Events, Positions};
use lake_schemas::{EventTime, LogTime, Stand, TopicPartition, Verdict, Windowing, Windows};

use crate::minutes::Minutes;
use crate::window::Window;

/// An event with its verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explained {
    /// Offset of its message.
    pub offset: i64,
    /// Log time of its message.
    pub log_time: Option<LogTime>,
    /// Event time as the producer gives it.
    pub event_time: EventTime,
    /// Click id, if it has one.
    pub click_id: Option<String>,
    /// Campaign id, if it has one.
    pub campaign_id: Option<String>,
    /// Cost in millionths of the currency, if it has one.
    pub cost_micros: Option<i64>,
    /// Verdict of the operator on the event.
    pub taken_for: Verdict,
    /// Offset of the click that a duplicate copies, if that click was counted for the same ad.
    pub copy_of: Option<i64>,
}

/// Runs the operator of one partition, and notes the events of one ad in one minute.
pub struct Explain {
    minutes: Minutes,
    ad_id: String,
    windowing: Windowing,
    window: Window,
    /// Offsets of the counted clicks of the ad, by click id.
    counted: HashMap<String, i64>,
    explained: Vec<Explained>,
}

impl Explain {
    /// Begins an explanation. The caller must push the log from so early on that every event that can decide a verdict
    /// in the minute is among the events.
    pub fn new(partition: TopicPartition, parameters: Parameters, ad_id: &str, minute: EventTime) -> Self {
        let windowing = parameters.windowing;
        let minutes = Minutes::begin(partition, parameters, Stand::default());
        Self {
            // Only verdicts are wanted: no event lies at or above this offset, so nothing is added up.
            minutes: minutes.only(i64::MAX, Windows::default()),
            ad_id: ad_id.to_owned(),
            windowing,
            window: Window::of(minute, windowing),
            counted: HashMap::new(),
            explained: Vec::new(),
        }
    }

    /// Takes in the events of the next stretch of the log, which ends at `next`, as rows of `clicks` in offset order.
    pub fn push(&mut self, events: &RecordBatch, next: i64) -> Result<(), Invalid> {
        let (positions, view) = (Positions::of(events)?, Events::of(events)?);
        let Self { minutes, ad_id, windowing, window, counted, explained } = self;
        minutes.push_watched(events, next, |row, taken_for| {
            if view.ad_id(row) != ad_id {
                return;
            }
            let (offset, event_time) = (positions.offsets()[row], view.event_time(row));
            let click_id = view.click_id(row).map(str::to_owned);
            let before = click_id.as_ref().and_then(|id| counted.get(id).copied());
            if let (Verdict::Counted, Some(id)) = (taken_for, &click_id) {
                counted.insert(id.clone(), offset);
            }
            if Window::of(event_time, *windowing) == *window {
                explained.push(Explained {
                    offset,
                    log_time: positions.log_time(row),
                    event_time,
                    click_id,
                    campaign_id: view.campaign_id(row).map(str::to_owned),
                    cost_micros: view.cost_micros(row),
                    taken_for,
                    copy_of: before.filter(|_| taken_for == Verdict::Duplicate),
                });
            }
        })
    }

    /// Counts the duplicates among the events so far.
    pub fn duplicates(&self) -> i64 {
        let copies = self.explained.iter().filter(|event| event.taken_for == Verdict::Duplicate);
        i64::try_from(copies.count()).expect("it fits in memory")
    }

    /// Moves the watermark up to a known value, in milliseconds, in place of events that are skipped.
    pub fn pass(&mut self, watermark_ms: i64) {
        self.minutes.pass(watermark_ms);
    }

    /// Returns the events of the ad in the minute, in the order of the log.
    pub fn finish(self) -> Vec<Explained> {
        self.explained
    }
}
