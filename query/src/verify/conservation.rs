//! Checks the two conservation laws: nothing that was read is lost, and nothing exists that was not read.
//!
//! Raw: the messages read below the cut of `clicks` are the positions of `clicks` and `clicks_rejected` below it, each
//! once. Minutes: the rows of `clicks` that are in `clicks_minute` according to a partition's stand are the sum of the
//! measures that count events.

use std::fmt;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::cast;
use arrow::datatypes::Decimal128Type;
use datafusion::prelude::SessionContext;
use futures::future::BoxFuture;
use lake_schemas::exact::{SUM_TYPE, sum_of};
use lake_schemas::table::Version;
use lake_schemas::{Code, History, Measure, Table, TopicPartition, Verdict, counted};
use lake_store::commit::TableView;
use lake_store::{Lake, LakeError};

use super::covered::Covered;
use super::foreign::Foreign;
use super::lines::lines;
use super::lost::{explained, needed_for};
use super::partition::{bounds, is_of, timestamp};
use super::session::{bounded, register_raw, run, session};
use super::strangers::{Stranger, strangers};
use crate::error::QueryError;

/// Result of an audit of the laws.
#[derive(Debug)]
pub struct Conservation {
    /// Law of the raw tables.
    pub raw: Law,
    /// Law of the minutes, if the lake has that table.
    pub minutes: Option<Law>,
    /// Changes by other programs in the tables of the lake.
    pub foreign: Foreign,
}

/// Result of one law, at one version.
#[derive(Debug)]
pub struct Law {
    pub(super) table: Table,
    pub(super) version: Version,
    pub(super) says: String,
    pub(super) of: i128,
    pub(super) broken: Vec<Broken>,
}

/// A partition that breaks a law, and how.
#[derive(Debug)]
pub(super) struct Broken {
    pub partition: TopicPartition,
    pub why: String,
}

impl Conservation {
    /// Returns whether all laws hold.
    pub fn holds(&self) -> bool {
        self.raw.holds() && self.minutes.as_ref().is_none_or(Law::holds)
    }
}

/// Checks the laws by counting positions and rows. The queries may take `memory` bytes; beyond that they
/// spill to disk.
pub fn conservation(lake: &Lake, table: Table, memory: usize) -> BoxFuture<'_, Result<Conservation, QueryError>> {
    Box::pin(async move {
        match laws(lake, table, memory).await {
            Err(error) => Err(explained(lake, &needed_for(table), error).await),
            laws => laws,
        }
    })
}

fn laws(lake: &Lake, table: Table, memory: usize) -> BoxFuture<'_, Result<Conservation, QueryError>> {
    Box::pin(async move {
        if table == Table::ClicksMinute && TableView::newest(lake, table).await?.is_none() {
            let clicks = TableView::newest(lake, Table::Clicks).await?;
            let lacking =
                || LakeError::Refused(Code::TableMissing.because(format!("lake {} has no tables yet", lake.url())));
            let clicks = clicks.ok_or_else(lacking)?;
            let context = bounded(memory)?;
            register_raw(&context, lake, &clicks).await?;
            clicks.has_its_stands().await?;
            let foreign = Foreign::find(lake, &[&clicks]).await?;
            return Ok(Conservation { raw: raw(lake, &context, &clicks).await?, minutes: None, foreign });
        }
        let Covered { minutes, clicks } = Covered::find(lake, table).await?;
        let context = session(lake, &clicks, &minutes, memory).await?;
        let raw = raw(lake, &context, &clicks).await?;
        let foreign = Foreign::find(lake, &[&clicks, &minutes]).await?;
        Ok(Conservation { raw, minutes: Some(of_minutes(&context, table, &minutes).await?), foreign })
    })
}

async fn raw(lake: &Lake, context: &SessionContext, clicks: &TableView) -> Result<Law, QueryError> {
    let says = format!("messages read are rows of {}", Table::RAW.map(|table| table.to_string()).join(" and "));
    let mut law = Law { table: Table::Clicks, version: clicks.version(), says, of: 0, broken: Vec::new() };
    let has_rejected = context.table_exist(Table::ClicksRejected.name())?;
    let stands = clicks.stands();
    for (partition, stand) in stands.clone() {
        let (is_this, cut) = (is_of(&partition), stand.cut.unwrap_or(0));
        let below = |table: &str| format!("select kafka_offset from {table} where {is_this} and kafka_offset < {cut}");
        let rejected =
            if has_rejected { format!(" union all {}", below(Table::ClicksRejected.name())) } else { String::new() };
        // Counts positions, and not rows: a row that exists twice must not make up for one that is lost.
        let sql = format!(
            "select count(*), sum(many) from (\
               select kafka_offset, count(*) as many from ({}{rejected}) positions group by kafka_offset) each_once",
            below(Table::Clicks.name())
        );
        let (positions, rows) = match numbers(context, &sql).await?[..] {
            [positions, rows] => (positions, rows),
            _ => unreachable!("the statement has two columns"),
        };
        law.look_at(&partition, stand.read.unwrap_or(0).into(), positions);
        if rows != positions {
            law.is_broken(
                &partition,
                format!("{} at positions that other rows have", counted(rows - positions, "row")),
            );
        }
        let beyond = format!("select count(*) from clicks where {is_this} and kafka_offset >= {cut}");
        let beyond = count(context, &beyond).await?;
        if beyond > 0 {
            law.is_broken(&partition, format!("{} at or behind the cut, which is {cut}", counted(beyond, "row")));
        }
    }
    law.has_no_strangers(strangers(context, Table::Clicks, Table::Clicks.name(), "true", &stands).await?);
    if has_rejected {
        // Rejected messages are committed first: those of a new partition may exist before any of its clicks.
        let table = Table::ClicksRejected;
        let known = match TableView::newest(lake, table).await? {
            Some(rejected) => rejected.stands().into_iter().chain(stands).collect(),
            None => stands,
        };
        law.has_no_strangers(strangers(context, table, table.name(), "true", &known).await?);
    }
    Ok(law)
}

