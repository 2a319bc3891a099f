//! The auditor: counts the raw clicks again in plain SQL, where `clicks_minute` stands, and compares window by window.
//!
//! It is the batch layer of old, kept for nothing but this. It shares no code with the operators; what it says, anyone
//! can say with `recount.sql` and another engine.

mod conservation;
mod copies;
mod costs;
mod covered;
mod difference;
mod foreign;
mod partition;

pub use conservation::{Conservation, conservation};
pub use copies::CountedAgain;
pub use costs::OddCosts;
pub use difference::{Cause, Difference};
pub use foreign::Foreign;
pub use partition::{Key, Sums};

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use arrow::array::RecordBatch;
use datafusion::execution::memory_pool::FairSpillPool;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::prelude::{SessionConfig, SessionContext};
use futures::future::BoxFuture;
use lake_schemas::commit::{TableLog, Version};
use lake_schemas::minute::Parameters;
use lake_schemas::rejection::COST_MICROS_MAX;
use lake_schemas::stand::cut_of;
use lake_schemas::{Cut, History, Lake, Stand, Table, TopicPartition, Windows, position};

use self::copies::Copies;
use self::covered::Covered;
use self::partition::Partition;
use crate::error::QueryError;
use crate::open;
use crate::rows::collect;

/// Lines of a kind that are printed.
const LINES_MAX: usize = 20;

/// What is to be verified.
#[derive(Clone)]
pub struct Question<'a> {
    /// The table of minutes.
    pub table: Table,
    /// Which of its windows.
    pub windows: Windows,
    /// What it is compared with; `None`: the recount in SQL.
    pub by: Option<&'a dyn Recompute>,
}

impl Default for Question<'_> {
    fn default() -> Self {
        Self { table: Table::ClicksMinute, windows: Windows::default(), by: None }
    }
}

/// A partition of a table of minutes, all that decides what it must hold, and where it stands.
#[derive(Clone, Debug)]
pub struct Stands {
    /// The table.
    pub table: Table,
    /// What decides the counts.
    pub parameters: Parameters,
    /// What of history they are of, and in which windows.
    pub history: History,
    /// The partition.
    pub partition: TopicPartition,
    /// Where it stands.
    pub stand: Stand,
}

/// Computes minutes by other means than SQL: for who wants to know that two ways agree.
pub trait Recompute: Send + Sync {
    /// The rows that a partition must hold, as rows of its table.
    fn rows(&self, of: Stands) -> BoxFuture<'_, Result<Vec<RecordBatch>, QueryError>>;
}

/// What an audit has found.
#[derive(Debug)]
pub struct Audit {
    /// The table that was compared.
    pub table: Table,
    /// Its version.
    pub version: Version,
    /// Where it stands.
    pub cut: Cut,
    /// How many windows were recounted.
    pub windows: usize,
    /// How many clicks they have.
    pub clicks: i128,
    /// Where the table and the recount differ, and nothing explains it.
    pub differences: Vec<Difference>,
    /// Sums that differ from the plain recount by copies that the table cannot know, and by nothing else.
    pub explained: Vec<String>,
    /// The ids that were counted more than once: their copies are too far apart, or in two partitions.
    pub counted_again: Vec<CountedAgain>,
    /// What other programs have changed in the tables of the lake.
    pub foreign: Foreign,
    /// The clicks in these windows whose cost is null wherever they count, because it cannot be one.
    pub odd_costs: Vec<OddCosts>,
}

impl Audit {
    /// Whether the table says what the raw clicks say.
    pub fn is_equal(&self) -> bool {
        self.differences.is_empty()
    }
}

/// Counts the raw clicks again, and compares. The queries may take so much memory, in bytes; beyond it they use the
/// disk.
pub fn verify<'a>(lake: &'a Lake, asked: Question<'a>, memory: usize) -> BoxFuture<'a, Result<Audit, QueryError>> {
    Box::pin(async move {
        let table = asked.table;
        // What another program has made of a column is said by table and column, and not by SQL.
        for table in Table::RAW.into_iter().chain([table]) {
            TableLog::find_to_read(lake, table).await?;
        }
        let Covered { minutes, clicks } = Covered::find(lake, table).await?;
        let parameters = Parameters::recorded(table, minutes.properties())?;
        let mut history = History::recorded(table, minutes.properties())?;
        history.windows = history.windows.and(&asked.windows);
        let context = session(lake, table, minutes.version(), memory).await?;
        let stands = minutes.stands();
        let mut audit = Audit {
            table,
            version: minutes.version(),
            cut: cut_of(&stands),
            windows: 0,
            clicks: 0,
            differences: Vec::new(),
            explained: Vec::new(),
            counted_again: Vec::new(),
            foreign: Foreign::find(lake, &[&clicks, &minutes]).await?,
            odd_costs: costs::odd_costs(&context, &history.windows).await?,
        };
        let mut copies = Copies::default();
        // The operators know by themselves what they cannot know.
        let has_suspects = asked.by.is_none() && Copies::suspect(&context, &parameters).await?;
        let mut recounted = BTreeSet::new();
        for (partition, stand) in &stands {
            let of = Partition::new(&context, &parameters, (partition, *stand), &history).await?;
            let beyond = if has_suspects { copies.look_at(&of).await? } else { BTreeMap::new() };
            let recomputed = match asked.by {
                Some(by) => {
                    let (parameters, history) = (parameters.clone(), history.clone());
                    let of = Stands { table, parameters, history, partition: partition.clone(), stand: *stand };
                    Some(by.rows(of).await?)
                }
                None => None,
            };
            let recount = of.recount(recomputed, &beyond).await?;
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

/// A session that knows the raw tables as they are, and a table of minutes at a version, as `clicks_minute`.
async fn session(lake: &Lake, minutes: Table, version: Version, memory: usize) -> Result<SessionContext, QueryError> {
    let runtime = RuntimeEnvBuilder::new().with_memory_pool(Arc::new(FairSpillPool::new(memory))).build_arc()?;
    let context = SessionContext::new_with_config_rt(SessionConfig::new(), runtime);
    for table in Table::RAW {
        open::register(&context, lake, (table, table.name()), None).await?;
    }
    open::register(&context, lake, (minutes, Table::ClicksMinute.name()), Some(version)).await?;
    Ok(context)
}

/// Runs a statement of our own; at least one batch, possibly without rows.
async fn run(context: &SessionContext, sql: &str) -> Result<Vec<RecordBatch>, QueryError> {
    collect(context.sql(sql).await?).await
}

impl fmt::Display for Audit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { table, windows, clicks, version, .. } = self;
        let of = format!("{windows} windows, {clicks} clicks");
        let at = format!("at version {version} of {table}: {}", position::shown(&self.cut));
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
        if !self.odd_costs.is_empty() {
            let clicks: i64 = self.odd_costs.iter().map(|one| one.clicks).sum();
            let cost = format!("a cost that is not from 0 to {COST_MICROS_MAX}");
            writeln!(f, "{clicks} clicks of the raw table have {cost}; wherever they count, it is null")?;
            lines(f, &self.odd_costs)?;
        }
        self.foreign.fmt(f)
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
