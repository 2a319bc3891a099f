//! The minute job: assembled here, and nowhere else, from the operators of this crate. Live and bounded runs both use
//! it.

use lake_schemas::job::{Flush, Job, LogBatch, Operator, Pending, Step};
use lake_schemas::minute::Parameters;
use lake_schemas::rows::Events;
use lake_schemas::{EventTime, History, Invalid, Stand, Table, TopicPartition};

use crate::minutes::{Behind, Emission, Minutes};

/// Job that counts the clicks of every minute.
pub struct Aggregate {
    table: Table,
    parameters: Parameters,
    /// Part of the log that counts; `None`: all of it, as far as it goes.
    history: Option<History>,
}

impl Aggregate {
    /// Makes the live job, with the parameters that its table records.
    pub fn new(parameters: Parameters) -> Self {
        Self { table: Table::ClicksMinute, parameters, history: None }
    }

    /// Makes the job over a bounded part of the log, for a table of the same shape.
    pub fn over(history: History, table: Table, parameters: Parameters) -> Self {
        Self { table, parameters, history: Some(history) }
    }
}

impl Job for Aggregate {
    type Operator = AggregatePartition;

    fn name(&self) -> &'static str {
        if self.history.is_some() { "backfill" } else { "aggregate" }
    }

    fn tables(&self) -> Vec<Table> {
        vec![self.table]
    }

    fn reads(&self) -> Vec<String> {
        let dimensions = self.parameters.dimensions.iter().map(|dimension| dimension.column());
        Events::COLUMNS.into_iter().chain(dimensions).map(str::to_owned).collect()
    }

    fn begin(&self, partition: &TopicPartition, stands: &[Stand]) -> (AggregatePartition, Option<i64>) {
        let [stand] = stands else { unreachable!("one stand for each of the job's tables") };
        let mut minutes = Minutes::begin(partition.clone(), self.parameters.clone(), *stand);
        if let Some(history) = &self.history {
            minutes = minutes.only(history.since(partition), history.windows.clone());
        }
        let operator = AggregatePartition { table: self.table, partition: partition.clone(), minutes, pending: 0 };
        (operator, Minutes::restore_position(*stand))
    }
}

/// Operator of one partition: turns its events into minute counts.
pub struct AggregatePartition {
    table: Table,
    partition: TopicPartition,
    minutes: Minutes,
    /// Number of messages taken in, and gaps, since the last step.
    pending: usize,
}

impl Operator for AggregatePartition {
    fn push(&mut self, batch: LogBatch) -> Result<(), Invalid> {
        self.minutes.push(&batch.events, batch.offsets.next)?;
        self.pending += usize::try_from(batch.read.max(1)).expect("a batch has no negative size");
        Ok(())
    }

    fn next(&self) -> Option<i64> {
        self.minutes.next()
    }

    fn pending(&self) -> Pending {
        // The state is not pending: it stays, whatever is committed.
        Pending { rows: self.pending, bytes: 0, folders: self.minutes.hours_behind() }
    }

    fn has_rows(&self, which: Flush) -> bool {
        self.minutes.has_rows(which)
    }

    fn has_open_windows(&self) -> bool {
        self.minutes.has_open_windows()
    }

    fn bytes(&self) -> usize {
        self.minutes.bytes()
    }

    fn flush(&mut self, which: Flush) -> Vec<Step> {
        self.pending = 0;
        let Some(Emission { rows, from, to }) = self.minutes.emit(which) else { return Vec::new() };
        let rows = if rows.num_rows() > 0 { vec![rows] } else { Vec::new() };
        vec![Step { table: self.table, partition: self.partition.clone(), rows, from, to }]
    }

    fn take_remark(&mut self) -> Option<String> {
        let Behind { replayed_ms, recorded_ms } = self.minutes.take_behind()?;
        let time = |millis| EventTime::from_millis(millis).map_or_else(|| format!("{millis} ms"), |at| at.to_string());
        let replayed = replayed_ms.map_or_else(|| "no watermark".to_owned(), time);
        Some(format!(
            "{}: {}: what clicks has below the cut comes to {replayed}, and the watermark that was recorded is {}: \
             another program has deleted clicks, or changed them; counting goes on from what was recorded, and \
             `clicklake verify` says where the counts differ from what is left",
            self.table,
            self.partition,
            time(recorded_ms)
        ))
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::RecordBatch;
    use lake_schemas::OffsetRange;

    use super::*;

    #[test]
    fn what_others_have_deleted_is_remarked_once_with_what_to_do() {
        let (partition, recorded_ms) = (TopicPartition::new("clicks", 3), 1_772_884_800_000);
        let stand = Stand { cut: Some(5), watermark_ms: Some(recorded_ms), restore: Some(0), ..Stand::default() };
        let (mut operator, from) = Aggregate::new(Parameters::default()).begin(&partition, &[stand]);
        let none = |table: Table| RecordBatch::new_empty(table.schema());
        let (events, rejected) = (none(Table::Clicks), none(Table::ClicksRejected));
        assert_eq!((from, operator.take_remark()), (Some(0), None), "nothing was taken in yet");
        let batch = LogBatch { partition, offsets: OffsetRange { first: 0, next: 5 }, read: 0, events, rejected };
        operator.push(batch).expect("rows of clicks");
        let remark = operator.take_remark().expect("all clicks are gone");
        for word in ["clicks_minute", "clicks/3", "no watermark", "2026-03-07T12:00:00.000Z", "clicklake verify"] {
            assert!(remark.contains(word), "{word:?} is not in: {remark}");
        }
        assert_eq!(operator.take_remark(), None);
    }
}
