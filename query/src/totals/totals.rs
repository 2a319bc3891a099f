//! Answers questions, and keeps what is known of the lake from one question to the next.

use std::error::Error;
use std::sync::{Arc, Mutex};

use arrow::array::RecordBatch;
use datafusion::dataframe::DataFrame;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::GreedyMemoryPool;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::prelude::{SessionConfig, SessionContext};
use futures::future::BoxFuture;
use lake_schemas::table::Version;
use lake_schemas::{Code, Field, Table, Width};
use lake_store::Lake;
use lake_store::locked::lock;
use tokio::sync::Mutex as AsyncMutex;
use tokio::time::Instant;

use super::as_of::sources_as_of;
use super::columns::columns;
use super::current::From;
use super::filter::counted_by;
use super::follow::Followed;
use super::loads::{Loaded, Loads, Reserved};
use super::plan::Adding;
use super::question::{Answer, AsOf, Page, Question, stretch};
use super::scan::CountsScan;
use super::sources::Sources;
use super::stitch::stitch;
use super::store::store_url;
use super::summed::{ad_of, sum_of, sum_up};
use crate::error::{Overflow, QueryError};
use crate::rows::collect;
use crate::verify::lost::or_lost;

/// Bytes for what is known of files: the rows of some hundred small ones, and thousands of footers.
const KNOWN_BYTES_MAX: usize = 256 * 1024 * 1024;

/// Bytes for sums of files: ten years of 10,000 ads take 100 MB.
const SUMS_BYTES_MAX: usize = 128 * 1024 * 1024;

/// Bytes for what is known of earlier versions at one time: tables of some hundred thousand files.
const EARLIER_BYTES_MAX: usize = 128 * 1024 * 1024;

/// Divisor of the memory for each of four uses: what is known of files, what is known of earlier versions, the sums of
/// files, and computing these sums. The rest is for questions.
const SHARE: usize = 8;

/// Tables that answers are taken from.
const TABLES: [Table; 3] = [Table::ClicksMinute, Table::ClicksHourly, Table::ClicksDaily];

/// Rows that are wanted of an answer.
#[derive(Clone, Copy)]
enum Rows {
    /// All rows in order; if there are more than this, the question fails.
    All(Option<usize>),
    /// The rows with most clicks.
    Top(Page),
}

/// The totals of a lake, at any moment. It may be asked from many tasks at once.
pub struct Totals {
    lake: Lake,
    context: SessionContext,
    /// Session in which files are added up, with memory of its own so that it takes none from questions.
    aggregation: SessionContext,
    /// Bytes that the sums of files may take.
    sums_bytes: usize,
    /// Last reason why a file could not be added up, so that it is logged once.
    not_summed: Mutex<String>,
    followed: AsyncMutex<Followed>,
    /// Tables found by the last look, if looks are taken apart from questions.
    seen: Mutex<Option<Arc<Sources>>>,
    /// Earlier versions, if the memory for them is bounded: by the id of the table, and by what is asked for.
    earlier: Option<Earlier>,
}

/// Cache of earlier versions.
type Earlier = Loads<(Option<String>, AsOf), Arc<Sources>>;

impl Totals {
    /// Makes the totals of a lake. Nothing is read yet.
    pub fn new(lake: Lake) -> Result<Self, QueryError> {
        Self::over(lake, None)
    }

    /// Makes the totals of a lake whose questions may take `memory` bytes together; a question that needs more fails.
    pub fn within(lake: Lake, memory: usize) -> Result<Self, QueryError> {
        Self::over(lake, Some(memory))
    }

