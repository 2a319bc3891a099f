//! State of a connection: who it is, what it holds open, and how a statement becomes rows.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, OnceLock};

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
use futures::channel::oneshot;
use futures::future::{Either, select};
use lake_store::locked::lock;
use query::sql::Session;
use query::{QueryError, RowAccess};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

use super::cursors::Cursors;
use super::engine::Engine;
use super::errors::{Refused, Telling};
use super::kept::{ConnectionObjects, Kind};
use super::names::named;
use super::parameters;
use super::rows::{Batches, Limits};
use super::savepoints::Savepoints;
use super::settings::{ClientSettings, Setting};
use super::statements::{Asks, STATEMENT_LIMIT};

/// Maximum number of open answers of a connection: statements that are read in parts, and cursors.
const OPEN_MAX: usize = 16;

/// Answers the statements of one connection.
#[derive(Clone)]
pub(super) struct Answers {
    /// Engine, shared by all connections of the process.
    pub server: Arc<Engine>,
    held: Arc<ConnectionState>,
}

struct ConnectionState {
    login: OnceLock<Login>,
    session: OnceLock<Session>,
    cursors: Cursors,
    savepoints: Savepoints,
    /// Settings of the client.
    own: Mutex<ClientSettings>,
    /// Settings of the client when it began.
    first: OnceLock<ClientSettings>,
    open: Arc<Semaphore>,
    /// Prepared statements and portals, as they count against the limits.
    kept: Mutex<ConnectionObjects>,
}

/// A client that has logged in.
pub(super) struct Login {
    /// Row-level access of the client.
    pub access: RowAccess,
    telling: Telling,
    /// Handle by which a statement is cancelled.
    handle: Arc<ConnectionHandle>,
    _guard: ConnectionGuard,
}

impl Answers {
    /// Creates the state of a connection that has just begun.
    pub fn new(server: Arc<Engine>) -> Self {
        let held = ConnectionState {
            login: OnceLock::new(),
            session: OnceLock::new(),
            cursors: Cursors::default(),
            savepoints: Savepoints::default(),
            own: Mutex::default(),
            first: OnceLock::new(),
            open: Arc::new(Semaphore::new(OPEN_MAX)),
            kept: Mutex::default(),
        };
        Self { server, held: Arc::new(held) }
    }

    /// Lets in a client with this row-level access.
    pub fn let_in(&self, access: RowAccess, handle: Arc<ConnectionHandle>, guard: ConnectionGuard) {
        let telling = Telling::to(&access);
        let _ = self.held.login.set(Login { access, telling, handle, _guard: guard });
    }

    /// Returns the client that has logged in; refuses if none has.
    pub fn login(&self) -> Result<&Login, PgWireError> {
        self.held.login.get().ok_or_else(Refused::no_key)
    }

    /// Returns whether an answer is open that takes memory.
    pub fn is_holding(&self) -> bool {
        self.held.open.available_permits() < OPEN_MAX
    }

    /// Returns the cursors of this connection.
    pub fn cursors(&self) -> &Cursors {
        &self.held.cursors
    }

    /// Returns the savepoints of the transaction of this connection.
    pub fn savepoints(&self) -> &Savepoints {
        &self.held.savepoints
    }

    /// Records the settings that the client begins with.
    pub fn begin_with(&self, own: ClientSettings) {
        *lock(&self.held.own) = own.clone();
        // A client begins only once.
        let _ = self.held.first.set(own);
    }

    /// Changes a setting of the client.
    pub fn set(&self, setting: &Setting) {
        lock(&self.held.own).set(setting, self.held.first.get());
    }

    /// Returns the value of a setting, if it is one that is heeded.
    pub fn shown(&self, name: &str) -> Option<String> {
        lock(&self.held.own).shown(name)
    }

    /// Refuses to keep something under a name if the limits do not allow as many bytes as were sent for it.
    pub fn may_keep(&self, kind: Kind, name: &str, bytes: usize) -> Result<(), Refused> {
        lock(&self.held.kept).may_keep(kind, name, bytes)
    }

    /// Records what is kept under a name.
    pub fn keep(&self, kind: Kind, name: String, bytes: usize) {
        lock(&self.held.kept).keep(kind, name, bytes);
    }

    /// Records that something is no longer kept, or nothing of that kind; returns their names.
    pub fn forget(&self, kind: Kind, name: Option<&str>) -> BTreeSet<String> {
        lock(&self.held.kept).forget(kind, name)
    }

    /// Returns an error as this client may see it.
    pub fn tells(&self, error: impl Into<QueryError>) -> PgWireError {
        match self.login() {
            Ok(login) => login.telling.of(error),
            Err(error) => error,
        }
    }

