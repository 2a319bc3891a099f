//! The auditor: counts the raw clicks again in plain SQL, where `clicks_minute` stands, and compares window by window.
//!
//! It is the batch layer of old, kept for nothing but this. It shares no code with the operators; what it says, anyone
//! can say with `recount.sql` and another engine.

mod compared;
mod conservation;
mod copies;
mod costs;
mod covered;
mod difference;
mod foreign;
mod partition;
mod rolled_up;
mod strangers;
mod told;

pub use conservation::{Conservation, Law, conservation};
pub use copies::CountedAgain;
pub use costs::OddCosts;
pub use difference::{Cause, Difference};
pub use foreign::Foreign;
pub use partition::{Key, Sums};
pub use rolled_up::{RolledUp, RolledUps};
pub use strangers::Stranger;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use arrow::array::RecordBatch;
use datafusion::execution::memory_pool::FairSpillPool;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::prelude::{SessionConfig, SessionContext};
use futures::future::BoxFuture;
use lake_schemas::minute::Parameters;
use lake_schemas::stand::cut_of;
use lake_schemas::table::Version;
use lake_schemas::{Cut, History, Stand, Table, TopicPartition, Windows};
use lake_store::Lake;
use lake_store::commit::{TableLog, TableView};

use self::compared::{KEPT_MAX, Minutes};
use self::copies::{Beyond, Copies};
use self::covered::Covered;
use self::partition::{Partition, bounds};
use crate::error::QueryError;
use crate::open;
use crate::output::visible;
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
    /// Who is told how far it is.
    pub progress: Option<&'a Progress<'a>>,
}

/// Is told before each partition how many are done, how many there are, and which comes next.
pub type Progress<'a> = dyn Fn(usize, usize, &TopicPartition) + Sync + 'a;

impl Default for Question<'_> {
    fn default() -> Self {
        Self { table: Table::ClicksMinute, windows: Windows::default(), by: None, progress: None }
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
    /// How many sums of the table and of the recount differ, and nothing explains it.
    pub differing: usize,
    /// The first of these.
    pub differences: Vec<Difference>,
    /// Rows of the table that no recount meets.
    pub strangers: Vec<Stranger>,
    /// Hours and days, beside what they are made of.
    pub rolled_ups: RolledUps,
    /// How many sums differ from the plain recount by copies that the table cannot know, and by nothing else.
    pub explained_sums: usize,
    /// The first of these.
    pub explained: Vec<String>,
    /// The first ids that were counted more than once: their copies are too far apart, or in two partitions.
    pub counted_again: Vec<CountedAgain>,
    /// How many more ids may have been.
    pub counted_again_too: usize,
    /// What other programs have changed in the tables of the lake.
    pub foreign: Foreign,
    /// The clicks in these windows whose cost is null wherever they count, because it cannot be one.
    pub odd_costs: Vec<OddCosts>,
}

