//! Encodes batches as rows of the wire, within the time limit of a statement and until somebody cancels it.
//!
//! A library encodes the values. Where it differs from PostgreSQL, the result is corrected here, see [`Otherwise`].

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use arrow::array::Array;
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Schema, SchemaRef};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use bytes::{Buf, BufMut, BytesMut};
use datafusion::error::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use datafusion_postgres::arrow_pg::datatypes::{arrow_schema_to_pg_fields, encode_recordbatch};
use datafusion_postgres::pgwire::api::Type;
use datafusion_postgres::pgwire::api::portal::Format;
use datafusion_postgres::pgwire::api::results::{FieldFormat, FieldInfo, QueryResponse};
use datafusion_postgres::pgwire::error::{PgWireError, PgWireResult};
use datafusion_postgres::pgwire::messages::data::DataRow;
use datafusion_postgres::pgwire::types::format::FormatOptions;
use futures::channel::oneshot;
use futures::future::FusedFuture;
use futures::{FutureExt, Stream, StreamExt, stream};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, Sleep, sleep_until};

use super::errors::{Refused, Telling};
use super::sendable;

/// Maximum number of digits of numbers in arrays: the library panics on more.
const DIGITS_MAX: u8 = 28;

/// Length that stands for a null value.
const NULL: i32 = -1;

/// Returns the columns of rows, as the wire describes them.
pub(super) fn fields(schema: &SchemaRef, format: &Format) -> PgWireResult<Vec<FieldInfo>> {
    let columns = schema.fields().len();
    if let Format::Individual(formats) = format
        && formats.len() != columns
    {
        let why = format!("there are {columns} columns, and formats for {}", formats.len());
        return Err(Refused::protocol(&why).into());
    }
    if let Some(field) = schema.fields().iter().find(|field| is_of_many_digits(field.data_type())) {
        let how = format!("cast its elements to numeric({DIGITS_MAX}) or double precision");
        return Err(Refused::unsupported(&format!(
            "{}: arrays of numbers of so many digits are not supported; {how}",
            field.name()
        ))
        .into());
    }
    arrow_schema_to_pg_fields(schema, format, Some(Arc::new(FormatOptions::default())))
}

/// Returns batches as rows.
pub(super) fn rows<S>(schema: &SchemaRef, format: &Format, batches: S) -> PgWireResult<QueryResponse>
where
    S: Stream<Item = PgWireResult<RecordBatch>> + Send + 'static,
{
    let fields = Arc::new(fields(schema, format)?);
    let of = Arc::clone(&fields);
    let otherwise: Arc<[_]> = fields.iter().map(Otherwise::of).collect();
    let sendable = |batch: RecordBatch| sendable::check(&batch).map(|()| batch).map_err(PgWireError::from);
    let rows = batches.flat_map(move |batch| match batch.and_then(sendable) {
        Ok(batch) => stream::iter(encoded(Arc::clone(&of), batch, Arc::clone(&otherwise))).left_stream(),
        Err(error) => stream::iter([Err(error)]).right_stream(),
    });
    Ok(QueryResponse::new(fields, rows))
}

/// Returns whether a type is an array of numbers with more digits than the library takes.
fn is_of_many_digits(kind: &DataType) -> bool {
    match kind {
        DataType::List(of) | DataType::LargeList(of) | DataType::FixedSizeList(of, _) => match of.data_type() {
            DataType::Decimal128(digits, scale) => *digits > DIGITS_MAX || *scale < 0,
            _ => false,
        },
        _ => false,
    }
}

/// Values that the library writes differently from PostgreSQL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Otherwise {
    /// Intervals that are null: written as ones of no length.
    Null,
    /// Infinite numbers, as text: written `inf`, which is no number to most programs.
    Infinite,
    /// Arrays of values with blanks in them, as text: written without quotes, where some programs drop blanks.
    Unquoted,
}

impl Otherwise {
    /// Returns what differs in a column, if anything.
    fn of(field: &FieldInfo) -> Option<Self> {
        let is_text = field.format() == FieldFormat::Text;
        match *field.datatype() {
            Type::INTERVAL => Some(Self::Null),
            Type::FLOAT4 | Type::FLOAT8 | Type::FLOAT4_ARRAY | Type::FLOAT8_ARRAY if is_text => Some(Self::Infinite),
            Type::TIMESTAMP_ARRAY | Type::TIMESTAMPTZ_ARRAY | Type::INTERVAL_ARRAY if is_text => Some(Self::Unquoted),
            _ => None,
        }
    }
}

