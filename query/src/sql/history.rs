//! `history('t')`: a row for each version of a table that still exists.

use std::fmt;
use std::sync::{Arc, LazyLock};

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::datasource::{MemTable, TableType};
use datafusion::error::Result;
use datafusion::logical_expr::Expr;
use datafusion::physical_plan::ExecutionPlan;
use lake_schemas::table::timestamp;
use lake_schemas::{Table, position};
use lake_store::commit::Written;

use super::errors::{external, refused};
use super::snapshot::StatementSnapshot;

static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
    Arc::new(Schema::new(vec![
        Field::new("version", DataType::Int64, false),
        Field::new("time", timestamp(), true),
        Field::new("operation", DataType::Utf8, false),
        Field::new("rows", DataType::Int64, true),
        Field::new("cut", DataType::Utf8, false),
    ]))
});

/// Table provider of `history`: a row for each version of one table.
pub(crate) struct HistoryTable {
    pub snapshot: Arc<StatementSnapshot>,
    pub table: Table,
}

impl fmt::Debug for HistoryTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "history of {}", self.table)
    }
}

#[async_trait]
impl TableProvider for HistoryTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&SCHEMA)
    }

    fn table_type(&self) -> TableType {
        TableType::Temporary
    }

    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let view = self.snapshot.view(self.table).await.map_err(external)?;
        let first = view.first().await.map_err(refused)?;
        let written = view.written(first..=view.version()).await.map_err(refused)?;
        let rows = MemTable::try_new(self.schema(), vec![vec![rows_of(&written)?]])?;
        rows.scan(session, projection, filters, limit).await
    }
}

/// Makes a row for each version.
fn rows_of(written: &[Written]) -> Result<RecordBatch, ArrowError> {
    let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    let times = written.iter().map(|one| one.time_ms.map(|millis| millis * 1_000));
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_iter_values(written.iter().map(|one| number(one.version)))),
        Arc::new(times.collect::<TimestampMicrosecondArray>().with_data_type(timestamp())),
        Arc::new(StringArray::from_iter_values(written.iter().map(|one| &one.operation))),
        Arc::new(written.iter().map(|one| one.rows.map(number)).collect::<Int64Array>()),
        Arc::new(StringArray::from_iter_values(written.iter().map(|one| position::shown(&one.cut)))),
    ];
    RecordBatch::try_new(Arc::clone(&SCHEMA), columns)
}
