//! State of the HTTP server: the totals of a lake, refreshed regularly whoever asks, and the limits of those who ask.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::error::Error;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::response::Response;
use chrono::{DateTime, Utc};
use lake_schemas::table::Version;
use lake_schemas::{Code, Table};
use lake_store::locked::lock;
use lake_store::{Lake, LakeError};
use query::totals::{Answer, AsOf, Totals};
use query::{QueryError, RowAccess};
use tokio::sync::Semaphore;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use super::keys::{KeyId, Keys, Who};
use super::metrics::Metrics;
use super::problem::{Problem, Telling};
use super::unread::Unread;

/// Interval at which the lake is refreshed: three small reads, and an answer is never much older.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Maximum age of the last refresh. Beyond it nothing is answered, since clients take an answer for a fresh one; they
/// should ask other servers.
const LOOK_AGE_MAX: Duration = Duration::from_secs(60);

/// Number of questions that are answered at once for each CPU: enough to wait for the store side by side. Others wait.
const QUESTIONS_PER_PROCESSOR: usize = 8;

/// Divisor that gives the share of these places for questions of one key: however much it asks, and however long that
/// takes, others find a place.
const SHARE: usize = 4;

/// Maximum number of questions of one key that wait for an answer, or for the client to read it: those of a hundred
/// pages. Further ones are refused for now.
const QUESTIONS_PER_KEY: usize = 400;

/// Divisor that gives the share of the memory for answers that are being sent.
const UNREAD_SHARE: usize = 8;

/// Time limit of an answer, the wait for a place included: nobody waits longer for a page.
const ANSWER_MAX: Duration = Duration::from_secs(20);

/// State that all requests share.
pub(super) struct Served {
    pub totals: Totals,
    pub metrics: Arc<Metrics>,
    keys: Option<Arc<Keys>>,
    places: Semaphore,
    waiting: Arc<Waiting>,
    unread: Arc<Unread>,
    looked: Mutex<Looked>,
}

impl Who {
    /// Returns how much detail this client is told about errors.
    pub fn telling(&self) -> Telling {
        if self.access == RowAccess::All { Telling::Everything } else { Telling::Little }
    }
}

/// Questions of each key that are not answered yet, or whose answers are not read yet.
struct Waiting {
    of_keys: Mutex<HashMap<KeyId, OfKey>>,
    /// Maximum number of questions of one key that are answered at once.
    share: usize,
}

/// Questions of one key.
struct OfKey {
    questions: usize,
    turns: Arc<Semaphore>,
}

impl Waiting {
    /// Creates an empty count, for this many places.
    fn new(places: usize) -> Arc<Self> {
        Arc::new(Self { of_keys: Mutex::default(), share: places.div_ceil(SHARE) })
    }

    /// Counts a question as long as the returned value is held; refuses it if there are too many of its key.
    fn enter(self: &Arc<Self>, who: &Who) -> Result<Option<Waits>, Problem> {
        let Some(key) = who.key else { return Ok(None) };
        let mut all = lock(&self.of_keys);
        let none = || OfKey { questions: 0, turns: Arc::new(Semaphore::new(self.share)) };
        let of_key = all.entry(key).or_insert_with(none);
        if of_key.questions >= QUESTIONS_PER_KEY {
            return Err(Problem::too_many(QUESTIONS_PER_KEY));
        }
        of_key.questions += 1;
        Ok(Some(Waits { all: Arc::clone(self), key, turns: Arc::clone(&of_key.turns) }))
    }
}

/// A question whose answer has not been sent yet.
pub(super) struct Waits {
    all: Arc<Waiting>,
    key: KeyId,
    /// Semaphore of its key: questions of a key wait for each other before they wait for a place.
    turns: Arc<Semaphore>,
}

impl Drop for Waits {
    fn drop(&mut self) {
        let mut all = lock(&self.all.of_keys);
        if let Entry::Occupied(mut of_key) = all.entry(self.key) {
            of_key.get_mut().questions -= 1;
            if of_key.get().questions == 0 {
                of_key.remove();
            }
        }
    }
}

/// Result of refreshing the lake.
struct Looked {
    /// Time of the last refresh that succeeded.
    at: Option<Instant>,
    /// Error of the last refresh, if it failed.
    why_not: String,
    /// Code of that error, if it is a refusal.
    code: Option<Code>,
}

/// Reason why nothing is answered: the lake was not refreshed recently.
struct NotYoung {
    why: String,
    code: Option<Code>,
}

