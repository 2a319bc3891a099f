//! Finds the windows of a table that a backfill replaces in place, for the part of history that is asked for.

use std::collections::BTreeSet;

use arrow::array::AsArray;
use arrow::datatypes::TimestampMicrosecondType;
use ingest::drive::DriveError;
use ingest::replay::RawTable;
use lake_schemas::job::LogBatch;
use lake_schemas::table::column;
use lake_schemas::{Cut, EventTime, History, TopicPartition, Windowing, Windows};

use crate::bounded::{self, Takes};
use crate::range::Range;
use crate::work::Work;

/// Returns the windows to replace, and the cut of the raw table at an earlier version if that is asked for; `None` if
/// it was stopped. For a range of versions, these are the windows that their rows touch; they are recomputed from all
/// their clicks.
pub(crate) async fn in_place(work: &Work<'_>) -> Result<Option<(Windows, Option<Cut>)>, DriveError> {
    let range = &work.range;
    Ok(match range {
        Range::All => Some((Windows::default(), None)),
        Range::Windows(windows) => Some((windows.clone(), None)),
        Range::AsOf(_) | Range::AsOfTime(_) => Some((Windows::default(), Some(range.history(work.lake).await?.until))),
        Range::Versions(..) => {
            let history = range.history(work.lake).await?;
            touched(work, history).await?.map(|windows| (windows, None))
        }
    })
}

/// Finds the windows of the events of a part of the log; `None` if that was stopped.
async fn touched(work: &Work<'_>, History { since, until, .. }: History) -> Result<Option<Windows>, DriveError> {
    let moved: Vec<_> = until.keys().filter(|of| since.get(of) < until.get(of)).cloned().collect();
    let raw = RawTable::until(work.raw().await?, until).counted_by(&work.meter).shared();
    let mut touched = Touched { since, starts_ms: BTreeSet::new() };
    let columns = vec![column::EVENT_TIME.to_owned()];
    let is_read = bounded::read(raw, columns, moved, work.at_a_time, &work.stop, &mut touched).await?;
    Ok(is_read.then(|| Windows::these(touched.starts_ms)))
}

/// Consumer that collects windows, by their starts in milliseconds.
struct Touched {
    since: Cut,
    starts_ms: BTreeSet<i64>,
}

impl Takes for Touched {
    fn begin(&mut self, partition: &TopicPartition) -> Option<i64> {
        self.since.get(partition).copied()
    }

    async fn take(&mut self, batch: LogBatch) -> Result<(), DriveError> {
        if let Some(times) = batch.events.column_by_name(column::EVENT_TIME) {
            let times = times.as_primitive::<TimestampMicrosecondType>().values();
            let millis = times.iter().map(|micros| EventTime::from_micros(*micros).millis());
            self.starts_ms.extend(millis.map(|millis| Windowing::default().start_ms(millis)));
        }
        Ok(())
    }

    async fn end(&mut self, _: &TopicPartition) -> Result<(), DriveError> {
        Ok(())
    }
}
