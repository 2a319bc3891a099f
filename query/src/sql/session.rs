//! A session: runs statements over a lake, one after the other. Each statement sees the lake as it is when the
//! statement begins; views, external tables and settings stay for the statements after it.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use datafusion::execution::memory_pool::FairSpillPool;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::execution::{FunctionRegistry, SendableRecordBatchStream};
use datafusion::logical_expr::LogicalPlan;
use datafusion::prelude::{DataFrame, SessionContext};
use datafusion::sql::parser;
use datafusion_cli::exec::exec_from_commands;
use datafusion_cli::object_storage::instrumented::InstrumentedObjectStoreRegistry;
use datafusion_cli::print_options::PrintOptions;
use futures::FutureExt;
use futures::future::{BoxFuture, LocalBoxFuture};
use lake_schemas::{Code, Table};
use lake_store::{Lake, LakeError};

use super::catalog::LakeCatalog;
use super::checked_arithmetic::CheckedArithmetic;
use super::checked_sum::CheckedSum;
use super::functions::{OfTable, TableFunction};
use super::guard::Refusal;
use super::honoured;
use super::lists::NoListOfText;
use super::names::CATALOG;
use super::nesting;
use super::printing::Shown;
use super::referenced::ReferencedNames;
use super::relations::Relations;
use super::set_comparison::AloneInItsQuery;
use super::shared::Shared;
use super::snapshot::StatementSnapshot;
use super::spans::SpansTimes;
use super::statements::{Statement, statements};
use super::summary::{self, TableSummary};
use super::targets::LiteralTargets;
use super::truth::TruthAsText;
use super::whole_minutes::WholeMinutes;
use crate::access::RowAccess;
use crate::error::QueryError;
use crate::output::Opened;
use crate::rows::collect;
use crate::totals::{Current, Function, TotalsFunction};
use crate::verify::lost::or_lost;

/// Session that runs statements over a lake.
pub struct Session {
    context: SessionContext,
    snapshot: Arc<StatementSnapshot>,
    stores: Arc<InstrumentedObjectStoreRegistry>,
    refusal: Refusal,
}

impl Session {
    /// Makes a session over a lake. Its queries may take `memory` bytes; operators that can spill to disk do so beyond
    /// that. Nothing is read yet.
    pub fn new(lake: Lake, memory: Option<usize>) -> Result<Self, QueryError> {
        let mut runtime = RuntimeEnvBuilder::new();
        if let Some(memory) = memory {
            runtime = runtime.with_memory_pool(Arc::new(FairSpillPool::new(memory)));
        }
        let shared = Shared::new(&lake, runtime)?;
        let config = Shared::config().with_create_default_catalog_and_schema(false);
        let context = SessionContext::new_with_config_rt(config, Arc::clone(&shared.runtime));
        Self::over(lake, context, &shared, RowAccess::All)
    }

    /// Makes a session in a new context, for a caller with this row-level access. The object stores and the record of
    /// refused writes are those of `shared`, which other sessions use too.
    pub fn over(lake: Lake, context: SessionContext, shared: &Shared, access: RowAccess) -> Result<Self, QueryError> {
        let current = Arc::new(Current::new(lake.clone()));
        let snapshot = Arc::new(StatementSnapshot::new(lake, Arc::clone(&current), access.clone()));
        context.register_catalog(CATALOG, Arc::new(LakeCatalog::new(Arc::clone(&snapshot))));
        for function in Function::ALL {
            let over = TotalsFunction { function, current: Arc::clone(&current), access: access.clone() };
            context.register_udtf(function.name(), Arc::new(over));
        }
        for function in OfTable::ALL {
            let over = TableFunction { function, snapshot: Arc::clone(&snapshot) };
            context.register_udtf(function.name(), Arc::new(over));
        }
        context.state_ref().write().register_expr_planner(Arc::new(TruthAsText))?;
        context.state_ref().write().register_expr_planner(Arc::new(SpansTimes))?;
        context.register_udaf(CheckedSum::function());
        context.add_analyzer_rule(Arc::new(NoListOfText));
        context.add_analyzer_rule(Arc::new(WholeMinutes));
        context.add_analyzer_rule(Arc::new(CheckedArithmetic));
        context.add_analyzer_rule(Arc::new(AloneInItsQuery));
        context.add_analyzer_rule(Arc::new(LiteralTargets));
        context.register_relation_planner(Arc::new(Relations))?;
        Ok(Self { context, snapshot, stores: Arc::clone(&shared.stores), refusal: shared.refusal.clone() })
    }

