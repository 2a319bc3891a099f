//! A world: the log, the raw table, the versions of a table of counts, and what a reader has heard.
//!
//! An event is of one of two ads, and its value, which a lookup gave it, is its campaign. So sums of an answer tell
//! which events are in it: the second measure has one bit for each.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray, UInt32Array};
use arrow::datatypes::Int64Type;

use super::dice::Dice;
use super::reader::Link;
use crate::chain::{ChainKey, Frame, cells};
use crate::measure::MEASURES;
use crate::minute::Parameters;
use crate::table::timestamp;
use crate::time::MICROS_PER_MILLI;
use crate::{Stand, Table, TopicPartition};

/// Number of the messages of the log: one bit each.
pub const MESSAGES: i64 = 24;

/// Width of a window.
const WIDTH: i64 = 10;

/// Delta's id of the table of counts.
pub const TABLE_ID: &str = "counts";

/// A rule that the law rests on, which a world can leave out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// A reader also begins at the open part, and not only at a step.
    TheOpenPartIsLookedFor,
    /// The open part is all that is not handed over, also of offsets below the cut.
    TheOpenPartIsWhole,
    /// A reader begins at the stand of its version.
    StandsAreCompared,
    /// A reader compares all parts of the stands.
    StandsAreComparedWhole,
    /// A reader compares the specs.
    SpecsAreCompared,
    /// A chain that begins has no steps of before.
    ABeginHasNoSteps,
    /// A chain begins once its operator has come to the cut of the table.
    AChainBeginsAtTheCut,
    /// Processes are told apart.
    ProcessesAreToldApart,
    /// Sets are applied in their order.
    SetsAreInOrder,
    /// A set that is lost is noticed.
    NoSetIsLost,
    /// The position and the changed cells are one frame.
    PositionAndCellsAreOne,
    /// A stand has the number of the restatement that its counts are of.
    RestatementsAreNumbered,
    /// A value that is looked up is a function of the message, and not of what the process has loaded.
    ValuesAreOfTheMessage,
}

impl Rule {
    /// All rules without which an answer is wrong. Without the other one, too few answers have a live part.
    pub const ALL: [Self; 12] = [
        Self::TheOpenPartIsWhole,
        Self::StandsAreCompared,
        Self::StandsAreComparedWhole,
        Self::SpecsAreCompared,
        Self::ABeginHasNoSteps,
        Self::AChainBeginsAtTheCut,
        Self::ProcessesAreToldApart,
        Self::SetsAreInOrder,
        Self::NoSetIsLost,
        Self::PositionAndCellsAreOne,
        Self::RestatementsAreNumbered,
        Self::ValuesAreOfTheMessage,
    ];
}

/// An event as it is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    pub offset: i64,
    pub value: i64,
    pub spec: i64,
}

/// A version of the table of counts.
#[derive(Clone)]
pub struct Version {
    pub stand: Stand,
    pub events: Vec<Event>,
    pub spec: i64,
}

pub struct World {
    pub dice: Dice,
    pub left_out: Option<Rule>,
    has_lookups: bool,
    /// Window of each message; watermark below each offset; whether a message is an event.
    windows: Vec<i64>,
    pub watermarks: Vec<i64>,
    is_event: Vec<bool>,
    /// End of the log.
    pub end: i64,
    /// Newest revision of the lookup.
    pub revision: i64,
    /// Process that the group gives the partition to.
    pub owner: usize,
    pub raw_cut: i64,
    pub raw: BTreeMap<i64, i64>,
    /// Commits that the raw table has.
    pub raw_ids: BTreeSet<u64>,
    /// Values that each restatement has changed in the raw table. The first is none.
    pub restated: Vec<BTreeMap<i64, i64>>,
    /// Offset up to which an old lake had counted ahead of the raw table.
    ahead: i64,
    pub table: Vec<Version>,
    /// Commits that the table has.
    pub ids: BTreeSet<u64>,
    pub links: Vec<Link>,
    /// Values that answers had, with the number of their restatement.
    pub said: Vec<(i64, i64, i64)>,
    pub asked: u64,
    pub live: u64,
    last_id: u64,
}

