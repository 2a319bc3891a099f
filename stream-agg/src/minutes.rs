//! Minute counts of one partition: takes in events, and emits rows of `clicks_minute` with the stand that belongs to
//! them. An empty operator that begins at that stand goes on exactly as this one does.
//!
//! Each event is judged in this order, which is part of the contract:
//!
//! ```text
//!   1. watermark   advances with the event
//!   2. filtered    it is not a click
//!   3. late        its window's lateness is over
//!   4. duplicate   its id was counted, not too long ago
//!   5. counted
//! ```
//!
//! Each step but the first is a [`Verdict`], and the verdict decides what an event adds to which
//! [measures](lake_schemas::measure).
//!
//! Nothing here reads a clock. The caller decides when rows are written, which never changes what they sum to.
//!
//! The watermark that a table records stays in force even if the clicks behind it are gone, because another program has
//! deleted or changed them. So from the cut on, the same events are late as if those clicks were still there.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use arrow::array::RecordBatch;
use lake_schemas::Invalid;
use lake_schemas::job::Flush;
use lake_schemas::measure::{MEASURES, additions};
use lake_schemas::minute::{Pane, Parameters};
use lake_schemas::rows::{Events, Positions};
use lake_schemas::{EventTime, Stand, TopicPartition, Verdict, Windows};

use crate::dedup::{CountedClicks, Identity};
use crate::restore::RestorePositions;
use crate::rows::MinuteRows;
use crate::sums::{Added, Key, WindowSums};
use crate::watermark::Watermark;
use crate::window::{Window, hour_of};

/// Number of events whose ids are prefetched before the first of them is looked up. The table of ids is larger than any
/// CPU cache, and many cache misses at a time cost little more than one.
const AHEAD: usize = 32;

/// Minute counts of one partition.
pub struct Minutes {
    partition: TopicPartition,
    pub(crate) parameters: Parameters,
    /// Stand of the table when this operator began. Events below its cut build state, and count only where the table
    /// lacks them.
    began: Stand,
    /// Stand of the table once everything handed over is committed.
    stand: Stand,
    /// End of the offsets taken in so far.
    next: Option<i64>,
    watermark: Watermark,
    /// Watermark that the table records; `None` once everything below the cut was taken in.
    recorded_ms: Option<i64>,
    /// Finding that the events below the cut did not reach the recorded watermark, until the caller takes it.
    behind: Option<Behind>,
    /// First offset at which each measure is counted, in the order of [`lake_schemas::Measure::ALL`].
    first_offsets: [i64; MEASURES],
    /// Offset from which on events add to all measures of the table.
    measured_from: i64,
    counted: CountedClicks,
    restore: RestorePositions,
    pub(crate) open: BTreeMap<Window, WindowSums>,
    /// Mark of the sums that change now: see [`cells`](crate::cells).
    pub(crate) mark: u32,
    /// Hours of the open windows.
    hours: BTreeSet<i64>,
    /// First offset that counts; events before it, and those outside `windows`, only build state.
    since: i64,
    windows: Windows,
    /// Whether the log has an end, as in a backfill. What is handed over there is recorded as drained, even if no
    /// window was open.
    is_bounded: bool,
}

impl Minutes {
    /// Begins the operator of a partition that has this stand in the table. Its input must begin at
    /// [`Minutes::restore_position`].
    pub fn begin(partition: TopicPartition, parameters: Parameters, stand: Stand) -> Self {
        let (watermark, next) = (Watermark::new(parameters.out_of_orderness_ms), Self::restore_position(stand));
        let first_offsets = parameters.measures.first_offsets(&partition);
        let of_the_table = &first_offsets[..parameters.measures.iter().count()];
        let mut minutes = Self {
            measured_from: of_the_table.iter().copied().max().unwrap_or(i64::MIN),
            first_offsets,
            partition,
            parameters,
            began: stand,
            stand,
            next,
            watermark,
            recorded_ms: stand.watermark_ms,
            behind: None,
            counted: CountedClicks::default(),
            restore: RestorePositions::default(),
            open: BTreeMap::new(),
            mark: 0,
            hours: BTreeSet::new(),
            since: i64::MIN,
            windows: Windows::default(),
            is_bounded: false,
        };
        minutes.comes_to(next);
        minutes
    }

