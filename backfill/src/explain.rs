//! Lists the events behind one count, and those that were not counted, with the reason.
//!
//! The operators that count live also decide here how each event counts. For a minute that is over, they are fed the
//! stretches of the log that its rows name; for one that may still change, all that may decide on it.

use std::collections::{BTreeMap, BTreeSet};

use futures::future::BoxFuture;
use ingest::drive::DriveError;
use ingest::replay::Needs;
use lake_schemas::job::LogBatch;
use lake_schemas::minute::Parameters;
use lake_schemas::rows::Events;
use lake_schemas::table::column;
use lake_schemas::time::shown_duration;
use lake_schemas::{EventTime, History, LogDate, OffsetRange, Stand, Table, TopicPartition, Verdict, Windows};
use lake_store::commit::TableLog;
use lake_store::{Lake, RawFile};
use stream_agg::explain::{Explain, Explained};

use crate::feed::Feed;
use crate::provenance::{Row, provenance};

/// An event of an ad in a minute, and why it counts or does not.
pub struct Explanation {
    /// Partition that the event came in.
    pub partition: TopicPartition,
    /// Event with its verdict.
    pub event: Explained,
    /// Reason why it is not counted; `None` if it is.
    pub reason: Option<String>,
    /// File of `clicks` that holds it.
    pub file: Option<String>,
}

/// The question: an ad and a minute, with the raw table and the parameters that decide on the answer.
struct ExplainQuestion<'a> {
    feed: &'a Feed,
    ad_id: &'a str,
    minute: EventTime,
    parameters: Parameters,
}

/// Explains the count of an ad in a minute of `clicks_minute`: its events by partition, in the order of the log.
pub fn explain<'a>(
    lake: &'a Lake,
    ad_id: &'a str,
    minute: EventTime,
) -> BoxFuture<'a, Result<Vec<Explanation>, DriveError>> {
    Box::pin(async move {
        let table = Table::ClicksMinute;
        let mut minutes = TableLog::find_to_read(lake, table).await?.ok_or_else(|| lake.lacks(table))?;
        let feed = Feed::open(lake).await?;
        let parameters = minutes.parameters()?;
        let asked = ExplainQuestion { feed: &feed, ad_id, minute, parameters };
        let rows = provenance(&mut minutes, ad_id, minute).await?;
        let mut explanations = Vec::new();
        for (partition, raw) in feed.stands() {
            let stand = minutes.stand(partition);
            let Some(end) = raw.cut else { continue };
            let rows = rows.get(partition).map(Vec::as_slice).unwrap_or_default();
            let explained = asked.explain(partition, stand, rows, end).await?;
            let files = if explained.is_empty() { Vec::new() } else { feed.files(partition).await? };
            for event in explained {
                let file = file_of(&files, &event);
                let reason = asked.reason(&event, stand);
                explanations.push(Explanation { partition: partition.clone(), event, reason, file });
            }
        }
        Ok(explanations)
    })
}

