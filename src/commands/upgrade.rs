//! `clicklake upgrade`: gives the tables of an older lake the columns, the specs and the format of this program.

use lake_schemas::spec::PROPERTY_SPEC;
use lake_schemas::table::FORMAT;
use lake_store::Lake;
use lake_store::commit::Lacking;
use lake_store::upgrade::{lacking, upgrade};

use crate::arguments::Upgrade;
use crate::report;

pub async fn run(lake: &str, command: Upgrade) -> anyhow::Result<()> {
    let lake = Lake::at(lake)?;
    // Look at all tables before any is changed: one that may not be written ends the command here.
    let all = lacking(&lake).await?;
    if all.is_empty() {
        return report::print_text(&format!("nothing to do: all tables are of format {FORMAT}"));
    }
    for lacking in all {
        if command.dry_run {
            report::print_text(&format!("{} would be upgraded: {}", lacking.table, said(&lacking)))?;
        } else if let Some((lacking, version)) = upgrade(&lake, lacking.table).await? {
            let (table, said) = (lacking.table, said(&lacking));
            report::print_text(&format!("{table} was upgraded in version {version}: {said}"))?;
        }
    }
    Ok(())
}

/// Describes what a table gets.
fn said(lacking: &Lacking) -> String {
    let format = lacking.format.map(|before| format!("format {FORMAT} instead of {before}"));
    let spec = lacking.spec.then(|| format!("the property {PROPERTY_SPEC}"));
    let columns = lacking.columns.iter().map(|column| format!("the column {column}"));
    format.into_iter().chain(spec).chain(columns).collect::<Vec<_>>().join(", ")
}
