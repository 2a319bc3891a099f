//! Budget of the replays of a live job: the number of partitions that are replayed at a time, and the share of the
//! memory limit that is reserved for them.
//!
//! A restart replays every partition that it gets. The memory of each replay has a bound, so the number of replays
//! decides: no more than keep the cores busy, and no more than a share of the limit pays for.

/// Number of replays a core: while one decodes, another waits for the store.
const REPLAYS_A_CORE: usize = 2;

/// Greatest memory of one replay, in bytes: the files that it opens ahead, the one that it reads, and a decoded batch
/// or two.
pub(super) const REPLAY_BYTES_MAX: usize = 24 * 1024 * 1024;

/// Divisor for the share of a memory limit that is reserved for replays.
const SHARE: usize = 8;

/// Budget of the replays of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Number of partitions that are replayed at a time.
    pub at_once: usize,
    /// Bytes that are left of the limit for what the job itself holds; `None`: no limit.
    pub left: Option<usize>,
}

impl Budget {
    /// Makes a budget from the memory limit of a job, in bytes, and a number of cores. There is always at least one
    /// replay, and beside the replays those that follow the table share the memory of one.
    pub fn of(memory_max: Option<usize>, cores: usize) -> Self {
        let busy = (cores * REPLAYS_A_CORE).max(1);
        let Some(max) = memory_max else { return Self { at_once: busy, left: None } };
        let share = max / SHARE;
        let at_once = busy.min((share / REPLAY_BYTES_MAX).saturating_sub(1)).max(1);
        Self { at_once, left: Some(max - share.min((at_once + 1) * REPLAY_BYTES_MAX)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: usize = 1 << 30;

    #[test]
    fn replays_keep_the_cores_busy_and_take_an_eighth_of_the_limit_at_most() {
        assert_eq!(Budget::of(None, 4), Budget { at_once: 8, left: None });
        for (max, cores) in [(GIB, 1), (GIB, 64), (16 * GIB, 4), (GIB / 4, 2)] {
            let Budget { at_once, left } = Budget::of(Some(max), cores);
            let left = left.expect("there is a limit");
            assert!((1..=2 * cores).contains(&at_once), "{at_once} at once");
            assert!(left >= max - max / 8 && left < max, "{left} of {max}");
            assert!(
                at_once == 1 || left + (at_once + 1) * REPLAY_BYTES_MAX <= max,
                "{at_once} at once, {left} of {max}"
            );
        }
    }

    #[test]
    fn a_small_limit_still_lets_one_replay_go_on() {
        assert_eq!(Budget::of(Some(8 << 20), 16), Budget { at_once: 1, left: Some(7 << 20) });
    }
}
