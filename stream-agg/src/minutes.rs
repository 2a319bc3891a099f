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
            let sums = match self.open.entry(window) {
                Entry::Occupied(open) => open.into_mut(),
                Entry::Vacant(new) => {
                    self.hours.insert(window.hour());
                    new.insert(WindowSums::default())
                }
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
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, AsArray, Int64Array, StringArray, TimestampMicrosecondArray, new_null_array};
    use arrow::datatypes::{DataType, Int64Type};
    use lake_schemas::table::column;
    use lake_schemas::time::MILLIS_PER_MINUTE as WINDOW_MS;
    use lake_schemas::{Measure, Measures, Table};

    use super::*;

    const NOON_MS: i64 = 1_772_884_800_000;
    const HOUR_MS: i64 = 60 * WINDOW_MS;

    /// Begins a partition with this stand.
    fn beginning(stand: Stand) -> Minutes {
        Minutes::begin(TopicPartition::new("clicks", 0), Parameters::default(), stand)
    }

    fn minute(number: i64) -> i64 {
        NOON_MS + number * WINDOW_MS
    }

    /// Makes clicks with these offsets and event times.
    fn clicks(events: &[(i64, i64)]) -> RecordBatch {
        let offsets = events.iter().map(|(offset, _)| *offset);
        let times = events.iter().map(|(_, time_ms)| time_ms * 1_000);
        let nothing = |data_type: DataType| new_null_array(&data_type, events.len());
        let columns: [(&str, ArrayRef); 7] = [
            (column::KAFKA_OFFSET, Arc::new(Int64Array::from_iter_values(offsets.clone()))),
            (column::EVENT_TIME, Arc::new(TimestampMicrosecondArray::from_iter_values(times))),
            (column::EVENT_TYPE, nothing(DataType::Utf8)),
            (column::AD_ID, Arc::new(StringArray::from(vec!["a"; events.len()]))),
            (column::CAMPAIGN_ID, nothing(DataType::Utf8)),
            (column::CLICK_ID, Arc::new(StringArray::from_iter_values(offsets.map(|offset| offset.to_string())))),
            (column::COST_MICROS, nothing(DataType::Int64)),
        ];
        RecordBatch::try_from_iter(columns).expect("rows")
    }

    fn push(minutes: &mut Minutes, events: &[(i64, i64)], next: i64) {
        minutes.push(&clicks(events), next).expect("rows of clicks");
    }

    /// Begins a partition whose log has messages up to an offset, and no event among them.
    fn without_events(next: i64) -> Minutes {
        let mut minutes = beginning(Stand::default());
        minutes.push(&RecordBatch::new_empty(Table::Clicks.schema()), next).expect("no rows");
        minutes
    }

    fn drained(emission: Option<Emission>) -> Option<i64> {
        emission?.to.drained
    }

    #[test]
    fn the_end_of_history_is_drained_even_if_nothing_is_open() {
        let mut minutes = without_events(10).only(i64::MIN, Windows::default());
        let closed = minutes.emit(Flush::Closed).expect("the cut advances");
        assert_eq!((closed.to.cut, closed.to.drained), (Some(10), None));
        assert_eq!(drained(minutes.emit(Flush::Everything)), Some(10));
        assert!(minutes.emit(Flush::Everything).is_none(), "it is said once");
    }

    #[test]
    fn a_live_partition_with_nothing_open_is_not_drained_again_and_again() {
        let mut minutes = without_events(10);
        assert!(minutes.emit(Flush::Closed).is_some());
        assert!(minutes.emit(Flush::Everything).is_none());
    }

    #[test]
    fn rows_are_told_from_a_stand_that_moves_alone() {
        let mut minutes = without_events(3);
        assert_eq!((minutes.next(), minutes.has_rows(Flush::Everything)), (Some(3), false));
        // The watermark is five seconds behind the last click, and then passes the end of the first minute.
        for (offset, time_ms, is_closed) in [(3, minute(0), false), (4, minute(1), false), (5, minute(2), true)] {
            push(&mut minutes, &[(offset, time_ms)], offset + 1);
            assert_eq!(minutes.has_rows(Flush::Closed), is_closed, "at {offset}");
            assert!(minutes.has_rows(Flush::Everything));
        }
        let emission = minutes.emit(Flush::Closed).expect("the cut advances");
        assert_eq!(emission.rows.num_rows(), 1);
        assert!(!minutes.has_rows(Flush::Closed), "the others are open");
        assert!(minutes.emit(Flush::Closed).is_none());
        // Below the cut of the table nothing is handed over.
        let stand = Stand { cut: Some(9), restore: Some(0), ..Stand::default() };
        let mut minutes = beginning(stand);
        push(&mut minutes, &[(0, minute(0)), (1, minute(9))], 2);
        assert!(!minutes.has_rows(Flush::Closed) && !minutes.has_rows(Flush::Everything));
    }

    #[test]
    fn a_recorded_watermark_counts_from_the_cut_on_though_its_click_is_gone() {
        let stand = Stand { cut: Some(10), watermark_ms: Some(minute(30)), restore: Some(0), ..Stand::default() };
        let behind = Behind { replayed_ms: Some(minute(2) - 5_000), recorded_ms: minute(30) };
        let (below, above) = ([(0, minute(0)), (7, minute(2))], [(10, minute(3)), (11, minute(29))]);
        // The replay ends at the cut, or a batch reaches across it; below, nothing at all is left of the clicks.
        let across = [below, above].concat();
        for batches in [vec![(&below[..], 10), (&above[..], 12)], vec![(&across[..], 12)]] {
            let mut minutes = beginning(stand);
            batches.iter().for_each(|(events, next)| push(&mut minutes, events, *next));
            assert_eq!(minutes.take_behind(), Some(behind));
            assert_eq!(minutes.take_behind(), None, "it is said once");
            let emission = minutes.emit(Flush::Closed).expect("the cut advances");
            assert_eq!(emission.to.watermark_ms, Some(minute(30)));
            // The minutes of both clicks are over, and for one of them the allowed lateness is too.
            let firsts = emission.rows["offset_first"].as_primitive::<Int64Type>().values().to_vec();
            let late = emission.rows["late"].as_primitive::<Int64Type>().values().to_vec();
            assert_eq!((firsts, late), (vec![10, 11], vec![1, 0]), "nothing from below the cut is written again");
            assert!(minutes.emit(Flush::Everything).is_none(), "all is written");
        }
        let mut minutes = beginning(stand);
        push(&mut minutes, &[], 10);
        assert_eq!(minutes.take_behind(), Some(Behind { replayed_ms: None, ..behind }));
    }

    #[test]
    fn a_replay_that_comes_to_the_recorded_watermark_says_nothing() {
        let stand = Stand { cut: Some(2), watermark_ms: Some(minute(9) - 5_000), restore: Some(0), ..Stand::default() };
        let mut minutes = beginning(stand);
        push(&mut minutes, &[(0, minute(9)), (1, minute(4))], 2);
        assert_eq!(minutes.take_behind(), None);
        // A partition without events says nothing either, in a table that replaced one in which it had some.
        let replaced = Stand { cut: Some(0), restore: Some(0), ..Stand::default() }.in_place_of(stand);
        let mut minutes = beginning(replaced);
        push(&mut minutes, &[], 5);
        assert_eq!(minutes.take_behind(), None);
        let emission = minutes.emit(Flush::Closed).expect("the cut advances");
        assert_eq!(emission.to.watermark_ms, replaced.watermark_ms);
    }

    #[test]
    fn a_measure_that_came_in_later_counts_from_its_offset_on() {
        let (partition, mut parameters) = (TopicPartition::new("clicks", 0), Parameters::default());
        assert!(parameters.measures.begin(Measure::ALL[0], [(partition.clone(), 2)].into()));
        let mut minutes = Minutes::begin(partition, parameters, Stand::default());
        push(&mut minutes, &[(0, minute(0)), (1, minute(1)), (2, minute(0)), (3, minute(0))], 4);
        let rows = minutes.emit(Flush::Everything).expect("the cut advances").rows;
        let numbers = |name: &str| rows[name].as_primitive::<Int64Type>().values().to_vec();
        assert_eq!((numbers("offset_first"), numbers("clicks")), (vec![0, 1], vec![2, 0]));
    }

    #[test]
    fn rows_have_the_measures_of_their_table_and_no_others() {
        let parameters = Parameters { measures: Measures::of_format_1(), ..Parameters::default() };
        let schema = parameters.schema(Table::ClicksMinute);
        let mut minutes = Minutes::begin(TopicPartition::new("clicks", 0), parameters, Stand::default());
        push(&mut minutes, &[(0, minute(0))], 1);
        assert_eq!(minutes.emit(Flush::Everything).expect("the cut advances").rows.schema(), schema);
    }

    #[test]
    fn hours_that_would_be_written_are_counted_but_for_the_newest_two() {
        let hour = |number: i64| NOON_MS + number * HOUR_MS;
        let mut minutes = beginning(Stand::default());
        push(&mut minutes, &[(0, hour(0) + WINDOW_MS)], 1);
        assert_eq!(minutes.hours_behind(), 0);
        // A producer may send events of any time.
        let old: Vec<_> = (1..=20).map(|number| (number, hour(-(number % 10)))).collect();
        push(&mut minutes, &old, 21);
        assert_eq!(minutes.hours_behind(), 8, "ten hours, two of which are the newest");
        minutes.emit(Flush::Closed).expect("the cut advances");
        assert_eq!(minutes.hours_behind(), 0, "they are written");
        // Clicks in the order of time, one an hour.
        let sparse: Vec<_> = (1..=30).map(|number| (20 + number, hour(number) + WINDOW_MS)).collect();
        push(&mut minutes, &sparse, 51);
        assert_eq!(minutes.hours_behind(), 29, "of 31 hours, one of which was open before");
        // Events below the stand of the table are not written, so no hour waits for them.
        let stand = Stand { cut: Some(100), watermark_ms: Some(hour(-20)), restore: Some(0), ..Stand::default() };
        let mut minutes = beginning(stand);
        push(&mut minutes, &sparse, 51);
        assert_eq!(minutes.hours_behind(), 0);
    }
}
