//! Raw files that another program wrote: their rows are put in the order of the log again, a file for each partition.
//!
//! Whoever deletes or changes rows of `clicks` elsewhere, or optimizes it, writes files with rows of several
//! partitions, in whatever order. Nobody can read the log back from these. No row changes here, and it is no
//! `dataChange`: what was deleted stays deleted.

use std::fmt;
use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use arrow::compute::partition;
use arrow::datatypes::SchemaRef;
use datafusion::catalog::streaming::StreamingTable;
use datafusion::error::DataFusionError;
use datafusion::execution::memory_pool::FairSpillPool;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::PartitionStream;
use datafusion::prelude::{SessionConfig, SessionContext};
use deltalake::kernel::Add;
use futures::{StreamExt, TryStreamExt, stream};
use lake_schemas::commit::{Commit, Outcome, TableLog};
use lake_schemas::files::{Encoder, discard};
use lake_schemas::path::{is_own, path_of};
use lake_schemas::table::column;
use lake_schemas::{LakeError, RawFile, Table, TopicPartition, read};
use object_store::ObjectStore;
use tokio::time::Instant;
use tracing::warn;

use crate::error::CompactError;
use crate::report::Done;
use crate::uncommitted::Uncommitted;

/// The job, as `history` names it.
const JOB: &str = "compaction";

/// What a file's rows are called in SQL.
const ROWS: &str = "rows";

/// A raw table whose files are looked through.
pub(crate) struct SortOut<'a> {
    pub log: &'a mut TableLog,
    /// How much memory sorting may take, in bytes; beyond it, it uses the disk.
    pub memory: usize,
}

