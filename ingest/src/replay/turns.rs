//! Turns of those who read the raw table at the same time: together they take no more memory than their budget.
//!
//! Who restores a partition takes a whole turn, however little there may be to read: how much becomes known only while
//! it is read. Who follows the table takes as much of a turn as the few new files need.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::budget::REPLAY_BYTES_MAX;

/// Bytes of a share of a turn.
const SHARE_BYTES: usize = 1024 * 1024;

/// Number of shares of a whole turn.
const SHARES: usize = REPLAY_BYTES_MAX / SHARE_BYTES;

/// Turns of a process.
pub(crate) struct Turns {
    shares: Arc<Semaphore>,
}

/// A turn. Dropping it lets the next one read.
pub(crate) struct Turn {
    _shares: OwnedSemaphorePermit,
}

impl Turns {
    /// Makes so many whole turns at once, and one at least.
    pub fn of(at_once: usize) -> Arc<Self> {
        Arc::new(Self { shares: Arc::new(Semaphore::new(at_once.max(1) * SHARES)) })
    }

    /// Waits for a whole turn.
    pub async fn whole(&self) -> Turn {
        self.take(SHARES).await
    }

    /// Waits for the part of a turn that so many bytes need: a whole one at most.
    pub async fn part(&self, bytes: u64) -> Turn {
        let shares = bytes.div_ceil(SHARE_BYTES as u64);
        self.take(usize::try_from(shares).map_or(SHARES, |shares| shares.clamp(1, SHARES))).await
    }

    async fn take(&self, shares: usize) -> Turn {
        let shares = u32::try_from(shares).expect("a turn has few shares");
        let taken = Arc::clone(&self.shares).acquire_many_owned(shares).await;
        Turn { _shares: taken.expect("nobody closes it") }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn few_restore_at_a_time_and_more_follow() {
        let turns = Turns::of(2);
        let (first, second) = (turns.whole().await, turns.whole().await);
        assert!(turns.whole().now_or_never().is_none(), "a third restores");
        assert!(turns.part(1).now_or_never().is_none(), "one follows beside two that restore");
        drop(first);
        let parts: Vec<_> = (0..SHARES).map_while(|_| turns.part(1).now_or_never()).collect();
        assert_eq!(parts.len(), SHARES, "the shares of one turn");
        drop((second, parts));
        assert!(turns.part(u64::MAX).now_or_never().is_some(), "no part is more than a whole turn");
        assert!(Turns::of(0).whole().now_or_never().is_some(), "there is always one turn");
    }
}