    /// Returns the rows of one statement: at least one batch, possibly without rows.
    pub fn rows<'a>(&'a self, text: &'a str) -> BoxFuture<'a, Result<Vec<RecordBatch>, QueryError>> {
        Box::pin(async move {
            let all = statements(text)?;
            let [statement] = all.as_slice() else {
                return Err(LakeError::Refused(
                    Code::StatementUnclear.because(format!("one statement is asked for, not {}", all.len())),
                )
                .into());
            };
            let parsed = self.begin_statement(statement).await?;
            self.answer(parsed).await
        })
    }

    /// Writes the answer of a statement, in the format and within the limits of a shell.
    pub fn print<'a>(
        &'a self,
        statement: &'a Statement,
        options: &'a PrintOptions,
        to: &'a mut Opened,
    ) -> LocalBoxFuture<'a, Result<(), QueryError>> {
        Box::pin(async move {
            let parsed = self.begin_statement(statement).await?;
            if needs_stores(&parsed) {
                // DataFusion's shell runs the statement, because it registers the stores that the statement names. The
                // answer is a count at most, so that no limit of rows applies.
                let printed = exec_from_commands(&self.context, vec![statement.text.clone()], options).await;
                return printed.map_err(|error| self.why(error.into()));
            }
            let printed = async {
                let shown = Shown::of(&parsed, options);
                let plan = self.context.state().statement_to_plan(parsed).await?;
                let answer = self.context.execute_logical_plan(plan).await?;
                shown.print(&self.context, answer, to).await
            };
            // A panic has been logged, and ends only this statement.
            let printed: Result<(), QueryError> =
                AssertUnwindSafe(printed).catch_unwind().await.unwrap_or_else(|_| Err(met_a_bug()));
            match printed {
                Err(error) => Err(self.explained(error).await),
                printed => printed,
            }
        })
    }

    /// Summarises the tables of the lake.
    pub fn held(&self) -> BoxFuture<'_, Result<Vec<TableSummary>, QueryError>> {
        Box::pin(summary::held(self.snapshot.lake()))
    }

    /// Lists the tables of the lake and their columns, for [`Session::names`].
    pub(crate) fn look_around(&self) -> BoxFuture<'_, Result<(), QueryError>> {
        Box::pin(self.snapshot.look_around())
    }

    /// Returns the names of the tables and columns that were last listed, for completion in the shell.
    pub(crate) fn names(&self) -> Vec<String> {
        let seen = self.snapshot.seen().into_iter();
        let names = seen.flat_map(|(table, schema)| {
            let columns = schema.fields().iter().map(|field| field.name().clone()).collect::<Vec<_>>();
            std::iter::once(table.name().to_owned()).chain(columns)
        });
        names.collect()
    }

    /// Returns the stores that statements read from, and write to.
    pub(crate) fn stores(&self) -> Arc<InstrumentedObjectStoreRegistry> {
        Arc::clone(&self.stores)
    }

    /// Returns the snapshot of the current statement.
    pub fn snapshot(&self) -> &Arc<StatementSnapshot> {
        &self.snapshot
    }

    /// Begins a statement that the caller has parsed, in which `travels` names have a version or a time; returns its
    /// plan, before anything is executed.
    pub fn plan(&self, parsed: parser::Statement, travels: usize) -> BoxFuture<'_, Result<LogicalPlan, QueryError>> {
        Box::pin(async move {
            self.turn_to_parsed(&parsed, travels).await?;
            let plan = self.context.state().statement_to_plan(parsed).await;
            plan.map_err(|error| self.why(error.into()))
        })
    }

    /// Returns the columns of a plan's answer. A union is planned in the types of its first part; only the analyzer
    /// finds the types that hold what all parts have. A plan whose parameters have no types yet cannot be analysed.
    pub fn columns(&self, plan: &LogicalPlan) -> SchemaRef {
        let state = self.context.state();
        let analyzed = state.analyzer().execute_and_check(plan.clone(), state.config_options(), |_, _| {});
        Arc::clone(analyzed.as_ref().unwrap_or(plan).schema().inner())
    }

    /// Begins to execute a plan of the current statement, which must be a query.
    pub fn begin(&self, plan: LogicalPlan) -> BoxFuture<'_, Result<SendableRecordBatchStream, QueryError>> {
        Box::pin(async move { Ok(DataFrame::new(self.context.state(), plan).execute_stream().await?) })
    }

    /// Returns DataFusion's own session, for what its shell does by itself, and for catalogs beside that of the lake.
    pub fn context(&self) -> &SessionContext {
        &self.context
    }

    /// Answers the current statement.
    async fn answer(&self, statement: parser::Statement) -> Result<Vec<RecordBatch>, QueryError> {
        let answer = async {
            let plan = self.context.state().statement_to_plan(statement).await?;
            collect(self.context.execute_logical_plan(plan).await?).await
        };
        match answer.await {
            Err(error) => Err(self.explained(error).await),
            rows => rows,
        }
    }

    /// Returns the reason for which a statement failed: a refused write, if there was one, or else the error.
    fn why(&self, error: QueryError) -> QueryError {
        self.refusal.take().map_or(error, QueryError::Lake)
    }

    /// Returns the reason for which the execution of a statement failed: a file that it needs may be lost.
    async fn explained(&self, error: QueryError) -> QueryError {
        or_lost(self.snapshot.lake(), &Table::ALL, self.why(error)).await
    }

    async fn begin_statement(&self, statement: &Statement) -> Result<parser::Statement, QueryError> {
        let state = self.context.state();
        let dialect = state.config().options().sql_parser.dialect;
        nesting::of_text(&statement.text, dialect)?;
        let parsed = state.sql_to_statement(&statement.text, &dialect)?;
        nesting::of_tables(&parsed)?;
        self.turn_to_parsed(&parsed, statement.travels).await?;
        Ok(parsed)
    }

    async fn turn_to_parsed(&self, parsed: &parser::Statement, travels: usize) -> Result<(), QueryError> {
        // A refusal of an earlier statement must not be reported for this one.
        drop(self.refusal.take());
        honoured::check(parsed, &self.context.state())?;
        let asked = ReferencedNames::of(parsed, travels)?;
        self.snapshot.begin_statement(&asked).await
    }
}

