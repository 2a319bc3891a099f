//! Growth of the raw table: one look at it for all who wait, at an interval, or as soon as this process has grown it.
//!
//! While nobody waits, nothing is asked of the store.

use std::sync::Arc;
use std::time::Duration;

use lake_schemas::table::Version;
use lake_store::{LakeError, Result};
use tokio::sync::{Mutex, Notify, watch};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::raw_table::RawTable;
use crate::backoff::Backoff;

/// Bounds of the interval at which a process that follows the table looks at it: rows are to be counted soon after they
/// are written, and a look is a request to the store.
const FOLLOWS_EVERY_MIN: Duration = Duration::from_millis(100);
const FOLLOWS_EVERY_MAX: Duration = Duration::from_millis(500);

/// Interval at which a process that writes the table looks at what others have written, while it restores.
pub const RESTORES_EVERY: Duration = Duration::from_secs(1);

/// Number of times that the table was found to have grown, or the error that ended the looks.
type Seen = Result<u64, Arc<LakeError>>;

/// Signal that the raw table has grown. Who waits for it makes the table be looked at, and need not look by itself.
#[derive(Clone)]
pub struct Growth {
    seen: watch::Receiver<Seen>,
    waiting: Arc<watch::Sender<usize>>,
}

impl Growth {
    /// Returns the growth of a table that is read to a bound, and never waited for.
    pub fn none() -> Self {
        let (_, seen) = watch::channel(Ok(0));
        Self { seen, waiting: Arc::new(watch::Sender::new(0)) }
    }

    /// Begins a reading of the table: [`Growth::grown`] then waits for what that reading may not have seen.
    pub(super) fn begin(&mut self) {
        self.seen.mark_unchanged();
    }

    /// Waits until the table has grown. Fails if it cannot be looked at any more. Safe to cancel.
    pub(super) async fn grown(&mut self) -> Result<()> {
        let _waiting = Waiting::begin(&self.waiting);
        still_seen(&self.seen)?;
        if self.seen.changed().await.is_err() {
            // Nobody looks any more, so the job is about to end.
            std::future::pending::<()>().await;
        }
        still_seen(&self.seen)
    }
}

/// Returns the error that ended the looks, if one has.
fn still_seen(seen: &watch::Receiver<Seen>) -> Result<()> {
    match &*seen.borrow() {
        Ok(_) => Ok(()),
        Err(error) => Err(again(error)),
    }
}

/// Makes an error another time, for each who waits.
fn again(error: &LakeError) -> LakeError {
    match error {
        LakeError::Refused(refusal) => LakeError::Refused(refusal.clone()),
        LakeError::Altered(why) => LakeError::Altered(why.clone()),
        LakeError::Store { what, source } => LakeError::store(what.clone(), source.to_string()),
    }
}

/// A wait for growth. Dropping it ends the wait.
struct Waiting<'a>(&'a watch::Sender<usize>);

impl<'a> Waiting<'a> {
    fn begin(waiting: &'a watch::Sender<usize>) -> Self {
        waiting.send_modify(|number| *number += 1);
        Self(waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|number| *number -= 1);
    }
}

/// Returns the interval at which a process looks at the table that it follows: a quarter of that of its own commits.
pub fn follows_every(commit_interval: Duration) -> Duration {
    (commit_interval / 4).clamp(FOLLOWS_EVERY_MIN, FOLLOWS_EVERY_MAX)
}

/// Looks at the raw table for all who wait. Dropping it ends the looks.
pub struct Grower {
    now: Arc<Notify>,
    _task: AbortOnDropHandle<()>,
}

impl Grower {
    /// Begins to look at a table: while somebody waits, once in this interval.
    pub fn new(raw: &Arc<Mutex<RawTable>>, every: Duration) -> (Self, Growth) {
        let (seen_in, seen) = watch::channel(Ok(0));
        let (waiting, now) = (Arc::new(watch::Sender::new(0)), Arc::new(Notify::new()));
        let looks =
            Looks { raw: Arc::clone(raw), every, seen: seen_in, waiting: waiting.subscribe(), now: Arc::clone(&now) };
        (Self { now, _task: AbortOnDropHandle::new(tokio::spawn(looks.run())) }, Growth { seen, waiting })
    }

