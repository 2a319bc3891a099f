//! The tables as they were: at a version of `clicks_minute`, the newest roll-ups that were made of it or of one before
//! it. Never by the clock: each roll-up says what it was made of.

use futures::future::BoxFuture;
use lake_schemas::Table;
use lake_schemas::stand::{rolled_up_from, source_version};
use lake_schemas::table::Version;
use lake_store::commit::TableView;
use lake_store::{Lake, LakeError, Result};

use super::question::AsOf;
use super::sources::{Sources, Viewed};

/// Entries of a roll-up that are looked at for what a version of it was made of: more than lie between two rounds.
const ENTRIES_MAX: Version = 8;

/// The tables as they were when it was so.
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

/// The newest version of a roll-up that was made of one of these versions of its source; `None` if there is none, or
/// none any more.
async fn newest_of(lake: &Lake, table: Table, source: Version) -> Result<Option<TableView>> {
    let Some(newest) = newest(lake, table).await? else { return Ok(None) };
    let is_of_later = |view: &TableView| rolled_up_from(table, |app_id| view.txn(app_id)) > Some(source);
    if !is_of_later(&newest) {
        return Ok(Some(newest));
    }
    // What it was made of only advances, so what is looked for lies before the first version that is of a later one.
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

/// What a version of a roll-up was made of. The last entry up to it tells that says so, which is not far back: between
/// two rounds of a roll-up only files are put together. If it is further, the version tells itself, with all that it
/// has.
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

/// A version, unless it is gone.
fn there(view: Result<TableView>) -> Result<Option<TableView>> {
    match view {
        Ok(view) => Ok(Some(view)),
        Err(LakeError::Refused(_)) => Ok(None),
        Err(error) => Err(error),
    }
}
