//! Decides when the loop cuts an epoch: the moment at which operators hand over what is committed next. The decision
//! depends on what has happened, and on the time, which the caller passes in.
//!
//! | an epoch is cut | when |
//! |---|---|
//! | for rows | the oldest of them has waited for the commit interval |
//! | for stands that move without rows | the oldest of them has waited for [`STANDS_WAIT`] |
//! | for an idle partition | nothing came of it for [`IDLE_AFTER`] since it was read to its end |
//! | early | as often as early firing is asked for |
//! | because no more fits into memory, or into one commit | at once |
//! | for a goal | at once |
//!
//! A stand alone is only what a restart would not read again, and costs a commit: it waits, and all that wait go in one
//! epoch. It waits for nothing where no rows come after it: at a stop, for a goal, in a partition that is idle.
//!
//! The first three keep a commit interval between epochs: a hundred partitions that fall silent one by one cost no more
//! commits than one. All but the last two keep more, up to a minute, if the epoch before wrote into many folders: each
//! folder gets a file, which the store, the log and every reader have to pay for. A stop, or a partition that is
//! revoked, cuts an epoch without asking the cadence.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use lake_schemas::TopicPartition;
use lake_schemas::job::{Flush, Pending};
use tokio::time::Instant;

/// Number of pending rows at which an epoch is cut regardless of time: about 100 MB of Arrow at 400 bytes a click, few
/// enough to be lost and read again in seconds.
const EPOCH_ROWS_MAX: usize = 250_000;

/// Size of pending rows, in bytes, at which an epoch is cut regardless of time: the same limit for rows that are larger
/// than usual.
const EPOCH_BYTES_MAX: usize = 96 * 1024 * 1024;

/// Number of folders, without the newest, at which an epoch is cut regardless of time. Each folder gets a file, however
/// few its rows: the file waits in memory for the store beside all others, and is a line of the commit. This many files
/// take some 20 MB, and a log entry of one or two MB. The limit is needed because a producer may send each click for
/// another hour since 2000.
const EPOCH_FOLDERS_MAX: usize = 2_000;

/// Time without messages after which the open windows of a partition that was read to its end are written: longer than
/// events are usually out of order, and still seconds after the minute.
const IDLE_AFTER: Duration = Duration::from_secs(10);

/// Longest wait of a stand that moves without rows: one commit a minute for all of them, and no more than a minute of
/// the log to be read again.
const STANDS_WAIT: Duration = Duration::from_secs(60);

/// Time that the next epoch waits for each folder that an epoch wrote into, which makes some twenty files a second. A
/// hundred folders still fit into the usual commit interval.
const WAIT_PER_FOLDER: Duration = Duration::from_millis(50);

/// Longest time that an epoch waits because of the folders of the one before.
const FOLDERS_WAIT_MAX: Duration = Duration::from_secs(60);

/// Commit policy: when to commit, and how much memory operators may use.
#[derive(Clone, Copy, Debug)]
pub struct CommitPolicy {
    /// Longest wait of a row before its epoch begins to be committed.
    pub commit_interval: Duration,
    /// Interval at which all that operators hold is written, open windows too; `None`: a window is written when it is
    /// closed, or when its partition is idle.
    pub early_fire: Option<Duration>,
    /// Greatest size of the states of all partitions together, in bytes.
    pub memory_max: Option<usize>,
}

impl CommitPolicy {
    /// Returns the policy that commits at this interval, fires nothing early, and limits no memory.
    pub fn every(commit_interval: Duration) -> Self {
        Self { commit_interval, early_fire: None, memory_max: None }
    }
}

/// Reason why an epoch is cut, which decides how much it writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    /// Time has passed, or enough is pending: writes closed windows, and everything of the partitions that are idle.
    Closed { idle: BTreeSet<TopicPartition> },
    /// A stop, a goal, or early firing: writes everything.
    Everything,
}

impl Reason {
    /// Reason that writes closed windows, and nothing else.
    pub const COMPLETE: Self = Self::Closed { idle: BTreeSet::new() };

    /// Returns how much of a partition the epoch writes.
    pub fn of(&self, partition: &TopicPartition) -> Flush {
        match self {
            Self::Closed { idle } if !idle.contains(partition) => Flush::Closed,
            Self::Closed { .. } | Self::Everything => Flush::Everything,
        }
    }
}

/// Whether stands that move without rows are in an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stands {
    /// A stand waits until rows go with it.
    Wait,
    /// Every stand goes that has moved.
    Go,
}