impl World {
    pub fn new(seed: u64, left_out: Option<Rule>, has_lookups: bool) -> Self {
        let mut dice = Dice::of(seed);
        let (mut time, mut largest) = (dice.below(30), -1_000_000_000);
        let (mut windows, mut watermarks, mut is_event) = (Vec::new(), vec![largest], Vec::new());
        for _ in 0..MESSAGES {
            time += dice.one_of(&[0, 1, 2, 5, 15]);
            let event_time = (time - dice.one_of(&[0, 0, 0, 5, 20, 60])).max(0);
            is_event.push(dice.happens(85));
            if is_event.last() == Some(&true) {
                largest = largest.max(event_time - 3);
            }
            windows.push(event_time / WIDTH);
            watermarks.push(largest);
        }
        let ahead = if dice.happens(20) { 1 + dice.below(MESSAGES - 1) } else { 0 };
        let end = dice.below(MESSAGES).max(ahead);
        let drained = dice.one_of(&[0, ahead]);
        let stand = stand_of(ahead, watermarks[ahead as usize], drained, 0);
        let mut world = Self {
            dice,
            left_out,
            has_lookups,
            windows,
            watermarks,
            is_event,
            end,
            revision: 1,
            owner: 0,
            raw_cut: 0,
            raw: BTreeMap::new(),
            raw_ids: BTreeSet::new(),
            restated: vec![BTreeMap::new()],
            ahead,
            table: Vec::new(),
            ids: BTreeSet::new(),
            links: Vec::new(),
            said: Vec::new(),
            asked: 0,
            live: 0,
            last_id: 0,
        };
        let counted = world.counted(0, 0..ahead).into_iter().filter(|offset| world.is_out(*offset, stand));
        let events = counted.map(|offset| Event { offset, value: 0, spec: 0 }).collect();
        world.table.push(Version { stand, events, spec: 0 });
        world
    }

    pub fn leaves_out(&self, rule: Rule) -> bool {
        self.left_out == Some(rule)
    }

    pub fn window(&self, offset: i64) -> i64 {
        self.windows[offset as usize]
    }

    /// Returns the events of these offsets.
    pub fn events(&self, offsets: std::ops::Range<i64>) -> Vec<i64> {
        offsets.filter(|offset| self.is_event[*offset as usize]).collect()
    }

    /// Returns the events of these offsets that a spec counts.
    pub fn counted(&self, spec: i64, offsets: std::ops::Range<i64>) -> Vec<i64> {
        self.events(offsets).into_iter().filter(|offset| is_counted(spec, *offset)).collect()
    }

    /// Returns whether a table with this stand has the event, if it counts at all.
    pub fn is_out(&self, offset: i64, stand: Stand) -> bool {
        let is_closed = is_closed(self.window(offset), part(stand.watermark_ms));
        offset < part(stand.cut) && (offset < part(stand.drained) || is_closed)
    }

    /// Returns the value of an event that stands in the raw table after so many restatements.
    pub fn value(&self, offset: i64, restatement: i64) -> i64 {
        let restated = self.restated[..=restatement as usize].iter();
        restated.rev().find_map(|values| values.get(&offset)).or_else(|| self.raw.get(&offset)).copied().unwrap_or(0)
    }

    /// Returns the number of the newest restatement.
    pub fn restatement(&self) -> i64 {
        self.restated.len() as i64 - 1
    }

    /// Looks up the value of a message, in a process that has loaded a revision.
    pub fn look_up(&self, offset: i64, loaded: i64) -> i64 {
        if offset < self.ahead || !self.has_lookups {
            0
        } else if self.leaves_out(Rule::ValuesAreOfTheMessage) {
            loaded
        } else {
            1 + offset / 5
        }
    }

