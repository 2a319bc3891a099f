//! One partition's minute counts: events in, rows of `clicks_minute` out, and with them the stand from which an empty
//! operator would go on as this one does.
//!
//! For each event, in this order, which is part of the contract:
//!
//! ```text
//!   1. watermark   advances with the event
//!   2. filter      not a click                                    → filtered
//!   3. late        its window's lateness is over                  → late
//!   4. duplicate   its id was counted, not too long ago           → duplicates
//!   5. count                                                      → clicks, cost_micros
//! ```
//!
//! Nothing here reads a clock. When rows are written is the caller's business; what they sum to is not.

use std::collections::BTreeMap;

use arrow::array::RecordBatch;
use lake_schemas::job::Freeze;
use lake_schemas::minute::{Measure, Parameters};
use lake_schemas::rows::{Events, Positions};
use lake_schemas::{EventTime, LakeError, Stand, TopicPartition, Windows};

use crate::dedup::{CountedClicks, Identity};
use crate::restore::RestorePositions;
use crate::rows::MinuteRows;
use crate::sums::{Addition, Key, WindowSums};
use crate::watermark::Watermark;
use crate::window::Window;

/// Of how many events the ids are announced before the first of them is asked for: they stand in more memory than any
/// cache has, and many waits at a time cost little more than one.
const AHEAD: usize = 32;

/// The minute counts of one partition.
pub struct Minutes {
    partition: TopicPartition,
    parameters: Parameters,
    /// Where the table stood when this began; what is below it builds state, and counts only where the table lacks it.
    began: Stand,
    /// Where the table stands once what was handed over is committed.
    stand: Stand,
    /// The end of what was taken in.
    next: Option<i64>,
    watermark: Watermark,
    counted: CountedClicks,
    restore: RestorePositions,
    open: BTreeMap<Window, WindowSums>,
    /// The first offset that counts, and the windows that are asked for; the rest builds state.
    since: i64,
    windows: Windows,
    /// The log has an end: what is handed over there says that nothing is missing, even if nothing was open.
    is_bounded: bool,
}

impl Minutes {
    /// Begins a partition that stands thus in the table. Feed it from [`Minutes::restore_position`].
    pub fn begin(partition: TopicPartition, parameters: Parameters, stand: Stand) -> Self {
        let watermark = Watermark::new(parameters.out_of_orderness_ms);
        Self {
            partition,
            parameters,
            began: stand,
            stand,
            next: Self::restore_position(stand),
            watermark,
            counted: CountedClicks::default(),
            restore: RestorePositions::default(),
            open: BTreeMap::new(),
            since: i64::MIN,
            windows: Windows::default(),
            is_bounded: false,
        }
    }

    /// The same over a part of history: only events from an offset on count, and only in some windows. What they are
    /// taken for does not change by that. [`Freeze::Everything`] is the end of it, and always recorded as drained.
    pub fn only(self, since: i64, windows: Windows) -> Self {
        Self { since, windows, is_bounded: true, ..self }
    }

    /// Where a partition that stands thus must be read from; `None`: from the first that the log has.
    pub fn restore_position(stand: Stand) -> Option<i64> {
        stand.restore.or(stand.cut)
    }

    /// Takes in the events of the next stretch of the log, which ends at `next`, as rows of `clicks` in offset order.
    pub fn push(&mut self, events: &RecordBatch, next: i64) -> Result<(), LakeError> {
        self.push_watched(events, next, |_, _| {})
    }

    /// The same, before the eyes of someone who is told what each row is taken for.
    pub fn push_watched(
        &mut self,
        events: &RecordBatch,
        next: i64,
        mut watch: impl FnMut(usize, Measure),
    ) -> Result<(), LakeError> {
        let (positions, view) = (Positions::of(events)?, Events::of(events)?);
        let dimensions: Vec<_> =
            self.parameters.dimensions.iter().map(|one| view.dimension(*one)).collect::<Result<_, _>>()?;
        let identities: Vec<_> = (0..events.num_rows()).map(|row| view.click_id(row).map(Identity::of)).collect();
        let (mut key, mut largest_ms) = (Key::default(), None);
        for (row, &offset) in positions.offsets().iter().enumerate() {
            if row % AHEAD == 0 {
                let ahead = &identities[row..identities.len().min(row + AHEAD)];
                ahead.iter().flatten().for_each(|identity| self.counted.expect(*identity));
            }
            let time = view.event_time(row);
            let watermark_ms = self.watermark.advance(time);
            largest_ms = largest_ms.max(Some(time.millis()));
            let window = Window::of(time);
            let measure = if !view.is_click(row) {
                Measure::Filtered
            } else if window.end_ms() + self.parameters.allowed_lateness_ms <= watermark_ms {
                Measure::Late
            } else if self.is_copy(identities[row], time, watermark_ms) {
                Measure::Duplicates
            } else {
                Measure::Clicks
            };
            watch(row, measure);
            if !self.is_wanted(offset, window) {
                continue;
            }
            let values = [Some(view.ad_id(row)), view.campaign_id(row)];
            key.set(values.into_iter().chain(dimensions.iter().map(|column| column.get(row))));
            let cost_micros = view.cost_micros(row).filter(|_| measure == Measure::Clicks).unwrap_or(0);
            self.open.entry(window).or_default().add(&key, Addition { measure, cost_micros, offset });
        }
        if let (Some(&first), Some(largest_ms)) = (positions.offsets().first(), largest_ms) {
            self.restore.see(first, largest_ms);
        }
        self.next = self.next.max(Some(next));
        Ok(())
    }

