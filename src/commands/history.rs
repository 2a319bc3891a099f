//! `clicklake history`: the newest version of each table, with what it holds; or all versions of one.

use lake_schemas::{Lake, Table};
use query::sql::{Held, Session};

use super::now;
use crate::arguments::{Format, History};
use crate::drawing::with_ages;
use crate::report;

/// Versions that are shown to somebody who looks on.
const VERSIONS_SEEN: usize = 100;

pub async fn run(lake: &str, command: History) -> anyhow::Result<()> {
    let session = Session::new(Lake::at(lake)?, None)?;
    match command.table {
        Some(table) => of(&session, table, command.report.format).await,
        None => {
            let held = Held::rows_of(&session.held().await?)?;
            report::show(&[held], command.report.format, |rows| with_ages(rows, "written", now()))
        }
    }
}

async fn of(session: &Session, table: Table, format: Format) -> anyhow::Result<()> {
    let limit = if report::is_seen(format) { format!("limit {VERSIONS_SEEN}") } else { String::new() };
    let rows = session.rows(&format!("select * from history('{table}') order by version desc {limit}")).await?;
    report::show(&rows, format, |rows| with_ages(rows, "time", now()))?;
    if rows.iter().map(|rows| rows.num_rows()).sum::<usize>() == VERSIONS_SEEN && !limit.is_empty() {
        say_that_there_are_more();
    }
    Ok(())
}

#[expect(clippy::print_stderr, reason = "what of the result is not shown, beside the result")]
fn say_that_there_are_more() {
    eprintln!("the newest {VERSIONS_SEEN} versions; --format csv shows all");
}