impl SortOut<'_> {
    /// Sorts what another program wrote; what was done, if anything. A file that cannot be sorted is said, and left for
    /// the next round.
    pub async fn run(&mut self) -> Result<Option<Done>, CompactError> {
        let (began, table) = (Instant::now(), self.log.table());
        let (mut before, mut after) = (0, 0);
        for file in self.odd().await? {
            match self.sort(&file).await {
                Ok(files) if files > 0 => (before, after) = (before + 1, after + files),
                Ok(_) => {}
                Err(error) => {
                    warn!(%table, path = file.path, error = &error as &dyn std::error::Error, "not sorted; the next round tries again");
                }
            }
        }
        let version = self.log.version();
        let files = (before, after);
        Ok((before > 0).then(|| Done::SortedOut { table, version, files, took: began.elapsed() }))
    }

    /// How many files would be sorted, without doing it.
    pub async fn look(&mut self) -> Result<usize, CompactError> {
        Ok(self.odd().await?.len())
    }

    /// The files that are not as clicklake writes them: of another name, or not of one partition by their statistics.
    async fn odd(&mut self) -> Result<Vec<Add>, CompactError> {
        let table = self.log.table();
        if !table.keeps_partitions_apart() {
            return Ok(Vec::new());
        }
        self.log.refresh().await?;
        let is_odd =
            |file: &Add| path_of(&file.path).is_none_or(|path| !is_own(table, &path)) || RawFile::of(file).is_none();
        Ok(self.log.live_files().await?.into_iter().filter(is_odd).collect())
    }

    /// Puts sorted files in the place of one; how many. None, if it is gone meanwhile.
    async fn sort(&mut self, file: &Add) -> Result<usize, CompactError> {
        let schema = self.log.whole_schema()?;
        let mut files = Uncommitted::new(self.log.object_store());
        let written = self.write_sorted(file, &schema, &mut files).await;
        let adds = files.after(written).await?;
        let commit = Commit { adds, removes: vec![file.clone()], data_change: false, ..Commit::new(JOB) };
        match self.log.commit(&commit).await? {
            Outcome::Committed(_) => Ok(commit.adds.len()),
            Outcome::InputGone { .. } => {
                discard(self.log.object_store().as_ref(), &commit.id, &commit.adds).await;
                Ok(0)
            }
            outcome @ (Outcome::Fenced { .. } | Outcome::Overtaken { .. }) => {
                unreachable!("it moves no stand, and goes onto any version: {outcome:?}")
            }
        }
    }

    /// Puts the rows of a file in the order of the log, a file for each partition.
    async fn write_sorted(&self, file: &Add, schema: &SchemaRef, files: &mut Uncommitted) -> Result<(), CompactError> {
        let mut sorted = self.sorted(file, schema).await?;
        let mut writing: Option<(TopicPartition, Encoder)> = None;
        while let Some(rows) = sorted.try_next().await? {
            for run in runs(&rows)? {
                let of = partition_of(&run);
                if let Some((_, done)) = writing.take_if(|(written, _)| *written != of) {
                    put_last(done, files).await?;
                }
                let encoder = || (of, Encoder::new(self.log.table(), Arc::clone(schema)));
                let (_, encoder) = writing.get_or_insert_with(encoder);
                let run = RecordBatch::try_new(Arc::clone(schema), run.columns().to_vec())?;
                for file in encoder.push(&run).await? {
                    files.put(file).await?;
                }
            }
        }
        match writing {
            Some((_, done)) => put_last(done, files).await,
            None => Ok(()),
        }
    }

    /// The rows of a file, in the order of the log.
    async fn sorted(&self, file: &Add, schema: &SchemaRef) -> Result<SendableRecordBatchStream, CompactError> {
        let runtime =
            RuntimeEnvBuilder::new().with_memory_pool(Arc::new(FairSpillPool::new(self.memory))).build_arc()?;
        let context = SessionContext::new_with_config_rt(SessionConfig::new(), runtime);
        let (store, table, schema) = (self.log.object_store(), self.log.table(), Arc::clone(schema));
        let of = FileRows { store, table, schema: Arc::clone(&schema), file: file.clone() };
        context.register_table(ROWS, Arc::new(StreamingTable::try_new(schema, vec![Arc::new(of)])?))?;
        let order = [column::TOPIC, column::KAFKA_PARTITION, column::KAFKA_OFFSET].join(", ");
        Ok(context.sql(&format!("select * from {ROWS} order by {order}")).await?.execute_stream().await?)
    }
}

/// Puts what an encoder still holds.
async fn put_last(encoder: Encoder, files: &mut Uncommitted) -> Result<(), CompactError> {
    if let Some(file) = encoder.finish().await? {
        files.put(file).await?;
    }
    Ok(())
}

/// Sorted rows, split where the partition changes.
fn runs(rows: &RecordBatch) -> Result<Vec<RecordBatch>, CompactError> {
    let columns = [column::TOPIC, column::KAFKA_PARTITION].map(|name| Arc::clone(&rows[name]));
    let ranges = partition(&columns)?.ranges();
    Ok(ranges.into_iter().map(|range| rows.slice(range.start, range.len())).collect())
}

/// The partition of rows of one.
fn partition_of(rows: &RecordBatch) -> TopicPartition {
    let topic = rows[column::TOPIC].as_string::<i32>().value(0);
    TopicPartition::new(topic, rows[column::KAFKA_PARTITION].as_primitive::<arrow::datatypes::Int32Type>().value(0))
}

/// The rows of one file, as a table.
struct FileRows {
    store: Arc<dyn ObjectStore>,
    table: Table,
    schema: SchemaRef,
    file: Add,
}

impl fmt::Debug for FileRows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.path)
    }
}

impl PartitionStream for FileRows {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let opened = read::rows(Arc::clone(&self.store), self.table, Arc::clone(&self.schema), self.file.clone());
        let external = |error: LakeError| DataFusionError::External(Box::new(error));
        let rows = stream::once(opened).map_ok(move |rows| rows.map_err(external)).map_err(external).try_flatten();
        Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), rows.boxed()))
    }
}