/// Returns the rows of a batch, as PostgreSQL writes them.
fn encoded(
    fields: Arc<Vec<FieldInfo>>,
    batch: RecordBatch,
    otherwise: Arc<[Option<Otherwise>]>,
) -> impl Iterator<Item = PgWireResult<DataRow>> {
    let is_right = otherwise.iter().all(Option::is_none);
    encode_recordbatch(fields, batch.clone()).enumerate().map(move |(at, row)| {
        if is_right { row } else { written(&row?, &otherwise, |column| batch.column(column).is_null(at)) }
    })
}

/// Corrects the values of a row that the library writes differently; `is_null` tells which columns are null.
fn written(row: &DataRow, otherwise: &[Option<Otherwise>], is_null: impl Fn(usize) -> bool) -> PgWireResult<DataRow> {
    let (mut data, mut rest) = (BytesMut::with_capacity(row.data.len()), &row.data[..]);
    for (column, otherwise) in otherwise.iter().enumerate() {
        let Ok(length) = usize::try_from(rest.get_i32()) else {
            data.put_i32(NULL);
            continue;
        };
        let (value, after) = rest.split_at(length);
        rest = after;
        let value = match otherwise {
            Some(Otherwise::Null) if is_null(column) => {
                data.put_i32(NULL);
                continue;
            }
            Some(Otherwise::Infinite) => String::from_utf8_lossy(value).replace("inf", "Infinity").into_bytes(),
            Some(Otherwise::Unquoted) => quoted(&String::from_utf8_lossy(value)).into_bytes(),
            Some(Otherwise::Null) | None => value.to_vec(),
        };
        data.put_i32(i32::try_from(value.len()).map_err(|_| Refused::too_much("a value is too long for a row"))?);
        data.put_slice(&value);
    }
    Ok(DataRow::new(data, row.field_count))
}

/// Returns an array with its elements in quotes; none of them contains a comma or a quote.
fn quoted(array: &str) -> String {
    let elements = array.strip_prefix('{').and_then(|array| array.strip_suffix('}'));
    match elements {
        Some(elements) if !elements.is_empty() && !elements.contains('"') => {
            let quote = |element: &str| if element == "NULL" { element.to_owned() } else { format!("\"{element}\"") };
            format!("{{{}}}", elements.split(',').map(quote).collect::<Vec<_>>().join(","))
        }
        _ => array.to_owned(),
    }
}

/// Conditions that end a statement early, and its permit.
pub(super) struct Limits {
    /// Deadline of the statement.
    pub until: Instant,
    /// Receiver of its cancellation.
    pub cancelled: oneshot::Receiver<()>,
    /// Permit that counts this statement's answer as open.
    pub running: OwnedSemaphorePermit,
}

/// Batches that a statement returns.
pub(super) struct Batches {
    /// Columns of the batches, as they were described.
    schema: SchemaRef,
    batches: SendableRecordBatchStream,
    until: Pin<Box<Sleep>>,
    cancelled: futures::future::Fuse<oneshot::Receiver<()>>,
    telling: Telling,
    _running: OwnedSemaphorePermit,
}

impl Batches {
    /// Creates the batches of a statement in these columns, within limits; `telling` words its errors.
    pub fn new(schema: SchemaRef, batches: SendableRecordBatchStream, limits: Limits, telling: Telling) -> Self {
        let Limits { until, cancelled, running } = limits;
        let (until, cancelled) = (Box::pin(sleep_until(until)), cancelled.fuse());
        Self { schema, batches, until, cancelled, telling, _running: running }
    }

    /// Returns the columns of the batches.
    pub fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    /// Casts a batch to the columns that were described: the planner may have found wider types. A value that does not
    /// fit is an error, and not null.
    fn described(&self, batch: &RecordBatch) -> Result<RecordBatch, DataFusionError> {
        let all = CastOptions { safe: false, ..CastOptions::default() };
        let columns = batch.columns().iter().zip(self.schema.fields());
        let columns = columns.map(|(column, field)| match column.data_type() == field.data_type() {
            true => Ok(Arc::clone(column)),
            false => cast_with_options(column, field.data_type(), &all),
        });
        let fields = self.schema.fields().iter().map(|field| field.as_ref().clone().with_nullable(true));
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        Ok(RecordBatch::try_new_with_options(schema, columns.collect::<Result<_, _>>()?, &options)?)
    }
}

