//! Law: the minutes that the live job has written, whatever it went through, are what a replay makes of the raw clicks
//! up to the same stand.

use arrow::array::RecordBatch;
use backfill::replay;
use ingest::replay::Needs;
use lake_schemas::minute::Parameters;
use lake_schemas::{History, Table};
use lake_store::Lake;

use super::ranges::counts;
use crate::minutes::{Counts, of_partition, weigh_rows};
use crate::simulation::{Log, Version, named};

/// Number of versions of a history that are replayed, beside the last.
const VERSIONS: usize = 2;

/// Checks at some versions that a table written by live jobs is what a replay makes of the raw table.
pub async fn live_is_replay(
    lake: &Lake,
    log: &Log,
    parameters: &Parameters,
    versions: &[Version],
) -> Result<(), String> {
    let step = versions.len().div_ceil(VERSIONS).max(1);
    is_replay(lake, log, parameters, versions, |at| at % step == step / 2 || at + 1 == versions.len()).await
}

/// Checks at these versions that a table is what a replay makes of the raw table.
pub async fn is_replay(
    lake: &Lake,
    log: &Log,
    parameters: &Parameters,
    versions: &[Version],
    which: impl Fn(usize) -> bool,
) -> Result<(), String> {
    for partition in (0..log.partitions.len() as i32).map(named) {
        let mut live = Counts::new();
        for (at, version) in versions.iter().enumerate() {
            let ours = |rows: &RecordBatch| of_partition(rows, &partition);
            version.removed.iter().for_each(|rows| weigh_rows(&mut live, &ours(rows), -1));
            version.rows.iter().for_each(|rows| weigh_rows(&mut live, &ours(rows), 1));
            let stand = version.stand(&partition);
            if stand.cut.is_none() || !which(at) {
                continue;
            }
            let needs = Needs { history: History::default(), parameters: parameters.clone() };
            let replayed = replay(lake, Table::ClicksMinute, needs, &partition, stand).await;
            let replayed = counts(&replayed.map_err(|error| error.to_string())?);
            if replayed != live {
                return Err(format!("version {at}, {partition} at {stand:?}: {live:?} live, {replayed:?} replayed"));
            }
        }
    }
    Ok(())
}
