//! A process: raw operator, one operator of counts, one epoch in flight, and what it says of its chain.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use arrow::array::RecordBatch;

use super::reader::Link;
use super::world::{
    Event, Row, Rule, TABLE_ID, Version, World, batch_of, events_of, is_closed, is_counted, key, parameters_of, part,
    stand_of,
};
use crate::Stand;
use crate::chain::Frame;

/// Number of committed steps that a chain keeps.
const KEPT: usize = 3;

/// Most messages in memory that are not committed.
const IN_MEMORY_MAX: i64 = 12;

pub struct Job {
    me: usize,
    pub link: usize,
    is_mine: bool,
    /// Revision of the lookup that it has loaded.
    loaded: i64,
    epoch: Option<Epoch>,
    /// Cut of the raw table as far as it knows, that of its next epoch, and offset of its next message.
    known: i64,
    at: i64,
    next: i64,
    /// Events that are not known to be in the raw table, with their values.
    memory: BTreeMap<i64, i64>,
    counts: Option<Counts>,
}

/// Operator of counts, restoring or joined.
struct Counts {
    spec: i64,
    began: Stand,
    stand: Stand,
    next: i64,
    /// Events by window and cell.
    open: BTreeMap<i64, Vec<Row>>,
    is_joined: bool,
    is_told: bool,
    /// Steps that are committed and not forgotten.
    committed: VecDeque<Stand>,
}

/// An epoch on its way: rows for the raw table, then a step of the counts.
struct Epoch {
    id: u64,
    raw: Option<(i64, i64, BTreeMap<i64, i64>)>,
    step: Option<(Stand, Stand, Vec<Event>)>,
    spec: i64,
    /// Cut, or number of the versions, that its commit is made on.
    base: Option<i64>,
}

impl Job {
    pub fn new(world: &mut World, me: usize) -> Self {
        if !world.leaves_out(Rule::ProcessesAreToldApart) || world.links.is_empty() {
            world.links.push(Link::new(world.links.len() as u128));
        }
        Self {
            me,
            link: world.links.len() - 1,
            is_mine: false,
            loaded: world.revision,
            epoch: None,
            known: 0,
            at: 0,
            next: 0,
            memory: BTreeMap::new(),
            counts: None,
        }
    }

    pub fn step(&mut self, world: &mut World) {
        let is_owner = world.owner == self.me;
        if is_owner && !self.is_mine && self.epoch.is_none() {
            self.begin(world);
        } else if !is_owner && self.is_mine && self.epoch.is_none() && world.dice.happens(10) {
            self.is_mine = false;
            world.say(self.link, Frame::Release { key: key() });
        }
        if !self.is_mine {
            return;
        }
        // A look at the table, by whoever is idle.
        let is_looking = self.epoch.is_none() && world.dice.happens(5);
        let Version { stand, spec, .. } = *world.newest();
        if is_looking && self.counts.as_ref().is_some_and(|counts| (counts.stand, counts.spec) != (stand, spec)) {
            self.counts = None;
            return;
        }
        let (dice, is_restoring) =
            (world.dice.below(100), self.counts.as_ref().is_some_and(|counts| !counts.is_joined));
        if dice < 10 {
            self.loaded = world.revision;
        } else if self.epoch.is_some() && dice < 50 {
            self.commit(world);
        } else if self.counts.is_none() && dice < 60 {
            self.restore(world);
        } else if is_restoring && dice < 75 {
            self.catch_up(world);
        } else if dice < 85 && self.next < world.end && self.next - self.known < IN_MEMORY_MAX {
            self.read(world);
        } else if self.epoch.is_none() {
            self.cut_epoch(world);
        }
    }

    /// Begins the partition where the raw table stands. Whatever it had is void.
    fn begin(&mut self, world: &mut World) {
        self.is_mine = true;
        (self.known, self.at, self.next) = (world.raw_cut, world.raw_cut, world.raw_cut);
        self.memory.clear();
        self.counts = None;
        world.say(self.link, Frame::Release { key: key() });
    }

