//! The open part of an operator, as [cells]: all that it has counted and not handed over, and what of it changed.
//!
//! Live answers add it to what is committed. Only an operator that is [watched](Minutes::watch) notes changes: others,
//! of backfills and replays, pay one comparison for each event.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringBuilder, TimestampMicrosecondArray, UInt32Array};
use lake_schemas::chain::cells;
use lake_schemas::measure::MEASURES;
use lake_schemas::minute::Parameters;
use lake_schemas::table::timestamp;
use lake_schemas::time::MICROS_PER_MILLI;

use crate::minutes::Minutes;
use crate::sums::{Sums, UNMARKED, Values, WindowSums};
use crate::window::Window;

impl Minutes {
    /// Notes from now on which cells change. What changed before is forgotten: [`Minutes::open_cells`] has it.
    pub fn watch(&mut self) {
        self.open.values_mut().for_each(WindowSums::forget_changes);
        // A mark comes back after 2^32 of them, which takes years; no window is open for that long.
        self.mark = self.mark.checked_add(1).unwrap_or(UNMARKED + 1);
    }

    /// Returns all cells of the open part: of every window that is not handed over, events below the cut of the table
    /// included.
    pub fn open_cells(&self) -> RecordBatch {
        let mut cells = CellRows::new(&self.parameters);
        for (window, sums) in &self.open {
            for (number, (values, row)) in (0..).zip(sums.rows()) {
                cells.push(*window, number, values, row);
            }
        }
        cells.finish()
    }

    /// Takes the cells that changed since this was last called, or since [`Minutes::watch`], with their new sums.
    /// `None` if none did, or if the operator is not watched. Cells of windows that were handed over since are not
    /// among them.
    pub fn take_changed(&mut self) -> Option<RecordBatch> {
        let mut cells = CellRows::new(&self.parameters);
        for (window, sums) in &self.open {
            sums.changed().for_each(|(number, values, row)| cells.push(*window, number, values, row));
        }
        if cells.numbers.is_empty() {
            return None;
        }
        let changed = cells.finish();
        self.watch();
        Some(changed)
    }
}

/// Cells of one partition that are told together.
struct CellRows<'a> {
    parameters: &'a Parameters,
    windows: Vec<Window>,
    dimensions: Vec<StringBuilder>,
    measures: [Vec<i64>; MEASURES],
    numbers: Vec<u32>,
}

impl<'a> CellRows<'a> {
    fn new(parameters: &'a Parameters) -> Self {
        let dimensions = parameters.dimension_columns().iter().map(|_| StringBuilder::new()).collect();
        Self { parameters, windows: Vec::new(), dimensions, measures: Default::default(), numbers: Vec::new() }
    }

    fn push(&mut self, window: Window, number: u32, values: Values<'_>, row: &Sums) {
        self.windows.push(window);
        for (column, value) in self.dimensions.iter_mut().zip(values) {
            column.append_option(value);
        }
        for (column, value) in self.measures.iter_mut().zip(row.measures) {
            column.push(value);
        }
        self.numbers.push(number);
    }

