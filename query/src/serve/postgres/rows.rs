//! Batches into the rows of the wire, for as long as a statement may take and until somebody cancels it.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use arrow::compute::cast;
use arrow::datatypes::{Schema, SchemaRef};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use datafusion::error::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use datafusion_postgres::arrow_pg::datatypes::{arrow_schema_to_pg_fields, encode_recordbatch};
use datafusion_postgres::pgwire::api::portal::Format;
use datafusion_postgres::pgwire::api::results::{FieldInfo, QueryResponse};
use datafusion_postgres::pgwire::error::{PgWireError, PgWireResult};
use datafusion_postgres::pgwire::types::format::FormatOptions;
use futures::channel::oneshot;
use futures::future::FusedFuture;
use futures::{FutureExt, Stream, StreamExt, stream};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, Sleep, sleep_until};

use super::errors::{Refused, Telling};

/// The columns of rows.
pub(super) fn fields(schema: &SchemaRef, format: &Format) -> PgWireResult<Vec<FieldInfo>> {
    let columns = schema.fields().len();
    if let Format::Individual(formats) = format
        && formats.len() != columns
    {
        let why = format!("there are {columns} columns, and formats for {}", formats.len());
        return Err(Refused::protocol(&why).into());
    }
    arrow_schema_to_pg_fields(schema, format, Some(Arc::new(FormatOptions::default())))
}

/// Batches as rows.
pub(super) fn rows<S>(schema: &SchemaRef, format: &Format, batches: S) -> PgWireResult<QueryResponse>
where
    S: Stream<Item = PgWireResult<RecordBatch>> + Send + 'static,
{
    let fields = Arc::new(fields(schema, format)?);
    let of = Arc::clone(&fields);
    let rows = batches.flat_map(move |batch| match batch {
        Ok(batch) => stream::iter(encode_recordbatch(Arc::clone(&of), batch)).left_stream(),
        Err(error) => stream::iter([Err(error)]).right_stream(),
    });
    Ok(QueryResponse::new(fields, rows))
}

/// What ends a statement before its time.
pub(super) struct Limits {
    /// When it has taken too long.
    pub until: Instant,
    /// Whether somebody has cancelled it.
    pub cancelled: oneshot::Receiver<()>,
    /// That it runs.
    pub running: OwnedSemaphorePermit,
}

/// The batches of a statement.
pub(super) struct Batches {
    /// Their columns, as they were described.
    schema: SchemaRef,
    batches: SendableRecordBatchStream,
    until: Pin<Box<Sleep>>,
    cancelled: futures::future::Fuse<oneshot::Receiver<()>>,
    telling: Telling,
    _running: OwnedSemaphorePermit,
}

impl Batches {
    /// Batches in these columns, within limits; whose errors are told so.
    pub fn new(schema: SchemaRef, batches: SendableRecordBatchStream, limits: Limits, telling: Telling) -> Self {
        let Limits { until, cancelled, running } = limits;
        let (until, cancelled) = (Box::pin(sleep_until(until)), cancelled.fuse());
        Self { schema, batches, until, cancelled, telling, _running: running }
    }

    /// Their columns.
    pub fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    /// A batch in the columns that were described: the planner may have found types that hold more.
    fn described(&self, batch: &RecordBatch) -> Result<RecordBatch, DataFusionError> {
        let columns = batch.columns().iter().zip(self.schema.fields());
        let columns = columns.map(|(column, field)| match column.data_type() == field.data_type() {
            true => Ok(Arc::clone(column)),
            false => cast(column, field.data_type()),
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
        // Without a sender nobody can cancel it any more.
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
