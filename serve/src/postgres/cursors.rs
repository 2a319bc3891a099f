//! Cursors: rows that are fetched in parts. Rows that are not fetched are not produced.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use datafusion_postgres::pgwire::api::portal::Format;
use datafusion_postgres::pgwire::api::results::QueryResponse;
use datafusion_postgres::pgwire::error::PgWireResult;
use futures::{StreamExt, stream};
use lake_store::locked::lock;
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};

use super::errors::Refused;
use super::rows::{Batches, rows};

/// Cursors of a connection, by name.
#[derive(Default)]
pub(super) struct Cursors(Mutex<BTreeMap<String, Cursor>>);

#[derive(Clone)]
struct Cursor {
    schema: SchemaRef,
    rest: Arc<AsyncMutex<Rest>>,
}

/// Rows of a cursor that are not fetched yet.
struct Rest {
    batches: Batches,
    /// Rows that were produced and are left over.
    left: Option<RecordBatch>,
}

impl Rest {
    /// Returns the next rows, at most `most` of them.
    async fn next(&mut self, most: usize) -> Option<PgWireResult<RecordBatch>> {
        let batch = match self.left.take() {
            Some(left) => left,
            None => match self.batches.next().await? {
                Ok(batch) => batch,
                Err(error) => return Some(Err(error)),
            },
        };
        if batch.num_rows() > most {
            self.left = Some(batch.slice(most, batch.num_rows() - most));
            return Some(Ok(batch.slice(0, most)));
        }
        Some(Ok(batch))
    }
}

impl Cursors {
    /// Opens a cursor; an open one of that name is closed.
    pub fn open(&self, name: String, batches: Batches) {
        let cursor = Cursor { schema: batches.schema(), rest: Arc::new(AsyncMutex::new(Rest { batches, left: None })) };
        lock(&self.0).insert(name, cursor);
    }

    /// Closes a cursor, or all of them.
    pub fn close(&self, name: Option<&str>) {
        match name {
            Some(name) => drop(lock(&self.0).remove(name)),
            None => lock(&self.0).clear(),
        }
    }

    /// Returns the columns of a cursor.
    pub fn schema(&self, name: &str) -> Result<SchemaRef, Refused> {
        self.cursor(name).map(|cursor| cursor.schema)
    }

    /// Fetches the next rows of a cursor: at most `count`, or all.
    pub fn fetch(&self, name: &str, count: Option<usize>, format: &Format) -> PgWireResult<QueryResponse> {
        let Cursor { schema, rest } = self.cursor(name)?;
        let rest = rest.try_lock_owned().map_err(|_| Refused::in_use(name))?;
        let begun = (rest, count.unwrap_or(usize::MAX));
        let batches = stream::try_unfold(begun, |(mut rest, most): (OwnedMutexGuard<Rest>, usize)| async move {
            if most == 0 {
                return Ok(None);
            }
            let Some(batch) = rest.next(most).await.transpose()? else { return Ok(None) };
            let most = most - batch.num_rows();
            Ok(Some((batch, (rest, most))))
        });
        let mut response = rows(&schema, format, batches)?;
        response.set_command_tag("FETCH");
        Ok(response)
    }

    fn cursor(&self, name: &str) -> Result<Cursor, Refused> {
        lock(&self.0).get(name).cloned().ok_or_else(|| Refused::no_cursor(name))
    }
}
