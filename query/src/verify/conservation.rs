//! The two conservation laws: nothing that was read is lost, and nothing that is there was not read.
//!
//! Raw: the messages read below the cut of `clicks` are the rows of `clicks` and `clicks_rejected` below it. Minutes:
//! the rows of `clicks` that a partition's stand says are in `clicks_minute` are the sum of its measures.

use std::fmt;

use arrow::array::{Array, AsArray};
use arrow::compute::cast;
use arrow::datatypes::Decimal128Type;
use datafusion::prelude::SessionContext;
use futures::future::BoxFuture;
use lake_schemas::commit::{TableView, Version};
use lake_schemas::exact::{SUM_TYPE, sum_of};
use lake_schemas::minute::Measure;
use lake_schemas::{History, Lake, LakeError, Table, TopicPartition};

use super::covered::Covered;
use super::foreign::Foreign;
use super::partition::{bounds, is_of, timestamp};
use super::{lines, run, session};
use crate::error::QueryError;
use crate::open;

/// What an audit of the laws has found.
#[derive(Debug)]
pub struct Conservation {
    /// The law of the raw tables.
    pub raw: Law,
    /// The law of the minutes, if the lake has that table.
    pub minutes: Option<Law>,
    /// What other programs have changed in the tables of the lake.
    pub foreign: Foreign,
}

/// One law, at one version.
#[derive(Debug)]
pub struct Law {
    table: Table,
    version: Version,
    says: &'static str,
    of: i128,
    broken: Vec<Broken>,
}

/// A partition that breaks a law.
#[derive(Debug)]
struct Broken {
    partition: TopicPartition,
    expected: i128,
    found: i128,
}

impl Conservation {
    /// Whether the laws hold.
    pub fn holds(&self) -> bool {
        self.raw.broken.is_empty() && self.minutes.as_ref().is_none_or(|law| law.broken.is_empty())
    }
}

/// Checks the laws by counting rows.
pub fn conservation(lake: &Lake, table: Table, memory: usize) -> BoxFuture<'_, Result<Conservation, QueryError>> {
    Box::pin(async move {
        if table == Table::ClicksMinute && TableView::newest(lake, table).await?.is_none() {
            let clicks = TableView::newest(lake, Table::Clicks).await?;
            let lacking = || LakeError::Refused(format!("lake {} has no tables yet", lake.url()));
            let clicks = clicks.ok_or_else(lacking)?;
            let context = SessionContext::new();
            for table in Table::RAW {
                open::register(&context, lake, (table, table.name()), None).await?;
            }
            clicks.has_its_stands().await?;
            let foreign = Foreign::find(lake, &[&clicks]).await?;
            return Ok(Conservation { raw: raw(&context, &clicks).await?, minutes: None, foreign });
        }
        let Covered { minutes, clicks } = Covered::find(lake, table).await?;
        let context = session(lake, table, minutes.version(), memory).await?;
        let raw = raw(&context, &clicks).await?;
        let foreign = Foreign::find(lake, &[&clicks, &minutes]).await?;
        Ok(Conservation { raw, minutes: Some(of_minutes(&context, table, &minutes).await?), foreign })
    })
}

async fn raw(context: &SessionContext, clicks: &TableView) -> Result<Law, QueryError> {
    let says = "messages read are rows of clicks and clicks_rejected";
    let mut law = Law { table: Table::Clicks, version: clicks.version(), says, of: 0, broken: Vec::new() };
    for (partition, stand) in clicks.stands() {
        let below = format!("{} and kafka_offset < {}", is_of(&partition), stand.cut.unwrap_or(0));
        let events = count(context, &format!("select count(*) from clicks where {below}")).await?;
        let rejected = if context.table_exist("clicks_rejected")? {
            count(context, &format!("select count(*) from clicks_rejected where {below}")).await?
        } else {
            0
        };
        law.look_at(partition, stand.read.unwrap_or(0).into(), events + rejected);
    }
    Ok(law)
}

async fn of_minutes(context: &SessionContext, table: Table, minutes: &TableView) -> Result<Law, QueryError> {
    let history = History::recorded(table, minutes.properties())?;
    let (from, to) = bounds(&history.windows);
    let says = "clicks that are due are clicks, duplicates, late and filtered";
    let mut law = Law { table, version: minutes.version(), says, of: 0, broken: Vec::new() };
    for (partition, stand) in minutes.stands() {
        let is_this = is_of(&partition);
        let expected = count(
            context,
            &format!(
                "select count(*) from clicks where {is_this} and kafka_offset < {} \
                 and kafka_offset >= {} and event_time >= {from} and event_time < {to} \
                 and (date_trunc('minute', event_time) + interval '1 minute' <= {} or kafka_offset < {})",
                stand.cut.unwrap_or(0),
                history.since(&partition),
                timestamp(stand.emitted_ms, i64::MIN),
                stand.drained.unwrap_or(0)
            ),
        )
        .await?;
        let counts = [Measure::Clicks, Measure::Duplicates, Measure::Late, Measure::Filtered].map(sum_of);
        let sums = format!("select {} from clicks_minute where {is_this}", counts.join(" + "));
        law.look_at(partition, expected, count(context, &sums).await?);
    }
    Ok(law)
}

impl Law {
    fn look_at(&mut self, partition: TopicPartition, expected: i128, found: i128) {
        self.of += expected;
        if expected != found {
            self.broken.push(Broken { partition, expected, found });
        }
    }
}

/// One number; nothing is zero.
async fn count(context: &SessionContext, sql: &str) -> Result<i128, QueryError> {
    let answer = run(context, sql).await?;
    let numbers = cast(answer[0].column(0), &SUM_TYPE)?;
    let numbers = numbers.as_primitive::<Decimal128Type>();
    Ok(if numbers.is_empty() || numbers.is_null(0) { 0 } else { numbers.value(0) })
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
        write!(f, "{}: {} expected, {} found", self.partition, self.expected, self.found)
    }
}
