//! The seeds of a law, each a world of its own.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use super::simulate;

/// Seeds of a law in simulated worlds; `CLICKLAKE_SEEDS=first..last` runs others, of any law that has seeds.
const SEEDS: Range<u64> = 0..300;

/// Divisor of the seeds in a quick run (`tests/run --quick`, which sets `CLICKLAKE_QUICK`): enough to catch a change
/// that breaks most worlds, while it is being written.
const QUICK_SHARE: u64 = 20;

/// Returns the seeds that this run tries for a law: those that are asked for, or all of the law, or the first few in a
/// quick run.
fn seeds_of_this_run(seeds: Range<u64>) -> Range<u64> {
    seeds_asked_for().unwrap_or_else(|| share_of_this_run(seeds))
}

/// Returns the cases that this run tries of those of a law: all of them, or the first few in a quick run.
pub fn share_of_this_run(cases: Range<u64>) -> Range<u64> {
    if std::env::var_os("CLICKLAKE_QUICK").is_none() {
        return cases;
    }
    cases.start..cases.start + (cases.end - cases.start).div_ceil(QUICK_SHARE)
}

/// Holds a law in the simulated world of every seed.
pub fn for_all_seeds<F: Future<Output = Result<(), String>>>(law: impl Fn(u64) -> F + Sync) {
    for_seeds(SEEDS, law);
}

/// Holds a law in the simulated worlds of these seeds, unless others are asked for.
pub fn for_seeds<F: Future<Output = Result<(), String>>>(seeds: Range<u64>, law: impl Fn(u64) -> F + Sync) {
    let seeds = seeds_of_this_run(seeds);
    let next = AtomicU64::new(seeds.start);
    std::thread::scope(|scope| {
        let worker = || {
            loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= seeds.end {
                    return;
                }
                let _said = SaidOnPanic(seed);
                if let Err(why) = simulate(law(seed)) {
                    panic!("seed {seed}: {why}");
                }
            }
        };
        for worker in [scope.spawn(worker), scope.spawn(worker)] {
            if let Err(panic) = worker.join() {
                std::panic::resume_unwind(panic);
            }
        }
    });
}

/// Holds a law of these seeds, one after the other, unless others are asked for. Returns how many there were.
pub fn for_each_seed(seeds: Range<u64>, mut law: impl FnMut(u64)) -> u64 {
    let seeds = seeds_of_this_run(seeds);
    for seed in seeds.clone() {
        let _said = SaidOnPanic(seed);
        law(seed);
    }
    seeds.end - seeds.start
}

/// Says which seed a law failed with, wherever in it that was, and how to run that seed again.
struct SaidOnPanic(u64);

impl Drop for SaidOnPanic {
    #[expect(clippy::print_stderr, reason = "the seed, for those who look for why")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            let seed = self.0;
            eprintln!("seed {seed} fails; again: CLICKLAKE_SEEDS={seed}..{}", seed + 1);
        }
    }
}

fn seeds_asked_for() -> Option<Range<u64>> {
    let text = std::env::var("CLICKLAKE_SEEDS").ok()?;
    let parsed = text.split_once("..").and_then(|(first, last)| Some(first.parse().ok()?..last.parse().ok()?));
    Some(parsed.expect("CLICKLAKE_SEEDS is first..last"))
}