    /// Returns whether anything is looked up.
    pub fn has_lookups(&self) -> bool {
        self.has_lookups
    }

    pub fn newest(&self) -> &Version {
        self.table.last().expect("a table has a version")
    }

    pub fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    /// Sends a frame of a process on its way, alone or with the frames behind it.
    pub fn say(&mut self, link: usize, frame: Frame) {
        let is_alone = self.left_out.is_some() || !self.dice.happens(25);
        self.links[link].say(frame);
        if is_alone {
            self.links[link].send(self.left_out.is_none());
        }
    }
}

/// Returns whether a spec counts an event.
pub fn is_counted(spec: i64, offset: i64) -> bool {
    (offset + spec) % 3 > 0
}

pub fn is_closed(window: i64, watermark: i64) -> bool {
    (window + 1) * WIDTH <= watermark
}

pub fn key() -> ChainKey {
    ChainKey { table: Table::ClicksMinute, partition: TopicPartition::new("clicks", 0) }
}

/// Returns the parameters of a spec. All that matters is that two specs are two.
pub fn parameters_of(spec: i64) -> Parameters {
    Parameters { out_of_orderness_ms: spec, ..Parameters::default() }
}

/// Makes a stand. Tables of counts do not record `read`, so it has the number of the restatement here: what matters is
/// that stands are compared whole, whatever their parts are.
pub fn stand_of(cut: i64, watermark: i64, drained: i64, restatement: i64) -> Stand {
    Stand {
        cut: Some(cut),
        read: Some(restatement),
        watermark_ms: Some(watermark),
        drained: Some(drained),
        restore: None,
    }
}

/// Returns a part of a stand that [`stand_of`] has made.
pub fn part(part: Option<i64>) -> i64 {
    part.expect("stands of a world have it")
}

/// A cell: events of one ad and one value in a window.
#[derive(Clone, Copy)]
pub struct Row {
    pub window: i64,
    pub number: u32,
    pub ad: i64,
    pub value: i64,
    /// Events, one bit each.
    pub events: i64,
}

/// Makes cells of rows, which are also rows of a step here.
pub fn batch_of(spec: i64, rows: &[Row]) -> RecordBatch {
    let starts = rows.iter().map(|row| row.window * WIDTH * MICROS_PER_MILLI);
    let mut columns: Vec<ArrayRef> = vec![
        Arc::new(TimestampMicrosecondArray::from_iter_values(starts).with_data_type(timestamp())),
        Arc::new(StringArray::from_iter_values(rows.iter().map(|row| row.ad.to_string()))),
        Arc::new(StringArray::from_iter_values(rows.iter().map(|row| format!("{}/{spec}", row.value)))),
        Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| i64::from(row.events.count_ones())))),
        Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.events))),
    ];
    columns.extend((2..MEASURES).map(|_| -> ArrayRef { Arc::new(Int64Array::from_value(0, rows.len())) }));
    columns.push(Arc::new(UInt32Array::from_iter_values(rows.iter().map(|row| row.number))));
    RecordBatch::try_new(cells::schema(&parameters_of(spec)), columns).expect("cells")
}

/// Returns the events of cells.
pub fn events_of(batch: &RecordBatch) -> Result<Vec<Event>, String> {
    let campaigns = batch.column(2).as_string::<i32>();
    let [many, bits] = [3, 4].map(|at| batch.column(at).as_primitive::<Int64Type>().values());
    let mut found = Vec::new();
    for row in 0..batch.num_rows() {
        let (value, spec) = campaigns.value(row).split_once('/').expect("a value and a spec");
        let number = |text: &str| text.parse::<i64>().expect("a number");
        if i64::from(bits[row].count_ones()) != many[row] {
            return Err("a cell has an event twice".to_owned());
        }
        let offsets = (0..MESSAGES).filter(|offset| (bits[row] >> offset) & 1 == 1);
        found.extend(offsets.map(|offset| Event { offset, value: number(value), spec: number(spec) }));
    }
    Ok(found)
}
