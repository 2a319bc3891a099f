//! `clicklake sql`: one statement, one table of results.

use lake_schemas::Lake;

use crate::arguments::{Format, Sql};
use crate::report;

pub async fn run(lake: &str, command: Sql) -> anyhow::Result<()> {
    let batches = query::run(&Lake::at(lake)?, &command.statement).await?;
    report::print(&batches, Format::Table)
}
