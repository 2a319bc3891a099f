//! The ingest job: every message becomes one row, of `clicks` or of `clicks_rejected`, and nothing is computed.
//!
//! An epoch commits `clicks_rejected` first, if it has rows for it, then `clicks`: the cut of `clicks` covers both.
//! A crash between the two leaves rejected rows that lie beyond that cut; their own cut keeps them from being written
//! again.

use std::collections::BTreeSet;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::Date32Type;
use lake_schemas::job::{Flush, Job, LogBatch, Operator, Pending, Step};
use lake_schemas::rows::Positions;
use lake_schemas::table::column;
use lake_schemas::{Invalid, Stand, Table, TopicPartition};

/// Job that appends the log to the raw tables.
pub struct Append;

impl Job for Append {
    type Operator = AppendPartition;

    fn name(&self) -> &'static str {
        "ingest"
    }

    fn tables(&self) -> Vec<Table> {
        vec![Table::ClicksRejected, Table::Clicks]
    }

    fn reads(&self) -> Vec<String> {
        Table::Clicks.schema().fields().iter().map(|field| field.name().clone()).collect()
    }

    fn begin(&self, partition: &TopicPartition, stands: &[Stand]) -> (AppendPartition, Option<i64>) {
        let [rejected, clicks] = stands else {
            unreachable!("one stand for each of the job's tables");
        };
        let operator = AppendPartition {
            partition: partition.clone(),
            clicks: *clicks,
            rejected: *rejected,
            next: clicks.cut,
            read: 0,
            events: Vec::new(),
            refused: Vec::new(),
            days: BTreeSet::new(),
            pending: Pending::default(),
        };
        (operator, clicks.cut)
    }
}

/// Operator of one partition: collects its rows for the raw tables.
pub struct AppendPartition {
    partition: TopicPartition,
    /// Stand of `clicks` for this partition, counting everything handed over as committed. `rejected` is the same for
    /// `clicks_rejected`.
    clicks: Stand,
    rejected: Stand,
    /// End of the offsets taken in so far.
    next: Option<i64>,
    read: i64,
    events: Vec<RecordBatch>,
    refused: Vec<RecordBatch>,
    /// Days of log time in which the collected rows lie: each is a folder of its own.
    days: BTreeSet<i32>,
    pending: Pending,
}

impl Operator for AppendPartition {
    fn push(&mut self, batch: LogBatch) -> Result<(), Invalid> {
        assert!(
            self.next.is_none_or(|next| next <= batch.offsets.first),
            "{}: offsets {} come after {:?}",
            self.partition,
            batch.offsets,
            self.next
        );
        self.next = Some(batch.offsets.next);
        self.read += batch.read;
        let refused = match batch.rejected.num_rows() {
            0 => batch.rejected,
            _ => from_offset(&batch.rejected, self.rejected.cut),
        };
        for (rows, kept) in [(batch.events, &mut self.events), (refused, &mut self.refused)] {
            if rows.num_rows() > 0 {
                self.pending.bytes += rows.get_array_memory_size();
                self.days.extend(days(&rows));
                kept.push(rows);
            }
        }
        self.pending.folders = self.days.len().saturating_sub(1);
        // Every message read counts as pending, even if its row is already in the table, and so does a gap: neither is
        // covered by the committed cut yet.
        self.pending.rows += usize::try_from(batch.read.max(1)).expect("a batch has no negative size");
        Ok(())
    }

    fn next(&self) -> Option<i64> {
        self.next
    }

    fn pending(&self) -> Pending {
        self.pending
    }

    fn has_rows(&self, _: Flush) -> bool {
        !(self.events.is_empty() && self.refused.is_empty())
    }

    fn has_open_windows(&self) -> bool {
        false
    }

    fn bytes(&self) -> usize {
        self.pending.bytes
    }