    fn finish(self) -> RecordBatch {
        let starts = self.windows.iter().map(|window| window.start_ms() * MICROS_PER_MILLI);
        let starts = TimestampMicrosecondArray::from_iter_values(starts).with_data_type(timestamp());
        let mut columns: Vec<ArrayRef> = vec![Arc::new(starts)];
        columns.extend(self.dimensions.into_iter().map(|mut column| Arc::new(column.finish()) as ArrayRef));
        // Those that the table has, which are the first ones.
        let measures = self.measures.into_iter().take(self.parameters.measures.iter().count());
        columns.extend(measures.map(|column| Arc::new(Int64Array::from(column)) as ArrayRef));
        columns.push(Arc::new(UInt32Array::from(self.numbers)));
        RecordBatch::try_new(cells::schema(self.parameters), columns).expect("the columns of cells, in their order")
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{StringArray, new_null_array};
    use arrow::datatypes::DataType;
    use lake_schemas::chain::{ChainKey, Feed, Frame, FrameSet, Place};
    use lake_schemas::job::Flush;
    use lake_schemas::table::column;
    use lake_schemas::{Measures, Stand, Table, TopicPartition};

    use super::*;

    const NOON_MS: i64 = 1_772_884_800_000;

    /// Pseudo-random numbers, the same in each run.
    struct Dice(u64);

    impl Dice {
        /// Returns a number from 0 up to, but without, `many`.
        fn below(&mut self, many: i64) -> i64 {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (self.0 >> 33).cast_signed() % many
        }
    }

    /// Makes clicks with offsets from `first` on, at these times, on one of three ads each.
    fn clicks(first: i64, times_ms: &[i64], dice: &mut Dice) -> RecordBatch {
        let offsets: Vec<_> = (first..).take(times_ms.len()).collect();
        let ads: Vec<_> = times_ms.iter().map(|_| ["a", "b", "c"][dice.below(3) as usize]).collect();
        let ids: Vec<_> = offsets.iter().map(|offset| (offset - dice.below(3)).to_string()).collect();
        let nothing = |data_type: DataType| new_null_array(&data_type, times_ms.len());
        let times = times_ms.iter().map(|time_ms| time_ms * MICROS_PER_MILLI);
        let columns: [(&str, ArrayRef); 7] = [
            (column::KAFKA_OFFSET, Arc::new(Int64Array::from(offsets))),
            (column::EVENT_TIME, Arc::new(TimestampMicrosecondArray::from_iter_values(times))),
            (column::EVENT_TYPE, nothing(DataType::Utf8)),
            (column::AD_ID, Arc::new(StringArray::from(ads))),
            (column::CAMPAIGN_ID, nothing(DataType::Utf8)),
            (column::CLICK_ID, Arc::new(StringArray::from_iter_values(ids))),
            (column::COST_MICROS, nothing(DataType::Int64)),
        ];
        RecordBatch::try_from_iter(columns).expect("rows of clicks")
    }

    fn key() -> ChainKey {
        ChainKey { table: Table::ClicksMinute, partition: TopicPartition::new("clicks", 0) }
    }

    /// A job of one partition and a listener, who gets the frames of the job at once.
    struct Told {
        minutes: Minutes,
        parameters: Parameters,
        feed: Feed,
        number: u64,
        next: i64,
        at: Stand,
    }

    impl Told {
        fn new(parameters: Parameters) -> Self {
            let minutes = Minutes::begin(key().partition, parameters.clone(), Stand::default());
            Self { minutes, parameters, feed: Feed::new(1), number: 0, next: 0, at: Stand::default() }
        }

        fn say(&mut self, frames: Vec<Frame>) {
            self.number += 1;
            let set = FrameSet { incarnation: 1, number: self.number, frames };
            self.feed.apply(set).expect("what an operator does follows");
        }

        /// Takes in some clicks: most of them about now, some earlier, and late.
        fn push(&mut self, dice: &mut Dice) {
            let now_ms = NOON_MS + self.next * 2_000;
            let many = dice.below(8);
            let times: Vec<_> = (0..many).map(|_| now_ms - [0, 1, 70, 1_100][dice.below(4) as usize] * 1_000).collect();
            let batch = clicks(self.next, &times, dice);
            self.next += many + dice.below(2);
            self.minutes.push(&batch, self.next).expect("rows of clicks");
        }

        fn took(&mut self) -> Frame {
            let nothing = || RecordBatch::new_empty(cells::schema(&self.parameters));
            let cells = self.minutes.take_changed();
            Frame::Took { key: key(), next: self.next, cells: cells.unwrap_or_else(nothing) }
        }

        fn begin(&mut self) -> Frame {
            self.minutes.watch();
            let (spec, cells) = (self.parameters.to_json(), self.minutes.open_cells());
            Frame::Begin { key: key(), table_id: "t".to_owned(), spec, at: self.at, next: self.next, cells }
        }

        /// Hands over a step, told or not.
        fn hand_over(&mut self, which: Flush) -> Option<Frame> {
            let step = self.minutes.emit(which)?;
            self.at = step.to;
            Some(Frame::Handed { key: key(), from: step.from, to: step.to, rows: step.rows })
        }
    }

    /// A listener who hears of changes alone knows the open part as if it had been told all of it each time.
    #[test]
    fn what_changed_makes_the_open_part_out_of_the_one_before() {
        for seed in 0..200 {
            let mut dice = Dice(seed);
            let measures = if seed % 2 == 0 { Measures::default() } else { Measures::of_format_1() };
            let mut told = Told::new(Parameters { measures, ..Parameters::default() });
            for _ in 0..dice.below(5) {
                told.push(&mut dice);
                told.hand_over(Flush::Closed);
            }
            assert!(told.minutes.take_changed().is_none(), "seed {seed}: nobody watches");
            let begin = told.begin();
            told.say(vec![begin]);
            for round in 0..40 {
                for _ in 0..dice.below(3) {
                    told.push(&mut dice);
                }
                let mut frames = vec![told.took()];
                let which = if dice.below(3) == 0 { Flush::Everything } else { Flush::Closed };
                frames.extend(if dice.below(3) == 0 { told.hand_over(which) } else { None });
                told.say(frames);
                let chain = told.feed.chain(&key()).expect("it has begun");
                let Place::Here(beyond) = chain.place(&told.at) else { panic!("seed {seed}, round {round}: no place") };
                let known = beyond.open.rows(i64::MIN..i64::MAX, None);
                assert_eq!(known, told.minutes.open_cells(), "seed {seed}, round {round}");
                assert_eq!((beyond.steps.count(), beyond.next), (0, told.next), "seed {seed}, round {round}");
            }
            assert!(told.minutes.take_changed().is_none(), "seed {seed}: all was told");
        }
    }
}