/// Returns whether so much is pending that an epoch must be cut before more rows are taken in.
pub(super) fn is_full(pending: Pending) -> bool {
    pending.rows >= EPOCH_ROWS_MAX || pending.bytes >= EPOCH_BYTES_MAX || pending.folders >= EPOCH_FOLDERS_MAX
}

/// Decides when epochs are cut.
#[derive(Debug)]
pub(super) struct Cadence {
    policy: CommitPolicy,
    /// Time at which the last epoch was cut; `None` before the first.
    cut: Option<Instant>,
    /// Time that the next epoch waits because of the folders of the last one.
    folders: Duration,
    /// Time at which the oldest pending row has waited for the commit interval; `None` if no row is pending.
    due: Option<Instant>,
    /// Time at which the oldest stand that has moved without rows has waited long enough; `None` if there is none.
    stands_due: Option<Instant>,
    quiet: Quiet,
    /// Time of the next early firing; `None` if nothing is fired early.
    early: Option<Instant>,
}

impl Cadence {
    /// Makes a cadence with nothing pending and no epoch cut.
    pub fn new(policy: CommitPolicy, now: Instant) -> Self {
        let early = policy.early_fire.map(|every| now + every);
        let (folders, quiet) = (Duration::ZERO, Quiet::default());
        Self { policy, cut: None, folders, due: None, stands_due: None, quiet, early }
    }

    /// Records that messages of a partition were read, and whether rows came of them that are complete.
    pub fn read(&mut self, partition: &TopicPartition, has_rows: bool, now: Instant) {
        self.quiet.remove(partition);
        if has_rows {
            self.due.get_or_insert(now + self.policy.commit_interval);
        } else {
            self.stands_due.get_or_insert(now + STANDS_WAIT);
        }
    }

    /// Records that a partition has been read to its end, and holds what only [`Flush::Everything`] hands over.
    pub fn fell_silent(&mut self, partition: TopicPartition, now: Instant) {
        self.quiet.insert(partition, now + IDLE_AFTER);
    }

    /// Forgets a partition that is gone, or begins again.
    pub fn forget(&mut self, partition: &TopicPartition) {
        self.quiet.remove(partition);
    }

    /// Records that nothing is pending any more: all is handed over, or its partitions were lost or released.
    pub fn clear(&mut self) {
        (self.due, self.stands_due) = (None, None);
    }

    /// Records that all rows were handed over, and the stands that move without rows if they go.
    pub fn handed_over(&mut self, stands: Stands) {
        self.due = None;
        if stands == Stands::Go {
            self.stands_due = None;
        }
    }

    /// Records that an epoch was cut.
    pub fn was_cut(&mut self, now: Instant) {
        (self.cut, self.folders) = (Some(now), Duration::ZERO);
    }

    /// Records how many folders the last epoch wrote into.
    pub fn wrote_into(&mut self, folders: usize) {
        let folders = u32::try_from(folders).unwrap_or(u32::MAX);
        self.folders = WAIT_PER_FOLDER.saturating_mul(folders).min(FOLDERS_WAIT_MAX);
    }

    /// Returns why an epoch is to be cut now, if it is, and whether stands without rows are in it. The reason returned
    /// counts as done: an epoch that turns out to have nothing to write is not asked for again.
    pub fn reason(&mut self, pending: Pending, now: Instant) -> Option<(Reason, Stands)> {
        if self.early.is_some_and(|at| self.after_folders(at) <= now) {
            self.early = self.policy.early_fire.map(|every| now + every);
            return Some((Reason::Everything, Stands::Go));
        }
        let is_due = |at: Option<Instant>| at.is_some_and(|at| self.after_the_last(at) <= now);
        // What is full may be full of messages that no row came of: only stands that go make room.
        let stands = if is_full(pending) || is_due(self.stands_due) { Stands::Go } else { Stands::Wait };
        if !(stands == Stands::Go || is_due(self.due) || is_due(self.quiet.first())) {
            return None;
        }
        Some((Reason::Closed { idle: self.quiet.take_until(now) }, stands))
    }

    /// Returns when the next epoch is to be cut if nothing else happens until then.
    pub fn wakes(&self) -> Option<Instant> {
        let paced =
            [self.due, self.stands_due, self.quiet.first()].into_iter().flatten().map(|at| self.after_the_last(at));
        paced.chain(self.early.map(|at| self.after_folders(at))).min()
    }

    /// Returns this time, or the end of the commit interval after the last cut if that is later.
    fn after_the_last(&self, at: Instant) -> Instant {
        let next = self.cut.map(|cut| cut + self.policy.commit_interval);
        self.after_folders(next.map_or(at, |next| next.max(at)))
    }