impl Audit {
    /// Whether the table says what the raw clicks say.
    pub fn is_equal(&self) -> bool {
        self.differing == 0 && self.strangers.is_empty() && self.rolled_ups.are_equal()
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
        let context = session(lake, &clicks, &minutes, memory).await?;
        let stands = minutes.stands();
        let (from, to) = bounds(&history.windows);
        let asked_for = format!("window_start >= {from} and window_start < {to}");
        let is_live = table == Table::ClicksMinute;
        let mut audit = Audit {
            table,
            version: minutes.version(),
            cut: cut_of(&stands),
            windows: 0,
            clicks: 0,
            differing: 0,
            differences: Vec::new(),
            strangers: strangers::strangers(&context, (table, Table::ClicksMinute.name()), &asked_for, &stands).await?,
            rolled_ups: RolledUps::default(),
            explained_sums: 0,
            explained: Vec::new(),
            counted_again: Vec::new(),
            counted_again_too: 0,
            foreign: Foreign::find(lake, &[&clicks, &minutes]).await?,
            odd_costs: costs::odd_costs(&context, &history.windows).await?,
        };
        if is_live {
            let (version, windows) = (minutes.version(), &history.windows);
            audit.rolled_ups = RolledUps::find(lake, &context, &parameters, version, windows).await?;
        }
        // The operators know by themselves what they cannot know.
        let mut copies = match asked.by {
            None => Some(Copies::find(&context, &parameters, &history.windows, stands.len()).await?),
            Some(_) => None,
        };
        let mut recounted = Minutes::default();
        for (done, (partition, stand)) in stands.iter().enumerate() {
            if let Some(progress) = asked.progress {
                progress(done, stands.len(), partition);
            }
            let of = Partition::new(&context, &parameters, (partition, *stand), &history).await?;
            let beyond = match &mut copies {
                Some(copies) => copies.look_at(&of).await?,
                None => Beyond::default(),
            };
            let recomputed = match asked.by {
                Some(by) => {
                    let (parameters, history) = (parameters.clone(), history.clone());
                    let of = Stands { table, parameters, history, partition: partition.clone(), stand: *stand };
                    Some(by.rows(of).await?)
                }
                None => None,
            };
            let compared = of.recount(recomputed, &beyond.sums).await?;
            recounted.extend(&compared.windows);
            audit.clicks += compared.clicks;
            audit.differing += compared.differing;
            let dimensions = parameters.dimension_columns();
            let differing = compared.first();
            let unexplained: BTreeSet<_> = differing.iter().map(|one| &one.key).collect();
            for key in beyond.sums.keys().filter(|key| !unexplained.contains(key)) {
                audit.explained_sums += 1;
                if audit.explained.len() < KEPT_MAX {
                    audit.explained.push(format!("{partition} {}", visible(&key.named(&dimensions))));
                }
            }
            let room = KEPT_MAX.saturating_sub(audit.differences.len());
            audit.differences.extend(difference::pin_down(&of, differing).await?.into_iter().take(room));
        }
        audit.windows = recounted.len();
        if let Some(copies) = copies {
            (audit.counted_again, audit.counted_again_too) = copies.counted_again();
        }
        Ok(audit)
    })
}

/// A session whose statements may take so much memory, in bytes; beyond it they use the disk.
fn bounded(memory: usize) -> Result<SessionContext, QueryError> {
    let runtime = RuntimeEnvBuilder::new().with_memory_pool(Arc::new(FairSpillPool::new(memory))).build_arc()?;
    Ok(SessionContext::new_with_config_rt(SessionConfig::new(), runtime))
}

/// A session that knows the raw tables, `clicks` at the version that is looked at, and a table of minutes at its own,
/// as `clicks_minute`.
async fn session(
    lake: &Lake,
    clicks: &TableView,
    minutes: &TableView,
    memory: usize,
) -> Result<SessionContext, QueryError> {
    let context = bounded(memory)?;
    register_raw(&context, lake, clicks).await?;
    let (table, version) = (minutes.table(), minutes.version());
    open::register(&context, lake, (table, Table::ClicksMinute.name()), Some(version)).await?;
    Ok(context)
}

/// Makes the raw tables known: what is rejected is committed first, so its newest version covers any cut of `clicks`.
async fn register_raw(context: &SessionContext, lake: &Lake, clicks: &TableView) -> Result<(), QueryError> {
    let table = Table::ClicksRejected;
    open::register(context, lake, (table, table.name()), None).await?;
    let (table, version) = (Table::Clicks, clicks.version());
    open::register(context, lake, (table, table.name()), Some(version)).await
}

/// Runs a statement of our own; at least one batch, possibly without rows.
async fn run(context: &SessionContext, sql: &str) -> Result<Vec<RecordBatch>, QueryError> {
    collect(context.sql(sql).await?).await
}

/// The first lines of a kind, and how many more there are.
fn lines<T: fmt::Display>(f: &mut fmt::Formatter<'_>, all: &[T]) -> fmt::Result {
    lines_of(f, all, all.len())
}

/// The same, of so many in all, of which these are the first.
fn lines_of<T: fmt::Display>(f: &mut fmt::Formatter<'_>, first: &[T], in_all: usize) -> fmt::Result {
    let shown = first.len().min(LINES_MAX);
    for one in &first[..shown] {
        writeln!(f, "  {one}")?;
    }
    match in_all.saturating_sub(shown) {
        0 => Ok(()),
        more => writeln!(f, "  and {more} more"),
    }
}