impl Stream for Batches {
    type Item = PgWireResult<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.until.poll_unpin(context).is_ready() {
            return Poll::Ready(Some(Err(Refused::too_long().into())));
        }
        // Without a sender nobody can cancel the statement any more.
        if !self.cancelled.is_terminated()
            && let Poll::Ready(Ok(())) = self.cancelled.poll_unpin(context)
        {
            return Poll::Ready(Some(Err(PgWireError::QueryCanceled)));
        }
        match self.batches.poll_next_unpin(context) {
            Poll::Ready(Some(batch)) => {
                let batch = batch.and_then(|batch| self.described(&batch));
                Poll::Ready(Some(batch.map_err(|error| self.telling.of(error))))
            }
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{
        ArrayRef, Float64Array, IntervalMonthDayNanoArray, ListArray, TimestampMicrosecondArray, new_null_array,
    };
    use arrow::datatypes::{
        Decimal128Type, Field, IntervalMonthDayNano, IntervalUnit, TimeUnit, TimestampMicrosecondType,
    };
    use futures::executor::block_on;

    use super::*;

    /// Returns the values of one column, each in a row of its own.
    fn sent(column: ArrayRef, format: Format) -> Vec<Option<Vec<u8>>> {
        let schema: SchemaRef = Arc::new(Schema::new(vec![Field::new("a", column.data_type().clone(), true)]));
        let batch = RecordBatch::try_new(Arc::clone(&schema), vec![column]).expect("a batch");
        let mut rows = rows(&schema, &format, stream::iter([Ok(batch)])).expect("columns");
        let rows: Vec<_> = block_on(rows.data_rows().collect());
        let value = |row: PgWireResult<DataRow>| {
            let row = row.expect("a row");
            let mut rest = &row.data[..];
            usize::try_from(rest.get_i32()).ok().map(|length| rest[..length].to_vec())
        };
        rows.into_iter().map(value).collect()
    }

    fn text(column: ArrayRef) -> Vec<Option<String>> {
        let text = |value: Vec<u8>| String::from_utf8(value).expect("a text");
        sent(column, Format::UnifiedText).into_iter().map(|value| value.map(text)).collect()
    }

    #[test]
    fn an_interval_that_is_null_is_null() {
        let day = IntervalMonthDayNano::new(0, 1, 0);
        let intervals = || -> ArrayRef { Arc::new(IntervalMonthDayNanoArray::from(vec![None, Some(day), None])) };
        assert_eq!(text(intervals()), [None, Some("1 day".to_owned()), None]);
        let binary = sent(intervals(), Format::UnifiedBinary);
        assert_eq!(binary.iter().map(|value| value.as_ref().map(Vec::len)).collect::<Vec<_>>(), [None, Some(16), None]);
        for unit in [IntervalUnit::YearMonth, IntervalUnit::DayTime] {
            assert_eq!(text(new_null_array(&DataType::Interval(unit), 1)), [None]);
        }
    }

    #[test]
    fn numbers_and_arrays_are_written_as_postgresql_writes_them() {
        let numbers: ArrayRef = Arc::new(Float64Array::from(vec![Some(f64::INFINITY), Some(f64::NEG_INFINITY), None]));
        assert_eq!(text(numbers), [Some("Infinity".to_owned()), Some("-Infinity".to_owned()), None]);
        let times = ListArray::from_iter_primitive::<TimestampMicrosecondType, _, _>([Some([Some(0), None]), None]);
        let expected = "{\"1970-01-01 00:00:00.000000\",NULL}".to_owned();
        assert_eq!(text(Arc::new(times)), [Some(expected), None]);
        assert_eq!(quoted("{}"), "{}");
        let utc = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        assert_eq!(text(new_null_array(&DataType::new_list(utc, true), 1)), [None]);
        let time: ArrayRef = Arc::new(TimestampMicrosecondArray::from(vec![0]).with_timezone("UTC"));
        assert_eq!(text(time), [Some("1970-01-01 00:00:00.000000+00".to_owned())]);
    }

    #[test]
    fn a_time_that_cannot_be_written_is_an_error_and_not_null() {
        for format in [Format::UnifiedText, Format::UnifiedBinary] {
            let times: ArrayRef = Arc::new(TimestampMicrosecondArray::from(vec![Some(0), Some(i64::MAX)]));
            let schema: SchemaRef = Arc::new(Schema::new(vec![Field::new("a", times.data_type().clone(), true)]));
            let batch = RecordBatch::try_new(Arc::clone(&schema), vec![times]).expect("a batch");
            let mut rows = rows(&schema, &format, stream::iter([Ok(batch)])).expect("columns");
            let first = block_on(rows.data_rows().next()).expect("an error");
            let Err(PgWireError::UserError(why)) = first else { panic!("it is sent") };
            assert_eq!(why.code, "22008");
        }
    }

    #[test]
    fn arrays_of_numbers_that_the_library_does_not_take_are_refused() {
        let long = ListArray::from_iter_primitive::<Decimal128Type, _, _>([Some([Some(i128::MAX)])]);
        let schema: SchemaRef = Arc::new(Schema::new(vec![Field::new("a", long.data_type().clone(), true)]));
        assert!(fields(&schema, &Format::UnifiedText).is_err());
    }
}
