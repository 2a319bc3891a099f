//! Presents a table with all columns that this program knows, whichever of them it has. A column that was added since
//! the table was made reads as null, and a measure as 0, just as where a file is older than a column.

use std::fmt;
use std::sync::{Arc, LazyLock};

use arrow::datatypes::{Field, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::DFSchema;
use datafusion::datasource::TableType;
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, ident, lit, when};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::scalar::ScalarValue;
use lake_schemas::{Measure, Table};

/// Way in which a column is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ReadAs {
    /// Reads what the table has.
    Held,
    /// Reads what the table has, and 0 where that is null.
    HeldOrZero,
    /// Reads 0: the table lacks the column.
    Zero,
    /// Reads null: the table lacks the column.
    Null,
}

/// A table that lacks columns, or may lack values of measures.
struct Complete {
    /// The table itself.
    held: Arc<dyn TableProvider>,
    /// Columns of the table, followed by those that it lacks.
    schema: SchemaRef,
    /// How each of these columns is read.
    columns: Vec<ReadAs>,
}

impl fmt::Debug for Complete {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} of which {:?}", self.columns, self.schema)
    }
}

/// Returns the table with all columns that this program knows.
pub(crate) fn complete(table: Table, held: Arc<dyn TableProvider>) -> Arc<dyn TableProvider> {
    with_columns(table, added(table), held)
}

/// Returns the columns that were added to tables of this kind. They are worked out once, because each statement opens
/// its tables anew.
fn added(table: Table) -> &'static [Arc<Field>] {
    static ADDED: LazyLock<[Vec<Arc<Field>>; Table::ALL.len()]> = LazyLock::new(|| {
        Table::ALL.map(|table| {
            let definition = table.definition();
            definition.schema.fields()[definition.first_columns()..].to_vec()
        })
    });
    // A staging table has the columns of the lake's own minutes.
    let of = if table.is_minutes() { Table::ClicksMinute } else { table };
    let at = Table::ALL.iter().position(|one| *one == of).expect("all but staging tables are listed");
    &ADDED[at]
}

/// Returns the table with these columns, which were added.
fn with_columns(table: Table, added: &[Arc<Field>], held: Arc<dyn TableProvider>) -> Arc<dyn TableProvider> {
    let there = held.schema();
    let is_measure = |field: &Field| {
        let is_it = |measure: &Measure| measure.column() == field.name() && measure.data_type() == *field.data_type();
        table.is_counts() && Measure::ALL.iter().any(is_it)
    };
    let (mut fields, mut columns) = (Vec::new(), Vec::new());
    for field in there.fields() {
        let may_lack = field.is_nullable() && is_measure(field);
        // A computed column has a name and a type, and no further metadata.
        let plain = || Arc::new(Field::new(field.name(), field.data_type().clone(), true));
        fields.push(if may_lack { plain() } else { Arc::clone(field) });
        columns.push(if may_lack { ReadAs::HeldOrZero } else { ReadAs::Held });
    }
    for field in added.iter().filter(|field| there.field_with_name(field.name()).is_err()) {
        fields.push(Arc::clone(field));
        columns.push(if is_measure(field) { ReadAs::Zero } else { ReadAs::Null });
    }
    if columns.iter().all(|column| *column == ReadAs::Held) {
        return held;
    }
    let schema = Arc::new(Schema::new_with_metadata(fields, there.metadata().clone()));
    Arc::new(Complete { held, schema, columns })
}

impl Complete {
    /// Returns whether a condition refers only to columns that are read unchanged.
    fn is_of_held(&self, condition: &Expr) -> bool {
        let is_held = |name: &str| self.schema.index_of(name).is_ok_and(|at| self.columns[at] == ReadAs::Held);
        condition.column_refs().iter().all(|column| is_held(&column.name))
    }

    /// Returns the expression for a column, over rows of the table itself.
    fn column(&self, at: usize) -> Result<Expr> {
        let field = self.schema.field(at);
        let held = || ident(field.name().clone());
        match self.columns[at] {
            ReadAs::Held => Ok(held()),
            ReadAs::HeldOrZero => when(held().is_null(), lit(0_i64)).otherwise(held()),
            ReadAs::Zero => Ok(lit(0_i64)),
            ReadAs::Null => Ok(lit(ScalarValue::try_from(field.data_type())?)),
        }
    }
}