    /// Restricts the counts to a part of history: only events from an offset on, and only in some windows. All other
    /// events still build the state, so verdicts do not change. [`Flush::Everything`] is the end of the part, and is
    /// always recorded as drained.
    pub fn only(self, since: i64, windows: Windows) -> Self {
        Self { since, windows, is_bounded: true, ..self }
    }

    /// Returns the offset from which a partition with this stand must be read; `None`: from the first that the log has.
    pub fn restore_position(stand: Stand) -> Option<i64> {
        stand.restore.or(stand.cut)
    }

    /// Takes in the events of the next stretch of the log, which ends at `next`, as rows of `clicks` in offset order.
    pub fn push(&mut self, events: &RecordBatch, next: i64) -> Result<(), Invalid> {
        self.push_watched(events, next, |_, _| {})
    }

    /// Takes in events like [`Minutes::push`], and calls `watch` with the number of each row and its verdict.
    pub fn push_watched(
        &mut self,
        events: &RecordBatch,
        next: i64,
        mut watch: impl FnMut(usize, Verdict),
    ) -> Result<(), Invalid> {
        let (positions, view) = (Positions::of(events)?, Events::of(events)?);
        let dimensions: Vec<_> =
            self.parameters.dimensions.iter().map(|one| view.dimension(*one)).collect::<Result<_, _>>()?;
        let windowing = self.parameters.windowing;
        let lateness_ms = windowing.width_ms() + self.parameters.allowed_lateness_ms;
        let memory_ms = self.parameters.memory_ms();
        let identities: Vec<_> = (0..events.num_rows()).map(|row| view.click_id(row).map(Identity::of)).collect();
        let (mut key, mut amounts, mut largest_ms) = (Key::default(), [(0, 0); MEASURES], None);
        for (row, &offset) in positions.offsets().iter().enumerate() {
            if row % AHEAD == 0 {
                let ahead = &identities[row..identities.len().min(row + AHEAD)];
                ahead.iter().flatten().for_each(|identity| self.counted.expect(*identity));
            }
            // The recorded watermark applies from the cut on, so it is set before the first event that lies there.
            self.comes_to(Some(offset));
            let time = view.event_time(row);
            let watermark_ms = self.watermark.advance(time);
            largest_ms = largest_ms.max(Some(time.millis()));
            let window = Window::of(time, windowing);
            let verdict = if !view.is_click(row) {
                Verdict::Filtered
            } else if window.start_ms() + lateness_ms <= watermark_ms {
                Verdict::Late
            } else if self.is_copy(identities[row], time, watermark_ms - memory_ms) {
                Verdict::Duplicate
            } else {
                Verdict::Counted
            };
            // The state is built by every event, but only some count: others are in the table already, or not asked
            // for.
            watch(row, verdict);
            if !self.is_wanted(offset, window) {
                continue;
            }
            let values = [Some(view.ad_id(row)), view.campaign_id(row)];
            key.set(values.into_iter().chain(dimensions.iter().map(|column| column.get(row))));
            let mut added = 0;
            for to in additions(verdict) {
                let is_counted = offset >= self.measured_from || self.first_offsets[to.place] <= offset;
                if let Some(amount) = view.added(row, to).filter(|_| is_counted) {
                    amounts[added] = (to.place, amount);
                    added += 1;
                }
            }
            // Most events are of the newest window, and the last entry is found without a search.
            let sums = match self.open.last_entry() {
                Some(last) if *last.key() == window => last.into_mut(),
                _ => match self.open.entry(window) {
                    Entry::Occupied(open) => open.into_mut(),
                    Entry::Vacant(new) => {
                        self.hours.insert(window.hour());
                        new.insert(WindowSums::default())
                    }
                },
            };
            sums.add(&key, Added { amounts: &amounts[..added], offset }, self.mark);
        }
        if let (Some(&first), Some(largest_ms)) = (positions.offsets().first(), largest_ms) {
            self.restore.see(first, largest_ms);
        }
        self.next = self.next.max(Some(next));
        self.comes_to(self.next);
        Ok(())
    }

