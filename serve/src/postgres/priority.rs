//! CPU priority of processes: the server itself first, then processes that were idle lately, then those that were busy.
//!
//! The measure is a leaky bucket: the CPU time of a process fills it, and a small part of the elapsed time drains it.
//! While its level is high, the process has a higher nice value than the others. The next process of that key goes on
//! with the same bucket. Only a privileged server can lower the nice value again; otherwise the process stays behind
//! until it ends, soon after its last use.

use std::time::Duration;

/// Nice value of a process that was idle, above the server's: the server's own work is short, and everyone waits for
/// it.
const NICE: i32 = 5;

/// Nice value of a process that was busy lately, above the server's: it has a ninth of the weight of the others.
const BUSY_NICE: i32 = 15;

/// CPU time beyond its part that a process may use: statements of dashboards take far less.
const FREE: Duration = Duration::from_secs(2);

/// Size of the bucket: a process that has been idle for a minute has made up for everything.
const REMEMBERED: Duration = Duration::from_secs(6);

/// Divisor that gives the part of a CPU that a process may use all the time: dashboards that refresh every few seconds.
const PART: u32 = 15;

/// CPU time that a start counts as: starting takes time, and a process that has ended may have been busy since the last
/// look. A key whose statements end its process again and again goes behind, too.
const START: Duration = Duration::from_secs(1);

/// State of a process's priority.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Priority {
    /// Total CPU time of the process.
    used: Duration,
    /// CPU time beyond its part, lately: the level of the bucket.
    lately: Duration,
    /// Nice value that was returned last.
    nice: Option<i32>,
}

impl Priority {
    /// Returns the priority of the next process of the same key, which has used nothing yet, `elapsed` after the last
    /// look at this one.
    pub fn of_next(self, elapsed: Duration) -> Self {
        let lately = (self.lately + START).saturating_sub(elapsed / PART);
        Self { used: Duration::ZERO, lately, nice: None }
    }

    /// Returns the new nice value of a process above the server's, if it has changed. `used` is its total CPU time, and
    /// `elapsed` the time since the last look.
    pub fn look(&mut self, used: Duration, elapsed: Duration) -> Option<i32> {
        let more = used.saturating_sub(self.used);
        self.used = used;
        self.lately = (self.lately + more).saturating_sub(elapsed / PART).min(REMEMBERED);
        let nice = Some(if self.lately > FREE { BUSY_NICE } else { NICE });
        if self.nice == nice {
            return None;
        }
        self.nice = nice;
        nice
    }
}

/// Reads the CPU time of a process from `/proc/<pid>/stat`.
pub(super) fn processor_time(stat: &str) -> Option<Duration> {
    // The fourteenth and fifteenth fields, in hundredths of a second. The second field is a name, which ends with a
    // bracket.
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut ticks = fields.split(' ').skip(11).map(|ticks| ticks.parse::<u64>().ok());
    let ticks = ticks.next()?? + ticks.next()??;
    Some(Duration::from_millis(ticks * 10))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_busy_process_gets_a_lower_priority_and_its_own_back_within_90_seconds() {
        let mut priority = Priority::default();
        assert_eq!(priority.look(SECOND / 2, SECOND), Some(NICE));
        let found: Vec<_> = (1..=60).filter_map(|second| priority.look(SECOND / 2 + SECOND * second, SECOND)).collect();
        assert_eq!(found, [BUSY_NICE]);
        let used = SECOND / 2 + SECOND * 60;
        let idle = (1..=90).position(|_| priority.look(used, SECOND) == Some(NICE));
        assert!(matches!(idle, Some(55..=65)), "{idle:?}");
    }

    #[test]
    fn a_process_that_uses_little_keeps_its_priority() {
        let mut priority = Priority::default();
        let used = |second| Duration::from_millis(50) * second;
        let found: Vec<_> = (1..=3_600).filter_map(|second| priority.look(used(second), SECOND)).collect();
        assert_eq!(found, [NICE]);
    }

    #[test]
    fn a_key_whose_processes_end_repeatedly_gets_a_lower_priority_for_a_while() {
        let mut priority = Priority::default();
        for _ in 0..3 {
            priority = priority.of_next(SECOND);
        }
        assert_eq!(priority.look(Duration::ZERO, Duration::ZERO), Some(BUSY_NICE));
        let mut later = priority.of_next(SECOND * 90);
        assert_eq!(later.look(Duration::ZERO, Duration::ZERO), Some(NICE));
    }

    #[test]
    fn what_the_system_tells_of_time_is_read() {
        let stat = "12 (a) name) S 1 12 12 0 -1 4194560 900 0 0 0 150 25 0 0 20 5 4 0 100 1000 10\n";
        assert_eq!(processor_time(stat), Some(Duration::from_millis(1_750)));
        assert_eq!(processor_time("12 (a) S 1"), None);
    }
}
