//! Decodes the messages of one partition straight into Arrow columns.

use std::sync::LazyLock;

use arrow::array::RecordBatch;
use lake_schemas::job::LogBatch;
use lake_schemas::{OffsetRange, Table, TopicPartition};

use super::columns::{EventColumns, RejectedColumns};
use super::decoding::Decoding;
use super::event::Event;
use super::message::Message;

/// Decodes messages of one partition, in offset order, into the next [`LogBatch`].
pub struct BatchBuilder {
    partition: TopicPartition,
    decoding: Decoding,
    offsets: OffsetRange,
    events: EventColumns,
    rejected: RejectedColumns,
}

impl BatchBuilder {
    /// Begins a batch of JSON messages at the offset `first`, with all columns. `time_in_future_ms` is the bound that
    /// the table records.
    pub fn new(partition: TopicPartition, first: i64, time_in_future_ms: i64) -> Self {
        Self::of(&Decoding::json(time_in_future_ms), partition, first)
    }

    /// Begins a batch at an offset, of messages decoded as `decoding` says.
    pub fn of(decoding: &Decoding, partition: TopicPartition, first: i64) -> Self {
        Self {
            partition,
            decoding: decoding.clone(),
            offsets: OffsetRange { first, next: first },
            events: EventColumns::of(decoding.columns().clone()),
            rejected: RejectedColumns::default(),
        }
    }

    /// Takes in the next message.
    pub fn push(&mut self, message: &Message<'_>) {
        let mut event = Event::default();
        match self.decoding.decode_into(&mut event, message.payload, message.log_time) {
            Ok(()) => self.events.push(message, &event),
            Err(rejected) => self.rejected.push(message, &rejected),
        }
        self.offsets.next = message.offset + 1;
    }

    /// Records that the log has nothing more below an offset: the offsets up to it are a gap.
    pub fn skip_to(&mut self, next: i64) {
        self.offsets.next = self.offsets.next.max(next);
    }

    /// Finishes the batch so far; the next batch begins where it ends.
    pub fn finish(&mut self) -> LogBatch {
        let offsets = self.offsets;
        self.offsets.first = offsets.next;
        let read = self.events.len() + self.rejected.len();
        LogBatch {
            partition: self.partition.clone(),
            offsets,
            read: i64::try_from(read).expect("a batch fits in memory"),
            events: self.events.finish(&self.partition),
            rejected: if self.rejected.len() == 0 {
                NONE_REJECTED.clone()
            } else {
                self.rejected.finish(&self.partition)
            },
        }
    }
}

/// Shared empty batch: most batches have no rejected messages. At the live end batches are small, and building nine
/// empty columns would be a large part of the cost of each.
static NONE_REJECTED: LazyLock<RecordBatch> = LazyLock::new(|| RecordBatch::new_empty(Table::ClicksRejected.schema()));

#[cfg(test)]
mod tests {
    use arrow::array::{Array, AsArray};
    use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
    use lake_schemas::Field;
    use lake_schemas::field::{Kind, Member, Role};
    use lake_schemas::table::TIME_IN_FUTURE_MS;

    use super::super::Columns;
    use super::*;

    /// A minute of 2026, and the minute after, in milliseconds.
    const MINUTES_MS: [i64; 2] = [1_772_884_800_000, 1_772_884_860_000];

    /// Returns the row that one message decodes to.
    fn row(decoding: &Decoding, message: &str) -> RecordBatch {
        let mut batch = BatchBuilder::of(decoding, TopicPartition::new("t", 3), 7);
        batch.push(&Message { offset: 7, log_time: None, key: None, payload: Some(message.as_bytes()) });
        let batch = batch.finish();
        assert_eq!((batch.events.num_rows(), batch.rejected.num_rows()), (1, 0), "{message}");
        batch.events
    }

    /// Makes a message with one member beside the required ones. Returns the message, and the value that the column of
    /// the member's field must hold.
    fn saying(member: Member) -> (String, String) {
        let (name, field) = (member.name(), member.field());
        let (said, held) = match field.role() {
            Role::Time => (MINUTES_MS[1].to_string(), (MINUTES_MS[1] * 1_000).to_string()),
            Role::Amount => ("7".to_owned(), "7".to_owned()),
            _ => (format!("\"a text of {name}\""), format!("a text of {name}")),
        };
        let ad = if field == Field::AdId { String::new() } else { "\"ad_id\":\"an ad\",".to_owned() };
        let time = if field == Field::EventTime { String::new() } else { format!("\"timestamp\":{},", MINUTES_MS[0]) };
        (format!("{{{ad}{time}\"{name}\":{said}}}"), held)
    }

    /// Returns the value of a column in a single row; `None` is null.
    fn held(row: &RecordBatch, field: Field) -> Option<String> {
        let column = row.column_by_name(field.column()).expect("the column is wanted");
        column.is_valid(0).then(|| match field.kind() {
            Kind::Text => column.as_string::<i32>().value(0).to_owned(),
            Kind::Time => column.as_primitive::<TimestampMicrosecondType>().value(0).to_string(),
            _ => column.as_primitive::<Int64Type>().value(0).to_string(),
        })
    }

    fn are_said() -> impl Iterator<Item = Field> {
        Field::ALL.into_iter().filter(|field| !matches!(field.role(), Role::Position | Role::Partition))
    }

    #[test]
    fn each_member_is_decoded_to_the_column_of_its_field_and_to_no_other() {
        let decoding = Decoding::json(TIME_IN_FUTURE_MS);
        for member in Member::all() {
            let (message, expected) = saying(member);
            let row = row(&decoding, &message);
            for field in are_said() {
                let expected = match field {
                    _ if field == member.field() => Some(expected.clone()),
                    Field::AdId => Some("an ad".to_owned()),
                    Field::EventTime => Some((MINUTES_MS[0] * 1_000).to_string()),
                    _ => None,
                };
                assert_eq!(held(&row, field), expected, "{} of {message}", field.column());
            }
        }
        let row = row(&decoding, &format!("{{\"ad_id\":\"an ad\",\"timestamp\":{},\"x\":1}}", MINUTES_MS[0]));
        let others = are_said().filter(|field| !matches!(field, Field::AdId | Field::EventTime));
        let held: Vec<_> = others.filter_map(|field| Some((field, held(&row, field)?))).collect();
        assert_eq!(held, [(Field::Extra, "{\"x\":1}".to_owned())]);
    }

    #[test]
    fn a_column_decodes_to_the_same_values_with_or_without_the_others() {
        let all = Decoding::json(TIME_IN_FUTURE_MS);
        for member in Member::all() {
            let (message, _) = saying(member);
            let whole = row(&all, &message);
            for field in Field::ALL {
                let wanted = all.clone().with(Columns::of(&[field.column().to_owned()]));
                let part = row(&wanted, &message);
                let names: Vec<_> = part.schema().fields().iter().map(|field| field.name().clone()).collect();
                let expected = Field::ALL.into_iter().filter(|one| *one == field || *one == Field::KafkaOffset);
                assert_eq!(names, expected.map(Field::column).collect::<Vec<_>>());
                for name in names {
                    assert_eq!(part.column_by_name(&name), whole.column_by_name(&name), "{name} of {message}");
                }
            }
        }
    }
}