    /// Returns this time, or the end of the wait for the folders of the last epoch if that is later.
    fn after_folders(&self, at: Instant) -> Instant {
        self.cut.map_or(at, |cut| at.max(cut + self.folders))
    }
}

/// Partitions that have been read to their end and hold open windows, with the time at which to write these.
#[derive(Debug, Default)]
struct Quiet {
    times: BTreeMap<TopicPartition, Instant>,
    in_order: BTreeSet<(Instant, TopicPartition)>,
}

impl Quiet {
    fn insert(&mut self, partition: TopicPartition, at: Instant) {
        self.remove(&partition);
        self.times.insert(partition.clone(), at);
        self.in_order.insert((at, partition));
    }

    fn remove(&mut self, partition: &TopicPartition) {
        if let Some((partition, at)) = self.times.remove_entry(partition) {
            self.in_order.remove(&(at, partition));
        }
    }

    fn first(&self) -> Option<Instant> {
        self.in_order.first().map(|(at, _)| *at)
    }

    /// Takes out the partitions whose time has come.
    fn take_until(&mut self, now: Instant) -> BTreeSet<TopicPartition> {
        let mut taken = BTreeSet::new();
        while self.first().is_some_and(|at| at <= now)
            && let Some((_, partition)) = self.in_order.pop_first()
        {
            self.times.remove(&partition);
            taken.insert(partition);
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVERY: Duration = Duration::from_secs(5);
    const SECOND: Duration = Duration::from_secs(1);
    const SOME: Pending = Pending { rows: 1, bytes: 1, folders: 1 };
    const NONE: Pending = Pending { rows: 0, bytes: 0, folders: 0 };

    fn named(partition: i32) -> TopicPartition {
        TopicPartition::new("clicks", partition)
    }

    fn idle(partitions: &[i32]) -> Option<(Reason, Stands)> {
        Some((Reason::Closed { idle: partitions.iter().map(|number| named(*number)).collect() }, Stands::Wait))
    }

    /// Cuts an epoch of all rows.
    fn cut(cadence: &mut Cadence, now: Instant) {
        cadence.handed_over(Stands::Wait);
        cadence.was_cut(now);
    }

    /// Returns a cadence that has just cut an epoch, and the time of the cut.
    fn just_cut(policy: CommitPolicy) -> (Cadence, Instant) {
        let now = Instant::now();
        let mut cadence = Cadence::new(policy, now);
        cadence.was_cut(now);
        (cadence, now)
    }

    #[test]
    fn rows_wait_for_the_commit_interval() {
        let (mut cadence, now) = just_cut(CommitPolicy::every(EVERY));
        assert_eq!(cadence.wakes(), None, "nothing is pending");
        cadence.read(&named(0), true, now + SECOND);
        cadence.read(&named(0), true, now + 2 * SECOND);
        assert_eq!(cadence.wakes(), Some(now + SECOND + EVERY));
        assert_eq!(cadence.reason(SOME, now + EVERY), None);
        assert_eq!(cadence.reason(SOME, now + SECOND + EVERY), idle(&[]));
        cadence.clear();
        assert_eq!(cadence.wakes(), None, "what was pending is lost");
    }

    #[test]
    fn a_stand_alone_waits_a_minute_and_then_all_go() {
        let (mut cadence, now) = just_cut(CommitPolicy::every(EVERY));
        cadence.read(&named(0), false, now + SECOND);
        cadence.read(&named(1), false, now + 30 * SECOND);
        let at = now + SECOND + STANDS_WAIT;
        assert_eq!(cadence.wakes(), Some(at));
        // Rows that come go without it, and it waits no longer for that.
        cadence.read(&named(2), true, now + 40 * SECOND);
        assert_eq!(cadence.wakes(), Some(now + 40 * SECOND + EVERY));
        assert_eq!(cadence.reason(SOME, now + 40 * SECOND + EVERY), idle(&[]));
        cut(&mut cadence, now + 40 * SECOND + EVERY);
        assert_eq!(cadence.wakes(), Some(at));
        assert_eq!(cadence.reason(SOME, at - SECOND), None);
        let (reason, stands) = cadence.reason(SOME, at).expect("it is due");
        assert_eq!((reason, stands), (Reason::COMPLETE, Stands::Go));
        cadence.handed_over(stands);
        cadence.was_cut(at);
        assert_eq!(cadence.wakes(), None, "all have gone");
        cadence.read(&named(0), false, at);
        cadence.clear();
        assert_eq!(cadence.wakes(), None, "what waited is lost");
    }

    #[test]
    fn an_idle_partition_joins_the_next_epoch() {
        let now = Instant::now();
        let mut cadence = Cadence::new(CommitPolicy::every(EVERY), now);
        for partition in 0..4 {
            cadence.fell_silent(named(partition), now + partition.unsigned_abs() * SECOND);
        }
        let first = now + IDLE_AFTER;
        assert_eq!(cadence.wakes(), Some(first));
        assert_eq!(cadence.reason(NONE, first), idle(&[0]), "nothing was cut before");
        cut(&mut cadence, first);
        assert_eq!(cadence.wakes(), Some(first + EVERY));
        assert_eq!(cadence.reason(NONE, first + 3 * SECOND), None, "three are idle, and wait");
        cadence.read(&named(2), true, first + 4 * SECOND);
        assert_eq!(cadence.reason(NONE, first + EVERY), idle(&[1, 3]), "one of them was not idle after all");
        assert_eq!(cadence.quiet.first(), None);
    }

    #[test]
    fn an_idle_partition_goes_with_rows_that_are_due() {
        let (mut cadence, now) = just_cut(CommitPolicy::every(2 * IDLE_AFTER));
        cadence.fell_silent(named(1), now);
        cadence.read(&named(0), true, now);
        assert_eq!(cadence.reason(SOME, now + 2 * IDLE_AFTER), idle(&[1]));
    }

    #[test]
    fn many_folders_make_the_next_epoch_wait_up_to_a_minute() {
        let wait = |folders: usize| {
            let (mut cadence, now) = just_cut(CommitPolicy::every(EVERY));
            cadence.wrote_into(folders);
            cadence.read(&named(0), true, now);
            let at = cadence.wakes().expect("rows are pending");
            assert_eq!(cadence.reason(SOME, at - SECOND), None);
            assert_eq!(cadence.reason(SOME, at), idle(&[]));
            cut(&mut cadence, at);
            cadence.read(&named(0), true, at);
            assert_eq!(cadence.wakes(), Some(at + EVERY), "each epoch makes only the next one wait");
            at - now
        };
        assert_eq!(wait(3), EVERY);
        assert_eq!(wait(200), 10 * SECOND);
        assert_eq!(wait(5_000), FOLDERS_WAIT_MAX);
        assert_eq!(wait(usize::MAX), FOLDERS_WAIT_MAX);
    }

    #[test]
    fn a_full_epoch_is_cut_at_once() {
        let (mut cadence, now) = just_cut(CommitPolicy::every(EVERY));
        cadence.wrote_into(5_000);
        cadence.read(&named(0), true, now);
        for full in [
            Pending { rows: EPOCH_ROWS_MAX, ..NONE },
            Pending { bytes: EPOCH_BYTES_MAX, ..SOME },
            Pending { folders: EPOCH_FOLDERS_MAX, ..SOME },
        ] {
            assert!(is_full(full));
            let reason = Reason::Closed { idle: BTreeSet::new() };
            assert_eq!(cadence.reason(full, now), Some((reason, Stands::Go)), "it may be full of no rows at all");
        }
        assert!(!is_full(SOME));
    }

    #[test]
    fn early_firing_keeps_its_own_time_but_for_many_folders() {
        let (mut cadence, now) = just_cut(CommitPolicy { early_fire: Some(SECOND), ..CommitPolicy::every(EVERY) });
        assert_eq!(cadence.reason(NONE, now), None);
        let everything = Some((Reason::Everything, Stands::Go));
        assert_eq!(cadence.reason(NONE, now + SECOND), everything);
        assert_eq!(cadence.reason(NONE, now + SECOND), None);
        cadence.wrote_into(100);
        assert_eq!(cadence.wakes(), Some(now + EVERY), "a hundred folders are five seconds");
        assert_eq!(cadence.reason(NONE, now + EVERY), everything);
    }

    #[test]
    fn an_epoch_is_due_whenever_the_cadence_wakes() {
        let (mut cadence, now) = just_cut(CommitPolicy { early_fire: Some(17 * SECOND), ..CommitPolicy::every(EVERY) });
        cadence.wrote_into(150);
        let (mut at, end) = (now, now + 300 * SECOND);
        for number in 0.. {
            cadence.read(&named(number % 7), number % 3 == 0, at);
            cadence.fell_silent(named(number % 5), at);
            at = cadence.wakes().expect("something is pending");
            if at > end {
                break;
            }
            let (_, stands) = cadence.reason(SOME, at).unwrap_or_else(|| panic!("none at {:?}", at - now));
            cadence.handed_over(stands);
            cadence.was_cut(at);
            cadence.wrote_into(usize::try_from(number).expect("positive") % 300);
        }
    }
}
