//! How long ago something was looked at, by two clocks, because each of them misses something.
//!
//! The monotonic clock stands still while a Linux machine is suspended, and goes back with a virtual machine that is
//! taken back to a snapshot. The wall clock is set by people and programs. What the one misses, the other shows.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tokio::time::Instant;

/// A moment at which something was looked at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Looked {
    monotonic: Instant,
    wall: DateTime<Utc>,
}

impl Looked {
    /// This moment.
    pub fn now() -> Self {
        Self { monotonic: Instant::now(), wall: wall() }
    }

    /// How long ago it was, by the clock that says more. A wall clock that went back says how far it went.
    pub fn age(&self) -> Duration {
        age(self.monotonic.elapsed(), wall() - self.wall)
    }

    /// The same moment as a process would have it that was suspended since, for so long.
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
