//! The wall clock of a simulated world. A day of it passes in minutes of simulated time.
//!
//! Clean-up depends on days, and a world lasts for minutes. So most of each day is left out: the clock goes at the pace
//! of simulated time, and once every [`DAY`] of it jumps to the next midnight. Between two jumps it measures seconds
//! like the clock by which writers measure their own waiting, so whoever compares the two agrees.
//!
//! The bounds that make clean-up safe keep their order in simulated time:
//!
//! | bound | in days | in simulated time |
//! |---|---|---|
//! | a writer trusts what it knows of a table, is stopped then, and its put is slow | | 600 s + 90 s + 20 s |
//! | a file that no version names is swept when it is older; none is committed so late | 7 | 700 s |
//! | a version expires when it is older | [`KEEP`]: 8 | 800 s |

use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::runtime::Handle;
use tokio::time::Instant;

use super::log::START_MS;

/// Simulated time from midnight to midnight.
pub const DAY: Duration = Duration::from_secs(100);

/// How long versions are kept, where clean-up runs.
pub const KEEP: Duration = Duration::from_secs(8 * SECONDS_A_DAY);

const SECONDS_A_DAY: u64 = 24 * 3_600;

/// The wall clock of a world, which begins with it.
#[derive(Clone)]
pub struct Clock {
    since: Instant,
    /// Runtime whose time passes: Delta asks from one of its own.
    runtime: Handle,
}

impl Clock {
    /// Starts the clock at midnight.
    pub fn start() -> Self {
        Self { since: Instant::now(), runtime: Handle::current() }
    }

    /// Returns the simulated time that has passed since the clock was started.
    pub fn elapsed(&self) -> Duration {
        let _here = self.runtime.enter();
        self.since.elapsed()
    }

    /// Returns whether the caller runs in the runtime whose time passes, and not in one of Delta's own.
    pub fn is_home(&self) -> bool {
        Handle::try_current().is_ok_and(|here| here.id() == self.runtime.id())
    }

    /// Returns the time.
    pub fn now(&self) -> DateTime<Utc> {
        let passed = self.elapsed();
        let days = passed.as_secs() / DAY.as_secs();
        let today = passed - Duration::from_secs(days * DAY.as_secs());
        let time = Duration::from_secs(days * SECONDS_A_DAY) + today;
        DateTime::from_timestamp_millis(START_MS).expect("a time") + time
    }
}
