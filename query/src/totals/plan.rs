//! The plan that adds up counts: one logical plan, whether a command asks, or SQL. Conditions and projections of SQL
//! are pushed from it down to the files.
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
use lake_schemas::{Field, Verdict, Width};

use super::filter::Filter;
use super::fits::{fitting, least_of, named};
use super::question::{Page, Question};
use crate::access::RowAccess;

/// Parameters of adding up: which rows, and how the result is grouped.
pub(crate) struct Adding<'a> {
    /// Conditions on the rows: all of them must hold.
    pub filter: &'a [Filter],
    /// Row-level access of whoever asks.
    pub access: &'a RowAccess,
    /// Dimensions whose values have rows of their own, in the order of columns and rows.
    pub group_by: &'a [Field],
    /// Width of the windows that have rows of their own; `None`: one row for all windows.
    pub granularity: Option<Width>,
}

impl<'a> Adding<'a> {
    /// Takes over what a question asks for.
    pub fn of_question(question: &'a Question) -> Self {
        let Question { filter, access, group_by, granularity, .. } = question;
        Self { filter, access, group_by, granularity: *granularity }
    }
}

impl Adding<'_> {
    /// Returns the plan that adds up counts. Its rows are in no order.
    pub fn up(&self, counts: Arc<dyn TableProvider>) -> Result<LogicalPlan> {
        self.fitting(self.exactly(counts)?)
    }

    /// Returns the plan with its rows in the order of windows and dimensions, cut off behind `most` rows.
    pub fn up_in_order(&self, counts: Arc<dyn TableProvider>, most: Option<usize>) -> Result<LogicalPlan> {
        let rows = self.in_order(counts)?;
        self.fitting(if most.is_some() { rows.limit(0, most)? } else { rows })
    }

    /// Returns the plan with its rows in the order of windows and dimensions. Their measures are exact sums, and the
    /// last columns hold the least row in each.
    pub fn up_in_order_exactly(&self, counts: Arc<dyn TableProvider>) -> Result<LogicalPlan> {
        self.in_order(counts)?.build()
    }

    /// Returns the plan for a page of the rows that have most clicks, the largest first. Rows without clicks are left
    /// out. A sum that is on no page may overflow without an error.
    pub fn up_to(&self, page: Page, counts: Arc<dyn TableProvider>) -> Result<LogicalPlan> {
        let clicks = col(Measure::counting(Verdict::Counted).column());
        let has_clicks = clicks.clone().not_eq(cast(lit(0_i64), SUM_TYPE));
        let clicks = clicks.sort(false, false);
        let names = self.of().into_iter().map(|name| col(name).sort(true, true));
        let order = std::iter::once(clicks).chain(names);
        self.fitting(self.exactly(counts)?.filter(has_clicks)?.sort(order)?.limit(page.skip, Some(page.most))?)
    }

    /// Returns the exact sums of counts in no order, and beside each the least row in it.
    fn exactly(&self, counts: Arc<dyn TableProvider>) -> Result<LogicalPlanBuilder> {
        let mut plan = LogicalPlanBuilder::scan("counts", provider_as_source(counts), None)?;
        for filter in self.filter {
            plan = plan.filter(filter.condition())?;
        }
        if let Some(own) = self.access.condition() {
            plan = plan.filter(own)?;
        }
        let window = self.granularity.map(window_of);
        let dimensions = self.group_by.iter().map(|dimension| col(dimension.column()));
        let by: Vec<_> = window.into_iter().chain(dimensions).collect();
        let exact = |measure: Measure| match measure.merge() {
            Merge::Sum => sum(cast(col(measure.column()), SUM_TYPE)).alias(measure.column()),
        };
        let least = |measure: Measure| min(col(measure.column())).alias(least_of(measure));
        plan.aggregate(by, Measure::ALL.map(exact).into_iter().chain(Measure::ALL.map(least)))
    }

    /// Returns the exact sums of counts in the order of windows and dimensions.
    fn in_order(&self, counts: Arc<dyn TableProvider>) -> Result<LogicalPlanBuilder> {
        let (plan, order) = (self.exactly(counts)?, self.of());
        if order.is_empty() {
            return Ok(plan);
        }
        plan.sort(order.into_iter().map(|name| col(name).sort(true, true)))
    }

    /// Converts exact sums into the columns of counts.
    fn fitting(&self, exact: LogicalPlanBuilder) -> Result<LogicalPlan> {
        let (of, whose) = (self.of(), named(self.filter, self.group_by));
        let measures = Measure::ALL.into_iter().map(|measure| {
            let number = fitting(measure, &whose, &of);
            // SQL's sum of no rows is null.
            let number = if of.is_empty() { coalesce(vec![number, lit(0_i64)]) } else { number };
            number.alias(measure.column())
        });
        let columns: Vec<_> = of.iter().map(|name| col(*name)).chain(measures).collect();
        exact.project(columns)?.build()
    }

    /// Returns the columns that name a row: its window, if windows have rows of their own, and its dimensions.
    fn of(&self) -> Vec<&'static str> {
        let window = self.granularity.map(|_| column::WINDOW_START);
        window.into_iter().chain(self.group_by.iter().map(|dimension| dimension.column())).collect()
    }
}