impl Looked {
    /// Returns an error unless the last refresh is recent.
    fn is_young(&self) -> Result<(), NotYoung> {
        let not_young = |why| NotYoung { why, code: self.code };
        match self.at.map(|at| at.elapsed()) {
            Some(age) if age < LOOK_AGE_MAX => Ok(()),
            Some(age) => {
                let why = if self.why_not.is_empty() {
                    "the look that began since is not over"
                } else {
                    self.why_not.as_str()
                };
                let seconds = age.as_secs();
                let why =
                    format!("the lake was last looked at {seconds} s ago, which is too long to answer from: {why}");
                Err(not_young(why))
            }
            None => Err(not_young(self.why_not.clone())),
        }
    }
}

impl Served {
    pub fn new(lake: Lake, keys: Option<Arc<Keys>>, memory: usize) -> Result<Self, QueryError> {
        let places = std::thread::available_parallelism().map_or(1, usize::from) * QUESTIONS_PER_PROCESSOR;
        let unread = memory / UNREAD_SHARE;
        Ok(Self {
            totals: Totals::within(lake, memory - unread)?,
            metrics: Arc::new(match &keys {
                Some(keys) => Metrics::new().with_keys(&keys.refused),
                None => Metrics::new(),
            }),
            keys,
            places: Semaphore::new(places),
            waiting: Waiting::new(places),
            unread: Unread::new(unread),
            looked: Mutex::new(Looked { at: None, why_not: "the lake is being looked at".to_owned(), code: None }),
        })
    }

    /// Returns the client with this key; refuses if the server has keys and this is none of them.
    pub fn who(&self, key: Option<&str>) -> Result<Who, Problem> {
        let Some(keys) = &self.keys else { return Ok(Who::ANYONE) };
        keys.shown(key.ok_or_else(Problem::no_key)?).ok_or_else(Problem::unknown_key)
    }

    /// Returns the version that an answer will be of, if it is known before the answer is.
    pub fn version_of(&self, as_of: AsOf) -> Option<Version> {
        match as_of {
            AsOf::Version(version) => Some(version),
            AsOf::Newest if self.is_ready(Telling::Little).is_ok() => self.totals.seen_version(),
            AsOf::Newest | AsOf::Time(_) => None,
        }
    }

    /// Returns whether clients need a key.
    pub fn has_keys(&self) -> bool {
        self.keys.is_some()
    }

    /// Answers a question within the time limit, if the lake was refreshed recently; also returns the count to pass to
    /// [`Served::send`].
    pub async fn answer(
        &self,
        who: &Who,
        as_of: AsOf,
        question: impl Future<Output = Result<Answer, QueryError>>,
    ) -> Result<(Answer, Option<Waits>), Problem> {
        self.is_ready(who.telling())?;
        let asked = self.waiting.enter(who)?;
        let _in_flight = self.metrics.in_flight();
        let answer = timeout(ANSWER_MAX, async {
            let _turn = match &asked {
                Some(asked) => Some(asked.turns.acquire().await),
                None => None,
            };
            let _place = self.places.acquire().await;
            question.await
        });
        let seconds = ANSWER_MAX.as_secs();
        let late = |_| Problem::busy(format!("no answer within {seconds} s; ask again, or for less time"));
        let answer = answer.await.map_err(late)?.map_err(|error| Problem::of(error, as_of, who.telling()))?;
        Ok((answer, asked))
    }

    /// Sends an answer, which counts among those of its key until it has been sent.
    pub async fn send(&self, who: &Who, asked: Option<Waits>, answer: Response) -> Result<Response, Problem> {
        self.unread.hold(who.key, answer, asked).await
    }

    /// Returns an error unless the lake was refreshed recently.
    pub fn is_ready(&self, telling: Telling) -> Result<(), Problem> {
        let is_young = lock(&self.looked).is_young();
        is_young.map_err(|NotYoung { why, code }| Problem::not_ready(&why, code, telling))
    }

    /// Refreshes the lake until told to stop, and sums up whole files that may be asked for. The two run side by side
    /// because a large file takes longer to sum up than a refresh may wait; and a store that does not answer keeps
    /// nobody from stopping.
    pub async fn keep_looking(&self, stop: &CancellationToken) {
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.look_again_and_again() => {}
            () = self.sum_up_again_and_again() => {}
        }
    }

    async fn look_again_and_again(&self) {
        let mut ticks = ticks();
        loop {
            ticks.tick().await;
            self.take_note(self.totals.see().await);
        }
    }

    async fn sum_up_again_and_again(&self) {
        let mut ticks = ticks();
        loop {
            ticks.tick().await;
            self.totals.sum_up(Instant::now() + LOOK_EVERY).await;
        }
    }

    fn take_note(&self, found: Result<Version, QueryError>) {
        let mut looked = lock(&self.looked);
        match found {
            Ok(version) => {
                looked.at = Some(Instant::now());
                looked.why_not.clear();
                looked.code = None;
                self.metrics.refreshed(Table::ClicksMinute.name(), version, now().timestamp());
            }
            Err(error) => {
                // Logged once, and not once a second.
                let why_not = error.to_string();
                looked.code = error.code();
                if looked.why_not != why_not {
                    match &error {
                        // The lake does not exist yet.
                        QueryError::Lake(LakeError::Refused(why)) if looked.at.is_none() => {
                            tracing::info!(%why, "nothing to serve");
                        }
                        error => tracing::warn!(error = error as &dyn Error, "looking at the lake"),
                    }
                    looked.why_not = why_not;
                }
            }
        }
    }
}

