//! Checks whether the raw table still has the clicks that closed the windows of a table. Pure: no I/O.
//!
//! Another program may take the newest rows out of `clicks`, as RESTORE does. The rest then closes fewer windows than
//! the table has closed: a recomputation would drop the others.

use std::collections::BTreeMap;

use lake_schemas::{EventTime, Stand, TopicPartition};
use lake_store::RawFile;

/// Finds a partition whose raw table has no events as late as those that closed its windows; `None` if there is none.
/// `closed` are the stands of the table, whose watermarks are `out_of_orderness_ms` behind the largest event time.
pub(crate) fn lacks_its_newest<'a>(
    files: &[RawFile],
    closed: &'a BTreeMap<TopicPartition, Stand>,
    out_of_orderness_ms: i64,
) -> Option<&'a TopicPartition> {
    let lacks = |partition: &TopicPartition, stand: &Stand| {
        // A table that took the place of another records a time before all clicks for a partition without a watermark.
        let is_of_clicks = |ms: &i64| EventTime::from_millis(*ms).is_some_and(|time| !time.is_too_old());
        let Some(watermark_ms) = stand.watermark_ms.filter(is_of_clicks) else { return false };
        // A file that does not state its times may have any.
        let of_it = files.iter().filter(|file| file.may_be_of(partition));
        let newest = |file: &RawFile| file.event_times.map_or(i64::MAX, |(_, last)| last.millis());
        of_it.map(newest).max().is_none_or(|newest| newest.saturating_sub(out_of_orderness_ms) < watermark_ms)
    };
    closed.iter().find(|(partition, stand)| lacks(partition, stand)).map(|(partition, _)| partition)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOON_MS: i64 = 1_772_884_800_000;

    fn file(partition: i32, last: &str) -> RawFile {
        let bounds = |offset: i64, time: &str| {
            json!({
                "topic": "clicks", "kafka_partition": partition, "kafka_offset": offset, "event_time": time
            })
        };
        let stats = json!({
            "numRecords": 10, "minValues": bounds(0, "2026-03-07T11:00:00.000Z"), "maxValues": bounds(9, last)
        });
        RawFile::stated("log_date=2026-03-07/a.parquet", 100, &stats.to_string()).expect("statistics")
    }

    #[test]
    fn a_partition_whose_newest_events_are_gone_is_found() {
        let partition = |number| TopicPartition::new("clicks", number);
        let closed = |watermark_ms| -> BTreeMap<_, _> {
            [(partition(0), Stand { watermark_ms, ..Stand::default() })].into_iter().collect()
        };
        let files = [file(0, "2026-03-07T12:00:05.000Z"), file(1, "2026-03-07T13:00:00.000Z")];
        let at_noon = closed(Some(NOON_MS));
        assert_eq!(lacks_its_newest(&files, &at_noon, 5_000), None);
        assert_eq!(lacks_its_newest(&files, &at_noon, 6_000), Some(&partition(0)));
        assert_eq!(lacks_its_newest(&files[1..], &at_noon, 5_000), Some(&partition(0)), "it has no file at all");
        for nothing in [None, Some(0)] {
            assert_eq!(lacks_its_newest(&[], &closed(nothing), 5_000), None, "it has closed nothing");
        }
    }
}
