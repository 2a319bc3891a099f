//! Extended query protocol: statements that are prepared, bound, described and executed, in parts if the client likes;
//! and the execution of any statement. For the simple protocol, see `simple`.

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::scalar::ScalarValue;
use datafusion_postgres::pgwire::api::portal::{Format, Portal, PortalExecutionState};
use datafusion_postgres::pgwire::api::query::{
    ExtendedQueryHandler, send_describe_response, send_partial_query_response,
};
use datafusion_postgres::pgwire::api::results::{DataRowEncoder, DescribePortalResponse, QueryResponse, Response, Tag};
use datafusion_postgres::pgwire::api::store::{Entry, PortalStore};
use datafusion_postgres::pgwire::api::{ClientInfo, ClientPortalStore, DEFAULT_NAME, PgWireConnectionState};
use datafusion_postgres::pgwire::error::{PgWireError, PgWireResult};
use datafusion_postgres::pgwire::messages::PgWireBackendMessage;
use datafusion_postgres::pgwire::messages::extendedquery::{
    Describe, Execute, Sync as PgSync, TARGET_TYPE_BYTE_PORTAL,
};
use datafusion_postgres::pgwire::messages::response::{EmptyQueryResponse, ReadyForQuery, TransactionStatus};
use futures::{Sink, SinkExt, stream};
use tokio::time::Instant;

use super::answers::Answers;
use super::bound::values;
use super::copying;
use super::errors::Refused;
use super::kept::Kind;
use super::prepared::{Prepared, shown_in};
use super::rows::{fields, rows};
use super::settings::Setting;
use super::statements::Asks;

impl Answers {
    /// Executes a statement until the deadline; those whose rows are copied go through `copy`.
    pub async fn answer<C>(
        &self,
        client: &C,
        asks: &Asks,
        values: &[ScalarValue],
        format: &Format,
        until: Instant,
    ) -> PgWireResult<Response>
    where
        C: ClientInfo + ClientPortalStore + Send + Sync,
        C::PortalStore: PortalStore,
    {
        let store = client.portal_store();
        let done = |tag: &str| Ok(Response::Execution(Tag::new(tag)));
        match asks {
            Asks::Rows(statement, travels) => {
                let batches = self.begin(statement, *travels, values, until).await?;
                Ok(Response::Query(rows(&batches.schema(), format, batches)?))
            }
            Asks::Copied(..) => Err(Refused::protocol("COPY is answered by what is copied").into()),
            Asks::Shown(name, value) => {
                let own = self.shown(name);
                Ok(Response::Query(shown(name, own.as_deref().unwrap_or(value), format)?))
            }
            Asks::Set(setting) => {
                self.set(setting);
                done("SET")
            }
            Asks::Reset(setting) => {
                self.set(setting);
                done("RESET")
            }
            Asks::Begin(tag) => Ok(Response::TransactionStart(Tag::new(tag))),
            Asks::End(tag) => {
                self.cursors().close(None);
                self.savepoints().clear();
                self.close_portals(store);
                // A transaction that has failed is rolled back, even on COMMIT.
                let has_failed = client.transaction_status() == TransactionStatus::Error;
                let tag: &str = if has_failed { "ROLLBACK" } else { tag };
                Ok(Response::TransactionEnd(Tag::new(tag)))
            }
            Asks::Savepoint(name) => {
                // Outside a transaction there is nothing to go back to.
                if client.transaction_status() != TransactionStatus::Idle {
                    self.savepoints().set(name)?;
                }
                done("SAVEPOINT")
            }
            Asks::GoOn(name) => {
                self.savepoints().go_back_to(name)?;
                done("ROLLBACK")
            }
            Asks::Release(name) => {
                self.savepoints().release(name)?;
                done("RELEASE")
            }
            Asks::Nothing(tag) => done(tag),
            Asks::Declare(name, statement, travels) => {
                let batches = self.begin(statement, *travels, &[], until).await?;
                self.cursors().open(name.clone(), batches);
                done("DECLARE CURSOR")
            }
            Asks::Fetch(name, count) => Ok(Response::Query(self.cursors().fetch(name, *count, format)?)),
            Asks::Close(name) => {
                self.cursors().close(name.as_deref());
                done(if name.is_some() { "CLOSE CURSOR" } else { "CLOSE CURSOR ALL" })
            }
            Asks::Discard => {
                self.set(&Setting::AllAtFirst);
                self.cursors().close(None);
                self.deallocate(None, store);
                done("DISCARD ALL")
            }
            Asks::Deallocate(name) => {
                self.deallocate(name.as_deref(), store);
                done(if name.is_some() { "DEALLOCATE" } else { "DEALLOCATE ALL" })
            }
        }
    }
}

