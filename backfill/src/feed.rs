//! The raw table for repeated questions about single partitions: it is opened, and listed, once.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::future::BoxFuture;
use ingest::drive::DriveError;
use ingest::replay::{Needs, RawTable};
use lake_schemas::job::LogBatch;
use lake_schemas::{OffsetRange, Stand, TopicPartition};
use lake_store::{Lake, RawFile, Result};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use crate::bounded::{self, Takes};
use crate::work;

/// Raw table that is open for many questions.
pub(crate) struct Feed {
    raw: Arc<Mutex<RawTable>>,
    stands: BTreeMap<TopicPartition, Stand>,
}

impl Feed {
    /// Opens the raw table of a lake.
    pub fn open(lake: &Lake) -> BoxFuture<'_, Result<Self>> {
        Box::pin(async move {
            let log = work::raw(lake).await?;
            let stands = log.stands();
            Ok(Self { raw: Arc::new(Mutex::new(RawTable::new(log))), stands })
        })
    }

    /// Returns the stands of all partitions.
    pub fn stands(&self) -> &BTreeMap<TopicPartition, Stand> {
        &self.stands
    }

    /// Passes the rows of one partition that `needs` selects, from an offset on, to `each`: in these columns, in the
    /// order of the log.
    pub fn give<'a>(
        &'a self,
        needs: Needs,
        partition: &'a TopicPartition,
        from: Option<i64>,
        columns: Vec<String>,
        each: impl FnMut(LogBatch) -> Result<()> + Send + 'a,
    ) -> BoxFuture<'a, Result<(), DriveError>> {
        Box::pin(async move {
            self.raw.lock().await.need(needs);
            self.read(partition, columns, Given { from, each }).await
        })
    }

    async fn read(
        &self,
        partition: &TopicPartition,
        columns: Vec<String>,
        mut given: impl Takes,
    ) -> Result<(), DriveError> {
        let (raw, stop) = (Arc::clone(&self.raw), CancellationToken::new());
        bounded::read(raw, columns, vec![partition.clone()], 1, &stop, &mut given).await.map(|_| ())
    }

    /// Passes one stretch of a partition to `each`, and nothing else.
    pub fn give_stretch<'a>(
        &'a self,
        partition: &'a TopicPartition,
        stretch: OffsetRange,
        columns: Vec<String>,
        each: impl FnMut(LogBatch) -> Result<()> + Send + 'a,
    ) -> BoxFuture<'a, Result<(), DriveError>> {
        Box::pin(async move {
            self.raw.lock().await.end_at([(partition.clone(), stretch.next)].into());
            let given = Given { from: Some(stretch.first), each };
            self.read(partition, columns, given).await
        })
    }

    /// Returns all files of a partition.
    pub fn files<'a>(&'a self, partition: &'a TopicPartition) -> BoxFuture<'a, Result<Vec<RawFile>>> {
        Box::pin(async move { self.raw.lock().await.all_files_of(partition).await })
    }
}

/// Consumer that passes the batches of a partition to a function.
struct Given<F> {
    from: Option<i64>,
    each: F,
}

impl<F: FnMut(LogBatch) -> Result<()> + Send> Takes for Given<F> {
    fn begin(&mut self, _: &TopicPartition) -> Option<i64> {
        self.from
    }

    async fn take(&mut self, batch: LogBatch) -> Result<(), DriveError> {
        Ok((self.each)(batch)?)
    }

    async fn end(&mut self, _: &TopicPartition) -> Result<(), DriveError> {
        Ok(())
    }
}