/// Returns whether a statement names a URL whose object store is registered only when the statement runs.
fn needs_stores(statement: &parser::Statement) -> bool {
    matches!(statement, parser::Statement::CreateExternalTable(_) | parser::Statement::CopyTo(_))
}

/// Builds the error for a statement at which the query engine panicked.
fn met_a_bug() -> QueryError {
    LakeError::Refused(
        Code::StatementBug
            .because("this statement meets a bug of the query engine; write it in another way".to_owned()),
    )
    .into()
}

/// Returns the rows of one statement over a lake.
pub fn run<'a>(lake: &'a Lake, sql: &'a str) -> BoxFuture<'a, Result<Vec<RecordBatch>, QueryError>> {
    Box::pin(async move { Session::new(lake.clone(), None)?.rows(sql).await })
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::{DataType, TimeUnit};
    use object_store::memory::InMemory;
    use url::Url;

    use super::*;

    /// Returns the types of the columns that are announced before a statement runs, and those of its rows.
    async fn types(text: &str) -> [Vec<DataType>; 2] {
        let lake = Lake::on(Arc::new(InMemory::new()), Url::parse("memory:///lake").expect("an address"));
        let session = Session::new(lake, None).expect("a session");
        let state = session.context().state();
        let dialect = state.config().options().sql_parser.dialect;
        let parsed = state.sql_to_statement(text, &dialect).expect("SQL");
        let plan = session.plan(parsed, 0).await.expect("a plan");
        let rows = session.rows(text).await.expect("rows");
        let types = |schema: SchemaRef| schema.fields().iter().map(|field| field.data_type().clone()).collect();
        [session.columns(&plan), rows[0].schema()].map(types)
    }

    #[tokio::test]
    async fn columns_have_the_types_that_are_said_of_them() {
        for text in ["select 1 as a union all select 2.5", "select null as a union all select 7"] {
            let [said, found] = types(text).await;
            assert_eq!(said, found, "{text}");
        }
    }

    #[tokio::test]
    async fn times_with_a_zone_keep_it() {
        let is_utc = |kind: &DataType| matches!(kind, DataType::Timestamp(_, Some(zone)) if zone.as_ref() == "UTC");
        let at = "'2026-03-07T12:00:00+01:00'";
        let text = format!("select now(), cast({at} as timestamptz) a, cast({at} as timestamp with time zone) b");
        for kinds in types(&text).await {
            assert!(kinds.len() == 3 && kinds.iter().all(is_utc), "{kinds:?}");
        }
        let none = DataType::Timestamp(TimeUnit::Nanosecond, None);
        assert_eq!(types("select cast('2026-03-07' as timestamp)").await, [vec![none.clone()], vec![none]]);
    }
}