/// Returns the start of the window that contains a narrower one. It is computed with numbers, which is faster than by
/// calendar and gives the same result in UTC.
fn window_of(width: Width) -> Expr {
    let start = col(column::WINDOW_START);
    if width == Width::Minute {
        return start;
    }
    let micros = width.end_ms(0) * MICROS_PER_MILLI;
    let start = cast(start, DataType::Int64);
    cast(start.clone() - start % lit(micros), timestamp()).alias(column::WINDOW_START)
}

#[cfg(test)]
mod tests {
    use datafusion::datasource::empty::EmptyTable;
    use lake_schemas::minute::{Dimension, Parameters};

    use super::super::scan::columns;
    use super::*;

    /// Returns a plan over a lake that counts by country, as text.
    fn plan(question: &Question, most: Option<usize>) -> (Vec<String>, String) {
        let parameters = Parameters { dimensions: vec![Dimension::Country], ..Parameters::default() };
        let counts = Arc::new(EmptyTable::new(columns(&parameters)));
        let plan = Adding::of_question(question).up_in_order(counts, most).expect("a plan");
        (plan.schema().fields().iter().map(|field| field.name().clone()).collect(), plan.display_indent().to_string())
    }

    fn with_measures(of: &[&str]) -> Vec<String> {
        of.iter().copied().chain(Measure::ALL.map(Measure::column)).map(str::to_owned).collect()
    }

    #[test]
    fn all_conditions_hold_and_rows_are_of_windows_and_groups_in_their_order() {
        let question = Question {
            filter: vec![Filter::any(Field::Country, ["DE", "AT"]), Filter::one(Field::CampaignId, "spring")],
            group_by: vec![Field::Country, Field::AdId],
            granularity: Some(Width::Hour),
            access: RowAccess::Campaigns(["spring".to_owned()].into()),
            ..Question::default()
        };
        let (columns, written) = plan(&question, Some(7));
        assert_eq!(columns, with_measures(&["window_start", "country", "ad_id"]));
        assert_eq!(written.matches("Filter: ").count(), 3, "two conditions, and what the key sees: {written}");
        for part in ["IN ([Utf8(\"DE\"), Utf8(\"AT\")])", "campaign_id = Utf8(\"spring\")", "Limit: skip=0, fetch=7"] {
            assert!(written.contains(part), "{part}: {written}");
        }
    }

    #[test]
    fn without_groups_and_windows_there_is_one_row() {
        let (columns, written) = plan(&Question::default(), None);
        assert_eq!(columns, with_measures(&[]));
        for part in ["Filter: ", "Sort: ", "Limit: "] {
            assert!(!written.contains(part), "{part}: {written}");
        }
    }
}
