//! Messages that a process is answering, each with its deadline. A thread that does nothing else finds here a statement
//! that hangs in the parser or the planner: the runtime, whose timers would find it, may hang, too.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lake_store::locked::lock;
use tokio::time::Instant;

/// Messages that are being answered.
#[derive(Default)]
pub(super) struct UnderWay(Mutex<Answers>);

#[derive(Default)]
struct Answers {
    /// Deadline of each message.
    until: BTreeMap<u64, Instant>,
    /// Number of the next message.
    next: u64,
}

impl UnderWay {
    /// Begins to answer a message, which has to be done within `limit`; it is done when the returned value is dropped.
    pub fn begin(self: &Arc<Self>, limit: Duration) -> Answering {
        let mut answers = lock(&self.0);
        let number = answers.next;
        answers.next += 1;
        answers.until.insert(number, Instant::now() + limit);
        Answering { all: Arc::clone(self), number }
    }

    /// Returns whether any message that is being answered is past its deadline.
    pub fn is_stuck(&self) -> bool {
        let now = Instant::now();
        lock(&self.0).until.values().any(|until| *until < now)
    }
}

/// A message that is being answered, until it is dropped.
pub(super) struct Answering {
    all: Arc<UnderWay>,
    number: u64,
}

impl Drop for Answering {
    fn drop(&mut self) {
        lock(&self.all.0).until.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_message_that_is_past_its_deadline_makes_the_process_stuck() {
        let under_way = Arc::new(UnderWay::default());
        let short = under_way.begin(Duration::from_secs(1));
        let long = under_way.begin(Duration::from_secs(3));
        assert!(!under_way.is_stuck());
        advance(Duration::from_secs(2)).await;
        assert!(under_way.is_stuck());
        drop(short);
        assert!(!under_way.is_stuck());
        advance(Duration::from_secs(2)).await;
        assert!(under_way.is_stuck());
        drop(long);
        assert!(!under_way.is_stuck());
    }
}
