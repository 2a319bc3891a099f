//! The reader: what it hears of processes, late and in pieces, and what it answers.

use std::collections::{BTreeSet, VecDeque};

use super::world::{Event, Rule, TABLE_ID, Version, World, events_of, key, parameters_of, part};
use crate::Stand;
use crate::chain::wire::{SetReader, encode};
use crate::chain::{Chain, ChainStep, Feed, Frame, FrameSet, OpenPart, Place};

/// One process as it is heard: both ends, and what is on its way between them.
pub struct Link {
    incarnation: u128,
    /// Chains as the process knows them.
    told: Feed,
    number: u64,
    unsent: Vec<Frame>,
    waiting: VecDeque<FrameSet>,
    /// Chains as the reader knows them.
    heard: Feed,
    /// Whether the process is gone, and whether the reader knows it.
    pub is_gone: bool,
    is_over: bool,
    /// Steps that outlive the begin of a chain, where they do.
    outliving: Vec<ChainStep>,
}

impl Link {
    pub fn new(incarnation: u128) -> Self {
        Self {
            incarnation,
            told: Feed::new(incarnation),
            number: 0,
            unsent: Vec::new(),
            waiting: VecDeque::new(),
            heard: Feed::new(incarnation),
            is_gone: false,
            is_over: false,
            outliving: Vec::new(),
        }
    }

    pub fn say(&mut self, frame: Frame) {
        self.unsent.push(frame);
    }

    /// Sends what was said as one set. Where all rules hold, the process applies it to its own chains.
    pub fn send(&mut self, all_rules_hold: bool) {
        if self.unsent.is_empty() {
            return;
        }
        self.number += 1;
        let frames = std::mem::take(&mut self.unsent);
        let set = FrameSet { incarnation: self.incarnation, number: self.number, frames };
        if all_rules_hold {
            self.told.apply(set.clone()).expect("what a process says follows");
        }
        self.waiting.push_back(set);
    }

    /// Begins to listen anew: the reader gets the state of the process, and the sets behind it.
    fn connect(&mut self) {
        self.waiting.clear();
        self.heard = Feed::of_state(read_again(&self.told.state())).expect("a state is made of frames that follow");
        assert_eq!(self.heard.state(), self.told.state(), "a reader knows all that the process does");
    }

    fn hear(&mut self, mut set: FrameSet, left_out: Option<Rule>) {
        let outlive = left_out == Some(Rule::ABeginHasNoSteps);
        if matches!(left_out, Some(Rule::SetsAreInOrder | Rule::NoSetIsLost)) {
            set.number = self.heard.next_number;
        }
        let number = set.number;
        let begins = set.frames.iter().any(|frame| matches!(frame, Frame::Begin { .. }));
        let ends = set.frames.iter().any(|frame| matches!(frame, Frame::Release { .. }));
        if outlive
            && (begins || ends)
            && let Some(chain) = self.heard.chain(&key())
        {
            self.outliving.extend(chain.steps.iter().cloned());
        }
        if let Err(gap) = self.heard.apply(set) {
            assert!(left_out.is_some(), "{gap}");
            self.heard.next_number = number + 1;
        }
        if outlive
            && begins
            && let Some(chain) = self.heard.chains.get_mut(&key())
        {
            let newer = std::mem::take(&mut chain.steps);
            chain.steps = self.outliving.drain(..).chain(newer).collect();
        }
    }
}

/// Returns a set as it is once it was sent and read.
fn read_again(set: &FrameSet) -> FrameSet {
    let mut reader = SetReader::default();
    reader.push(&encode(set).expect("a small set"));
    let read = reader.take().expect("a set").expect("all of it");
    assert_eq!(read, *set, "a set is read as it was sent");
    read
}

