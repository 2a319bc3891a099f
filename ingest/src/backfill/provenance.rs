//! Where the events of one count stand in the log, as far as the table of minutes has them.

use std::collections::BTreeMap;

use arrow::array::AsArray;
use arrow::datatypes::{Int32Type, Int64Type, TimestampMicrosecondType};
use futures::future::BoxFuture;
use lake_schemas::commit::TableLog;
use lake_schemas::table::column;
use lake_schemas::{EventTime, OffsetRange, Result, TopicPartition, Windows};

use super::minute_files::MinuteFiles;
use super::scope::Scope;

/// By partition, from the first to behind the last event of an ad in a minute.
pub fn provenance<'a>(
    minutes: &'a mut TableLog,
    ad_id: &'a str,
    minute: EventTime,
) -> BoxFuture<'a, Result<BTreeMap<TopicPartition, OffsetRange>>> {
    Box::pin(async move {
        let of = (minutes.table(), minutes.parameters()?);
        let scope = Scope { windows: Windows::these([minute.millis()].into()), stands: None };
        let files = MinuteFiles::new(of, minutes.object_store(), scope, false);
        let mut found: BTreeMap<TopicPartition, OffsetRange> = BTreeMap::new();
        for rows in files.rows(&minutes.live_files().await?).await? {
            let starts = rows[column::WINDOW_START].as_primitive::<TimestampMicrosecondType>().values();
            let (ads, topics) = (rows[column::AD_ID].as_string::<i32>(), rows[column::TOPIC].as_string::<i32>());
            let partitions = rows[column::KAFKA_PARTITION].as_primitive::<Int32Type>().values();
            let offset = |name: &str| rows[name].as_primitive::<Int64Type>().values();
            let (firsts, nexts) = (offset(column::OFFSET_FIRST), offset(column::OFFSET_NEXT));
            let is_wanted = |row: &usize| starts[*row] == minute.micros() && ads.value(*row) == ad_id;
            for row in (0..rows.num_rows()).filter(is_wanted) {
                let events = OffsetRange { first: firsts[row], next: nexts[row] };
                let partition = TopicPartition::new(topics.value(row), partitions[row]);
                let all = found.entry(partition).or_insert(events);
                *all = OffsetRange { first: all.first.min(events.first), next: all.next.max(events.next) };
            }
        }
        Ok(found)
    })
}