    fn over(lake: Lake, memory: Option<usize>) -> Result<Self, QueryError> {
        let share = |most: usize| memory.map_or(most, |memory| most.min(memory / SHARE));
        let mut runtime = RuntimeEnvBuilder::new().with_metadata_cache_limit(share(KNOWN_BYTES_MAX));
        if let Some(memory) = memory {
            let others = share(KNOWN_BYTES_MAX) + share(EARLIER_BYTES_MAX) + 2 * share(SUMS_BYTES_MAX);
            let left = memory.saturating_sub(others);
            runtime = runtime
                .with_memory_pool(Arc::new(GreedyMemoryPool::new(left)))
                .with_disk_manager_builder(DiskManagerBuilder::default().with_mode(DiskManagerMode::Disabled));
        }
        let runtime = runtime.build_arc()?;
        runtime.register_object_store(store_url().as_ref(), lake.object_store()?);
        let sums_bytes = share(SUMS_BYTES_MAX);
        let aggregation = RuntimeEnvBuilder::from_runtime_env(&runtime)
            .with_memory_pool(Arc::new(GreedyMemoryPool::new(sums_bytes)))
            .with_disk_manager_builder(DiskManagerBuilder::default().with_mode(DiskManagerMode::Disabled))
            .build_arc()?;
        // There are more files than processors; splitting them would only make more requests.
        let config = || SessionConfig::new().with_repartition_file_scans(false);
        Ok(Self {
            lake,
            context: SessionContext::new_with_config_rt(config(), runtime),
            aggregation: SessionContext::new_with_config_rt(config(), aggregation),
            sums_bytes,
            not_summed: Mutex::default(),
            followed: AsyncMutex::default(),
            seen: Mutex::default(),
            earlier: memory.map(|_| Loads::within(share(EARLIER_BYTES_MAX), |sources: &Arc<Sources>| sources.bytes())),
        })
    }

