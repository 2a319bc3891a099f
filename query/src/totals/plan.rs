//! How counts are added up: one logical plan, whether a command asks, or SQL. What SQL adds to it (conditions, columns
//! that are left out) finds its way down to the files.
//!
//! Sums are exact until the last step, which puts them into columns of 64 bits, or fails: see [`super::fits`].

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::catalog::TableProvider;
use datafusion::datasource::provider_as_source;
use datafusion::error::Result;
use datafusion::functions::core::expr_fn::coalesce;
use datafusion::functions_aggregate::expr_fn::{min, sum};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, cast, col, lit};
use lake_schemas::exact::SUM_TYPE;
use lake_schemas::measure::{Measure, Merge};
use lake_schemas::table::{column, timestamp};
use lake_schemas::time::MICROS_PER_MILLI;
use lake_schemas::{Verdict, Width};

use super::fits::{fitting, least_of};
use super::question::{Detail, Page, Whom};
use crate::sees::Sees;

/// What is added up, and how.
pub(crate) struct Adding<'a> {
    /// Whose counts.
    pub whom: &'a Whom,
    /// Who asks.
    pub sees: &'a Sees,
    /// The columns of the dimensions.
    pub dimensions: &'a [&'static str],
    /// What has a row of its own.
    pub detail: Detail,
    /// The windows that have a row of their own; `None`: all are one.
    pub by: Option<Width>,
}

impl Adding<'_> {
    /// The plan that adds up counts. Its rows are in no order.
    pub fn up(&self, counts: Arc<dyn TableProvider>) -> Result<LogicalPlan> {
        self.fitting(self.exactly(counts)?)
    }

    /// The plan, its rows in the order of windows and dimensions.
    pub fn up_in_order(&self, counts: Arc<dyn TableProvider>) -> Result<LogicalPlan> {
        self.fitting(self.in_order(counts)?)
    }

    /// The plan, its rows in the order of windows and dimensions, and their measures exact sums, behind which stands
    /// the least of what is in each.
    pub fn up_in_order_exactly(&self, counts: Arc<dyn TableProvider>) -> Result<LogicalPlan> {
        self.in_order(counts)?.build()
    }

    /// The plan, of a page of the rows that have most clicks, the largest first: rows without any are not among them.
    /// What is not among them may be of any size.
    pub fn up_to(&self, page: Page, counts: Arc<dyn TableProvider>) -> Result<LogicalPlan> {
        let clicks = col(Measure::counting(Verdict::Counted).column());
        let has_clicks = clicks.clone().not_eq(cast(lit(0_i64), SUM_TYPE));
        let clicks = clicks.sort(false, false);
        let names = self.kept().iter().map(|name| col(*name).sort(true, true));
        let order = std::iter::once(clicks).chain(names);
        self.fitting(self.exactly(counts)?.filter(has_clicks)?.sort(order)?.limit(page.skip, Some(page.most))?)
    }

    /// The exact sums of counts, and beside each the least of what is in it, in no order.
    fn exactly(&self, counts: Arc<dyn TableProvider>) -> Result<LogicalPlanBuilder> {
        let mut plan = LogicalPlanBuilder::scan("counts", provider_as_source(counts), None)?;
        plan = match self.whom {
            Whom::All => plan,
            Whom::Ad(ad) => plan.filter(col(column::AD_ID).eq(lit(ad.as_str())))?,
            Whom::Campaign(campaign) => plan.filter(col(column::CAMPAIGN_ID).eq(lit(campaign.as_str())))?,
            Whom::Ads(ads) => plan.filter(is_one_of(column::AD_ID, ads))?,
            Whom::Campaigns(campaigns) => plan.filter(is_one_of(column::CAMPAIGN_ID, campaigns))?,
        };
        if let Some(own) = self.sees.condition() {
            plan = plan.filter(own)?;
        }
        let window = self.by.map(window_of);
        let dimensions = self.kept().iter().map(|name| col(*name));
        let by: Vec<_> = window.into_iter().chain(dimensions).collect();
        let exact = |measure: Measure| match measure.merge() {
            Merge::Sum => sum(cast(col(measure.column()), SUM_TYPE)).alias(measure.column()),
        };
        let least = |measure: Measure| min(col(measure.column())).alias(least_of(measure));
        plan.aggregate(by, Measure::ALL.map(exact).into_iter().chain(Measure::ALL.map(least)))
    }

    /// The exact sums of counts, in the order of windows and dimensions.
    fn in_order(&self, counts: Arc<dyn TableProvider>) -> Result<LogicalPlanBuilder> {
        let (plan, order) = (self.exactly(counts)?, self.of());
        if order.is_empty() {
            return Ok(plan);
        }
        plan.sort(order.into_iter().map(|name| col(name).sort(true, true)))
    }

    /// Exact sums in the columns of counts.
    fn fitting(&self, exact: LogicalPlanBuilder) -> Result<LogicalPlan> {
        let of = self.of();
        let measures = Measure::ALL.into_iter().map(|measure| {
            let number = fitting(measure, self.whom, &of);
            // Of nothing, SQL knows no sum.
            let number = if of.is_empty() { coalesce(vec![number, lit(0_i64)]) } else { number };
            number.alias(measure.column())
        });
        let columns: Vec<_> = of.iter().map(|name| col(*name)).chain(measures).collect();
        exact.project(columns)?.build()
    }

    /// What each row is of: its window, if windows have rows of their own, and its dimensions.
    fn of(&self) -> Vec<&'static str> {
        let window = self.by.map(|_| column::WINDOW_START);
        window.into_iter().chain(self.kept().iter().copied()).collect()
    }

    /// The dimensions that have rows of their own.
    fn kept(&self) -> &[&'static str] {
        match self.detail {
            Detail::Dimensions => self.dimensions,
            Detail::Ads => &[column::AD_ID],
            Detail::Campaigns => &[column::CAMPAIGN_ID],
            Detail::Sums => &[],
        }
    }
}

/// Whether a column has one of these values.
fn is_one_of(name: &str, values: &[String]) -> Expr {
    col(name).in_list(values.iter().map(|value| lit(value.as_str())).collect(), false)
}

/// When the window begins that a narrower one lies in. In numbers: a calendar would take longer, and in UTC it comes to
/// the same.
fn window_of(width: Width) -> Expr {
    let start = col(column::WINDOW_START);
    if width == Width::Minute {
        return start;
    }
    let micros = width.end_ms(0) * MICROS_PER_MILLI;
    let start = cast(start, DataType::Int64);
    cast(start.clone() - start % lit(micros), timestamp()).alias(column::WINDOW_START)
}
