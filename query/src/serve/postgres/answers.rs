//! What a connection answers: who it is, what it holds open, and how a statement becomes rows.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use datafusion::common::ParamValues;
use datafusion::error::DataFusionError;
use datafusion::execution::context::SQLOptions;
use datafusion::logical_expr::LogicalPlan;
use datafusion::scalar::ScalarValue;
use datafusion::sql::parser;
use datafusion::sql::sqlparser::ast::Statement;
use datafusion_postgres::pgwire::api::{ClientInfo, ConnectionGuard, ConnectionHandle};
use datafusion_postgres::pgwire::error::{PgWireError, PgWireResult};
use datafusion_postgres::pgwire::messages::response::TransactionStatus;
use futures::future::{Either, select};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

use super::cursors::Cursors;
use super::engine::Engine;
use super::errors::{Refused, Telling};
use super::kept::{Kept, Kind};
use super::names::named;
use super::parameters;
use super::rows::{Batches, Limits};
use super::statements::{Asks, STATEMENT_LIMIT};
use crate::error::QueryError;
use crate::locked::lock;
use crate::sees::Sees;
use crate::sql::Session;

/// Answers of a connection that may be open at once: statements that are read in parts, and cursors.
const OPEN_MAX: usize = 16;

/// A connection, from what it knows.
#[derive(Clone)]
pub(super) struct Answers {
    /// What it has in common with others.
    pub server: Arc<Engine>,
    held: Arc<Held>,
}

struct Held {
    login: OnceLock<Login>,
    session: OnceLock<Session>,
    cursors: Cursors,
    /// How long statements may take, if the client has said so.
    limit: Mutex<Option<Duration>>,
    open: Arc<Semaphore>,
    /// Statements that are prepared, and portals.
    kept: Mutex<Kept>,
}

/// Who has logged in.
pub(super) struct Login {
    /// What they see.
    pub sees: Sees,
    telling: Telling,
    /// By which a statement is cancelled.
    handle: Arc<ConnectionHandle>,
    _guard: ConnectionGuard,
}

impl Answers {
    /// Of a connection that has just begun.
    pub fn new(server: Arc<Engine>) -> Self {
        let held = Held {
            login: OnceLock::new(),
            session: OnceLock::new(),
            cursors: Cursors::default(),
            limit: Mutex::default(),
            open: Arc::new(Semaphore::new(OPEN_MAX)),
            kept: Mutex::default(),
        };
        Self { server, held: Arc::new(held) }
    }

    /// Lets somebody in who may see so much.
    pub fn let_in(&self, sees: Sees, (handle, guard): (Arc<ConnectionHandle>, ConnectionGuard)) {
        let telling = Telling::to(&sees);
        let _ = self.held.login.set(Login { sees, telling, handle, _guard: guard });
    }

    /// Who has logged in.
    pub fn login(&self) -> Result<&Login, PgWireError> {
        self.held.login.get().ok_or_else(Refused::no_key)
    }

    /// Whether an answer is open that takes memory.
    pub fn is_holding(&self) -> bool {
        self.held.open.available_permits() < OPEN_MAX
    }

    /// The cursors.
    pub fn cursors(&self) -> &Cursors {
        &self.held.cursors
    }

    /// Sets how long statements may take.
    pub fn set_limit(&self, limit: Option<Duration>) {
        *lock(&self.held.limit) = limit;
    }

    /// Whether something may be kept under a name for which so many bytes were sent.
    pub fn may_keep(&self, kind: Kind, name: &str, bytes: usize) -> Result<(), Refused> {
        lock(&self.held.kept).may_keep(kind, name, bytes)
    }

    /// Takes note of what is kept.
    pub fn keep(&self, kind: Kind, name: String, bytes: usize) {
        lock(&self.held.kept).keep(kind, name, bytes);
    }

    /// Takes note that something is not kept any more, or none of that kind is; returns their names.
    pub fn forget(&self, kind: Kind, name: Option<&str>) -> BTreeSet<String> {
        lock(&self.held.kept).forget(kind, name)
    }

    /// An error, as it is told here.
    pub fn tells(&self, error: impl Into<QueryError>) -> PgWireError {
        match self.login() {
            Ok(login) => login.telling.of(error),
            Err(error) => error,
        }
    }

    /// Refuses whatever comes after a failure in a transaction, but its end.
    pub fn is_going_on(&self, client: &(impl ClientInfo + ?Sized), asks: &Asks) -> Result<(), Refused> {
        let goes_on = matches!(asks, Asks::End(_) | Asks::GoOn);
        let is_over = client.transaction_status() == TransactionStatus::Error && !goes_on;
        if is_over { Err(Refused::aborted()) } else { Ok(()) }
    }

    /// The plan of a query, as the lake is now.
    pub async fn plan(&self, statement: Statement, travels: usize) -> PgWireResult<LogicalPlan> {
        let session = self.session()?;
        let plan = session.plan(parser::Statement::Statement(Box::new(statement)), travels).await;
        let plan = plan.map_err(|error| self.tells(error))?;
        let only_asks = SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
        only_asks.verify_plan(&plan).map_err(|_| Refused::read_only("the statement changes something"))?;
        let explains = matches!(plan, LogicalPlan::Explain(_) | LogicalPlan::Analyze(_));
        if explains && self.login()?.sees != Sees::All {
            return Err(Refused::hidden("EXPLAIN").into());
        }
        Ok(plan)
    }

    /// Begins to answer a query, with these values for its parameters.
    pub async fn begin(&self, statement: &Statement, travels: usize, values: &[ScalarValue]) -> PgWireResult<Batches> {
        let limit = lock(&self.held.limit).unwrap_or(STATEMENT_LIMIT).min(STATEMENT_LIMIT);
        let until = Instant::now() + limit;
        let running = Arc::clone(&self.held.open).try_acquire_owned();
        let running = running.map_err(|_| Refused::too_much("too many cursors are open; close some"))?;
        let login = self.login()?;
        let mut cancelled = login.handle.start_query().await;
        let begun = Box::pin(timeout_at(until, async {
            let filled = parameters::filled(statement.clone(), Some(values))?;
            let plan = self.plan(filled, travels).await?;
            let schema = named(self.session()?.columns(&plan), statement);
            let plan = match values {
                [] => plan,
                values => {
                    let values = ParamValues::from(values.to_vec());
                    plan.replace_params_with_values(&values).map_err(|error: DataFusionError| self.tells(error))?
                }
            };
            let batches = self.session()?.begin(plan).await.map_err(|error| self.tells(error))?;
            Ok::<_, PgWireError>((schema, batches))
        }));
        let begun = match select(begun, &mut cancelled).await {
            Either::Left((begun, _)) => begun,
            Either::Right((Ok(()), _)) => return Err(PgWireError::QueryCanceled),
            Either::Right((Err(_), begun)) => begun.await,
        };
        let (schema, batches) = begun.map_err(|_| Refused::too_long())??;
        Ok(Batches::new(schema, batches, Limits { until, cancelled, running }, login.telling.clone()))
    }

    /// The session, which is there from the first statement on.
    pub fn session(&self) -> PgWireResult<&Session> {
        if let Some(session) = self.held.session.get() {
            return Ok(session);
        }
        let session = self.server.sessions.open(&self.login()?.sees).map_err(|error| self.tells(error))?;
        Ok(self.held.session.get_or_init(|| session))
    }
}
