//! Finds where the events of one count lie in the log, by the rows of the table of minutes that hold it.

use std::collections::BTreeMap;

use arrow::array::AsArray;
use arrow::datatypes::{Int32Type, Int64Type, TimestampMicrosecondType};
use futures::future::BoxFuture;
use lake_schemas::table::column;
use lake_schemas::{EventTime, Measure, OffsetRange, TopicPartition, Verdict, Windows};
use lake_store::Result;
use lake_store::commit::TableLog;
use lake_store::lost::or_lost;

use crate::minute_files::{MinuteFiles, OtherRows};
use crate::scope::Scope;

/// A row of a count.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    /// Offsets from the first to behind the last event of the row.
    pub events: OffsetRange,
    /// Number of copies among these events.
    pub duplicates: i64,
}

/// Returns the rows of an ad in a minute, by partition.
pub(crate) fn provenance<'a>(
    minutes: &'a mut TableLog,
    ad_id: &'a str,
    minute: EventTime,
) -> BoxFuture<'a, Result<BTreeMap<TopicPartition, Vec<Row>>>> {
    Box::pin(async move {
        let (table, parameters) = (minutes.table(), minutes.parameters()?);
        let (windowing, windows) = (parameters.windowing, Windows::these([minute.millis()].into()));
        let scope = Scope { windowing, windows, stands: None };
        let files = MinuteFiles::new(table, &parameters, minutes.object_store(), scope, OtherRows::Untouched);
        let mut found: BTreeMap<TopicPartition, Vec<Row>> = BTreeMap::new();
        let live = minutes.live_files().await?;
        let read = match files.rows(&live).await {
            Err(error) => return Err(or_lost(minutes, error).await),
            Ok(read) => read,
        };
        for rows in read {
            let starts = rows[column::WINDOW_START].as_primitive::<TimestampMicrosecondType>().values();
            let (ads, topics) = (rows[column::AD_ID].as_string::<i32>(), rows[column::TOPIC].as_string::<i32>());
            let partitions = rows[column::KAFKA_PARTITION].as_primitive::<Int32Type>().values();
            let number = |name: &str| rows[name].as_primitive::<Int64Type>().values();
            let (firsts, nexts) = (number(column::OFFSET_FIRST), number(column::OFFSET_NEXT));
            let duplicates = number(Measure::counting(Verdict::Duplicate).column());
            let is_wanted = |row: &usize| starts[*row] == minute.micros() && ads.value(*row) == ad_id;
            for row in (0..rows.num_rows()).filter(is_wanted) {
                let partition = TopicPartition::new(topics.value(row), partitions[row]);
                let events = OffsetRange { first: firsts[row], next: nexts[row] };
                found.entry(partition).or_default().push(Row { events, duplicates: duplicates[row] });
            }
        }
        Ok(found)
    })
}
