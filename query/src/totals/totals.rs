//! Answers questions, and keeps what is known of the lake from one to the next.

use std::error::Error;
use std::sync::{Arc, Mutex};

use datafusion::dataframe::DataFrame;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::prelude::{SessionConfig, SessionContext};
use futures::future::BoxFuture;
use lake_schemas::commit::Version;
use lake_schemas::{Lake, LakeError, Width};
use tokio::sync::Mutex as AsyncMutex;
use tokio::time::Instant;

use super::as_of::sources_as_of;
use super::current::From;
use super::follow::Followed;
use super::plan::Adding;
use super::question::{Answer, AsOf, Detail, Page, Question, Whom, stretch};
use super::reading::store_url;
use super::scan::{Counts, columns};
use super::sources::Sources;
use super::stitch::stitch;
use super::summed::{sum_of, sum_up};
use crate::error::{Overflow, QueryError};
use crate::locked::lock;
use crate::rows::collect;

/// What is known of files may take so many bytes: the rows of some hundred small ones, and thousands of footers.
const KNOWN_BYTES_MAX: usize = 256 * 1024 * 1024;

/// Which rows are wanted.
#[derive(Clone, Copy)]
enum Rows {
    /// All.
    All,
    /// One for each window.
    Of(Width),
    /// Those with most clicks.
    Top(Page),
}

/// The totals of a lake, at any moment. Safe to ask from many tasks at once.
pub struct Totals {
    lake: Lake,
    context: SessionContext,
    followed: AsyncMutex<Followed>,
    /// What the last look found, if looks are taken apart from questions.
    seen: Mutex<Option<Arc<Sources>>>,
    /// Why files could not be added up, the last time.
    not_summed: Mutex<Option<String>>,
}

impl Totals {
    /// Those of a lake. Nothing is read yet.
    pub fn new(lake: Lake) -> Result<Self, QueryError> {
        let runtime = RuntimeEnvBuilder::new().with_metadata_cache_limit(KNOWN_BYTES_MAX).build_arc()?;
        runtime.register_object_store(store_url().as_ref(), lake.object_store()?);
        // There are more files than processors; to cut them up would be more requests.
        let config = SessionConfig::new().with_repartition_file_scans(false);
        let context = SessionContext::new_with_config_rt(config, runtime);
        let (seen, not_summed) = (Mutex::default(), Mutex::default());
        Ok(Self { lake, context, followed: AsyncMutex::default(), seen, not_summed })
    }

    /// Looks at the newest versions, once for all questions until the next look; without any, each question looks by
    /// itself. What may be asked for as a whole is added up first, so that questions of years need not read it; what is
    /// left of that at a time stays for the next look. Returns what an answer stands at from now on.
    pub fn look(&self, until: Instant) -> BoxFuture<'_, Result<Version, QueryError>> {
        Box::pin(async move {
            let sources = Arc::new(self.followed.lock().await.sources(&self.lake).await?);
            let failed = sum_up(&sources, &self.context, until).await.err();
            // Said once, and not at each look.
            let why = failed.as_ref().map(ToString::to_string);
            let was = std::mem::replace(&mut *lock(&self.not_summed), why.clone());
            if let Some(error) = failed.filter(|_| was != why) {
                tracing::warn!(error = &error as &dyn Error, "adding up");
            }
            let version = sources.minutes.version;
            *lock(&self.seen) = Some(sources);
            Ok(version)
        })
    }

    /// What was counted in a stretch of time: DIMS, MEASURES, in the order of the dimensions.
    pub fn total<'a>(&'a self, question: &'a Question) -> BoxFuture<'a, Result<Answer, QueryError>> {
        Box::pin(self.answer(question, Rows::All))
    }

    /// Those who have most clicks in a stretch of time, so many of them, the largest first.
    pub fn top<'a>(&'a self, question: &'a Question, most: usize) -> BoxFuture<'a, Result<Answer, QueryError>> {
        self.page(question, Page { skip: 0, most })
    }

    /// A page of those who have most clicks in a stretch of time, the largest first.
    pub fn page<'a>(&'a self, question: &'a Question, page: Page) -> BoxFuture<'a, Result<Answer, QueryError>> {
        Box::pin(self.answer(question, Rows::Top(page)))
    }

    /// The version that answers of the newest one are of, as it was last looked at.
    pub fn seen_version(&self) -> Option<Version> {
        lock(&self.seen).as_ref().map(|seen| seen.minutes.version)
    }

    /// What was counted in each window of a stretch of time: `window_start`, DIMS, MEASURES, in that order. Windows at
    /// its edges hold what is in it of them, and windows without counts have no row.
    pub fn series<'a>(&'a self, question: &'a Question, by: Width) -> BoxFuture<'a, Result<Answer, QueryError>> {
        Box::pin(self.answer(question, Rows::Of(by)))
    }

    async fn answer(&self, question: &Question, rows: Rows) -> Result<Answer, QueryError> {
        self.sums(question, rows).await.map_err(|error| match error {
            QueryError::Overflow(Overflow(why)) => Overflow(format!("{why} ({})", question.time_asked())).into(),
            error => error,
        })
    }

    async fn sums(&self, question: &Question, rows: Rows) -> Result<Answer, QueryError> {
        let asked = stretch(question.from, question.to)?;
        let by = match rows {
            Rows::Of(by) => Some(by),
            Rows::All | Rows::Top(_) => None,
        };
        if by == Some(Width::Month) {
            return Err(LakeError::Refused("series are by minute, hour or day".to_owned()).into());
        }
        let seen = lock(&self.seen).clone();
        let sources = match (question.as_of, seen) {
            (AsOf::Newest, Some(seen)) => seen,
            (AsOf::Newest, None) => Arc::new(self.followed.lock().await.sources(&self.lake).await?),
            (earlier, _) => Arc::new(sources_as_of(&self.lake, earlier).await?),
        };
        let widest = by.unwrap_or(Width::Day);
        let parts = stitch(&asked, widest, &sources.dirty);
        let at = sources.at(&parts);
        if let (Rows::All, Detail::Sums, Whom::Ad(ad)) = (rows, question.detail, &question.whom)
            && let [whole, []] = sources.files(&parts).each_ref().map(Vec::as_slice)
            && let Some(sum) = sum_of(ad, &question.sees, whole)?
        {
            return Ok(Answer { rows: vec![sum], at });
        }
        let (dimensions, schema) = (sources.parameters.dimension_columns(), columns(&sources.parameters));
        let counts = Counts { from: From::These(sources), asked, widest, schema };
        let Question { whom, sees, detail, .. } = question;
        let adding = Adding { whom, sees, dimensions: &dimensions, detail: *detail, by };
        let plan = match rows {
            Rows::Top(page) => adding.up_to(page, Arc::new(counts))?,
            Rows::All | Rows::Of(_) => adding.up_in_order(Arc::new(counts))?,
        };
        let rows = collect(DataFrame::new(self.context.state(), plan)).await?;
        Ok(Answer { rows, at })
    }
}