    /// Notes that everything below an offset was taken in. Once that covers the cut, the watermark becomes the one that
    /// was recorded there, if it is not later already.
    fn comes_to(&mut self, offset: Option<i64>) {
        let Some(recorded_ms) = self.recorded_ms.filter(|_| self.began.cut <= offset) else { return };
        let replayed_ms = self.watermark.millis();
        // A table that took the place of another records a time before all clicks for a partition without a watermark.
        let is_of_clicks = EventTime::from_millis(recorded_ms).is_none_or(|time| !time.is_too_old());
        if replayed_ms < Some(recorded_ms) && is_of_clicks {
            self.behind = Some(Behind { replayed_ms, recorded_ms });
        }
        self.watermark.pass(recorded_ms);
        self.recorded_ms = None;
    }

    /// Takes the finding that the events below the cut did not reach the recorded watermark. It is returned once.
    pub fn take_behind(&mut self) -> Option<Behind> {
        self.behind.take()
    }

    /// Moves the watermark up to a known value, in place of events that are not taken in.
    pub fn pass(&mut self, watermark_ms: i64) {
        self.watermark.pass(watermark_ms);
    }

    /// Returns whether the event is a copy of a click that was counted and is still remembered: one with an event time
    /// from `known_from_ms` on. If not, remembers the event as counted.
    fn is_copy(&mut self, identity: Option<Identity>, time: EventTime, known_from_ms: i64) -> bool {
        identity.is_some_and(|identity| !self.counted.count(identity, time, known_from_ms))
    }

    /// Returns whether the event is to be added to its window: it belongs to the part of history that is asked for, and
    /// the table lacks it.
    fn is_wanted(&self, offset: i64, window: Window) -> bool {
        let Stand { cut, watermark_ms, drained, .. } = self.began;
        if offset < self.since || !self.windows.contain(window.start_ms()) {
            return false;
        }
        let is_below = |stand: Option<i64>| stand.is_some_and(|stand| offset < stand);
        let is_closed = || {
            let end_ms = window.end_ms(self.parameters.windowing);
            watermark_ms.is_some_and(|watermark_ms| end_ms <= watermark_ms)
        };
        // Below the cut, the table has all that was drained and all windows that its watermark had closed.
        !is_below(cut) || !(is_below(drained) || is_closed())
    }