    /// Goes on where the watermark is known to have come to, by events that are not taken in.
    pub fn pass(&mut self, watermark_ms: i64) {
        self.watermark.pass(watermark_ms);
    }

    /// Whether the event is a copy of a click that was counted; counts it if not.
    fn is_copy(&mut self, identity: Option<Identity>, time: EventTime, watermark_ms: i64) -> bool {
        let known_from_ms = watermark_ms - self.parameters.memory_ms();
        identity.is_some_and(|identity| !self.counted.count(identity, time, known_from_ms))
    }

    /// Whether what the event adds to its window is asked for, and the table lacks it.
    fn is_wanted(&self, offset: i64, window: Window) -> bool {
        let Stand { cut, emitted_ms, drained, .. } = self.began;
        if offset < self.since || !self.windows.contain(window.start_ms()) {
            return false;
        }
        let is_below = |stand: Option<i64>| stand.is_some_and(|stand| offset < stand);
        !is_below(cut) || !(is_below(drained) || emitted_ms.is_some_and(|emitted_ms| window.end_ms() <= emitted_ms))
    }

    /// Writes windows, and takes the step that belongs to them: from where the table stands to where it will. `None` if
    /// nothing would take it beyond where it stands.
    pub fn emit(&mut self, which: Freeze) -> Option<Emission> {
        let next = self.next?;
        // A live partition is asked for everything again and again; without open windows that says nothing new.
        let is_worth_it = !self.open.is_empty() || (self.is_bounded && self.stand.drained < Some(next));
        let everything = which == Freeze::Everything && is_worth_it;
        let advances = self.stand.cut.is_none_or(|cut| cut < next);
        if self.stand.cut.is_some_and(|cut| next < cut) || !(advances || everything) {
            return None;
        }
        let emitted_ms = self.watermark.millis();
        assert!(
            emitted_ms >= self.stand.emitted_ms,
            "{}: read from where a restart begins, the watermark is behind the one that was recorded",
            self.partition
        );
        let mut rows = MinuteRows::new(&self.partition, &self.parameters);
        while let Some(window) = self.open.first_entry() {
            let is_closed = emitted_ms.is_some_and(|emitted_ms| window.key().end_ms() <= emitted_ms);
            if !is_closed && !everything {
                break;
            }
            let was_closed = self.stand.emitted_ms.is_some_and(|emitted_ms| window.key().end_ms() <= emitted_ms);
            let (window, sums) = window.remove_entry();
            rows.push(window, &sums, is_closed, was_closed);
        }
        let matters_from_ms = emitted_ms.map_or(i64::MIN, |emitted_ms| emitted_ms - self.parameters.memory_ms());
        let from = self.stand;
        self.stand = Stand {
            cut: Some(next),
            emitted_ms,
            drained: if which == Freeze::Everything { Some(next) } else { from.drained },
            restore: Some(self.restore.position(matters_from_ms, next)),
            ..from
        };
        Some(Emission { rows: rows.finish(), from, to: self.stand })
    }

    /// Whether it holds what only [`Freeze::Everything`] would write: windows that the watermark has not passed. Below
    /// where the table stands it writes nothing.
    pub fn holds_back(&self) -> bool {
        !self.open.is_empty() && self.stand.cut <= self.next
    }

    /// How many clicks it remembers, to know their copies.
    pub fn remembered(&self) -> usize {
        self.counted.len()
    }

    /// The memory that they take, in bytes.
    pub fn remembered_bytes(&self) -> usize {
        self.counted.bytes()
    }

    /// The memory it takes, in bytes.
    pub fn bytes(&self) -> usize {
        self.counted.bytes() + self.restore.bytes() + self.open.values().map(WindowSums::bytes).sum::<usize>()
    }
}

/// Rows of `clicks_minute`, and the step of the stand that they belong to.
#[derive(Clone, Debug)]
pub struct Emission {
    /// The rows; possibly none.
    pub rows: RecordBatch,
    /// Where the partition must stand in the table.
    pub from: Stand,
    /// Where it stands then.
    pub to: Stand,
}

#[cfg(test)]
mod tests {
    use lake_schemas::Table;

    use super::*;

    /// A partition whose log has messages up to an offset, and no event among them.
    fn without_events(next: i64) -> Minutes {
        let mut minutes = Minutes::begin(TopicPartition::new("clicks", 0), Parameters::default(), Stand::default());
        minutes.push(&RecordBatch::new_empty(Table::Clicks.schema()), next).expect("no rows");
        minutes
    }

    fn drained(emission: Option<Emission>) -> Option<i64> {
        emission?.to.drained
    }

    #[test]
    fn the_end_of_history_is_drained_even_if_nothing_is_open() {
        let mut minutes = without_events(10).only(i64::MIN, Windows::default());
        let closed = minutes.emit(Freeze::Closed).expect("the cut advances");
        assert_eq!((closed.to.cut, closed.to.drained), (Some(10), None));
        assert_eq!(drained(minutes.emit(Freeze::Everything)), Some(10));
        assert!(minutes.emit(Freeze::Everything).is_none(), "it is said once");
    }

    #[test]
    fn a_live_partition_with_nothing_open_is_not_drained_again_and_again() {
        let mut minutes = without_events(10);
        assert!(minutes.emit(Freeze::Closed).is_some());
        assert!(minutes.emit(Freeze::Everything).is_none());
    }
}