    /// Looks at the newest versions, and adds up, until a time, what may be asked for as a whole: [`Totals::see`], then
    /// [`Totals::sum_up`].
    pub fn look(&self, until: Instant) -> BoxFuture<'_, Result<Version, QueryError>> {
        Box::pin(async move {
            let version = self.see().await?;
            self.sum_up(until).await;
            Ok(version)
        })
    }

    /// Looks at the newest versions, once for all questions until the next look; if it is never called, each question
    /// looks for itself. Returns the version of `clicks_minute` that answers are of from now on.
    pub fn see(&self) -> BoxFuture<'_, Result<Version, QueryError>> {
        Box::pin(async move {
            let sources = Arc::new(self.followed.lock().await.sources(&self.lake).await?);
            let version = sources.minutes.version;
            *lock(&self.seen) = Some(sources);
            Ok(version)
        })
    }

    /// Adds up, of the tables seen last, what may be asked for as a whole, so that questions of years need not read it.
    /// It stops at a time, and the next call goes on from there.
    pub fn sum_up(&self, until: Instant) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let seen = lock(&self.seen).clone();
            let Some(sources) = seen else { return };
            let Err(error) = sum_up(&sources, &self.aggregation, self.sums_bytes, until).await else { return };
            let (why, mut not_summed) = (error.to_string(), lock(&self.not_summed));
            if *not_summed != why {
                tracing::warn!(error = &error as &dyn Error, "adding up");
                *not_summed = why;
            }
        })
    }

    /// Returns what was counted: `window_start`, if there is a granularity, the dimensions that are grouped by, and the
    /// measures, in the order of windows and dimensions. A window at the edge holds only what is in the stretch of time
    /// that was asked for, and a window without counts has no row.
    pub fn answer<'a>(&'a self, question: &'a Question) -> BoxFuture<'a, Result<Answer, QueryError>> {
        Box::pin(self.rows(question, Rows::All(None)))
    }

    /// Returns the answer to a question, or an error if it has more than `most` rows.
    pub fn answer_within<'a>(
        &'a self,
        question: &'a Question,
        most: Option<usize>,
    ) -> BoxFuture<'a, Result<Answer, QueryError>> {
        Box::pin(self.rows(question, Rows::All(most)))
    }

    /// Returns the rows that have most clicks, at most `most` of them, the largest first.
    pub fn top<'a>(&'a self, question: &'a Question, most: usize) -> BoxFuture<'a, Result<Answer, QueryError>> {
        self.page(question, Page { skip: 0, most })
    }

    /// Returns a page of the rows that have most clicks, the largest first.
    pub fn page<'a>(&'a self, question: &'a Question, page: Page) -> BoxFuture<'a, Result<Answer, QueryError>> {
        Box::pin(self.rows(question, Rows::Top(page)))
    }

    /// Returns the version that answers about the newest one are of, by the last look.
    pub fn seen_version(&self) -> Option<Version> {
        lock(&self.seen).as_ref().map(|seen| seen.minutes.version)
    }

    /// Returns Delta's id of the table that answers about the newest version are of, by the last look.
    pub fn seen_table(&self) -> Option<String> {
        lock(&self.seen).as_ref().map(|seen| seen.table.clone())
    }

    /// Returns the dimensions that the newest version counts by, by the last look.
    pub fn seen_dimensions(&self) -> Option<Vec<Field>> {
        lock(&self.seen).as_ref().map(|seen| counted_by(&seen.parameters))
    }

    /// Returns the tables at an earlier version, out of the cache or read now.
    async fn known_of(
        &self,
        earlier: &Earlier,
        as_of: AsOf,
        seen: Option<Arc<Sources>>,
    ) -> Result<Arc<Reserved<Arc<Sources>>>, QueryError> {
        let table = seen.as_ref().map(|seen| seen.table.clone());
        let load = || {
            let lake = self.lake.clone();
            async move {
                let sources = Arc::new(sources_as_of(&lake, as_of).await?);
                // Which version a time belongs to is only certain once a later version is there.
                let is_before =
                    |seen: Arc<Sources>| seen.table == sources.table && sources.minutes.version < seen.minutes.version;
                let is_final = matches!(as_of, AsOf::Version(_)) || seen.is_some_and(is_before);
                Ok::<_, QueryError>(Loaded { value: sources, is_final })
            }
        };
        earlier.get((table, as_of), load).await
    }

    /// Waits until no earlier version is being read any more, whoever asked for it.
    pub fn is_at_rest(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            if let Some(earlier) = &self.earlier {
                earlier.are_over().await;
            }
        })
    }

    async fn rows(&self, question: &Question, rows: Rows) -> Result<Answer, QueryError> {
        match self.sums(question, rows).await {
            Err(QueryError::Overflow(Overflow(why))) => {
                Err(Overflow(format!("{why} ({})", question.time_asked())).into())
            }
            // The answer of the newest version may need a file that is lost, and not one that was cleaned up.
            Err(error) => Err(or_lost(&self.lake, &TABLES, error).await),
            answer => answer,
        }
    }

    async fn sums(&self, question: &Question, rows: Rows) -> Result<Answer, QueryError> {
        let asked = stretch(question.from, question.to)?;
        let seen = lock(&self.seen).clone();
        // Held until the answer is there, so that its memory stays reserved.
        let known;
        let sources = match (question.as_of, seen, &self.earlier) {
            (AsOf::Newest, Some(seen), _) => seen,
            (AsOf::Newest, None, _) => Arc::new(self.followed.lock().await.sources(&self.lake).await?),
            (as_of, _, None) => Arc::new(sources_as_of(&self.lake, as_of).await?),
            (as_of, seen, Some(earlier)) => {
                known = self.known_of(earlier, as_of, seen).await?;
                Arc::clone(&known.value)
            }
        };
        question.is_of(&sources.parameters)?;
        let widest = question.granularity.unwrap_or(Width::Day);
        let parts = stitch(&asked, widest, &sources.dirty);
        let at = sources.at(&parts);
        if let (Rows::All(_), Some(ad)) = (rows, ad_of(question))
            && let [whole, []] = sources.files(&parts).each_ref().map(Vec::as_slice)
            && let Some(sum) = sum_of(ad, &question.access, whole)?
        {
            return Ok(Answer { rows: vec![sum], at });
        }
        let schema = columns(&sources.parameters);
        let counts = Arc::new(CountsScan { from: From::These(sources), asked, widest, schema });
        let adding = Adding::of_question(question);
        let plan = match rows {
            // One row more than permitted shows that there are more.
            Rows::All(most) => adding.up_in_order(counts, most.map(|most| most + 1))?,
            Rows::Top(page) => adding.up_to(page, counts)?,
        };
        let found = collect(DataFrame::new(self.context.state(), plan)).await?;
        match rows {
            Rows::All(Some(most)) if found.iter().map(RecordBatch::num_rows).sum::<usize>() > most => {
                Err(QueryError::Unanswerable(Code::QuestionImpossible.because(format!(
                    "that is more than {most} rows: group by less, filter, or ask for less time or a coarser \
                     granularity; a top has pages"
                ))))
            }
            _ => Ok(Answer { rows: found, at }),
        }
    }
}
