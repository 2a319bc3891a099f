//! Messages of one partition, decoded straight into Arrow columns.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::{Arc, LazyLock};

use arrow::array::{
    ArrayBuilder, ArrayRef, BinaryBuilder, Date32Builder, Int32Array, Int64Builder, RecordBatch, StringArray,
    StringBuilder, TimestampMicrosecondBuilder,
};
use arrow::datatypes::SchemaRef;
use lake_schemas::job::LogBatch;
use lake_schemas::table::{column, timestamp};
use lake_schemas::{LogDate, LogTime, OffsetRange, Table, TopicPartition};

use super::event::{Event, Rejected, decode};

/// The columns of `clicks`, and where some of them stand; `event_type` to `ip` are the strings.
const COLUMNS: usize = 17;
const TOPIC: usize = 0;
const PARTITION: usize = 1;
const LOG_TIME: usize = 3;
const STRINGS: Range<usize> = 5..14;
const EXTRA: usize = 15;
const LOG_DATE: usize = 16;

/// A message as it comes from the log.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// Its offset.
    pub offset: i64,
    /// Its log time, if it has one.
    pub log_time: Option<LogTime>,
    /// Its key, if it has one.
    pub key: Option<&'a [u8]>,
    /// Its payload; `None` is Kafka's tombstone.
    pub payload: Option<&'a [u8]>,
}

/// Where an offset stands to what was taken in of its partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// It comes next, behind a gap or not.
    Ahead,
    /// It is the message that was taken in last.
    Last,
    /// It lies before that, or in a gap.
    Behind,
}

/// Which columns of `clicks` are wanted of events. The offset always is.
#[derive(Clone)]
pub struct Columns {
    schema: SchemaRef,
    /// By column of the table, in its order.
    wanted: [bool; COLUMNS],
    /// Whether more is wanted of where a row comes from than its offset.
    is_placed: bool,
}

impl Columns {
    /// All of them.
    pub fn all() -> Self {
        Self { schema: Table::Clicks.schema(), wanted: [true; COLUMNS], is_placed: true }
    }

    /// Those of these names.
    pub fn of(names: &[String]) -> Self {
        let all = Table::Clicks.schema();
        let is_wanted = |name: &String| name == column::KAFKA_OFFSET || names.contains(name);
        let wanted: [bool; COLUMNS] = std::array::from_fn(|at| is_wanted(all.field(at).name()));
        let places: Vec<_> = (0..COLUMNS).filter(|at| wanted[*at]).collect();
        let is_placed = [TOPIC, PARTITION, LOG_TIME, LOG_DATE].into_iter().any(|at| wanted[at]);
        Self { schema: Arc::new(all.project(&places).expect("they are its own")), wanted, is_placed }
    }
}

/// Decodes messages of one partition, in offset order, into the next [`LogBatch`].
pub struct BatchBuilder {
    partition: TopicPartition,
    time_in_future_ms: i64,
    offsets: OffsetRange,
    /// The offset of the last message that was taken in.
    last: Option<i64>,
    events: EventColumns,
    rejected: RejectedColumns,
    bytes: usize,
}

impl BatchBuilder {
    /// Begins a batch at an offset. `time_in_future_ms` is the bound that the table records.
    pub fn new(partition: TopicPartition, first: i64, time_in_future_ms: i64) -> Self {
        Self::of(&Columns::all(), partition, first, time_in_future_ms)
    }

    /// The same, with some columns of the events only.
    pub fn of(columns: &Columns, partition: TopicPartition, first: i64, time_in_future_ms: i64) -> Self {
        Self {
            partition,
            time_in_future_ms,
            offsets: OffsetRange { first, next: first },
            last: None,
            events: EventColumns::of(columns.clone()),
            rejected: RejectedColumns::default(),
            bytes: 0,
        }
    }

