//! `clicklake live`: records in a table of minutes who counts it live, or that nobody does.

use ::backfill::has_all_of_history;
use lake_schemas::live::PROPERTY_LIVE;
use lake_schemas::{CountedBy, Live, Table};
use lake_store::commit::{TableLog, TableView};
use lake_store::{Lake, LakeError};

use crate::arguments;
use crate::report;

pub async fn run(lake: &str, command: arguments::Live) -> anyhow::Result<()> {
    let (lake, table) = (Lake::at(lake)?, command.table);
    let mut log = TableLog::find(&lake, table).await?.ok_or_else(|| lake.lacks(table))?;
    let live = match command.by {
        _ if command.stop => Live::No,
        Some(by) => Live::By(by),
        None => Live::By(by_default(&lake).await?),
    };
    if live != Live::No {
        has_all_of_history(table, log.properties(), |of| log.stand(of))?;
        log.has_its_stands().await?;
    }
    if Live::recorded(table, log.properties())? == live {
        return report::print_text(&format!("{table} says already that {}; nothing was changed", said(live)));
    }
    let version = log.set_live(live).await?;
    if let Some(checkpoint) = log.take_checkpoint_owed() {
        checkpoint.write_or_warn().await;
    }
    report::print_text(&format!(
        "version {version} of {table} says that {}; a clicklake that does not know its property {PROPERTY_LIVE} \
         refuses to write it from then on",
        said(live)
    ))
}

/// Returns the program that counts a table if the command line names none: the one that counts `clicks_minute`, if that
/// names one.
async fn by_default(lake: &Lake) -> Result<CountedBy, LakeError> {
    let minutes = Table::ClicksMinute;
    let recorded = match TableView::newest(lake, minutes).await? {
        Some(view) => Live::recorded(minutes, view.properties())?,
        None => Live::No,
    };
    Ok(match recorded {
        Live::By(by) => by,
        Live::Either | Live::No => CountedBy::Run,
    })
}

/// Returns what a table says.
fn said(live: Live) -> String {
    match live {
        Live::By(by) => format!("{by} counts it live"),
        Live::Either => format!("{} may count it live", CountedBy::ALL.map(CountedBy::as_str).join(" or ")),
        Live::No => "nobody counts it live".to_owned(),
    }
}