impl Answers {
    /// Forgets a prepared statement, or all of them.
    fn deallocate(&self, name: Option<&str>, store: &(impl PortalStore + ?Sized)) {
        for name in self.forget(Kind::Statement, name) {
            store.rm_statement(&name);
        }
    }

    /// Closes all portals: as in PostgreSQL, none outlives its transaction.
    fn close_portals(&self, store: &(impl PortalStore + ?Sized)) {
        store.clear_portals();
        self.forget(Kind::Portal, None);
    }

    /// Copies the rows of a query to a client until the deadline.
    pub async fn copy<C>(&self, client: &mut C, asks: &Asks, values: &[ScalarValue], until: Instant) -> PgWireResult<()>
    where
        C: ClientInfo + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        self.is_going_on(&*client, asks)?;
        let Asks::Copied(statement, travels, copying) = asks else { return Ok(()) };
        let batches = self.begin(statement, *travels, values, until).await?;
        copying::send(client, copying, rows(&batches.schema(), &copying.rows(), batches)?).await
    }
}

/// Returns the status of a transaction that goes on from a savepoint. Outside a transaction, there is none to go on.
fn going_on(transaction: TransactionStatus) -> TransactionStatus {
    match transaction {
        TransactionStatus::Idle => TransactionStatus::Idle,
        _ => TransactionStatus::Transaction,
    }
}

/// Reports that a statement without rows is done, and updates the status of the transaction.
pub(super) async fn say_done<C>(client: &mut C, asks: &Asks, response: Response) -> PgWireResult<()>
where
    C: ClientInfo + Sink<PgWireBackendMessage> + Unpin,
    C::Error: Debug,
    PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
{
    let transaction = client.transaction_status();
    let (tag, transaction) = match response {
        Response::TransactionStart(tag) => (tag, transaction.to_in_transaction_state()),
        Response::TransactionEnd(tag) => (tag, TransactionStatus::Idle),
        Response::Execution(tag) if matches!(asks, Asks::GoOn(_)) => (tag, going_on(transaction)),
        Response::Execution(tag) => (tag, transaction),
        _ => return Err(Refused::protocol("there is no such answer").into()),
    };
    client.set_transaction_status(transaction);
    Ok(client.feed(PgWireBackendMessage::CommandComplete(tag.into())).await?)
}

/// Returns the value of a setting as a row.
fn shown(name: &str, value: &str, format: &Format) -> PgWireResult<QueryResponse> {
    let fields = Arc::new(fields(&shown_in(name), format)?);
    let mut row = DataRowEncoder::new(Arc::clone(&fields));
    row.encode_field(&Some(value))?;
    let mut response = QueryResponse::new(fields, stream::iter([Ok(row.take_row())]));
    response.set_command_tag("SHOW");
    Ok(response)
}

#[async_trait]
impl ExtendedQueryHandler for Answers {
    type Statement = Arc<Prepared>;
    type QueryParser = Self;

    fn query_parser(&self) -> Arc<Self> {
        Arc::new(self.clone())
    }

