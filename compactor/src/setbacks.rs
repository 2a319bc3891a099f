//! Backoff: work that failed lately is not tried again in each round, with all its reading and encoding.
//!
//! The state is kept in memory only: a new process tries everything once.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use deltalake::kernel::Add;
use lake_schemas::Table;
use tokio::time::Instant;

/// Wait after the first failure of a roll-up; it doubles with each further failure. It is short because a failure is
/// most often the store's, for seconds, and totals are slower until the roll-up is done.
const WAIT_ROLL_UP: Duration = Duration::from_secs(5);

/// Wait after the first failure of merging or sorting a file. It is longer than a round, so that the next round merges
/// the neighbours of an unreadable file without it.
const WAIT_MERGE: Duration = Duration::from_secs(120);

/// Longest wait: a file or a store that has recovered is noticed within it.
const WAIT_MAX: Duration = Duration::from_secs(16 * 60);

/// Number of doublings after which the wait no longer grows.
const DOUBLINGS_MAX: u32 = 10;

/// Unit of work that can fail and be retried.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Work {
    /// Roll-up into a table.
    RollUp(Table),
    /// Commit of merged or sorted files to a table.
    Commit(Table),
    /// Merge or sort of a file, by its path in the table.
    FileCompaction(Table, String),
}

impl Work {
    fn wait(&self) -> Duration {
        match self {
            Self::RollUp(_) => WAIT_ROLL_UP,
            Self::Commit(_) | Self::FileCompaction(..) => WAIT_MERGE,
        }
    }
}

/// Work that failed and has not succeeded since.
#[derive(Debug, Default)]
pub(crate) struct Setbacks(HashMap<Work, Setback>);

#[derive(Clone, Copy, Debug)]
struct Setback {
    times: u32,
    until: Instant,
}

impl Setbacks {
    /// Records a failure of this work.
    pub fn add(&mut self, work: Work) {
        let times = self.0.get(&work).map_or(0, |setback| setback.times);
        let until = Instant::now() + (work.wait() * 2_u32.pow(times.min(DOUBLINGS_MAX))).min(WAIT_MAX);
        self.0.insert(work, Setback { times: times + 1, until });
    }

    /// Records a success of this work.
    pub fn clear(&mut self, work: &Work) {
        self.0.remove(work);
    }

    /// Returns whether this work failed the last time.
    pub fn have(&self, work: &Work) -> bool {
        self.0.contains_key(work)
    }

    /// Returns whether this work must wait now.
    pub fn forbid(&self, work: &Work) -> bool {
        self.0.get(work).is_some_and(|setback| Instant::now() < setback.until)
    }

    /// Returns the files of a table that must be skipped now.
    pub fn files(&self, table: Table) -> HashSet<&str> {
        let now = Instant::now();
        let left_alone = self.0.iter().filter(|(_, setback)| now < setback.until);
        let file = left_alone.filter_map(|(work, _)| match work {
            Work::FileCompaction(of, path) if *of == table => Some(path.as_str()),
            _ => None,
        });
        file.collect()
    }

    /// Forgets the files of a table that are no longer live.
    pub fn keep_files(&mut self, table: Table, live: &[Add]) {
        let is_live = |path: &String| live.iter().any(|file| file.path == *path);
        self.0.retain(|work, _| !matches!(work, Work::FileCompaction(of, path) if *of == table && !is_live(path)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn work_that_fails_again_waits_twice_as_long_up_to_a_limit() {
        let mut setbacks = Setbacks::default();
        let waits = [
            (Work::RollUp(Table::ClicksHourly), [1, 2, 4, 8, 16, 32, 64, 128, 192, 192]),
            (Work::Commit(Table::ClicksHourly), [24, 48, 96, 192, 192, 192, 192, 192, 192, 192]),
        ];
        for (work, waits) in waits {
            for expected in waits {
                setbacks.add(work.clone());
                let began = Instant::now();
                while setbacks.forbid(&work) {
                    tokio::time::advance(WAIT_ROLL_UP).await;
                }
                assert_eq!(began.elapsed(), WAIT_ROLL_UP * expected, "{work:?}");
            }
            assert!(setbacks.have(&work) && !setbacks.forbid(&Work::Commit(Table::ClicksDaily)));
            setbacks.clear(&work);
            setbacks.add(work.clone());
            tokio::time::advance(work.wait()).await;
            assert!(!setbacks.forbid(&work), "what was done meanwhile begins anew");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn files_are_left_alone_by_table_and_forgotten_when_they_are_gone() {
        let mut setbacks = Setbacks::default();
        let work = |table, path: &str| Work::FileCompaction(table, path.to_owned());
        let all = [work(Table::Clicks, "a"), work(Table::Clicks, "b"), work(Table::ClicksDaily, "b")];
        all.iter().for_each(|work| setbacks.add(work.clone()));
        assert_eq!(setbacks.files(Table::Clicks), HashSet::from(["a", "b"]));
        setbacks.keep_files(Table::Clicks, &[Add { path: "a".to_owned(), ..Add::default() }]);
        assert_eq!(all.map(|work| setbacks.have(&work)), [true, false, true]);
        tokio::time::advance(WAIT_MERGE).await;
        assert!(setbacks.files(Table::Clicks).is_empty() && setbacks.have(&work(Table::Clicks, "a")));
    }
}
