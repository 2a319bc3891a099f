//! The pace at which what has come is passed on: what each batch costs is shared by all messages of a linger.

use std::time::Duration;

use tokio::time::Instant;

/// Longest wait of a message for its batch to fill, and of the report that a partition is at its end. Each batch costs
/// as much as some hundred messages, so at the live end a partition makes ten of them a second, however its messages
/// come.
const LINGER: Duration = Duration::from_millis(100);

/// Silence after which lingering messages are passed on: a broker answers partition by partition, and passing on the
/// first ones at once would leave the rest behind for another linger.
pub(super) const SETTLE: Duration = Duration::from_millis(5);

/// Longest wait for that silence, if messages keep coming.
const SETTLE_MAX: Duration = Duration::from_millis(20);

/// Times that decide when what has come is passed on.
pub(super) struct Pace {
    /// Time at which the first message, or end, has come since the last flush; `None` if nothing has.
    waits: Option<Instant>,
    flushed_at: Instant,
}

impl Pace {
    /// Begins as after a flush.
    pub fn new() -> Self {
        Self { waits: None, flushed_at: Instant::now() }
    }

    /// Notes that messages, or ends of partitions, have come.
    pub fn note(&mut self) {
        self.waits.get_or_insert_with(Instant::now);
    }

    /// Returns whether further messages are waited for before those that have come are passed on.
    pub fn is_settling(&self) -> bool {
        self.waits.is_some_and(|since| since.elapsed() < SETTLE_MAX) && self.flushed_at.elapsed() >= LINGER
    }

    /// Returns whether a flush is due, and if so takes it for done: something has come, and the last one was a linger
    /// ago.
    pub fn flushes(&mut self) -> bool {
        let is_due = self.waits.is_some() && self.flushed_at.elapsed() >= LINGER;
        if is_due {
            *self = Self::new();
        }
        is_due
    }

    /// Returns the time until something has to be passed on, or commands looked for. It is rounded up to whole
    /// milliseconds, in which librdkafka counts: otherwise the polls would spin through the last fraction of one.
    pub fn until_flush(&self) -> Duration {
        let left = if self.waits.is_some() { LINGER.saturating_sub(self.flushed_at.elapsed()) } else { LINGER };
        Duration::from_millis(left.as_micros().div_ceil(1_000).try_into().expect("it is at most the linger"))
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_comes_is_passed_on_once_a_linger() {
        let mut pace = Pace::new();
        advance(LINGER * 3).await;
        assert!(!pace.flushes(), "nothing has come");
        pace.note();
        assert!(pace.is_settling(), "the rest of the answer is on its way");
        advance(SETTLE_MAX).await;
        pace.note();
        assert!(!pace.is_settling() && pace.flushes());
        pace.note();
        assert!(!pace.is_settling() && !pace.flushes(), "the last flush was just now");
        advance(Duration::from_micros(500)).await;
        assert_eq!(pace.until_flush(), LINGER, "it is rounded up");
        advance(LINGER / 2).await;
        assert_eq!(pace.until_flush(), LINGER / 2);
        advance(LINGER / 2).await;
        assert_eq!((pace.until_flush(), pace.flushes()), (Duration::ZERO, true));
        assert_eq!(pace.until_flush(), LINGER);
    }
}
