//! Builds the columns of both raw tables out of messages: one builder for each wanted field.

use std::sync::Arc;

use arrow::array::{
    ArrayBuilder, ArrayRef, BinaryBuilder, Date32Builder, Int32Array, Int64Builder, RecordBatch, StringArray,
    StringBuilder, TimestampMicrosecondBuilder,
};
use arrow::datatypes::{Schema, SchemaRef};
use lake_schemas::field::{ByField, Role, timestamp};
use lake_schemas::{Field, LogDate, LogTime, Table, TopicPartition};

use super::event::{Event, Rejected};
use super::message::Message;

/// Columns of `clicks` to decode of events. The offset is always among them.
#[derive(Clone)]
pub struct Columns {
    schema: SchemaRef,
    /// Wanted fields, in the order of the table.
    fields: Vec<Field>,
}

impl Columns {
    /// Returns the selection of all columns.
    pub fn all() -> Self {
        Self { schema: Table::Clicks.schema(), fields: Field::ALL.to_vec() }
    }

    /// Returns the selection of the columns with these names, and the offset.
    pub fn of(names: &[String]) -> Self {
        let is_named = |field: &Field| names.iter().any(|name| name == field.column());
        let is_wanted = |field: &Field| *field == Field::KafkaOffset || is_named(field);
        let fields: Vec<_> = Field::ALL.into_iter().filter(is_wanted).collect();
        let schema = Schema::new(fields.iter().map(|field| field.in_arrow()).collect::<Vec<_>>());
        Self { schema: Arc::new(schema), fields }
    }

    /// Returns whether the selection has columns of a row's position other than the offset.
    fn are_placed(&self) -> bool {
        let is_place = |field: &Field| matches!(field.role(), Role::Position | Role::Partition);
        self.fields.iter().any(|field| is_place(field) && *field != Field::KafkaOffset)
    }
}

/// Builder of a text column. It expects its next batch to be like its last one and reserves as much, so that it need
/// not grow. Leading nulls are only counted, which is all there is in most batches for a member that a producer does
/// not send.
#[derive(Default)]
struct Text {
    nulls: usize,
    /// Values from the first one that is not null, with the nulls before it; empty if there was none.
    values: StringBuilder,
}

impl Text {
    fn append(&mut self, value: Option<&str>) {
        if value.is_none() && self.values.is_empty() {
            self.nulls += 1;
            return;
        }
        (0..std::mem::take(&mut self.nulls)).for_each(|_| self.values.append_null());
        self.values.append_option(value);
    }

    fn finish(&mut self) -> ArrayRef {
        if self.values.is_empty() {
            return Arc::new(StringArray::new_null(std::mem::take(&mut self.nulls)));
        }
        let (rows, bytes) = (self.values.len(), self.values.values_slice().len());
        let mut filled = std::mem::replace(&mut self.values, StringBuilder::with_capacity(rows, bytes + bytes / 8));
        Arc::new(filled.finish())
    }
}

/// Builders of the position of each row: the columns that both raw tables share.
#[derive(Default)]
struct PositionColumns {
    offset: Int64Builder,
    log_time: Vec<Option<i64>>,
    log_date: Date32Builder,
}

impl PositionColumns {
    fn push(&mut self, message: &Message<'_>) {
        self.push_offset(message);
        self.log_time.push(message.log_time.map(LogTime::micros));
        self.log_date.append_value(LogDate::of(message.log_time).days());
    }

    fn push_offset(&mut self, message: &Message<'_>) {
        self.offset.append_value(message.offset);
    }

    fn len(&self) -> usize {
        self.offset.len()
    }

    /// Finishes all position columns.
    fn finish(&mut self, partition: &TopicPartition) -> ByField<Option<ArrayRef>> {
        let rows = self.len();
        let mut log_time = TimestampMicrosecondBuilder::with_capacity(rows).with_data_type(timestamp());
        self.log_time.drain(..).for_each(|time| log_time.append_option(time));
        let mut finished = self.finish_offset();
        let topics = StringArray::from_iter_values(std::iter::repeat_n(&partition.topic, rows));
        finished[Field::Topic] = Some(Arc::new(topics));
        finished[Field::KafkaPartition] = Some(Arc::new(Int32Array::from_value(partition.partition, rows)));
        finished[Field::KafkaTimestamp] = Some(Arc::new(log_time.finish()));
        finished[Field::LogDate] = Some(Arc::new(self.log_date.finish()));
        finished
    }