    /// Has the table looked at as soon as somebody waits: this process has just committed to it.
    pub fn bump(&self) {
        self.now.notify_one();
    }
}

/// The looks at a table.
struct Looks {
    raw: Arc<Mutex<RawTable>>,
    every: Duration,
    seen: watch::Sender<Seen>,
    waiting: watch::Receiver<usize>,
    now: Arc<Notify>,
}

impl Looks {
    async fn run(mut self) {
        let (mut looked, mut known) = (Instant::now(), None);
        while self.waiting.wait_for(|waiting| *waiting > 0).await.is_ok() {
            tokio::select! {
                () = self.now.notified() => {}
                () = sleep_until(looked + self.every) => {}
            }
            let version = match self.look().await {
                Ok(version) => version,
                Err(error) => return drop(self.seen.send_replace(Err(Arc::new(error)))),
            };
            looked = Instant::now();
            // Others may have refreshed the table meanwhile. What counts is what those who wait were last told.
            if known != Some(version) {
                known = Some(version);
                self.seen.send_modify(|seen| {
                    if let Ok(number) = seen {
                        *number += 1;
                    }
                });
            }
        }
    }

    /// Refreshes the table, and retries what a store does not do for now.
    async fn look(&self) -> Result<Version> {
        let (mut backoff, never) = (Backoff::default(), CancellationToken::new());
        loop {
            let mut raw = self.raw.lock().await;
            let refreshed = raw.refresh().await;
            let version = raw.version();
            drop(raw);
            match refreshed {
                Ok(()) => return Ok(version),
                Err(error) => backoff.again(error, &never).await?,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{sleep, timeout};

    use super::super::written::{Written, named};
    use super::*;

    const EVERY: Duration = Duration::from_secs(1);
    const RARELY: Duration = Duration::from_secs(3_600);

    #[tokio::test(start_paused = true)]
    async fn the_table_is_looked_at_while_somebody_waits_and_only_then() {
        let mut written = Written::new().await;
        let raw = written.raw().await.shared();
        let (_grower, mut growth) = Grower::new(&raw, EVERY);
        written.events(0, 0..1, 1).await;
        sleep(10 * EVERY).await;
        assert_eq!(raw.lock().await.cut(&named(0)), None, "nobody has waited");
        growth.begin();
        growth.grown().await.expect("memory");
        assert_eq!(raw.lock().await.cut(&named(0)), Some(1));
        growth.begin();
        assert!(timeout(10 * EVERY, growth.grown()).await.is_err(), "it has not grown");
        written.events(0, 1..2, 2).await;
        // That a wait was dropped has lost nothing.
        growth.grown().await.expect("memory");
        assert_eq!(raw.lock().await.cut(&named(0)), Some(2));
    }

    #[tokio::test(start_paused = true)]
    async fn what_this_process_has_committed_is_seen_at_once() {
        let mut written = Written::new().await;
        let raw = written.raw().await.shared();
        let (grower, mut growth) = Grower::new(&raw, RARELY);
        for cut in 1..4 {
            growth.begin();
            written.events(0, cut - 1..cut, cut).await;
            grower.bump();
            timeout(EVERY, growth.grown()).await.expect("at once").expect("memory");
            assert_eq!(raw.lock().await.cut(&named(0)), Some(cut));
        }
    }

    #[tokio::test]
    async fn each_who_waits_is_told_why_there_are_no_more_looks() {
        let (seen_in, seen) = watch::channel(Ok(0));
        let growth = Growth { seen, waiting: Arc::new(watch::Sender::new(0)) };
        drop(seen_in.send_replace(Err(Arc::new(LakeError::Altered("another table".to_owned())))));
        drop(seen_in);
        for mut growth in [growth.clone(), growth] {
            growth.begin();
            let error = growth.grown().await.expect_err("it is not looked at");
            assert!(matches!(&error, LakeError::Altered(why) if why == "another table"), "{error}");
        }
        assert!(again(&LakeError::store("reading", "no route")).is_retryable());
    }
}