    /// Takes in the next message.
    pub fn push(&mut self, message: &Message<'_>) {
        match decode(message.payload, message.log_time, self.time_in_future_ms) {
            Ok(event) => self.events.push(message, &event),
            Err(rejected) => self.rejected.push(message, &rejected),
        }
        self.offsets.next = message.offset + 1;
        self.last = Some(message.offset);
        self.bytes += message.payload.map_or(0, <[u8]>::len) + message.key.map_or(0, <[u8]>::len);
    }

    /// Says that the log has nothing more below an offset: what lies between is a gap.
    pub fn skip_to(&mut self, next: i64) {
        self.offsets.next = self.offsets.next.max(next);
    }

    /// The offset that comes next.
    pub fn next(&self) -> i64 {
        self.offsets.next
    }

    /// Whether nothing was taken in: neither messages nor a gap.
    pub fn is_empty(&self) -> bool {
        self.offsets.first == self.offsets.next
    }

    /// Where an offset stands to what was taken in, in this batch and those before.
    pub fn place(&self, offset: i64) -> Place {
        if self.last == Some(offset) {
            Place::Last
        } else if offset < self.offsets.next {
            Place::Behind
        } else {
            Place::Ahead
        }
    }

    /// Messages taken in.
    pub fn read(&self) -> usize {
        self.events.position.len() + self.rejected.position.len()
    }

    /// Bytes of the keys and payloads taken in.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The batch so far; what follows begins where it ends.
    pub fn finish(&mut self) -> LogBatch {
        let offsets = self.offsets;
        self.offsets.first = offsets.next;
        self.bytes = 0;
        LogBatch {
            partition: self.partition.clone(),
            offsets,
            read: i64::try_from(self.read()).expect("a batch fits in memory"),
            events: self.events.finish(&self.partition),
            rejected: if self.rejected.position.len() == 0 {
                NONE_REJECTED.clone()
            } else {
                self.rejected.finish(&self.partition)
            },
        }
    }
}

/// What most batches have of rejected messages. At the live end batches are small, and nine empty columns would be a
/// large part of each.
static NONE_REJECTED: LazyLock<RecordBatch> = LazyLock::new(|| RecordBatch::new_empty(Table::ClicksRejected.schema()));

/// A column of text that expects its next batch to be like its last one, and so need not grow. Nulls are only counted
/// as long as there is nothing else, as in most batches of a member that a producer does not send.
#[derive(Default)]
struct Text {
    nulls: usize,
    /// What came from the first value on, and the nulls before it; empty if there was none.
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

/// Where each row comes from: the columns that both raw tables share.
#[derive(Default)]
struct PositionColumns {
    offset: Int64Builder,
    log_time: Vec<Option<i64>>,
    log_date: Date32Builder,
}

impl PositionColumns {
    fn push(&mut self, message: &Message<'_>) {
        self.offset.append_value(message.offset);
        self.log_time.push(message.log_time.map(LogTime::micros));
        self.log_date.append_value(LogDate::of(message.log_time).days());
    }

    fn len(&self) -> usize {
        self.offset.len()
    }

    /// The four leading columns, and the trailing one.
    fn finish(&mut self, partition: &TopicPartition) -> ([ArrayRef; 4], ArrayRef) {
        let rows = self.len();
        let mut log_time = TimestampMicrosecondBuilder::with_capacity(rows).with_data_type(timestamp());
        self.log_time.drain(..).for_each(|time| log_time.append_option(time));
        let leading: [ArrayRef; 4] = [
            Arc::new(StringArray::from_iter_values(std::iter::repeat_n(&partition.topic, rows))),
            Arc::new(Int32Array::from_value(partition.partition, rows)),
            Arc::new(self.offset.finish()),
            Arc::new(log_time.finish()),
        ];
        (leading, Arc::new(self.log_date.finish()))
    }
}

struct EventColumns {
    columns: Columns,
    position: PositionColumns,
    event_time: TimestampMicrosecondBuilder,
    /// `event_type` to `ip`, in the order of the table.
    strings: [Text; 9],
    cost_micros: Int64Builder,
    extra: Text,
}

impl EventColumns {
    fn of(columns: Columns) -> Self {
        Self {
            columns,
            position: PositionColumns::default(),
            event_time: TimestampMicrosecondBuilder::new().with_data_type(timestamp()),
            strings: std::array::from_fn(|_| Text::default()),
            cost_micros: Int64Builder::new(),
            extra: Text::default(),
        }
    }