    /// Finishes the offset alone, where nothing else was pushed.
    fn finish_offset(&mut self) -> ByField<Option<ArrayRef>> {
        let mut finished = ByField::<Option<ArrayRef>>::default();
        finished[Field::KafkaOffset] = Some(Arc::new(self.offset.finish()));
        finished
    }
}

/// Builder of the column of a field that messages carry.
enum MemberColumn {
    Time(TimestampMicrosecondBuilder),
    Text(Text),
    Number(Int64Builder),
}

impl MemberColumn {
    /// Returns an empty builder, if messages carry the field.
    fn of(field: Field) -> Option<Self> {
        match field.role() {
            Role::Position | Role::Partition => None,
            Role::Time => Some(Self::Time(TimestampMicrosecondBuilder::new().with_data_type(timestamp()))),
            Role::Id | Role::Dimension | Role::Text | Role::Rest => Some(Self::Text(Text::default())),
            Role::Amount => Some(Self::Number(Int64Builder::new())),
        }
    }

    fn finish(&mut self) -> ArrayRef {
        match self {
            Self::Time(times) => Arc::new(times.finish()),
            Self::Text(text) => text.finish(),
            Self::Number(numbers) => Arc::new(numbers.finish()),
        }
    }
}

/// Builders of the rows of `clicks`.
pub(super) struct EventColumns {
    columns: Columns,
    are_placed: bool,
    position: PositionColumns,
    /// Builders of the wanted fields that messages carry.
    said: Vec<(Field, MemberColumn)>,
}

impl EventColumns {
    pub fn of(columns: Columns) -> Self {
        let said = columns.fields.iter().filter_map(|field| Some((*field, MemberColumn::of(*field)?))).collect();
        Self { are_placed: columns.are_placed(), position: PositionColumns::default(), said, columns }
    }

    pub fn push(&mut self, message: &Message<'_>, event: &Event<'_>) {
        if self.are_placed {
            self.position.push(message);
        } else {
            self.position.push_offset(message);
        }
        for (field, said) in &mut self.said {
            match said {
                MemberColumn::Time(times) => times.append_value(event.event_time.micros()),
                MemberColumn::Text(text) => text.append(event.text(*field)),
                MemberColumn::Number(numbers) => numbers.append_option(event.number(*field)),
            }
        }
    }

    pub fn len(&self) -> usize {
        self.position.len()
    }

    pub fn finish(&mut self, partition: &TopicPartition) -> RecordBatch {
        let mut finished =
            if self.are_placed { self.position.finish(partition) } else { self.position.finish_offset() };
        for (field, said) in &mut self.said {
            finished[*field] = Some(said.finish());
        }
        let columns = take_each(&mut finished, self.columns.fields.iter().copied()).collect();
        RecordBatch::try_new(Arc::clone(&self.columns.schema), columns)
            .expect("the columns are those of clicks, in its order")
    }
}

/// Takes the finished columns of some fields, in their order.
fn take_each(
    finished: &mut ByField<Option<ArrayRef>>,
    fields: impl Iterator<Item = Field>,
) -> impl Iterator<Item = ArrayRef> {
    fields.map(move |field| finished[field].take().expect("each field that is wanted has a builder"))
}

/// Builders of the rows of `clicks_rejected`.
#[derive(Default)]
pub(super) struct RejectedColumns {
    position: PositionColumns,
    reason: StringBuilder,
    detail: StringBuilder,
    key: BinaryBuilder,
    payload: BinaryBuilder,
}

impl RejectedColumns {
    pub fn push(&mut self, message: &Message<'_>, rejected: &Rejected) {
        self.position.push(message);
        self.reason.append_value(rejected.reason.as_str());
        self.detail.append_option(rejected.detail.as_deref());
        self.key.append_option(message.key);
        self.payload.append_option(message.payload);
    }

    pub fn len(&self) -> usize {
        self.position.len()
    }

    pub fn finish(&mut self, partition: &TopicPartition) -> RecordBatch {
        let mut position = self.position.finish(partition);
        let mut columns: Vec<ArrayRef> = take_each(&mut position, Field::of_role(Role::Position)).collect();
        columns.push(Arc::new(self.reason.finish()));
        columns.push(Arc::new(self.detail.finish()));
        columns.push(Arc::new(self.key.finish()));
        columns.push(Arc::new(self.payload.finish()));
        columns.extend(take_each(&mut position, Field::of_role(Role::Partition)));
        RecordBatch::try_new(Table::ClicksRejected.schema(), columns)
            .expect("the columns are those of clicks_rejected, in its order")
    }
}
