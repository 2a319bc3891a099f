//! How long epochs have been fenced without a break. Now and then that is the price of moving partitions; if it does
//! not end, another process writes the same partitions without knowing of this one.

use std::time::Duration;

use tokio::time::Instant;

/// The longest run of fenced epochs. A member that was taken for dead goes on until it learns of it, at the latest when
/// its session ends, which takes 45 seconds by default.
const FENCED_MAX: Duration = Duration::from_secs(60);

/// Epochs that were fenced one after the other.
#[derive(Debug)]
pub(super) struct Fencings {
    /// The time between two that belong to one run.
    gap_max: Duration,
    /// When the run began, and when its last epoch was fenced.
    run: Option<(Instant, Instant)>,
}

impl Fencings {
    /// None yet, of epochs that are cut that often.
    pub fn new(commit_interval: Duration) -> Self {
        Self { gap_max: FENCED_MAX + commit_interval, run: None }
    }

    /// An epoch was fenced. Whether that has gone on for too long: what happened long before is another story, even if
    /// nothing was committed in between.
    #[must_use]
    pub fn go_on_for_too_long(&mut self, now: Instant) -> bool {
        let run = self.run.filter(|(_, last)| now - *last <= self.gap_max);
        let began = run.map_or(now, |(began, _)| began);
        self.run = Some((began, now));
        now - began > FENCED_MAX
    }

    /// An epoch was committed.
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
        // A promotion, and its undo minutes later, while the job still replays and commits nothing.
        assert!(!fencings.go_on_for_too_long(began));
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
