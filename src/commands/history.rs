//! `clicklake history`: shows the newest version of each table, with what it holds; or all versions of one table.

use lake_schemas::Table;
use lake_store::Lake;
use query::sql::{Session, TableSummary};

use super::now;
use crate::arguments::{History, Report};
use crate::drawing::with_ages;
use crate::report;

/// Number of versions that are shown on a terminal.
const VERSIONS_SEEN: usize = 100;

pub async fn run(lake: &str, command: History) -> anyhow::Result<()> {
    let lake = Lake::at(lake)?;
    let session = Session::new(lake.clone(), None)?;
    match command.table {
        Some(table) => of(&session, table, &command.report, &lake).await,
        None => {
            let held = TableSummary::rows_of(&session.held().await?)?;
            report::show(&[held], &command.report, &lake, |rows| with_ages(rows, "written", now()))
        }
    }
}

async fn of(session: &Session, table: Table, how: &Report, lake: &Lake) -> anyhow::Result<()> {
    let limit = if report::is_seen(how) { format!("limit {VERSIONS_SEEN}") } else { String::new() };
    let rows = session.rows(&format!("select * from history('{table}') order by version desc {limit}")).await?;
    report::show(&rows, how, lake, |rows| with_ages(rows, "time", now()))?;
    if rows.iter().map(|rows| rows.num_rows()).sum::<usize>() == VERSIONS_SEEN && !limit.is_empty() {
        report::say(&format!("the newest {VERSIONS_SEEN} versions; --format csv shows all"));
    }
    Ok(())
}
