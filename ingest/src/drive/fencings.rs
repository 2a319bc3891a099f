//! Measures how long other writers have been moving partitions of this process without a break: found by an epoch that
//! was fenced, or by a look at the tables. Now and then that is the price of moving partitions, or of a promotion; if
//! it does not end, another process writes the same partitions without knowing of this one.
//!
//! A process that replays for minutes commits nothing, and no epoch of it is fenced: then only its looks tell.

use std::time::Duration;

use tokio::time::Instant;

/// Longest run of fencings. A member that was taken for dead goes on until it learns of it, at the latest when its
/// session ends, which takes 45 seconds by default.
const FENCED_MAX: Duration = Duration::from_secs(60);

/// A run of times at which partitions were found moved.
#[derive(Debug)]
pub(super) struct Fencings {
    /// Longest time between two fencings of one run.
    gap_max: Duration,
    /// Time at which the run began, and time of its last fencing.
    run: Option<(Instant, Instant)>,
}

impl Fencings {
    /// Starts without a run, for a process where others commit as often as this one does.
    pub fn new(commit_interval: Duration) -> Self {
        Self { gap_max: FENCED_MAX + commit_interval, run: None }
    }

    /// Records that partitions were found moved; returns whether that goes on for too long. A fencing after a longer
    /// gap starts a new run, even if nothing was committed in between.
    #[must_use]
    pub fn go_on_for_too_long(&mut self, now: Instant) -> bool {
        let run = self.run.filter(|(_, last)| now - *last <= self.gap_max);
        let began = run.map_or(now, |(began, _)| began);
        self.run = Some((began, now));
        now - began > FENCED_MAX
    }

    /// Leaves the time in which partitions were being begun out of the run: nothing could be found moved, so it is no
    /// break.
    pub fn leave_out(&mut self, time: Duration) {
        self.run = self.run.map(|(began, last)| (began, last + time));
    }

    /// Ends the run: an epoch was committed.
    pub fn end(&mut self) {
        self.run = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVERY: Duration = Duration::from_secs(5);

    fn after(began: Instant, seconds: u64) -> Instant {
        began + Duration::from_secs(seconds)
    }

    #[test]
    fn two_fencings_far_apart_are_no_run() {
        let (mut fencings, began) = (Fencings::new(EVERY), Instant::now());
        // A promotion, and its undo minutes later, while the job still replays and commits nothing. Both an epoch and
        // the look after it may find each of them.
        assert!(!fencings.go_on_for_too_long(began) && !fencings.go_on_for_too_long(began));
        assert!(!fencings.go_on_for_too_long(after(began, 120)));
        assert!(!fencings.go_on_for_too_long(after(began, 150)));
    }

    #[test]
    fn a_minute_of_fencings_in_a_row_is_another_process() {
        let (mut fencings, began) = (Fencings::new(EVERY), Instant::now());
        assert!((0..=60).step_by(10).all(|seconds| !fencings.go_on_for_too_long(after(began, seconds))));
        assert!(fencings.go_on_for_too_long(after(began, 70)));
    }

    #[test]
    fn beginning_for_long_does_not_hide_another_process() {
        let (mut fencings, began) = (Fencings::new(EVERY), Instant::now());
        // Partitions that were found moved begin again, which takes longer than the gap that would end a run.
        assert!(!fencings.go_on_for_too_long(began));
        fencings.leave_out(Duration::from_secs(90));
        assert!(fencings.go_on_for_too_long(after(began, 100)));
    }

    #[test]
    fn rare_commits_do_not_hide_another_process() {
        let every = Duration::from_secs(100);
        let (mut fencings, began) = (Fencings::new(every), Instant::now());
        assert!(!fencings.go_on_for_too_long(began));
        assert!(fencings.go_on_for_too_long(after(began, 100)));
    }

    #[test]
    fn a_commit_ends_the_run() {
        let (mut fencings, began) = (Fencings::new(EVERY), Instant::now());
        assert!(!fencings.go_on_for_too_long(began));
        assert!(!fencings.go_on_for_too_long(after(began, 40)));
        fencings.end();
        assert!(!fencings.go_on_for_too_long(after(began, 80)));
    }
}
