//! `clicklake drop`: deletes a staging table of backfill that nobody needs.

use ::backfill::Dropping;
use lake_schemas::Table;
use lake_store::Lake;
use lake_store::commit::{Deleted, WRITERS_LOOK_WITHIN};

use crate::arguments::DropStaging;
use crate::drawing::grouped_of;
use crate::report;

pub async fn run(lake: &str, command: DropStaging) -> anyhow::Result<()> {
    let (lake, table) = (Lake::at(lake)?, Table::Staging(command.name));
    let dropping = Dropping { lake: &lake, table, is_forced: command.force };
    dropping.begin().await?;
    report::say(&format!(
        "{table} is dropped; its files are deleted in {} s, when no backfill can write it any more",
        WRITERS_LOOK_WITHIN.as_secs()
    ));
    let Deleted { files, .. } = dropping.finish().await?;
    report::print_text(&format!("{table} is deleted, with {}", grouped_of(files as u64, "data file")))
}