#[async_trait]
impl TableProvider for Complete {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        self.held.table_type()
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        let of_held: Vec<_> = filters.iter().copied().filter(|filter| self.is_of_held(filter)).collect();
        let mut supported = self.held.supports_filters_pushdown(&of_held)?.into_iter();
        let support = |filter: &&Expr| {
            let known = if self.is_of_held(filter) { supported.next() } else { None };
            known.unwrap_or(TableProviderFilterPushDown::Unsupported)
        };
        Ok(filters.iter().map(support).collect())
    }

    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let all: Vec<_> = (0..self.columns.len()).collect();
        let wanted = projection.unwrap_or(&all);
        // Columns that the table lacks come behind those that it has.
        let held: Vec<_> = wanted.iter().copied().filter(|at| *at < self.held.schema().fields().len()).collect();
        let rows = self.held.scan(session, Some(&held), filters, limit).await?;
        if wanted.iter().all(|at| self.columns[*at] == ReadAs::Held) {
            return Ok(rows);
        }
        let schema = DFSchema::try_from(rows.schema())?;
        let columns = wanted.iter().map(|at| {
            let column = session.create_physical_expr(self.column(*at)?, &schema)?;
            Ok((column, self.schema.field(*at).name().clone()))
        });
        Ok(Arc::new(ProjectionExec::try_new(columns.collect::<Result<Vec<_>>>()?, rows)?))
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, StringArray};
    use arrow::datatypes::{DataType, Int64Type};
    use datafusion::datasource::MemTable;
    use datafusion::prelude::SessionContext;

    use super::*;
    use crate::rows::collect;

    /// Makes counts of two ads, of which one has a null, as in a file that lacks the measure; and a column that was
    /// added.
    fn counts() -> Arc<dyn TableProvider> {
        let ads: ArrayRef = Arc::new(StringArray::from(vec!["a", "b"]));
        let [clicks, late]: [ArrayRef; 2] =
            [Arc::new(Int64Array::from(vec![7, 5])), Arc::new(Int64Array::from(vec![Some(1), None]))];
        let fields = vec![
            Field::new("ad_id", DataType::Utf8, false),
            Field::new("clicks", DataType::Int64, false),
            Field::new("late", DataType::Int64, true),
        ];
        let rows = RecordBatch::try_new(Arc::new(Schema::new(fields)), vec![ads, clicks, late]).expect("rows");
        Arc::new(MemTable::try_new(rows.schema(), vec![vec![rows]]).expect("a table"))
    }

    fn session() -> SessionContext {
        let added = [("filtered", DataType::Int64), ("network", DataType::Utf8)];
        let added = added.map(|(name, of)| Arc::new(Field::new(name, of, true)));
        let context = SessionContext::new();
        context.register_table("counts", with_columns(Table::ClicksMinute, &added, counts())).expect("a new name");
        context
    }

    async fn numbers(sql: &str) -> Vec<Option<i64>> {
        let rows = collect(session().sql(sql).await.expect(sql)).await.expect(sql);
        let column = |rows: &RecordBatch| rows.column(0).as_primitive::<Int64Type>().iter().collect::<Vec<_>>();
        rows.iter().flat_map(column).collect()
    }

    #[tokio::test]
    async fn what_a_table_lacks_reads_as_null_and_a_measure_as_nothing() {
        assert_eq!(numbers("select late from counts order by ad_id").await, [Some(1), Some(0)]);
        assert_eq!(numbers("select filtered from counts").await, [Some(0), Some(0)]);
        assert_eq!(numbers("select sum(clicks + late + filtered) from counts").await, [Some(13)]);
        assert_eq!(numbers("select count(*) from counts where network is null").await, [Some(2)]);
        assert_eq!(numbers("select count(network) from counts").await, [Some(0)]);
    }

    #[tokio::test]
    async fn conditions_are_about_what_is_read() {
        assert_eq!(numbers("select clicks from counts where late = 0").await, [Some(5)]);
        assert_eq!(numbers("select clicks from counts where filtered = 0 and ad_id = 'a'").await, [Some(7)]);
        assert_eq!(numbers("select count(*) from counts where filtered > 0 or late is null").await, [Some(0)]);
        assert_eq!(numbers("select clicks from counts where network is not null").await, []);
    }

    #[test]
    fn the_columns_of_each_table_are_worked_out_once() {
        for table in Table::ALL.into_iter().chain([Table::Staging("again".parse().expect("a name"))]) {
            let definition = table.definition();
            assert_eq!(added(table), &definition.schema.fields()[definition.first_columns()..], "{table}");
            assert!(std::ptr::eq(added(table), added(table)));
        }
    }

    #[test]
    fn a_table_that_has_everything_is_read_as_it_is() {
        let held = counts();
        assert!(Arc::ptr_eq(&complete(Table::Clicks, Arc::clone(&held)), &held));
    }
}
