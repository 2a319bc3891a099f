//! What is served: the totals of a lake, looked at again and again whoever asks, to those whose keys are known.

use std::error::Error;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chrono::{DateTime, Utc};
use lake_schemas::commit::Version;
use lake_schemas::{Lake, LakeError, Table};
use tokio::sync::Semaphore;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use super::keys::Keys;
use super::metrics::Metrics;
use super::problem::Problem;
use crate::error::QueryError;
use crate::locked::lock;
use crate::sees::Sees;
use crate::totals::{Answer, Totals};

/// How often the lake is looked at: three small reads, and an answer is never much older.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How old the last look may be: from then on, others are to be asked.
const LOOK_AGE_MAX: Duration = Duration::from_secs(60);

/// Questions that are answered at once, for each processor: enough to wait for the store side by side. Others wait.
const QUESTIONS_PER_PROCESSOR: usize = 8;

/// How long an answer may take, the wait for a place included: nobody waits longer for a page.
const ANSWER_MAX: Duration = Duration::from_secs(20);

/// What is served.
pub(super) struct Served {
    pub totals: Totals,
    pub metrics: Arc<Metrics>,
    keys: Option<Arc<Keys>>,
    places: Semaphore,
    looked: Mutex<Looked>,
}

/// What came of looking at the lake.
struct Looked {
    /// When it was last found.
    at: Option<Instant>,
    /// Why not, the last time that it was not.
    why_not: String,
}

impl Served {
    pub fn new(lake: Lake, keys: Option<Arc<Keys>>) -> Result<Self, QueryError> {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Ok(Self {
            totals: Totals::new(lake)?,
            metrics: Arc::new(Metrics::new()),
            keys,
            places: Semaphore::new(processors * QUESTIONS_PER_PROCESSOR),
            looked: Mutex::new(Looked { at: None, why_not: "the lake is being looked at".to_owned() }),
        })
    }

    /// What somebody sees who shows a key, or none.
    pub fn sees(&self, key: Option<&str>) -> Option<Sees> {
        match &self.keys {
            None => Some(Sees::All),
            Some(keys) => keys.sees(key?).cloned(),
        }
    }

    /// Whether somebody needs a key.
    pub fn has_keys(&self) -> bool {
        self.keys.is_some()
    }

    /// Answers a question, when there is a place, and in time.
    pub async fn answer(&self, question: impl Future<Output = Result<Answer, QueryError>>) -> Result<Answer, Problem> {
        self.has_looked()?;
        let _in_flight = self.metrics.in_flight();
        let answer = timeout(ANSWER_MAX, async {
            let _place = self.places.acquire().await;
            question.await
        });
        let seconds = ANSWER_MAX.as_secs();
        let late = |_| Problem::busy(format!("no answer within {seconds} s; ask again, or for less time"));
        Ok(answer.await.map_err(late)??)
    }

    fn has_looked(&self) -> Result<(), Problem> {
        let looked = lock(&self.looked);
        looked.at.map(|_| ()).ok_or_else(|| Problem::busy(looked.why_not.clone()))
    }

    /// Whether the lake was found not long ago; if not, why.
    pub fn is_ready(&self) -> Result<(), Problem> {
        let looked = lock(&self.looked);
        let is_young = looked.at.is_some_and(|at| at.elapsed() < LOOK_AGE_MAX);
        if is_young { Ok(()) } else { Err(Problem::busy(looked.why_not.clone())) }
    }

    /// Looks at the lake until told to stop.
    pub async fn keep_looking(&self, stop: &CancellationToken) {
        let mut ticks = interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            let found = self.totals.look(Instant::now() + LOOK_EVERY).await;
            self.take_note(found);
        }
    }

    fn take_note(&self, found: Result<Version, QueryError>) {
        let mut looked = lock(&self.looked);
        match found {
            Ok(version) => {
                looked.at = Some(Instant::now());
                looked.why_not.clear();
                self.metrics.refreshed(Table::ClicksMinute.name(), version, now().timestamp());
            }
            Err(error) => {
                // Said once, and not once a second.
                let why_not = error.to_string();
                if looked.why_not != why_not {
                    match &error {
                        // It is not there yet.
                        QueryError::Lake(LakeError::Refused(why)) => tracing::info!(why, "nothing to serve"),
                        error => tracing::warn!(error = error as &dyn Error, "looking at the lake"),
                    }
                    looked.why_not = why_not;
                }
            }
        }
    }
}

/// The time now, for those who ask for the last hour.
#[expect(clippy::disallowed_methods, reason = "the last hour is the one before now; no count depends on it")]
pub(super) fn now() -> DateTime<Utc> {
    Utc::now()
}
