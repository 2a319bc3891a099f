//! Age of an observation, measured by two clocks, because each of them can be wrong.
//!
//! The monotonic clock stands still while a Linux machine is suspended, and goes back when a virtual machine is reset
//! to a snapshot. The wall clock is set by people and programs. What one of them misses, the other one shows.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tokio::time::Instant;

/// Moment at which something was looked at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Looked {
    monotonic: Instant,
    wall: DateTime<Utc>,
}

impl Looked {
    /// Returns the current moment.
    pub fn now() -> Self {
        Self { monotonic: Instant::now(), wall: wall() }
    }

    /// Returns how long ago it was, by the clock that shows more. A wall clock that went back counts by how far it
    /// went.
    pub fn age(&self) -> Duration {
        age(self.monotonic.elapsed(), wall() - self.wall)
    }

    /// Returns the same moment as a process would see it that was suspended since, for this time.
    #[cfg(test)]
    pub fn suspended_for(self, time: Duration) -> Self {
        Self { wall: self.wall - time, ..self }
    }
}

fn age(monotonic: Duration, wall: TimeDelta) -> Duration {
    monotonic.max(wall.abs().to_std().unwrap_or(Duration::MAX))
}

#[expect(clippy::disallowed_methods, reason = "how long a process was suspended; no row depends on it")]
fn wall() -> DateTime<Utc> {
    Utc::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_that_says_more_is_believed() {
        let (second, hour) = (Duration::from_secs(1), TimeDelta::hours(1));
        assert_eq!(age(second, hour), Duration::from_secs(3_600), "suspended");
        assert_eq!(age(second, -hour), Duration::from_secs(3_600), "the clock was set back");
        assert_eq!(age(Duration::from_secs(7_200), hour), Duration::from_secs(7_200));
    }
}
