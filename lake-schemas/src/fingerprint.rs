//! The fingerprint of a log: a row of a raw table that the log must still contain, to be the log that the table knows.
//!
//! A topic that was deleted and made again counts its offsets from 0 once more. As long as it has fewer offsets than
//! the cut, that alone gives it away. Later it has as many, and only the messages at these offsets tell: the last row
//! that a raw table holds of the partition is compared with the message at its offset.

use arrow::array::{Array, RecordBatch};

use crate::job::LogBatch;
use crate::table::{Table, column};

/// A row of a raw table, as the fingerprint of its partition.
#[derive(Clone, Debug)]
pub struct Fingerprint {
    table: Table,
    offset: i64,
    /// Batch of this one row, with at least the columns of [`Fingerprint::columns`].
    row: RecordBatch,
}

impl Fingerprint {
    /// Makes the fingerprint from an offset and a batch of its one row, with the columns of [`Fingerprint::columns`].
    pub fn new(table: Table, offset: i64, row: RecordBatch) -> Self {
        Self { table, offset, row }
    }

    /// Returns the columns by which a message is recognised: those that no later version of the decoder may fill
    /// differently.
    pub fn columns(table: Table) -> &'static [&'static str] {
        match table {
            Table::ClicksRejected => &[column::KAFKA_TIMESTAMP, column::KEY, column::PAYLOAD],
            _ => &[column::KAFKA_TIMESTAMP, column::EVENT_TIME, column::AD_ID, column::CLICK_ID],
        }
    }

    /// Returns the offset of the row.
    pub fn offset(&self) -> i64 {
        self.offset
    }

    /// Returns whether the decoded message at its offset is the one that the row was made of. A message that another
    /// version of the decoder would have put into the other table is judged by its log time alone.
    pub fn agrees(&self, message: &LogBatch) -> bool {
        let (same, other) = match self.table {
            Table::ClicksRejected => (&message.rejected, &message.events),
            _ => (&message.events, &message.rejected),
        };
        if same.num_rows() == 1 {
            return Self::columns(self.table).iter().all(|name| {
                let (ours, theirs) = (self.row.column_by_name(name), same.column_by_name(name));
                ours.zip(theirs).is_some_and(|(ours, theirs)| ours.to_data() == theirs.to_data())
            });
        }
        let time = |batch: &RecordBatch| batch.column_by_name(column::KAFKA_TIMESTAMP).map(|times| times.to_data());
        time(&self.row) == time(other)
    }
}