impl ExplainQuestion<'_> {
    /// Explains the events of one partition, of which the table has these rows.
    async fn explain(
        &self,
        partition: &TopicPartition,
        stand: Stand,
        rows: &[Row],
        end: i64,
    ) -> Result<Vec<Explained>, DriveError> {
        let over_ms = self.over_ms();
        let is_passed = |until_ms: i64| stand.watermark_ms.filter(|watermark_ms| *watermark_ms >= until_ms);
        if let Some(watermark_ms) = is_passed(over_ms + self.parameters.allowed_lateness_ms) {
            let mut explain = self.of_rows(partition, rows).await?;
            // The minute is closed for the rows of the table; an event that has come since is late, or no click.
            explain.pass(watermark_ms);
            self.feed(partition, stand.cut, end, &mut explain).await?;
            return Ok(explain.finish());
        }
        // Offset from which on the table may lack events of the minute.
        let lacks_from = if is_passed(over_ms).is_some() { stand.cut } else { stand.drained };
        if rows.is_empty() && !self.has_events(partition, lacks_from, end).await? {
            return Ok(Vec::new());
        }
        let mut explain = self.begin(partition);
        self.feed(partition, None, end, &mut explain).await?;
        Ok(explain.finish())
    }

    /// Returns the end of the minute, in milliseconds.
    fn over_ms(&self) -> i64 {
        self.parameters.windowing.end_ms(self.minute.millis())
    }

    fn begin(&self, partition: &TopicPartition) -> Explain {
        Explain::new(partition.clone(), self.parameters.clone(), self.ad_id, self.minute)
    }

    /// Explains the events of rows that are all that the table will ever have of the minute.
    async fn of_rows(&self, partition: &TopicPartition, rows: &[Row]) -> Result<Explain, DriveError> {
        let mut explain = self.begin(partition);
        let Some(end) = rows.iter().map(|row| row.events.next).max() else { return Ok(explain) };
        let files = self.feed.files(partition).await?;
        for stretch in stretches(rows, &files) {
            // The watermark at the stretch follows from the files that are skipped.
            let before = files.iter().filter(|file| file.offsets.next <= stretch.first);
            if let Some(largest) = before.filter_map(|file| Some(file.event_times?.1)).max() {
                explain.pass(largest.millis() - self.parameters.out_of_orderness_ms);
            }
            let push = |batch: LogBatch| Ok(explain.push(&batch.events, batch.offsets.next)?);
            self.feed.give_stretch(partition, stretch, columns(), push).await?;
        }
        // The rows count more copies than were found: their originals lie outside the stretches, so everything that may
        // hold them is read.
        if explain.duplicates() != rows.iter().map(|row| row.duplicates).sum::<i64>() {
            explain = self.begin(partition);
            self.feed(partition, None, end, &mut explain).await?;
        }
        Ok(explain)
    }

    async fn feed(
        &self,
        partition: &TopicPartition,
        from: Option<i64>,
        until: i64,
        explain: &mut Explain,
    ) -> Result<(), DriveError> {
        let push = |batch: LogBatch| Ok(explain.push(&batch.events, batch.offsets.next)?);
        self.feed.give(self.needs(partition, until), partition, from, columns(), push).await
    }

    /// Returns whether a stretch of a partition has an event of the ad in the minute.
    async fn has_events(&self, partition: &TopicPartition, from: Option<i64>, until: i64) -> Result<bool, DriveError> {
        let (mut found, window_ms) = (false, self.minute.millis());
        let width_ms = self.parameters.windowing.width_ms();
        let columns = Events::COLUMNS.map(str::to_owned).to_vec();
        let look = |batch: LogBatch| {
            let events = Events::of(&batch.events)?;
            found |= (0..batch.events.num_rows()).any(|row| {
                let since_ms = events.event_time(row).millis() - window_ms;
                (0..width_ms).contains(&since_ms) && events.ad_id(row) == self.ad_id
            });
            Ok(())
        };
        self.feed.give(self.needs(partition, until), partition, from, columns, look).await?;
        Ok(found)
    }

    fn needs(&self, partition: &TopicPartition, until: i64) -> Needs {
        let windows = Windows::these(BTreeSet::from([self.minute.millis()]));
        let history = History { until: BTreeMap::from([(partition.clone(), until)]), windows, ..History::default() };
        Needs { history, parameters: self.parameters.clone() }
    }

    /// Returns why an event does not count in a table with this stand; `None` if it does.
    fn reason(&self, event: &Explained, stand: Stand) -> Option<String> {
        let late_ms = self.parameters.allowed_lateness_ms;
        Some(match (event.taken_for, event.copy_of) {
            (Verdict::Duplicate, Some(offset)) => format!("a copy of the click at offset {offset}"),
            (Verdict::Duplicate, None) => "a copy of a click of another ad".to_owned(),
            (Verdict::Late, _) => format!("its minute had ended {} or more before it came", shown_duration(late_ms)),
            (Verdict::Filtered, _) => "it is no click".to_owned(),
            (Verdict::Counted, _) => {
                let is_below = |at: Option<i64>| at.is_some_and(|at| event.offset < at);
                let is_closed = stand.watermark_ms >= Some(self.over_ms());
                match (is_below(stand.cut), is_closed || is_below(stand.drained)) {
                    (true, true) => return None,
                    (true, false) => "not yet: its minute is not complete".to_owned(),
                    (false, _) => "not yet: clicks_minute has not read it".to_owned(),
                }
            }
        })
    }
}

/// Returns the columns to read of events.
fn columns() -> Vec<String> {
    Events::COLUMNS.into_iter().chain([column::KAFKA_TIMESTAMP]).map(str::to_owned).collect()
}

/// Returns the stretches of a partition that hold the events of rows, each from the beginning of a file, in their
/// order.
fn stretches(rows: &[Row], files: &[RawFile]) -> Vec<OffsetRange> {
    let from_file = |row: &Row| {
        let OffsetRange { mut first, next } = row.events;
        let around = |offset: i64| {
            let around = files.iter().filter(|file| file.offsets.first < offset && offset < file.offsets.next);
            around.map(|file| file.offsets.first).min()
        };
        // Goes back to the beginning of every file that reaches across the first offset: the watermark before a stretch
        // is known only where a file begins.
        while let Some(lower) = around(first) {
            first = lower;
        }
        OffsetRange { first, next }
    };
    let mut all: Vec<_> = rows.iter().map(from_file).collect();
    all.sort_by_key(|stretch| stretch.first);
    let mut apart: Vec<OffsetRange> = Vec::new();
    for stretch in all {
        match apart.last_mut() {
            Some(last) if stretch.first <= last.next => last.next = last.next.max(stretch.next),
            _ => apart.push(stretch),
        }
    }
    apart
}

/// Returns the path of the file that holds an event, among the files of its partition.
fn file_of(files: &[RawFile], event: &Explained) -> Option<String> {
    let holds = |file: &&RawFile| (file.offsets.first..file.offsets.next).contains(&event.offset);
    let found: Vec<_> = files.iter().filter(holds).collect();
    // Files of several days of log time may overlap in offsets, so the day decides among them.
    let folder = format!("{}={}", column::LOG_DATE, LogDate::of(event.log_time));
    let found = found.iter().find(|file| file.is_in(&folder)).or(found.first())?;
    Some(found.path.to_string())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A file with these offsets.
    fn file(first: i64, last: i64) -> RawFile {
        let bounds = |offset: i64| json!({ "topic": "clicks", "kafka_partition": 0, "kafka_offset": offset });
        let stats = json!({ "numRecords": last - first + 1, "minValues": bounds(first), "maxValues": bounds(last) });
        RawFile::stated("log_date=2026-03-07/a.parquet", 100, &stats.to_string()).expect("statistics")
    }

    #[test]
    fn stretches_begin_where_files_do_and_are_apart() {
        let files = [file(0, 9), file(5, 19), file(20, 29), file(40, 49)];
        let row = |first, next| Row { events: OffsetRange { first, next }, duplicates: 0 };
        let found = stretches(&[row(45, 47), row(12, 13), row(22, 25), row(24, 28)], &files);
        let found: Vec<_> = found.iter().map(|stretch| (stretch.first, stretch.next)).collect();
        assert_eq!(found, [(0, 13), (20, 28), (40, 47)]);
    }
}