/// Returns the ticks of refreshing.
fn ticks() -> Interval {
    let mut ticks = interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// Returns the current time, for questions about the last hour.
#[expect(clippy::disallowed_methods, reason = "the last hour is the one before now; no count depends on it")]
pub(super) fn now() -> DateTime<Utc> {
    Utc::now()
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use futures::future::join_all;
    use lake_store::commit::Partitions;
    use object_store::memory::InMemory;
    use query::totals::StandsAt;
    use tokio::time::{advance, sleep};
    use url::Url;

    use super::*;

    /// Returns an answer without rows.
    fn nothing() -> Answer {
        let (table_id, partitions) = (String::new(), Partitions::default());
        let at = StandsAt { table_id, minutes: 1, hourly: None, daily: None, partitions, allowed_lateness_ms: 0 };
        Answer { rows: Vec::new(), at }
    }

    #[tokio::test(start_paused = true)]
    async fn answers_go_on_for_a_minute_after_the_lake_became_unreadable() {
        let lake = Lake::on(Arc::new(InMemory::new()), Url::parse("memory:///lake").expect("an address"));
        let served = Served::new(lake, None, 1 << 20).expect("a session");
        let why_not = async || {
            let answer = served.answer(&Who::ANYONE, AsOf::Newest, async { Ok(nothing()) }).await;
            answer.err().map(|problem| problem.detail().to_owned())
        };
        assert_eq!(why_not().await.as_deref(), Some("the lake is being looked at"));
        served.take_note(Ok(1));
        advance(LOOK_AGE_MAX - LOOK_EVERY).await;
        served.take_note(Err(LakeError::Refused(
            Code::ForeignFeature.because("clicks_minute: take that out".to_owned()),
        )
        .into()));
        assert_eq!(why_not().await, None);
        advance(LOOK_EVERY).await;
        let why = why_not().await.expect("it is too old");
        assert!(why.contains(" 60 s ago") && why.ends_with(": clicks_minute: take that out"), "{why}");
        assert_eq!(served.is_ready(Telling::Everything).expect_err("nor is it ready").detail(), why);
        let little = served.is_ready(Telling::Little).expect_err("nor to others");
        assert!(!little.detail().contains("take that out"), "{little:?}");
        served.take_note(Ok(2));
        assert_eq!(why_not().await, None);
        // A single refresh may take long.
        advance(LOOK_AGE_MAX).await;
        assert!(why_not().await.is_some_and(|why| why.contains("not over")));
    }

    #[test]
    fn a_key_has_so_many_questions_at_once_and_others_theirs() {
        let waiting = Waiting::new(8);
        let [one, other] = ["a", "b"].map(|key| Who { access: RowAccess::All, key: Some(KeyId::of(key)) });
        let asked: Vec<_> = (0..QUESTIONS_PER_KEY).map(|_| waiting.enter(&one).expect("a place")).collect();
        assert!(waiting.enter(&one).is_err());
        assert!(waiting.enter(&other).is_ok_and(|waits| waits.is_some()));
        drop(asked);
        assert!(waiting.enter(&one).is_ok());
        assert!(lock(&waiting.of_keys).is_empty(), "who waits no more is not remembered");
        assert!(waiting.enter(&Who::ANYONE).is_ok_and(|waits| waits.is_none()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_that_asks_for_what_takes_long_leaves_places_to_others() {
        let lake = Lake::on(Arc::new(InMemory::new()), Url::parse("memory:///lake").expect("an address"));
        let served = Served::new(lake, None, 1 << 20).expect("a session");
        served.take_note(Ok(1));
        let [one, other] = ["a", "b"].map(|key| Who { access: RowAccess::All, key: Some(KeyId::of(key)) });
        let endless = (0..QUESTIONS_PER_KEY).map(|_| served.answer(&one, AsOf::Newest, pending()));
        let answered = async {
            // By then, the other questions have come.
            sleep(LOOK_EVERY).await;
            served.answer(&other, AsOf::Newest, async { Ok(nothing()) }).await
        };
        tokio::select! {
            _ = join_all(endless) => panic!("they do not end before"),
            answer = answered => assert!(answer.is_ok(), "{:?}", answer.err()),
        }
    }
}