    /// Ends the implicit transaction, if no other is open: its portals are closed.
    async fn on_sync<C>(&self, client: &mut C, _: PgSync) -> PgWireResult<()>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore<Statement = Arc<Prepared>>,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let transaction = client.transaction_status();
        match transaction {
            TransactionStatus::Idle => self.close_portals(client.portal_store()),
            _ => client.portal_store().rm_portal(DEFAULT_NAME),
        }
        Ok(client.send(PgWireBackendMessage::ReadyForQuery(ReadyForQuery::new(transaction))).await?)
    }

    /// Describes a portal or a statement; a cursor is a portal, too.
    async fn on_describe<C>(&self, client: &mut C, message: Describe) -> PgWireResult<()>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore<Statement = Arc<Prepared>>,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let name = message.name.as_deref().unwrap_or(DEFAULT_NAME);
        let may_be_cursor =
            message.target_type == TARGET_TYPE_BYTE_PORTAL && client.portal_store().get_portal(name).is_none();
        match self.cursors().schema(name) {
            Ok(schema) if may_be_cursor => {
                let columns = DescribePortalResponse::new(fields(&schema, &Format::UnifiedText)?);
                send_describe_response(client, &columns).await
            }
            _ => self._on_describe(client, message).await,
        }
    }

    /// Sends rows as they are produced: buffering them would take as much memory as there are rows.
    async fn on_execute<C>(&self, client: &mut C, message: Execute) -> PgWireResult<()>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore<Statement = Arc<Prepared>>,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        if !matches!(client.state(), PgWireConnectionState::ReadyForQuery) {
            return Err(PgWireError::NotReadyForQuery);
        }
        let name = message.name.as_deref().unwrap_or(DEFAULT_NAME);
        let portal = match client.portal_store().get_portal(name) {
            Some(Entry::Value(portal)) => portal,
            Some(Entry::Empty) => {
                return Ok(client.feed(PgWireBackendMessage::EmptyQueryResponse(EmptyQueryResponse::new())).await?);
            }
            None => return Err(PgWireError::PortalNotFound(name.to_owned())),
        };
        client.set_state(PgWireConnectionState::QueryInProgress);
        let prepared = &portal.statement.statement;
        if matches!(prepared.asks, Asks::Copied(..)) {
            self.copy(client, &prepared.asks, &values(&portal)?, self.until()).await?;
            client.set_state(PgWireConnectionState::ReadyForQuery);
            return Ok(());
        }
        let most = usize::try_from(message.max_rows).unwrap_or(0);
        let state = portal.state();
        let mut state = state.lock().await;
        if matches!(*state, PortalExecutionState::Initial) {
            match self.do_query(client, &portal, most).await? {
                Response::Query(rows) => *state = PortalExecutionState::Suspended(rows),
                response => {
                    say_done(client, &prepared.asks, response).await?;
                    client.set_state(PgWireConnectionState::ReadyForQuery);
                    return Ok(());
                }
            }
        }
        let sent = match &mut *state {
            PortalExecutionState::Suspended(rows) => send_partial_query_response(client, rows, most).await,
            _ => {
                let nothing = PgWireBackendMessage::CommandComplete(Tag::new("SELECT").with_rows(0).into());
                client.feed(nothing).await.map(|()| false).map_err(PgWireError::from)
            }
        };
        if !matches!(sent, Ok(true)) {
            *state = PortalExecutionState::Finished;
        }
        sent?;
        client.set_state(PgWireConnectionState::ReadyForQuery);
        Ok(())
    }

    async fn do_query<C>(&self, client: &mut C, portal: &Portal<Arc<Prepared>>, _: usize) -> PgWireResult<Response>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore<Statement = Arc<Prepared>>,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let prepared = &portal.statement.statement;
        self.is_going_on(&*client, &prepared.asks)?;
        let (values, format) = (values(portal)?, &portal.result_column_format);
        let response = self.answer(&*client, &prepared.asks, &values, format, self.until()).await?;
        if let (Response::Query(rows), Some(schema)) = (&response, &prepared.schema) {
            let (now, then) = (rows.row_schema(), fields(schema, format)?);
            let is_same = now.len() == then.len()
                && now
                    .iter()
                    .zip(&then)
                    .all(|(now, then)| now.name() == then.name() && now.datatype() == then.datatype());
            if !is_same {
                return Err(Refused::altered().into());
            }
        }
        Ok(response)
    }
}
