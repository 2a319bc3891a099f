//! Finds the newest version of a table of minutes that the raw table covers: both jobs read the log independently, and
//! either may be ahead.

use lake_schemas::table::Version;
use lake_schemas::{Code, Stand, Table, TopicPartition};
use lake_store::commit::TableView;
use lake_store::{Lake, LakeError};

use crate::error::QueryError;

/// A version of a table of minutes, and the raw table that covers it.
pub(super) struct Covered {
    pub minutes: TableView,
    pub clicks: TableView,
}

impl Covered {
    pub async fn find(lake: &Lake, table: Table) -> Result<Self, QueryError> {
        let newest = TableView::newest(lake, table).await?.ok_or_else(|| lake.lacks(table))?;
        // Opened second, so that the raw table may have caught up with what the minutes have.
        let clicks = TableView::newest(lake, Table::Clicks).await?;
        let clicks = clicks.ok_or_else(|| lake.lacks(Table::Clicks))?;
        // Without stands nothing would be compared, and nothing would differ.
        newest.has_its_stands().await?;
        clicks.has_its_stands().await?;
        let Some((partition, stand)) = uncovered(&newest, &clicks) else {
            return Ok(Self { minutes: newest, clicks });
        };
        // Cuts advance, except at promotions, so a binary search finds where coverage ends; the first versions of a
        // table have no cut.
        let (mut covered, mut ahead) = (newest.at(newest.first().await?).await?, newest.version());
        while let Some(version) = between(covered.version(), ahead) {
            let view = newest.at(version).await?;
            if uncovered(&view, &clicks).is_some() {
                ahead = version;
            } else {
                covered = view;
            }
        }
        if covered.cut().is_empty() || uncovered(&covered, &clicks).is_some() {
            let raw = clicks.stand(&partition).cut.unwrap_or(0);
            return Err(LakeError::Refused(Code::RawBehind.because(format!(
                "clicks covers no version of {table}: of {partition} it has what is below offset {raw}, and {table} \
                 what is below {}; let `clicklake ingest` catch up",
                stand.cut.unwrap_or(0)
            )))
            .into());
        }
        Ok(Self { minutes: covered, clicks })
    }
}

/// Returns a partition of which the minutes have seen more than the raw table has.
fn uncovered(minutes: &TableView, clicks: &TableView) -> Option<(TopicPartition, Stand)> {
    minutes.stands().into_iter().find(|(partition, stand)| clicks.stand(partition).cut < stand.cut)
}

/// Returns a version in the middle, if there is one.
fn between(covered: Version, ahead: Version) -> Option<Version> {
    (covered + 1 < ahead).then(|| covered + (ahead - covered) / 2)
}
