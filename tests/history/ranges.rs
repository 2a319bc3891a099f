//! Law: a part of history gives its minutes the counts that all of history gives them, whatever clocks do; and no more
//! is read than that needs.

use std::sync::Arc;

use arrow::array::RecordBatch;
use backfill::replay;
use ingest::replay::{Needs, RawTable};
use lake_schemas::minute::Parameters;
use lake_schemas::{Cut, EventTime, History, Stand, Table, Windows};
use lake_store::Lake;
use lake_store::commit::TableLog;
use object_store::memory::InMemory;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::minutes::{Counts, Taken, add_rows, counts_of, events_of, parameters_of, taken};
use crate::simulation::{Computation, Log, for_each_seed, lake_on, named, simulate};

const SEEDS: u64 = 40;

/// Number of ranges for each seed.
const RANGES: usize = 8;

/// Fewest files that all parts of a seed together must leave out; with fewer, too little is tested.
const SAVED_A_SEED: usize = 2;

const MINUTE_MS: i64 = 60_000;

/// A raw table of a log, with the verdict on each of its events, by partition.
struct World {
    lake: Lake,
    log: Arc<Log>,
    parameters: Parameters,
    taken: Vec<Vec<Taken>>,
    rng: ChaCha8Rng,
}

impl World {
    async fn of_seed(seed: u64) -> Self {
        let (lake, log) = (lake_on(Arc::new(InMemory::new())), Arc::new(Log::skewed(seed, 2, 1_500)));
        Computation::Raw.read_all(&lake, &log).await.expect("ingest ends");
        let parameters = parameters_of(seed);
        let taken = log.partitions.iter().map(|messages| taken(events_of(messages).iter(), &parameters)).collect();
        Self { lake, log, parameters, taken, rng: ChaCha8Rng::seed_from_u64(seed) }
    }

    /// Returns the partitions that have anything to read, with the end of each.
    fn partitions(&self) -> Vec<(i32, i64)> {
        (0..).take(self.taken.len()).filter_map(|number| Some((number, self.log.end(number)?))).collect()
    }

    fn needs(&self, since: Cut, windows: Windows) -> Needs {
        let history = History { since, until: self.log.ends(), windows };
        Needs { history, parameters: self.parameters.clone() }
    }

    /// Returns the counts of a replayed partition, when everything is written.
    async fn replayed(&self, partition: i32, end: i64, needs: &Needs) -> Counts {
        let stand = Stand { cut: Some(end), drained: Some(end), ..Stand::default() };
        let (table, partition) = (Table::ClicksMinute, named(partition));
        counts(&replay(&self.lake, table, needs.clone(), &partition, stand).await.expect("it is replayed"))
    }

    /// Returns how many files of a partition are read.
    async fn files(&self, partition: i32, needs: Needs) -> usize {
        let clicks = TableLog::open(&self.lake, Table::Clicks).await.expect("the table");
        let mut raw = RawTable::needed(clicks, needs);
        raw.files_of(&named(partition)).await.expect("its files").len()
    }

    /// Returns a minute at which a window starts, near those of a partition.
    fn minute(&mut self, partition: i32) -> i64 {
        let taken = &self.taken[partition as usize];
        let near = taken.get(self.rng.random_range(0..taken.len().max(1))).map_or(0, Taken::window_ms);
        near + self.rng.random_range(-3..4) * MINUTE_MS
    }
}

pub fn counts(rows: &[RecordBatch]) -> Counts {
    let mut counts = Counts::new();
    rows.iter().for_each(|rows| add_rows(&mut counts, rows));
    counts
}

/// Compares replays of parts of history with the same parts of all of it, and checks that they read less. `part`
/// chooses a part of a partition, and which of its events count.
fn parts_are_like_all<W: Fn(&Taken) -> bool>(part: impl Fn(&mut World, i32, i64) -> (Needs, W)) {
    let mut saved = 0;
    let seeds = for_each_seed(0..SEEDS, |seed| {
        saved += simulate(async {
            let (mut world, mut saved) = (World::of_seed(seed).await, 0);
            for (partition, end) in world.partitions() {
                let all = world.files(partition, world.needs(Cut::new(), Windows::default())).await;
                for _ in 0..RANGES {
                    let (needs, counts) = part(&mut world, partition, end);
                    let expected = counts_of(&world.taken[partition as usize], counts);
                    let found = world.replayed(partition, end, &needs).await;
                    assert_eq!(found, expected, "seed {seed}, partition {partition}, {:?}", needs.history);
                    saved += all - world.files(partition, needs).await;
                }
            }
            saved
        });
    });
    // A few seeds, by chance, have little to leave out.
    assert!(seeds < 10 || saved > SAVED_A_SEED * seeds as usize, "only {saved} files were left out");
}

#[test]
fn minutes_say_the_same_however_little_is_read() {
    parts_are_like_all(|world, partition, _| {
        let (one, other) = (world.minute(partition), world.minute(partition));
        let at = |millis: i64| EventTime::from_millis(millis);
        let (from, to) = (at(one.min(other)), at(one.max(other) + MINUTE_MS));
        let (from, to) = (from.filter(|_| world.rng.random()), to.filter(|_| world.rng.random()));
        let windows = Windows::between(from, to).expect("a range");
        (world.needs(Cut::new(), windows.clone()), move |one: &Taken| windows.contain(one.window_ms()))
    });
}

#[test]
fn stretches_of_the_log_add_up_to_all_of_it() {
    parts_are_like_all(|world, partition, end| {
        let since = world.rng.random_range(0..=end);
        let cut = [(named(partition), since)].into();
        (world.needs(cut, Windows::default()), move |one: &Taken| one.offset() >= since)
    });
}
