//! `clicklake promote`: makes a staging table of backfill the lake's minutes, or undoes that.

use ::backfill::{Promote, Promoted, What};
use lake_schemas::Table;
use lake_store::Lake;
use tokio_util::sync::CancellationToken;

use super::now;
use crate::arguments;
use crate::report::{self, grouped};

pub async fn run(lake: &str, command: arguments::Promote, stop: CancellationToken) -> anyhow::Result<()> {
    let lake = Lake::at(lake)?;
    lake.probe().await?;
    let what = command.name.map_or(What::Before, |name| What::Staging(Table::Staging(name)));
    let promote = Promote { lake: &lake, what, now: now(), stop };
    let text = match promote.run().await? {
        Some(Promoted { version, content, files, .. }) => format!(
            "version {version} of clicks_minute is {content}, {} files; the version before is pinned for 30 days, and \
             `clicklake promote --undo` brings it back",
            grouped(files as u64)
        ),
        None => "stopped: nothing was promoted".to_owned(),
    };
    report::print_text(&text)
}
