//! Upgrades a lake: its tables get the columns, the specs and the format of this program, one after the other.
//!
//! Tables of counts come first, and `clicks` last: when `clicks` has the newest format all other tables have it, so a
//! program that may write `clicks` may also count it. A roll-up comes before its source: otherwise the source might
//! have rows with a measure that the roll-up lacks, and all of it would have to be summed again. Each table records for
//! itself that it was upgraded. So if an upgrade stops half-way, the upgraded tables stay so, and the next run goes on
//! from there.

use futures::future::BoxFuture;
use lake_schemas::history::PROPERTY_BACKFILL;
use lake_schemas::table::Version;
use lake_schemas::{Code, Table};

use crate::commit::{Lacking, TableLog, TableView};
use crate::error::{LakeError, Result};
use crate::lake::Lake;

/// How often others may alter a table while it is upgraded, by promotions or another upgrade.
const TRIES_MAX: usize = 10;

/// Returns what the tables of a lake lack, in the order in which they get it.
///
/// # Errors
///
/// [`LakeError::Refused`] if the lake has no table, or one that this program may not write.
pub fn lacking(lake: &Lake) -> BoxFuture<'_, Result<Vec<Lacking>>> {
    Box::pin(async move {
        let (mut all, mut has_any) = (Vec::new(), false);
        for table in tables(lake).await? {
            if let Some(log) = find(lake, table).await? {
                has_any = true;
                all.extend(log.lacking()?);
            }
        }
        if has_any { Ok(all) } else { Err(lake.lacks(Table::Clicks)) }
    })
}

/// Gives a table what it lacks. Returns what that was, and the version that the table has become; `None` if it lacks
/// nothing.
pub fn upgrade(lake: &Lake, table: Table) -> BoxFuture<'_, Result<Option<(Lacking, Version)>>> {
    Box::pin(async move {
        for _ in 0..TRIES_MAX {
            let Some(mut log) = TableLog::find(lake, table).await? else { return Ok(None) };
            let Some(lacking) = log.lacking()? else { return Ok(None) };
            match log.upgrade().await {
                Ok(version) => {
                    if let Some(checkpoint) = log.take_checkpoint_owed() {
                        checkpoint.write_or_warn().await;
                    }
                    return Ok(Some((lacking, version)));
                }
                // Another program altered the table meanwhile, and it may now lack something else.
                Err(LakeError::Altered(_)) => {}
                Err(error) => return Err(error),
            }
        }
        let why = format!("{table}: others altered it, {TRIES_MAX} times; look at its history, and try again");
        Err(LakeError::Refused(Code::Contended.because(why)))
    })
}

/// Returns the tables that a lake may have, in the order in which they are upgraded.
async fn tables(lake: &Lake) -> Result<Vec<Table>> {
    let mut tables = lake.stagings().await?;
    tables.sort_unstable();
    let [clicks, rejected] = Table::RAW;
    tables.extend(Table::ROLLED_UP.into_iter().rev());
    tables.push(Table::ClicksMinute);
    tables.extend([rejected, clicks]);
    Ok(tables)
}

/// Opens a table to write it; `None` if the lake lacks it, or if another program has put it here.
async fn find(lake: &Lake, table: Table) -> Result<Option<TableLog>> {
    let found = TableLog::find(lake, table).await;
    if !matches!(table, Table::Staging(_)) {
        return found;
    }
    match found {
        Ok(log) => Ok(log.filter(|log| log.properties().contains_key(PROPERTY_BACKFILL))),
        // A staging table of ours that may not be written is refused, one of another program is passed over.
        Err(LakeError::Refused(why)) => match TableView::newest(lake, table).await {
            Ok(Some(view)) if view.properties().contains_key(PROPERTY_BACKFILL) => Err(LakeError::Refused(why)),
            Ok(_) | Err(LakeError::Refused(_)) => Ok(None),
            Err(error) => Err(error),
        },
        Err(error) => Err(error),
    }
}