    /// Begins the operator of counts, unless raw and counts are of two restatements.
    fn restore(&mut self, world: &mut World) {
        let Version { stand, spec, .. } = *world.newest();
        if part(stand.read) != world.restatement() && !world.leaves_out(Rule::RestatementsAreNumbered) {
            return;
        }
        self.counts = Some(Counts {
            spec,
            began: stand,
            stand,
            next: 0,
            open: BTreeMap::new(),
            is_joined: false,
            is_told: false,
            committed: VecDeque::new(),
        });
        world.say(self.link, Frame::Release { key: key() });
    }

    /// Reads on from the raw table, or joins the stream where that ends.
    fn catch_up(&mut self, world: &mut World) {
        let Some(counts) = self.counts.as_mut() else { return };
        let (from, restatement) = (counts.next, part(counts.began.read));
        if from < world.raw_cut {
            let to = world.raw_cut.min(from + 1 + world.dice.below(11));
            let rows = world.events(from..to).into_iter().map(|offset| (offset, world.value(offset, restatement)));
            let rows: Vec<_> = rows.collect();
            self.push(world, &rows, to);
        } else if self.epoch.is_none() && from == self.known {
            counts.is_joined = true;
            let rows: Vec<_> = self.memory.iter().map(|(offset, value)| (*offset, *value)).collect();
            self.push(world, &rows, self.next);
        }
    }

    /// Reads the next messages of the log, once for all operators.
    fn read(&mut self, world: &mut World) {
        let to = world.end.min(self.next + 1 + world.dice.below(4));
        let offsets = world.events(self.next..to).into_iter();
        let rows: Vec<_> = offsets.map(|offset| (offset, world.look_up(offset, self.loaded))).collect();
        self.memory.extend(rows.iter().copied());
        self.next = to;
        if self.counts.as_ref().is_some_and(|counts| counts.is_joined) {
            self.push(world, &rows, to);
        }
    }

    /// Lets the operator of counts take in rows up to an offset, and says what has changed.
    fn push(&mut self, world: &mut World, rows: &[(i64, i64)], to: i64) {
        let Some(counts) = self.counts.as_mut() else { return };
        let mut changed = BTreeSet::new();
        for &(offset, value) in rows {
            let is_new = offset >= counts.next && !world.is_out(offset, counts.began);
            if is_new && is_counted(counts.spec, offset) {
                changed.insert(counts.add(world.window(offset), offset, value));
            }
        }
        counts.next = counts.next.max(to);
        let next = counts.next.max(part(counts.stand.cut));
        let since = if world.leaves_out(Rule::TheOpenPartIsWhole) { part(counts.stand.cut) } else { 0 };
        let comes_to_the_cut = counts.next >= part(counts.stand.cut);
        if counts.is_told {
            let cells = counts.cells(since, |row| changed.contains(&(row.window, row.number)));
            if world.leaves_out(Rule::PositionAndCellsAreOne) {
                let nothing = batch_of(counts.spec, &[]);
                world.say(self.link, Frame::Took { key: key(), next, cells: nothing });
            }
            world.say(self.link, Frame::Took { key: key(), next, cells });
        } else if comes_to_the_cut || world.leaves_out(Rule::AChainBeginsAtTheCut) {
            counts.is_told = true;
            let (table_id, spec) = (TABLE_ID.to_owned(), parameters_of(counts.spec).to_json());
            let cells = counts.cells(since, |_| true);
            world.say(self.link, Frame::Begin { key: key(), table_id, spec, at: counts.stand, next, cells });
        }
    }

    /// Takes what is to be committed next: the raw rows in memory, and closed windows, or all.
    fn cut_epoch(&mut self, world: &mut World) {
        let mut raw = None;
        if self.next > self.at {
            raw = Some((self.at, self.next, self.memory.clone()));
            self.at = self.next;
        }
        let step = self.hand_over(world);
        if raw.is_some() || step.is_some() {
            let spec = self.counts.as_ref().map_or(0, |counts| counts.spec);
            self.epoch = Some(Epoch { id: world.next_id(), raw, step, spec, base: None });
        }
    }

