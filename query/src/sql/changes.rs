//! `changes('t', a, b)`: the rows that versions a to b of a table added, each with the version that did.
//!
//! A version that rewrites files leaves rows as they are, and has added none; one that replaces rows has added the new
//! ones. Nothing of what existed before version a is read.

use std::fmt;
use std::ops::RangeInclusive;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use async_trait::async_trait;
use chrono::DateTime;
use datafusion::catalog::{Session, TableProvider};
use datafusion::datasource::TableType;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::datasource::table_schema::TableSchema;
use datafusion::error::Result;
use datafusion::logical_expr::Expr;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::scalar::ScalarValue;
use deltalake::kernel::Add;
use lake_schemas::table::Version;
use lake_schemas::{Code, Folder, Table};
use lake_store::LakeError;
use object_store::ObjectMeta;

use super::errors::{external, refused};
use super::snapshot::StatementSnapshot;
use crate::totals::{location, store_url};

/// Column with the version that added a row.
const VERSION: &str = "_version";

/// Rows that some versions of a table added, as a table.
pub(crate) struct Changes {
    snapshot: Arc<StatementSnapshot>,
    table: Table,
    versions: RangeInclusive<Version>,
    columns: TableSchema,
}

impl Changes {
    /// Makes the table of changes of a table with these columns.
    pub fn new(
        snapshot: Arc<StatementSnapshot>,
        table: Table,
        versions: RangeInclusive<Version>,
        schema: &SchemaRef,
    ) -> Self {
        let of_folder = table.partition_columns();
        let (folder, file): (Vec<FieldRef>, Vec<FieldRef>) =
            schema.fields().iter().cloned().partition(|field| of_folder.contains(&field.name().as_str()));
        let version = Arc::new(Field::new(VERSION, DataType::Int64, false));
        let folder: Vec<_> = folder.into_iter().chain([version]).collect();
        let columns = TableSchema::builder(Arc::new(Schema::new(file))).with_table_partition_cols(folder).build();
        Self { snapshot, table, versions, columns }
    }

    /// Describes a file to DataFusion, with the values of the columns that the file does not hold.
    fn file(&self, version: Version, add: &Add) -> Result<PartitionedFile> {
        let foreign = || {
            refused(LakeError::Refused(
                Code::FileForeign
                    .because(format!("{}: {} is not a file as clicklake writes them", self.table, add.path)),
            ))
        };
        let folder = Folder::named(self.table, &add.partition_values).ok_or_else(foreign)?;
        let object = ObjectMeta {
            location: location(self.table, &add.path).ok_or_else(foreign)?,
            last_modified: DateTime::from_timestamp_millis(add.modification_time).ok_or_else(foreign)?,
            size: add.size.unsigned_abs(),
            e_tag: None,
            version: None,
        };
        let values = self.columns.table_partition_cols().iter().map(|field| match folder.column(field.name(), 1) {
            Some(column) => ScalarValue::try_from_array(&column, 0),
            None => Ok(ScalarValue::Int64(i64::try_from(version).ok())),
        });
        let mut file = PartitionedFile::new_from_meta(object);
        file.partition_values = values.collect::<Result<_>>()?;
        Ok(file)
    }
}

impl fmt::Debug for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "versions {:?} of {}", self.versions, self.table)
    }
}

#[async_trait]
impl TableProvider for Changes {
    fn schema(&self) -> SchemaRef {
        Arc::clone(self.columns.table_schema())
    }

    fn table_type(&self) -> TableType {
        TableType::Temporary
    }

    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let view = self.snapshot.view(self.table).await.map_err(external)?;
        let added = view.added(self.versions.clone()).await.map_err(refused)?;
        let files = added.iter().map(|(version, add)| self.file(*version, add)).collect::<Result<Vec<_>>>()?;
        if files.is_empty() {
            let schema = self.schema();
            let schema = projection.map_or(Ok(schema.clone()), |columns| schema.project(columns).map(Arc::new))?;
            return Ok(Arc::new(EmptyExec::new(schema)));
        }
        let hands = files.len().min(session.config().target_partitions());
        let group = |hand: usize| FileGroup::new(files.iter().skip(hand).step_by(hands).cloned().collect());
        let config = FileScanConfigBuilder::new(store_url(), Arc::new(ParquetSource::new(self.columns.clone())))
            .with_file_groups((0..hands).map(group).collect())
            .with_projection_indices(projection.cloned())?
            .with_limit(limit)
            .build();
        Ok(DataSourceExec::from_data_source(config))
    }
}
