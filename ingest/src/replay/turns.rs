//! Turns of those who read the raw table at the same time: together they take no more memory than their budget.
//!
//! Who restores a partition takes a whole turn, however little there may be to read: how much becomes known only while
//! it is read. Who follows the table takes a part of one more turn, as much as the few new files need. So those who
//! follow never wait for those who restore, which may take minutes.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::budget::REPLAY_BYTES_MAX;

/// Bytes of a share of a turn.
const SHARE_BYTES: usize = 1024 * 1024;

/// Number of shares of a turn.
const SHARES: usize = REPLAY_BYTES_MAX / SHARE_BYTES;

/// Turns of a process.
pub(crate) struct Turns {
    whole: Arc<Semaphore>,
    /// Shares of the turn of those who follow.
    parts: Arc<Semaphore>,
}

/// A turn, or a part of one. Dropping it lets others read.
pub(crate) struct Turn {
    _permit: OwnedSemaphorePermit,
}

impl Turns {
    /// Makes so many whole turns at once, one at least, and the one of those who follow.
    pub fn of(at_once: usize) -> Arc<Self> {
        let semaphore = |permits| Arc::new(Semaphore::new(permits));
        Arc::new(Self { whole: semaphore(at_once.max(1)), parts: semaphore(SHARES) })
    }

    /// Waits for a whole turn.
    pub async fn whole(&self) -> Turn {
        take(&self.whole, 1).await
    }

    /// Waits for the part of a turn that so many bytes need: all of it at most.
    pub async fn part(&self, bytes: u64) -> Turn {
        let shares = usize::try_from(bytes.div_ceil(SHARE_BYTES as u64)).unwrap_or(SHARES);
        take(&self.parts, shares.clamp(1, SHARES)).await
    }
}

async fn take(semaphore: &Arc<Semaphore>, permits: usize) -> Turn {
    let permits = u32::try_from(permits).expect("a turn has few shares");
    let permit = Arc::clone(semaphore).acquire_many_owned(permits).await;
    Turn { _permit: permit.expect("nobody closes it") }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn few_restore_at_a_time_and_those_who_follow_do_not_wait_for_them() {
        let turns = Turns::of(2);
        let (first, _second) = (turns.whole().await, turns.whole().await);
        assert!(turns.whole().now_or_never().is_none(), "a third restores");
        let parts: Vec<_> = (0..SHARES).map_while(|_| turns.part(1).now_or_never()).collect();
        assert_eq!(parts.len(), SHARES, "as many follow at a time as one turn has shares");
        assert!(turns.part(1).now_or_never().is_none(), "one more follows");
        drop((first, parts));
        assert!(turns.whole().now_or_never().is_some());
        let all = turns.part(u64::MAX).now_or_never();
        assert!(all.is_some() && turns.part(0).now_or_never().is_none(), "no part is more than the turn");
        assert!(Turns::of(0).whole().now_or_never().is_some(), "there is always one turn");
    }
}
