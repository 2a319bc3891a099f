//! The tables as they were: at a version of `clicks_minute`, the newest roll-ups that were made of it or of one before
//! it. Never by the clock: each roll-up says what it was made of.

use futures::future::BoxFuture;
use lake_schemas::commit::{TableView, Version};
use lake_schemas::stand::rolled_up_from;
use lake_schemas::{Lake, LakeError, Result, Table};

use super::question::AsOf;
use super::sources::{Sources, Viewed};

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
    let Some(mut found) = there(newest.at(newest.first().await?).await)?.filter(|view| !is_of_later(view)) else {
        return Ok(None);
    };
    let mut later = newest.version();
    while found.version() + 1 < later {
        let middle = found.version() + (later - found.version()) / 2;
        let Some(view) = there(newest.at(middle).await)? else { return Ok(None) };
        if is_of_later(&view) {
            later = middle;
        } else {
            found = view;
        }
    }
    Ok(Some(found))
}

/// A version, unless it is gone.
fn there(view: Result<TableView>) -> Result<Option<TableView>> {
    match view {
        Ok(view) => Ok(Some(view)),
        Err(LakeError::Refused(_)) => Ok(None),
        Err(error) => Err(error),
    }
}
