//! The story of a world: what happens in it, and what must be true at its end.

use super::helpers::{Promote, Restate};
use super::job::Job;
use super::world::{MESSAGES, Rule, World};

/// Moments of a story in which things go wrong, and most that it then takes to come to the end of the log.
const MOMENTS: i64 = 500;
const MOMENTS_TO_THE_END: i64 = 3_000;

/// Tells the story of a seed. Returns the world at its end, or what is wrong with an answer.
pub fn told(seed: u64, left_out: Option<Rule>, has_lookups: bool) -> Result<World, String> {
    let mut world = World::new(seed, left_out, has_lookups);
    let mut jobs = [Job::new(&mut world, 0), Job::new(&mut world, 1)];
    let (mut ghosts, mut sleeps_until) = (Vec::new(), [0; 2]);
    let (mut promote, mut restate) = (Promote::default(), Restate::default());
    for moment in 0..MOMENTS {
        let me = world.dice.below(2) as usize;
        match world.dice.below(100) {
            0..2 => world.revision += 1,
            2..6 => world.end = MESSAGES.min(world.end + world.dice.below(5)),
            6..8 => world.owner = 1 - world.owner,
            8..10 => promote.step(&mut world),
            10..12 => restate.step(&mut world),
            _ => {}
        }
        if world.dice.happens(1) {
            // It dies with all that it holds, but its commit may be on its way.
            let next = Job::new(&mut world, me);
            let ghost = std::mem::replace(&mut jobs[me], next);
            world.links[ghost.link].is_gone = left_out != Some(Rule::ProcessesAreToldApart);
            ghosts.push(ghost);
        }
        if world.dice.happens(10)
            && let Some(mut ghost) = ghosts.pop()
            && ghost.is_putting()
        {
            ghost.commit(&mut world);
        }
        if world.dice.happens(2) {
            // It wakes up as a zombie.
            sleeps_until[me] = moment + world.dice.below(60);
        }
        if sleeps_until[me] <= moment {
            jobs[me].step(&mut world);
        }
        world.deliver();
        if moment % 2 == 1 {
            world.ask()?;
        }
    }
    // Faults stop, and the raw table comes to the end of the log: then it is known which value each event has.
    world.end = MESSAGES;
    for _ in 0..MOMENTS_TO_THE_END {
        let me = world.dice.below(2) as usize;
        if world.raw_cut < MESSAGES {
            jobs[me].step(&mut world);
        }
    }
    assert_eq!(world.raw_cut, MESSAGES, "seed {seed}: the raw table does not come to the end of the log");
    let mut said = world.said.iter();
    let wrong = said.find(|(restatement, offset, value)| world.value(*offset, *restatement) != *value).copied();
    match wrong {
        Some((_, offset, value)) => {
            Err(format!("{offset} has the value {value}, which does not stand in the raw table"))
        }
        None => Ok(world),
    }
}
