//! Which processes go first where processors are short: the server itself, then those that were idle lately, then those
//! that were busy.
//!
//! It is a bucket that leaks: what a process uses of a processor fills it, and a small part of the time that goes by
//! empties it. While it is full, the process is nicer than the others. The next process of that key goes on with it.
//! Only a privileged server can take that back from a process; otherwise the process stays behind until it ends, which
//! is soon after nobody uses it.

use std::time::Duration;

/// How much nicer than the server a process begins: what the server does itself is short, and everyone waits for it.
const NICE: i32 = 5;

/// How much nicer one is that was busy lately: it has a ninth of the weight of the others.
const BUSY_NICE: i32 = 15;

/// How long a process may have had a processor beyond its part: statements of dashboards take less by far.
const FREE: Duration = Duration::from_secs(2);

/// What is remembered of it at most: a process that has been idle for a minute has made up for all.
const REMEMBERED: Duration = Duration::from_secs(6);

/// The part of a processor that a process may have on and on: dashboards that ask each few seconds.
const PART: u32 = 15;

/// What a start counts as: it takes time itself, and a process that has ended may have been busy since the last look:
/// a key whose statements end its process again and again goes behind, too.
const START: Duration = Duration::from_secs(1);

/// How nice a process is.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Priority {
    /// For how long it has had a processor, all in all.
    used: Duration,
    /// The same beyond its part, lately.
    lately: Duration,
    /// What was found last.
    nice: Option<i32>,
}

impl Priority {
    /// That of the next process of the same key, which has used nothing yet, so much time after the last look at this
    /// one.
    pub fn of_next(self, elapsed: Duration) -> Self {
        let lately = (self.lately + START).saturating_sub(elapsed / PART);
        Self { used: Duration::ZERO, lately, nice: None }
    }

    /// How much nicer than the server a process has to be from now on, if that has changed: which has had a processor
    /// for so long all in all, so much time after the last look.
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

/// For how long a process has had a processor, from what the system tells of it.
pub(super) fn processor_time(stat: &str) -> Option<Duration> {
    // The fourteenth field and the one behind it, in hundredths of a second. The second field is a name, which ends
    // with a bracket.
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
    fn who_is_busy_goes_behind_and_comes_back_within_a_minute_and_a_half() {
        let mut priority = Priority::default();
        assert_eq!(priority.look(SECOND / 2, SECOND), Some(NICE));
        let found: Vec<_> = (1..=60).filter_map(|second| priority.look(SECOND / 2 + SECOND * second, SECOND)).collect();
        assert_eq!(found, [BUSY_NICE]);
        let used = SECOND / 2 + SECOND * 60;
        let idle = (1..=90).position(|_| priority.look(used, SECOND) == Some(NICE));
        assert!(matches!(idle, Some(55..=65)), "{idle:?}");
    }

    #[test]
    fn who_asks_a_little_for_ever_stays_where_it_is() {
        let mut priority = Priority::default();
        let used = |second| Duration::from_millis(50) * second;
        let found: Vec<_> = (1..=3_600).filter_map(|second| priority.look(used(second), SECOND)).collect();
        assert_eq!(found, [NICE]);
    }

    #[test]
    fn whose_processes_end_again_and_again_goes_behind_for_some_time() {
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
