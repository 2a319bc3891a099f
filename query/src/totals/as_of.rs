//! The sources of a question about the past: `clicks_minute` at a version, with the newest roll-ups that were made of
//! that version or an earlier one. No clock is involved: each roll-up records what it was made of.

use futures::future::BoxFuture;
use lake_schemas::Table;
use lake_schemas::stand::{rolled_up_from, source_version};
use lake_schemas::table::Version;
use lake_store::commit::TableView;
use lake_store::{Lake, LakeError, Result};

use super::question::AsOf;
use super::sources::{Sources, Viewed};

/// Entries of a roll-up that are read to find what a version of it was made of: more than lie between two rounds.
const ENTRIES_MAX: Version = 8;

/// Returns the tables as they were at that version or time.
pub(crate) fn sources_as_of(lake: &Lake, as_of: AsOf) -> BoxFuture<'_, Result<Sources>> {
    Box::pin(async move {
        let newest = newest(lake, Table::ClicksMinute).await?.ok_or_else(|| lake.lacks(Table::ClicksMinute))?;
        let version = match as_of {
            AsOf::Newest => newest.version(),
            AsOf::Version(version) => version,
            AsOf::Time(time) => newest.version_at(time).await?,
        };
        let minutes = at(newest, version).await?;
        let hourly = newest_of(lake, Table::ClicksHourly, minutes.version()).await?;
        let daily = match &hourly {
            Some(hourly) => newest_of(lake, Table::ClicksDaily, hourly.version()).await?,
            None => None,
        };
        let viewed = |table: Table, view: TableView| Viewed { table, view };
        let mut hourly = hourly.map(|view| viewed(Table::ClicksHourly, view));
        let mut daily = daily.map(|view| viewed(Table::ClicksDaily, view));
        Sources::of(&mut viewed(Table::ClicksMinute, minutes), hourly.as_mut(), daily.as_mut()).await
    })
}

async fn newest(lake: &Lake, table: Table) -> Result<Option<TableView>> {
    TableView::newest(lake, table).await
}

async fn at(newest: TableView, version: Version) -> Result<TableView> {
    if version == newest.version() { Ok(newest) } else { newest.at(version).await }
}

/// Returns the newest version of a roll-up that was made of this version of its source or an earlier one; `None` if
/// there is none, or it was cleaned up.
async fn newest_of(lake: &Lake, table: Table, source: Version) -> Result<Option<TableView>> {
    let Some(newest) = newest(lake, table).await? else { return Ok(None) };
    let is_of_later = |view: &TableView| rolled_up_from(table, |app_id| view.txn(app_id)) > Some(source);
    if !is_of_later(&newest) {
        return Ok(Some(newest));
    }
    // The source version only advances, so a binary search finds the last version before the first that is made of a
    // later one.
    let (mut found, mut later) = (newest.first().await?, newest.version());
    if made_of(&newest, found).await? > Some(source) {
        return Ok(None);
    }
    while found + 1 < later {
        let middle = found + (later - found) / 2;
        if made_of(&newest, middle).await? > Some(source) {
            later = middle;
        } else {
            found = middle;
        }
    }
    there(newest.at(found).await)
}

/// Returns the source version that a version of a roll-up was made of. The last entry up to it that records one says
/// so; it is not far back, because between two rounds of a roll-up there are only file compactions. If it is further
/// back, the version is loaded whole.
async fn made_of(newest: &TableView, version: Version) -> Result<Option<Version>> {
    let (table, app_id) = (newest.table(), source_version(newest.table()));
    for before in (version.saturating_sub(ENTRIES_MAX - 1)..=version).rev() {
        if let Some(value) = newest.moved(before, &app_id).await? {
            return Ok(Version::try_from(value).ok());
        }
    }
    let view = there(newest.at(version).await)?;
    Ok(view.and_then(|view| rolled_up_from(table, |app_id| view.txn(app_id))))
}

/// Returns a version; `None` if it is gone.
fn there(view: Result<TableView>) -> Result<Option<TableView>> {
    match view {
        Ok(view) => Ok(Some(view)),
        Err(LakeError::Refused(_)) => Ok(None),
        Err(error) => Err(error),
    }
}