    /// Refuses everything after a failure in a transaction, except its end.
    pub fn is_going_on(&self, client: &(impl ClientInfo + ?Sized), asks: &Asks) -> Result<(), Refused> {
        let goes_on = matches!(asks, Asks::End(_) | Asks::GoOn(_));
        let is_over = client.transaction_status() == TransactionStatus::Error && !goes_on;
        if is_over { Err(Refused::aborted()) } else { Ok(()) }
    }

    /// Plans a query over the lake as it is now.
    pub async fn plan(&self, statement: Statement, travels: usize) -> PgWireResult<LogicalPlan> {
        let session = self.session()?;
        let plan = session.plan(parser::Statement::Statement(Box::new(statement)), travels).await;
        let plan = plan.map_err(|error| self.tells(error))?;
        let only_asks = SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
        only_asks.verify_plan(&plan).map_err(|_| Refused::read_only("the statement changes something"))?;
        let explains = matches!(plan, LogicalPlan::Explain(_) | LogicalPlan::Analyze(_));
        if explains && self.login()?.access != RowAccess::All {
            return Err(Refused::hidden("EXPLAIN").into());
        }
        Ok(plan)
    }

    /// Returns the deadline of a statement that begins now.
    pub fn until(&self) -> Instant {
        Instant::now() + lock(&self.held.own).limit.unwrap_or(STATEMENT_LIMIT).min(STATEMENT_LIMIT)
    }

    /// Runs some work until the deadline, unless somebody cancels it; also returns the receiver that tells of a later
    /// cancellation.
    pub async fn within<T>(
        &self,
        until: Instant,
        work: impl Future<Output = PgWireResult<T>>,
    ) -> PgWireResult<(T, oneshot::Receiver<()>)> {
        let mut cancelled = self.login()?.handle.start_query().await;
        let work = Box::pin(timeout_at(until, work));
        let done = match select(work, &mut cancelled).await {
            Either::Left((done, _)) => done,
            Either::Right((Ok(()), _)) => return Err(PgWireError::QueryCanceled),
            Either::Right((Err(_), work)) => work.await,
        };
        let done = done.map_err(|_| Refused::too_long())??;
        Ok((done, cancelled))
    }

    /// Begins to answer a query with these values for its parameters, which may take until the deadline.
    pub async fn begin(
        &self,
        statement: &Statement,
        travels: usize,
        values: &[ScalarValue],
        until: Instant,
    ) -> PgWireResult<Batches> {
        let running = Arc::clone(&self.held.open).try_acquire_owned();
        let running = running.map_err(|_| Refused::too_much("too many cursors are open; close some"))?;
        let begun = async {
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
        };
        let ((schema, batches), cancelled) = self.within(until, begun).await?;
        Ok(Batches::new(schema, batches, Limits { until, cancelled, running }, self.login()?.telling.clone()))
    }

    /// Returns the session, which is opened with the first statement.
    pub fn session(&self) -> PgWireResult<&Session> {
        if let Some(session) = self.held.session.get() {
            return Ok(session);
        }
        let session = self.server.sessions.open(&self.login()?.access).map_err(|error| self.tells(error))?;
        Ok(self.held.session.get_or_init(|| session))
    }
}

#[cfg(test)]
mod tests {
    use datafusion_postgres::pgwire::messages::startup::SecretKey;
    use lake_store::Lake;
    use object_store::memory::InMemory;
    use url::Url;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_takes_time_is_cancelled_and_ends_at_its_limit() {
        let lake = Lake::on(Arc::new(InMemory::new()), Url::parse("memory:///lake").expect("an address"));
        let engine = Arc::new(Engine::new(lake, 1 << 20).expect("an engine"));
        let answers = Answers::new(Arc::clone(&engine));
        let secret = SecretKey::I32(2);
        let (handle, guard) = engine.cancels.register(1, secret.clone());
        answers.let_in(RowAccess::All, handle, guard);
        let endless = || answers.within(answers.until(), std::future::pending::<PgWireResult<()>>());
        let late = endless().await.map(drop);
        assert!(matches!(&late, Err(PgWireError::UserError(why)) if why.code == "57014"), "{late:?}");
        let (cancelled, is_known) = tokio::join!(endless(), engine.cancels.cancel(1, &secret));
        assert!(is_known && matches!(cancelled, Err(PgWireError::QueryCanceled)));
        let done = answers.within(answers.until(), async { Ok(7) }).await.map(|(seven, _)| seven);
        assert!(matches!(done, Ok(7)), "{done:?}");
    }
}