    fn flush(&mut self, _: Flush) -> Vec<Step> {
        self.pending = Pending::default();
        self.days.clear();
        let mut steps = Vec::new();
        if !self.refused.is_empty() {
            let to = Stand { cut: self.next, ..Stand::default() };
            let (rows, from) = (std::mem::take(&mut self.refused), std::mem::replace(&mut self.rejected, to));
            steps.push(Step { table: Table::ClicksRejected, partition: self.partition.clone(), rows, from, to });
        }
        let read = self.clicks.read.unwrap_or(0) + std::mem::take(&mut self.read);
        let to = Stand { cut: self.next, read: Some(read), ..Stand::default() };
        if self.clicks.is_behind(to) {
            let (rows, from) = (std::mem::take(&mut self.events), std::mem::replace(&mut self.clicks, to));
            steps.push(Step { table: Table::Clicks, partition: self.partition.clone(), rows, from, to });
        }
        steps
    }
}

/// Yields the days of log time in which rows lie. Neighbouring rows usually share a day, which is then yielded once.
fn days(rows: &RecordBatch) -> impl Iterator<Item = i32> {
    let days = rows[column::LOG_DATE].as_primitive::<Date32Type>().values();
    days.chunk_by(|one, other| one == other).map(|days| days[0])
}

/// Slices off the rows at or above an offset; rows are in offset order.
fn from_offset(rows: &RecordBatch, cut: Option<i64>) -> RecordBatch {
    let offsets = Positions::of(rows).expect("the decoder makes every column of the raw tables").offsets();
    let below = cut.map_or(0, |cut| offsets.partition_point(|&offset| offset < cut));
    rows.slice(below, offsets.len() - below)
}

#[cfg(test)]
mod tests {
    use lake_schemas::LogTime;
    use lake_schemas::table::TIME_IN_FUTURE_MS;

    use super::*;
    use crate::decode::{BatchBuilder, Message};

    const DAY_MS: i64 = 86_400_000;

    #[test]
    fn the_days_of_pending_messages_are_counted_but_for_one() {
        let partition = TopicPartition::new("clicks", 0);
        let (mut operator, _) = Append.begin(&partition, &[Stand::default(); 2]);
        // Producers set the log time, so it may be of any day; a rejected message lies in the folder of its day too.
        let payloads: [&[u8]; 2] = [br#"{"ad_id":"a","event_time":1772884800000}"#, b"nonsense"];
        for (first, days, folders) in [(0, 1, 0), (10, 3, 2), (20, 5, 4)] {
            let mut batch = BatchBuilder::new(partition.clone(), first, TIME_IN_FUTURE_MS);
            for number in 0..10 {
                let (offset, log_time) = (first + number, LogTime::from_millis((20_600 + number % days) * DAY_MS));
                batch.push(&Message { offset, log_time, key: None, payload: Some(payloads[offset as usize % 2]) });
            }
            operator.push(batch.finish()).expect("rows of the decoder");
            assert_eq!(operator.pending().folders, folders, "of {days} days");
        }
        assert_eq!(operator.flush(Flush::Closed).len(), 2, "a step in each table");
        assert_eq!(operator.pending().folders, 0);
    }

    #[test]
    fn a_gap_moves_the_stand_and_brings_no_rows() {
        let partition = TopicPartition::new("clicks", 0);
        let stand = Stand { cut: Some(5), read: Some(5), ..Stand::default() };
        let rejected = Stand { cut: Some(9), ..Stand::default() };
        let (mut operator, _) = Append.begin(&partition, &[rejected, stand]);
        assert_eq!(operator.next(), Some(5));
        let mut batch = BatchBuilder::new(partition, 5, TIME_IN_FUTURE_MS);
        // A crash between the two commits has left the row of this message in the table.
        batch.push(&Message { offset: 7, log_time: None, key: None, payload: Some(b"nonsense") });
        operator.push(batch.finish()).expect("rows of the decoder");
        assert!(!operator.has_rows(Flush::Everything));
        assert_eq!((operator.next(), operator.pending().rows), (Some(8), 1));
        let steps = operator.flush(Flush::Closed);
        assert_eq!(steps.iter().map(|step| (step.table, step.to.cut)).collect::<Vec<_>>(), [(Table::Clicks, Some(8))]);
    }
}
