//! Helpers that change the table of counts beside the jobs: promotions and restatements.

use super::world::{Event, Rule, Version, World, part, stand_of};

/// A promotion, again and again: all of history is counted by a spec, and replaces the table if nobody has committed
/// meanwhile.
#[derive(Default)]
pub struct Promote {
    waits: i64,
    made: Option<(usize, Version)>,
}

impl Promote {
    pub fn step(&mut self, world: &mut World) {
        if self.waits > 0 {
            self.waits -= 1;
            return;
        }
        if let Some((base, version)) = self.made.take() {
            if base == world.table.len() {
                world.table.push(version);
            }
            self.waits = world.dice.below(20);
            return;
        }
        let Version { stand, spec, .. } = *world.newest();
        let restatement = part(stand.read);
        if world.raw_cut < part(stand.cut) || restatement != world.restatement() {
            return;
        }
        let spec = spec + world.dice.below(2);
        let cut = if world.dice.happens(70) { world.raw_cut } else { (world.raw_cut - 3).max(0) };
        let counted = world.counted(spec, 0..cut).into_iter();
        let events = counted.map(|offset| Event { offset, value: world.value(offset, restatement), spec }).collect();
        let stand = stand_of(cut, world.watermarks[cut as usize], cut, restatement);
        self.made = Some((world.table.len(), Version { stand, events, spec }));
    }
}

/// A restatement, again and again: derived columns of what the raw table has are computed anew, then the counts of it.
/// Each is one commit.
#[derive(Default)]
pub struct Restate {
    waits: i64,
    /// Version that the counts are computed of, until they are committed.
    from: Option<usize>,
}

impl Restate {
    pub fn step(&mut self, world: &mut World) {
        if self.waits > 0 {
            self.waits -= 1;
            return;
        }
        let Some(from) = self.from else {
            if !world.has_lookups() || world.raw_cut < part(world.newest().stand.cut) {
                return;
            }
            let value = 100 + world.restated.len() as i64;
            let offsets = world.events(0..world.raw_cut);
            let restated =
                offsets.into_iter().filter(|_| world.dice.happens(50)).map(|offset| (offset, value)).collect();
            world.restated.push(restated);
            self.from = Some(world.table.len());
            return;
        };
        self.from = Some(world.table.len());
        if from != world.table.len() {
            return;
        }
        let (mut version, restatement) = (world.newest().clone(), world.restatement());
        for event in &mut version.events {
            event.value = world.value(event.offset, restatement);
        }
        if !world.leaves_out(Rule::RestatementsAreNumbered) {
            version.stand.read = Some(restatement);
        }
        world.table.push(version);
        self.from = None;
        self.waits = world.dice.below(40);
    }
}
