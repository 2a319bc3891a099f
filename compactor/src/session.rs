//! Queries over the rows of files: a session with a memory limit that spills to disk, and files as a table in it.
//!
//! Queries are built as plans, not written as SQL: a crate that awaits DataFusion's SQL compiles its parser and planner
//! once more, which takes minutes.
//!
//! The path of a file that cannot be read is remembered. The error that a query returns names it in words only, and a
//! caller that skips the file must know which it was.

use std::fmt;
use std::sync::{Arc, OnceLock};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use datafusion::catalog::streaming::StreamingTable;
use datafusion::error::DataFusionError;
use datafusion::execution::memory_pool::FairSpillPool;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{SortExpr, ident};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::PartitionStream;
use datafusion::prelude::{DataFrame, SessionConfig, SessionContext};
use deltalake::kernel::Add;
use futures::{StreamExt, TryStreamExt, stream};
use lake_schemas::Table;
use lake_store::{LakeError, read};
use object_store::ObjectStore;

use crate::error::CompactError;

/// Function that turns rows as they were read into the rows that a query sees.
pub(crate) type Select = Arc<dyn Fn(RecordBatch) -> Result<RecordBatch, ArrowError> + Send + Sync>;

/// A file of a table, with the selection of its rows that a query sees.
#[derive(Clone)]
pub(crate) struct Source {
    pub table: Table,
    pub store: Arc<dyn ObjectStore>,
    pub file: Add,
    pub select: Select,
}

/// Returns an ascending sort order of columns.
pub(crate) fn ascending(columns: &[&str]) -> Vec<SortExpr> {
    columns.iter().map(|name| ident(*name).sort(true, false)).collect()
}

/// Session that runs queries over files, one after the other.
pub(crate) struct Session {
    context: SessionContext,
    unread: Arc<OnceLock<String>>,
}

impl Session {
    /// Creates a session whose queries may take `memory` bytes; beyond that they spill to disk.
    pub fn new(memory: usize) -> Result<Self, CompactError> {
        let runtime = RuntimeEnvBuilder::new().with_memory_pool(Arc::new(FairSpillPool::new(memory))).build_arc()?;
        let context = SessionContext::new_with_config_rt(SessionConfig::new(), runtime);
        Ok(Self { context, unread: Arc::default() })
    }

    /// Runs a query over the rows of files, read in the columns of a schema.
    pub async fn ask(
        &self,
        files: &[Source],
        schema: &SchemaRef,
        question: impl FnOnce(DataFrame) -> Result<DataFrame, DataFusionError>,
    ) -> Result<SendableRecordBatchStream, CompactError> {
        let parts = self.context.state().config().target_partitions().min(files.len()).max(1);
        let part = |number: usize| {
            let files = files.iter().skip(number).step_by(parts).cloned().collect();
            let (schema, unread) = (Arc::clone(schema), Arc::clone(&self.unread));
            Arc::new(Part { files, schema, unread }) as Arc<dyn PartitionStream>
        };
        let rows = StreamingTable::try_new(Arc::clone(schema), (0..parts).map(part).collect())?;
        let asked = question(self.context.read_table(Arc::new(rows))?)?;
        Ok(asked.execute_stream().await?)
    }

    /// Returns the path of the first file that could not be read; `None` if all could, so far.
    pub fn unread(&self) -> Option<String> {
        self.unread.get().cloned()
    }
}

/// Files that one partition of a query reads, one after the other.
struct Part {
    files: Vec<Source>,
    schema: SchemaRef,
    unread: Arc<OnceLock<String>>,
}

impl fmt::Debug for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} files", self.files.len())
    }
}

impl PartitionStream for Part {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let (schema, unread) = (Arc::clone(&self.schema), Arc::clone(&self.unread));
        let opened = stream::iter(self.files.clone()).then(move |source| {
            let (schema, unread) = (Arc::clone(&schema), Arc::clone(&unread));
            async move {
                let Source { table, store, file, select } = source;
                let path = file.path.clone();
                let failed = move |error: LakeError| {
                    // If another file failed before, that one stays recorded.
                    let _ = unread.set(path.clone());
                    DataFusionError::External(Box::new(error))
                };
                let opened = read::rows(store, table, schema, file).await.map_err(&failed)?;
                let rows = opened.map_err(failed).and_then(move |rows| {
                    let selected = select(rows).map_err(DataFusionError::from);
                    futures::future::ready(selected)
                });
                Ok::<_, DataFusionError>(rows)
            }
        });
        Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), opened.try_flatten()))
    }
}