    fn push(&mut self, message: &Message<'_>, event: &Event<'_>) {
        if self.columns.is_placed {
            self.position.push(message);
        } else {
            self.position.offset.append_value(message.offset);
        }
        self.event_time.append_value(event.event_time.micros());
        let ad_id = Some(Cow::Borrowed(event.ad_id.as_ref()));
        let strings = [
            &event.event_type,
            &ad_id,
            &event.campaign_id,
            &event.click_id,
            &event.user_id,
            &event.publisher_id,
            &event.country,
            &event.device,
            &event.ip,
        ];
        let wanted = &self.columns.wanted;
        for ((column, value), wanted) in self.strings.iter_mut().zip(strings).zip(&wanted[STRINGS]) {
            if *wanted {
                column.append(value.as_deref());
            }
        }
        self.cost_micros.append_option(event.cost_micros);
        if wanted[EXTRA] {
            self.extra.append(event.extra.as_deref());
        }
    }

    fn finish(&mut self, partition: &TopicPartition) -> RecordBatch {
        let (leading, log_date) = if self.columns.is_placed {
            self.position.finish(partition)
        } else {
            // What stands for the others is not wanted.
            let offset: ArrayRef = Arc::new(self.position.offset.finish());
            (std::array::from_fn(|_| Arc::clone(&offset)), offset)
        };
        let mut columns: Vec<ArrayRef> = leading.into();
        columns.push(Arc::new(self.event_time.finish()));
        let unwanted = Arc::clone(&log_date);
        let wanted = self.columns.wanted;
        let strings = self.strings.iter_mut().zip(&wanted[STRINGS]);
        columns.extend(strings.map(|(text, wanted)| if *wanted { text.finish() } else { Arc::clone(&unwanted) }));
        columns.push(Arc::new(self.cost_micros.finish()));
        columns.push(if wanted[EXTRA] { self.extra.finish() } else { unwanted });
        columns.push(log_date);
        let wanted = columns.into_iter().zip(wanted).filter_map(|(column, wanted)| wanted.then_some(column));
        RecordBatch::try_new(Arc::clone(&self.columns.schema), wanted.collect())
            .expect("the columns are those of clicks, in its order")
    }
}

#[derive(Default)]
struct RejectedColumns {
    position: PositionColumns,
    reason: StringBuilder,
    detail: StringBuilder,
    key: BinaryBuilder,
    payload: BinaryBuilder,
}

impl RejectedColumns {
    fn push(&mut self, message: &Message<'_>, rejected: &Rejected) {
        self.position.push(message);
        self.reason.append_value(rejected.reason.as_str());
        self.detail.append_option(rejected.detail.as_deref());
        self.key.append_option(message.key);
        self.payload.append_option(message.payload);
    }

    fn finish(&mut self, partition: &TopicPartition) -> RecordBatch {
        let (leading, log_date) = self.position.finish(partition);
        let mut columns: Vec<ArrayRef> = leading.into();
        columns.push(Arc::new(self.reason.finish()));
        columns.push(Arc::new(self.detail.finish()));
        columns.push(Arc::new(self.key.finish()));
        columns.push(Arc::new(self.payload.finish()));
        columns.push(log_date);
        RecordBatch::try_new(Table::ClicksRejected.schema(), columns)
            .expect("the columns are those of clicks_rejected, in its order")
    }
}
