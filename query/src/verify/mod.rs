//! The auditor: counts the raw clicks again in plain SQL, where `clicks_minute` stands, and compares window by window.
//!
//! It is the batch layer of old, kept for nothing but this. It shares no code with the operators; what it says, anyone
//! can say with `recount.sql` and another engine.

mod conservation;
mod copies;
mod covered;
mod difference;
mod partition;

pub use conservation::{Conservation, conservation};
pub use copies::CountedAgain;
pub use difference::{Cause, Difference};
pub use partition::{Key, Sums};

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use arrow::array::RecordBatch;
use datafusion::execution::memory_pool::FairSpillPool;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::prelude::{SessionConfig, SessionContext};
use futures::future::BoxFuture;
use lake_schemas::commit::Version;
use lake_schemas::minute::{Parameters, WINDOW_MS};
use lake_schemas::{Cut, EventTime, Lake, LakeError, Table};

use self::copies::Copies;
use self::covered::Covered;
use self::partition::Partition;
use crate::catalog;
use crate::sql::{QueryError, collect};

/// Lines of a kind that are printed.
const LINES_MAX: usize = 20;

/// The windows that are asked for: those that start from the one time on, and before the other.
#[derive(Clone, Copy, Debug, Default)]
pub struct Windows {
    from: Option<EventTime>,
    to: Option<EventTime>,
}

impl Windows {
    /// Windows between two times, which must be whole minutes.
    pub fn between(from: Option<EventTime>, to: Option<EventTime>) -> Result<Self, QueryError> {
        for time in [from, to].into_iter().flatten() {
            if time.millis().rem_euclid(WINDOW_MS) != 0 {
                return Err(LakeError::Refused(format!("{time} is no whole minute; windows start with minutes")).into());
            }
        }
        Ok(Self { from, to })
    }
}

/// What an audit has found.
#[derive(Debug)]
pub struct Audit {
    /// The version of `clicks_minute` that was compared.
    pub version: Version,
    /// Where it stands.
    pub cut: Cut,
    /// How many windows were recounted.
    pub windows: usize,
    /// How many clicks they have.
    pub clicks: i64,
    /// Where the table and the recount differ, and nothing explains it.
    pub differences: Vec<Difference>,
    /// Sums that differ from the plain recount by copies that the table cannot know, and by nothing else.
    pub explained: Vec<String>,
    /// The ids that were counted more than once: their copies are too far apart, or in two partitions.
    pub counted_again: Vec<CountedAgain>,
}

impl Audit {
    /// Whether the table says what the raw clicks say.
    pub fn is_equal(&self) -> bool {
        self.differences.is_empty()
    }
}

/// Counts the raw clicks again, and compares. The queries may take so much memory, in bytes; beyond it they use the
/// disk.
pub fn verify(lake: &Lake, windows: Windows, memory: usize) -> BoxFuture<'_, Result<Audit, QueryError>> {
    Box::pin(async move {
        let Covered { minutes, .. } = Covered::find(lake).await?;
        let parameters = Parameters::recorded(minutes.properties())?;
        let context = session(lake, minutes.version(), memory).await?;
        let stands = minutes.stands();
        let mut audit = Audit {
            version: minutes.version(),
            cut: stands.iter().filter_map(|(partition, stand)| Some((partition.clone(), stand.cut?))).collect(),
            windows: 0,
            clicks: 0,
            differences: Vec::new(),
            explained: Vec::new(),
            counted_again: Vec::new(),
        };
        let mut copies = Copies::default();
        let has_suspects = Copies::suspect(&context, &parameters).await?;
        let mut recounted = BTreeSet::new();
        for (partition, stand) in &stands {
            let of = Partition::new(&context, &parameters, (partition, *stand), windows).await?;
            let beyond = if has_suspects { copies.look_at(&of).await? } else { BTreeMap::new() };
            let recount = of.recount(&beyond).await?;
            recounted.extend(recount.windows);
            audit.clicks += recount.clicks;
            let dimensions = parameters.dimension_columns();
            let explained = beyond.keys().filter(|key| !recount.differing.iter().any(|one| one.key == **key));
            audit.explained.extend(explained.map(|key| format!("{partition} {}", key.named(&dimensions))));
            audit.differences.extend(difference::pin_down(&of, recount.differing).await?);
        }
        audit.windows = recounted.len();
        audit.counted_again = copies.counted_again();
        Ok(audit)
    })
}

/// A session that knows the raw tables as they are, and `clicks_minute` at a version.
async fn session(lake: &Lake, version: Version, memory: usize) -> Result<SessionContext, QueryError> {
    let runtime = RuntimeEnvBuilder::new().with_memory_pool(Arc::new(FairSpillPool::new(memory))).build_arc()?;
    let context = SessionContext::new_with_config_rt(SessionConfig::new(), runtime);
    for (table, version) in [(Table::Clicks, None), (Table::ClicksRejected, None), (Table::ClicksMinute, Some(version))]
    {
        catalog::register(&context, lake, table, version).await?;
    }
    Ok(context)
}

/// Runs a statement of our own; at least one batch, possibly without rows.
async fn run(context: &SessionContext, sql: &str) -> Result<Vec<RecordBatch>, QueryError> {
    collect(context.sql(sql).await?).await
}

impl fmt::Display for Audit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { windows, clicks, version, .. } = self;
        let of = format!("{windows} windows, {clicks} clicks");
        let at = format!("at version {version} of clicks_minute: {}", cut_of(&self.cut));
        if self.is_equal() {
            writeln!(f, "equal: {of}, {at}")?;
        } else {
            writeln!(f, "differs: {} sums of {of}, {at}", self.differences.len())?;
            lines(f, &self.differences)?;
        }
        if !self.explained.is_empty() {
            writeln!(f, "{} sums differ only by copies beyond the dedup horizon", self.explained.len())?;
            lines(f, &self.explained)?;
        }
        if !self.counted_again.is_empty() {
            let why = "their copies are further apart than the dedup horizon, or in two partitions";
            writeln!(f, "{} ids were counted more than once; {why}", self.counted_again.len())?;
            lines(f, &self.counted_again)?;
        }
        Ok(())
    }
}

/// The first lines of a kind, and how many more there are.
fn lines<T: fmt::Display>(f: &mut fmt::Formatter<'_>, all: &[T]) -> fmt::Result {
    for one in all.iter().take(LINES_MAX) {
        writeln!(f, "  {one}")?;
    }
    match all.len().saturating_sub(LINES_MAX) {
        0 => Ok(()),
        more => writeln!(f, "  and {more} more"),
    }
}

/// The positions of a cut: `clicks 0@1042 1@977`.
fn cut_of(cut: &Cut) -> String {
    let mut text = String::new();
    let mut topic = None;
    for (partition, next) in cut {
        if topic != Some(&partition.topic) {
            topic = Some(&partition.topic);
            text.push_str(if text.is_empty() { "" } else { ", " });
            text.push_str(&partition.topic);
        }
        text.push_str(&format!(" {}@{next}", partition.partition));
    }
    text
}
