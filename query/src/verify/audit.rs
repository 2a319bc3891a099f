//! The audit itself: what is asked, the comparison partition by partition, and its result.

use std::collections::BTreeSet;

use arrow::array::RecordBatch;
use futures::future::BoxFuture;
use lake_schemas::minute::Parameters;
use lake_schemas::stand::cut_of;
use lake_schemas::table::Version;
use lake_schemas::{Cut, History, Stand, Table, TopicPartition, Windows};
use lake_store::Lake;
use lake_store::commit::TableLog;

use super::compared::{KEPT_MAX, Minutes};
use super::copies::{Beyond, Copies, CountedAgain};
use super::costs::{OddCosts, odd_costs};
use super::covered::Covered;
use super::difference::{Difference, pin_down};
use super::foreign::Foreign;
use super::lost;
use super::partition::{Partition, bounds};
use super::rolled_up::RolledUps;
use super::session::session;
use super::strangers::{Stranger, strangers};
use crate::error::QueryError;
use crate::output::visible;

/// Settings of an audit: what to verify, and how.
#[derive(Clone)]
pub struct Question<'a> {
    /// Table of minutes to verify.
    pub table: Table,
    /// Windows of the table to verify.
    pub windows: Windows,
    /// Recomputation to compare with; `None`: the recount in SQL.
    pub by: Option<&'a dyn Recompute>,
    /// Function that is told how far the audit is.
    pub progress: Option<&'a Progress<'a>>,
}

/// Callback before each partition, with the number of partitions done, the number of all, and the next partition.
pub type Progress<'a> = dyn Fn(usize, usize, &TopicPartition) + Sync + 'a;

impl Default for Question<'_> {
    fn default() -> Self {
        Self { table: Table::ClicksMinute, windows: Windows::default(), by: None, progress: None }
    }
}

/// Input of a recomputation: a partition of a table of minutes, its stand, and all that decides what it must hold.
#[derive(Clone, Debug)]
pub struct Stands {
    /// Table of the partition.
    pub table: Table,
    /// Parameters that decide the counts.
    pub parameters: Parameters,
    /// Part of history that counts, and its windows.
    pub history: History,
    /// Partition to recompute.
    pub partition: TopicPartition,
    /// Stand of the partition in the table.
    pub stand: Stand,
}

/// Computes minutes by other means than SQL, to check that two ways agree.
pub trait Recompute: Send + Sync {
    /// Returns the rows that a partition must hold, as rows of its table.
    fn rows(&self, of: Stands) -> BoxFuture<'_, Result<Vec<RecordBatch>, QueryError>>;
}

/// Result of an audit.
#[derive(Debug)]
pub struct Audit {
    /// Table that was compared.
    pub table: Table,
    /// Version of the table.
    pub version: Version,
    /// Cut of the table at that version.
    pub cut: Cut,
    /// Number of windows that were recounted.
    pub windows: usize,
    /// Number of clicks in these windows.
    pub clicks: i128,
    /// Number of sums that differ between the table and the recount without an explanation.
    pub differing: usize,
    /// The first of these differences.
    pub differences: Vec<Difference>,
    /// Rows of the table that no recount meets.
    pub strangers: Vec<Stranger>,
    /// Comparison of hours and days with their sources.
    pub rolled_ups: RolledUps,
    /// Number of sums that differ from the plain recount by copies that the table cannot recognise, and by nothing
    /// else.
    pub explained_sums: usize,
    /// The first of these sums.
    pub explained: Vec<String>,
    /// The first ids that were counted more than once: their copies are too far apart, or in two partitions.
    pub counted_again: Vec<CountedAgain>,
    /// Number of further ids that may have been.
    pub counted_again_too: usize,
    /// Changes by other programs in the tables of the lake.
    pub foreign: Foreign,
    /// Clicks in these windows whose cost is null wherever they count, because it is out of bounds.
    pub odd_costs: Vec<OddCosts>,
}

impl Audit {
    /// Returns whether the table equals the recount, and its roll-ups their sources.
    pub fn is_equal(&self) -> bool {
        self.differing == 0 && self.strangers.is_empty() && self.rolled_ups.are_equal()
    }
}

/// Counts the raw clicks again, and compares. The queries may take `memory` bytes; beyond that they spill to
/// disk.
pub fn verify<'a>(lake: &'a Lake, asked: Question<'a>, memory: usize) -> BoxFuture<'a, Result<Audit, QueryError>> {
    Box::pin(async move {
        let needed = lost::needed_for(asked.table);
        match audit(lake, asked, memory).await {
            Err(error) => Err(lost::explained(lake, &needed, error).await),
            audit => audit,
        }
    })
}

fn audit<'a>(lake: &'a Lake, asked: Question<'a>, memory: usize) -> BoxFuture<'a, Result<Audit, QueryError>> {
    Box::pin(async move {
        let table = asked.table;
        // Checked first, so that an error about a changed column names the table and the column, and is not one of SQL.
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
            strangers: strangers(&context, table, Table::ClicksMinute.name(), &asked_for, &stands).await?,
            rolled_ups: RolledUps::default(),
            explained_sums: 0,
            explained: Vec::new(),
            counted_again: Vec::new(),
            counted_again_too: 0,
            foreign: Foreign::find(lake, &[&clicks, &minutes]).await?,
            odd_costs: odd_costs(&context, &history.windows).await?,
        };
        if is_live {
            let (version, windows) = (minutes.version(), &history.windows);
            audit.rolled_ups = RolledUps::find(lake, &context, &parameters, version, windows).await?;
        }
        // A recomputation by the operators counts copies as the table does, so nothing needs explaining.
        let mut copies = match asked.by {
            None => Some(Copies::find(&context, &parameters, &history.windows, stands.len()).await?),
            Some(_) => None,
        };
        let mut recounted = Minutes::default();
        for (done, (partition, stand)) in stands.iter().enumerate() {
            if let Some(progress) = asked.progress {
                progress(done, stands.len(), partition);
            }
            let of = Partition::new(&context, &parameters, partition, *stand, &history).await?;
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
            audit.differences.extend(pin_down(&of, differing).await?.into_iter().take(room));
        }
        audit.windows = recounted.len();
        if let Some(copies) = copies {
            (audit.counted_again, audit.counted_again_too) = copies.counted_again();
        }
        Ok(audit)
    })
}