    /// Hands over the rows of windows, with the step that they belong to: from the current stand of the table to the
    /// next. Returns `None` if the stand would not advance.
    pub fn emit(&mut self, which: Flush) -> Option<Emission> {
        let next = self.next?;
        // A live partition is asked for everything again and again; without open windows that would record nothing new.
        let is_worth_it = !self.open.is_empty() || (self.is_bounded && self.stand.drained < Some(next));
        let everything = which == Flush::Everything && is_worth_it;
        let advances = self.stand.cut.is_none_or(|cut| cut < next);
        if self.stand.cut.is_some_and(|cut| next < cut) || !(advances || everything) {
            return None;
        }
        let watermark_ms = self.watermark.millis();
        assert!(watermark_ms >= self.stand.watermark_ms, "{}: a watermark never goes back", self.partition);
        let mut rows = MinuteRows::new(&self.partition, &self.parameters);
        while let Some(window) = self.open.first_entry() {
            let end_ms = window.key().end_ms(self.parameters.windowing);
            let is_closed = watermark_ms.is_some_and(|watermark_ms| end_ms <= watermark_ms);
            if !is_closed && !everything {
                break;
            }
            // A window that was closed at the last step can only have late events now; its rows are written as late.
            let was_closed = self.stand.watermark_ms.is_some_and(|watermark_ms| end_ms <= watermark_ms);
            let (window, sums) = window.remove_entry();
            let pane = match (is_closed, was_closed) {
                (_, true) => Pane::Late,
                (true, false) => Pane::OnTime,
                (false, false) => Pane::Early,
            };
            rows.push(window, &sums, pane);
        }
        // Only what the memory of ids and the open windows still need is read again after a restart.
        let matters_from_ms = watermark_ms.map_or(i64::MIN, |watermark_ms| watermark_ms - self.parameters.memory_ms());
        let from = self.stand;
        self.stand = Stand {
            cut: Some(next),
            watermark_ms,
            drained: if which == Flush::Everything { Some(next) } else { from.drained },
            restore: Some(self.restore.position(matters_from_ms, next)),
            ..from
        };
        self.hours = self.open.keys().map(|window| window.hour()).collect();
        Some(Emission { rows: rows.finish(), from, to: self.stand })
    }

    /// Returns the offset behind all that was taken in; `None` before the first stretch of a log that begins anew.
    pub fn next(&self) -> Option<i64> {
        self.next
    }

    /// Returns whether [`Minutes::emit`] would hand over rows, and not only a stand that has moved.
    pub fn has_rows(&self, which: Flush) -> bool {
        let Some(window) = self.open.keys().next() else { return false };
        let is_closed = |watermark_ms: i64| window.end_ms(self.parameters.windowing) <= watermark_ms;
        match which {
            Flush::Closed => self.stand.cut < self.next && self.watermark.millis().is_some_and(is_closed),
            Flush::Everything => self.stand.cut <= self.next,
        }
    }

    /// Returns whether the operator holds windows that only [`Flush::Everything`] would write: those that the watermark
    /// has not passed. Below the cut of the table it writes nothing.
    pub fn has_open_windows(&self) -> bool {
        !self.open.is_empty() && self.stand.cut <= self.next
    }

    /// Counts the hours of the windows that the operator would write now, except the newest two: that of the watermark,
    /// and the one before, which other partitions write into as well. Below the cut of the table it writes nothing.
    pub fn hours_behind(&self) -> usize {
        match self.watermark.millis().filter(|_| self.stand.cut < self.next) {
            Some(watermark_ms) => self.hours.range(..hour_of(watermark_ms) - 1).count(),
            None => 0,
        }
    }

    /// Counts the clicks whose ids are remembered, to recognise copies.
    pub fn remembered(&self) -> usize {
        self.counted.len()
    }

    /// Returns the memory that the remembered clicks take, in bytes.
    pub fn remembered_bytes(&self) -> usize {
        self.counted.bytes()
    }

    /// Returns the memory of the whole state, in bytes.
    pub fn bytes(&self) -> usize {
        let open = self.open.values().map(WindowSums::bytes).sum::<usize>();
        self.counted.bytes() + self.restore.bytes() + open + self.hours.len() * size_of::<i64>()
    }
}

/// Finding that the events below a cut reach a smaller watermark than was recorded there, because some of them were
/// deleted or changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Behind {
    /// Watermark that these events reach, in milliseconds; `None` if there are none.
    pub replayed_ms: Option<i64>,
    /// Watermark that was recorded, in milliseconds.
    pub recorded_ms: i64,
}

/// Rows of `clicks_minute`, with the step of the stand that they belong to.
#[derive(Clone, Debug)]
pub struct Emission {
    /// Rows to write; possibly none.
    pub rows: RecordBatch,
    /// Stand that the partition must have in the table for the rows to be committed.
    pub from: Stand,
    /// Stand of the partition after the step.
    pub to: Stand,
}

#[cfg(test)]
mod tests;