    fn hand_over(&mut self, world: &mut World) -> Option<(Stand, Stand, Vec<Event>)> {
        let counts = self.counts.as_mut().filter(|counts| counts.next >= part(counts.stand.cut))?;
        let from = counts.stand;
        let watermark = part(from.watermark_ms).max(world.watermarks[counts.next as usize]);
        let everything = !counts.open.is_empty() && world.dice.happens(25);
        let drained = if everything { counts.next } else { part(from.drained) };
        let to = stand_of(counts.next, watermark, drained, part(from.read));
        let is_out = |window: i64| everything || is_closed(window, watermark);
        let has_rows = counts.open.keys().any(|window| is_out(*window));
        if !from.is_behind(to) || !(has_rows || world.dice.happens(30)) {
            return None;
        }
        let leaving: Vec<_> = counts.open.keys().copied().filter(|window| is_out(*window)).collect();
        let rows: Vec<_> = leaving.iter().filter_map(|window| counts.open.remove(window)).flatten().collect();
        let batch = batch_of(counts.spec, &rows);
        counts.stand = to;
        if counts.is_told {
            world.say(self.link, Frame::Handed { key: key(), from, to, rows: batch.clone() });
        }
        let events = events_of(&batch).expect("an operator counts an event once");
        Some((from, to, events))
    }

    /// Returns whether it has put a commit, or is about to, whose outcome it would learn.
    pub fn is_putting(&self) -> bool {
        self.epoch.as_ref().is_some_and(|epoch| epoch.base.is_some())
    }

    /// Commits, raw first: a look at a table, or a put, of which the reply may be lost.
    pub fn commit(&mut self, world: &mut World) {
        let Some(mut epoch) = self.epoch.take() else { return };
        if let Some((from, to, rows)) = &epoch.raw {
            let is_on_it = epoch.base == Some(world.raw_cut) && world.raw_cut == *from;
            if world.raw_ids.contains(&epoch.id) {
                self.known = *to;
                self.memory.retain(|offset, _| offset >= to);
                (epoch.raw, epoch.base) = (None, None);
            } else if is_on_it {
                world.raw_cut = *to;
                world.raw_ids.insert(epoch.id);
                world.raw.extend(rows);
            } else if world.raw_cut != *from {
                // Fenced: all of the partition begins again.
                self.begin(world);
                return;
            } else {
                epoch.base = Some(world.raw_cut);
            }
        } else if let Some((from, to, events)) = &epoch.step {
            let newest = world.newest();
            let is_fenced = (newest.stand, newest.spec) != (*from, epoch.spec);
            if world.ids.contains(&epoch.id) {
                self.committed(world, *to);
                epoch.step = None;
            } else if epoch.base == Some(world.table.len() as i64) && !is_fenced {
                let events = newest.events.iter().chain(events).copied().collect();
                world.table.push(Version { stand: *to, events, spec: epoch.spec });
                world.ids.insert(epoch.id);
            } else if is_fenced {
                // The operator of counts is restored beside the raw one.
                self.counts = None;
                return;
            } else {
                epoch.base = Some(world.table.len() as i64);
            }
        }
        self.epoch = Some(epoch).filter(|epoch| epoch.raw.is_some() || epoch.step.is_some());
    }

    fn committed(&mut self, world: &mut World, to: Stand) {
        let Some(counts) = self.counts.as_mut().filter(|counts| counts.is_told) else { return };
        world.say(self.link, Frame::Committed { key: key(), to });
        counts.committed.push_back(to);
        if counts.committed.len() > KEPT
            && let Some(to) = counts.committed.pop_front()
        {
            world.say(self.link, Frame::Forget { key: key(), to });
        }
    }
}

impl Counts {
    /// Adds an event. Returns the window and the number of its cell.
    fn add(&mut self, window: i64, offset: i64, value: i64) -> (i64, u32) {
        let (rows, ad) = (self.open.entry(window).or_default(), offset % 2);
        let known = rows.iter().position(|row| (row.ad, row.value) == (ad, value));
        let at = known.unwrap_or(rows.len());
        if known.is_none() {
            rows.push(Row { window, number: at as u32, ad, value, events: 0 });
        }
        rows[at].events |= 1 << offset;
        (window, at as u32)
    }

    /// Returns some of its cells, of the events from an offset on.
    fn cells(&self, since: i64, is_wanted: impl Fn(&Row) -> bool) -> RecordBatch {
        let rows = self.open.values().flatten().filter(|row| is_wanted(row));
        let rows: Vec<_> = rows.map(|row| Row { events: row.events >> since << since, ..*row }).collect();
        batch_of(self.spec, &rows)
    }
}