impl World {
    /// Lets some of what is on its way arrive, in order and late. The reader learns late, or never, that a process is
    /// gone.
    pub fn deliver(&mut self) {
        let (left_out, dice) = (self.left_out, &mut self.dice);
        for link in self.links.iter_mut().filter(|link| !link.is_over) {
            if dice.happens(50) {
                link.send(left_out.is_none());
            }
            for _ in 0..dice.below(4) {
                let reach = if left_out == Some(Rule::SetsAreInOrder) { link.waiting.len().min(3) } else { 1 };
                let at = dice.below(reach.max(1) as i64) as usize;
                let Some(set) = link.waiting.remove(at) else { continue };
                let set = if dice.happens(25) { read_again(&set) } else { set };
                link.hear(set, left_out);
            }
            if left_out == Some(Rule::NoSetIsLost) && dice.happens(5) {
                link.waiting.pop_front();
            }
            if left_out.is_none() && !link.is_gone && dice.happens(2) {
                link.connect();
            }
            link.is_over = link.is_gone && dice.happens(2);
        }
    }

    /// Asks a version of the table, mostly the newest, and compares the answer with the log.
    pub fn ask(&mut self) -> Result<(), String> {
        let back = self.dice.one_of(&[0, 0, 0, 1, 2]) as usize;
        let version = self.table[self.table.len().saturating_sub(1 + back)].clone();
        self.asked += 1;
        let mut links: Vec<_> = (0..self.links.len()).filter(|at| !self.links[*at].is_over).collect();
        for last in (1..links.len()).rev() {
            links.swap(last, self.dice.below(last as i64 + 1) as usize);
        }
        for at in links {
            let Some(chain) = self.links[at].heard.chain(&key()) else { continue };
            let Some((steps, open, next)) = beyond(chain, &version, self.left_out) else { continue };
            let mut events = version.events.clone();
            for step in steps {
                events.extend(events_of(&step.rows)?);
            }
            events.extend(events_of(&open.rows(i64::MIN..i64::MAX, None))?);
            self.judge(&version, &events, next)?;
            self.live += 1;
            let restatement = part(version.stand.read);
            self.said.extend(events.iter().map(|event| (restatement, event.offset, event.value)));
            return Ok(());
        }
        Ok(())
    }

    /// Compares the events of an answer with those that it must have. Their values are compared at the end of a story.
    fn judge(&self, version: &Version, events: &[Event], next: i64) -> Result<(), String> {
        let offsets: BTreeSet<_> = events.iter().map(|event| event.offset).collect();
        if offsets.len() < events.len() {
            return Err("an event is counted twice".to_owned());
        }
        if offsets != self.counted(version.spec, 0..next).into_iter().collect() {
            return Err(format!("the answer has not what counts below {next}, but {offsets:?}"));
        }
        if events.iter().any(|event| event.spec != version.spec) {
            return Err("an answer has two specs".to_owned());
        }
        Ok(())
    }
}

/// Returns what a chain has beyond a version, if it goes on from it.
fn beyond<'a>(
    chain: &'a Chain,
    version: &Version,
    left_out: Option<Rule>,
) -> Option<(Vec<&'a ChainStep>, &'a OpenPart, i64)> {
    if left_out != Some(Rule::SpecsAreCompared) && !chain.is_of(TABLE_ID, &parameters_of(version.spec)) {
        return None;
    }
    let from = |is_it: &dyn Fn(&Stand) -> bool| chain.steps.iter().position(|step| is_it(&step.from));
    let first = match left_out {
        Some(Rule::StandsAreCompared) => {
            let steps = chain.steps.iter().filter(|step| !step.is_committed).collect();
            return Some((steps, &chain.open, chain.next));
        }
        Some(Rule::StandsAreComparedWhole) => {
            let is_it = |stand: &Stand| stand.cut == version.stand.cut;
            from(&is_it).or_else(|| is_it(&chain.at).then_some(chain.steps.len()))?
        }
        Some(Rule::TheOpenPartIsLookedFor) => from(&|stand: &Stand| *stand == version.stand)?,
        _ => {
            let Place::Here(beyond) = chain.place(&version.stand) else { return None };
            return Some((beyond.steps.collect(), beyond.open, beyond.next));
        }
    };
    Some((chain.steps.range(first..).collect(), &chain.open, chain.next))
}