async fn of_minutes(context: &SessionContext, table: Table, minutes: &TableView) -> Result<Law, QueryError> {
    let history = History::recorded(table, minutes.properties())?;
    let ((from, to), window) = (bounds(&history.windows), table.window_width().word());
    // Each event has one verdict, and each verdict has a measure that counts its events.
    let counting = Verdict::ALL.map(Measure::counting);
    let says = says(&counting);
    let mut law = Law { table, version: minutes.version(), says, of: 0, broken: Vec::new() };
    let stands = minutes.stands();
    for (partition, stand) in stands.clone() {
        let is_this = is_of(&partition);
        let expected = count(
            context,
            &format!(
                "select count(*) from clicks where {is_this} and kafka_offset < {} \
                 and kafka_offset >= {} and event_time >= {from} and event_time < {to} \
                 and (date_trunc('{window}', event_time) + interval '1 {window}' <= {} or kafka_offset < {})",
                stand.cut.unwrap_or(0),
                history.since(&partition),
                timestamp(stand.watermark_ms, i64::MIN),
                stand.drained.unwrap_or(0)
            ),
        )
        .await?;
        let sums = counting.map(sum_of).join(" + ");
        let sums = format!("select {sums} from {} where {is_this}", Table::ClicksMinute);
        law.look_at(&partition, expected, count(context, &sums).await?);
    }
    law.has_no_strangers(strangers(context, table, Table::ClicksMinute.name(), "true", &stands).await?);
    Ok(law)
}

/// States the law of the minutes, with the measures that count events.
fn says(counting: &[Measure]) -> String {
    let [first @ .., last] = counting else { unreachable!("there are verdicts") };
    let first: Vec<_> = first.iter().map(|measure| measure.label()).collect();
    format!("clicks that are due are {} and {}", first.join(", "), last.label())
}

impl Law {
    /// Returns whether this law holds.
    pub fn holds(&self) -> bool {
        self.broken.is_empty()
    }

    fn look_at(&mut self, partition: &TopicPartition, expected: i128, found: i128) {
        self.of += expected;
        if expected != found {
            self.is_broken(partition, format!("{expected} expected, {found} found"));
        }
    }

    fn is_broken(&mut self, partition: &TopicPartition, why: String) {
        self.broken.push(Broken { partition: partition.clone(), why });
    }

    fn has_no_strangers(&mut self, strangers: Vec<Stranger>) {
        for Stranger { table, partition, rows } in strangers {
            self.is_broken(
                &partition,
                format!("{} of {table}, which has no position of that partition", counted(rows, "row")),
            );
        }
    }
}

/// Runs a statement that returns one number; null is zero.
async fn count(context: &SessionContext, sql: &str) -> Result<i128, QueryError> {
    Ok(numbers(context, sql).await?.first().copied().unwrap_or(0))
}

/// Runs a statement that returns numbers in one row; null is zero.
async fn numbers(context: &SessionContext, sql: &str) -> Result<Vec<i128>, QueryError> {
    let answer = run(context, sql).await?;
    let number = |column: &ArrayRef| -> Result<i128, QueryError> {
        let numbers = cast(column, &SUM_TYPE)?;
        let numbers = numbers.as_primitive::<Decimal128Type>();
        Ok(if numbers.is_empty() || numbers.is_null(0) { 0 } else { numbers.value(0) })
    };
    answer[0].columns().iter().map(number).collect()
}

impl fmt::Display for Conservation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.raw)?;
        self.minutes.as_ref().map_or(Ok(()), |law| write!(f, "{law}"))?;
        write!(f, "{}", self.foreign)
    }
}

impl fmt::Display for Law {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { table, version, says, of, broken } = self;
        let verdict = if broken.is_empty() { "conserved" } else { "broken" };
        writeln!(f, "{verdict}: {of} {says}, at version {version} of {table}")?;
        lines(f, broken)
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.partition, self.why)
    }
}
