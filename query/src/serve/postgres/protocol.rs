//! The two ways to ask: a text whose statements are answered one after the other, and a statement that is prepared,
//! bound, described and executed, in parts if one likes.

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::scalar::ScalarValue;
use datafusion_postgres::pgwire::api::portal::{Format, Portal, PortalExecutionState};
use datafusion_postgres::pgwire::api::query::{
    ExtendedQueryHandler, SimpleQueryHandler, send_describe_response, send_partial_query_response, send_ready_for_query,
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
use datafusion_postgres::pgwire::messages::simplequery::Query;
use futures::{Sink, SinkExt, stream};

use super::answers::Answers;
use super::bound::values;
use super::copying;
use super::errors::{Refused, told};
use super::kept::Kind;
use super::prepared::{Prepared, shown_in};
use super::rows::{fields, rows};
use super::settings::Setting;
use super::statements::{Asks, read};

impl Answers {
    /// Does what a statement is for.
    async fn answer(
        &self,
        store: &(impl PortalStore + ?Sized),
        asks: &Asks,
        values: &[ScalarValue],
        format: &Format,
    ) -> PgWireResult<Response> {
        let done = |tag: &str| Ok(Response::Execution(Tag::new(tag)));
        match asks {
            Asks::Rows(statement, travels) => {
                let batches = self.begin(statement, *travels, values).await?;
                Ok(Response::Query(rows(&batches.schema(), format, batches)?))
            }
            Asks::Copied(..) => {
                Err(Refused::unsupported("COPY cannot be one of several statements; send it by itself").into())
            }
            Asks::Shown(name, value) => Ok(Response::Query(shown(name, value, format)?)),
            Asks::Set(Setting::Limit(limit)) => {
                self.set_limit(*limit);
                done("SET")
            }
            Asks::Set(Setting::Unheeded) => done("SET"),
            Asks::Reset => {
                self.set_limit(None);
                done("RESET")
            }
            Asks::Begin(tag) => Ok(Response::TransactionStart(Tag::new(tag))),
            Asks::End(tag) => {
                self.cursors().close(None);
                self.close_portals(store);
                Ok(Response::TransactionEnd(Tag::new(tag)))
            }
            Asks::GoOn => done("ROLLBACK"),
            Asks::Nothing(tag) => done(tag),
            Asks::Declare(name, statement, travels) => {
                let batches = self.begin(statement, *travels, &[]).await?;
                self.cursors().open(name.clone(), batches);
                done("DECLARE CURSOR")
            }
            Asks::Fetch(name, count) => Ok(Response::Query(self.cursors().fetch(name, *count, format)?)),
            Asks::Close(name) => {
                self.cursors().close(name.as_deref());
                done(if name.is_some() { "CLOSE CURSOR" } else { "CLOSE CURSOR ALL" })
            }
            Asks::Discard => {
                self.set_limit(None);
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
    /// Forgets a prepared statement, or all.
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

    /// Copies the rows of a query to a client.
    async fn copy<C>(&self, client: &mut C, asks: &Asks, values: &[ScalarValue]) -> PgWireResult<()>
    where
        C: ClientInfo + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        self.is_going_on(&*client, asks)?;
        let Asks::Copied(statement, travels, copying) = asks else { return Ok(()) };
        let batches = self.begin(statement, *travels, values).await?;
        copying::send(client, copying, rows(&batches.schema(), &copying.rows(), batches)?).await
    }

    /// The one statement of a text, if it is one that others do not answer.
    fn own(&self, text: &str) -> PgWireResult<Option<Asks>> {
        let begins =
            |with: &str| text.trim_start().get(..with.len()).is_some_and(|word| word.eq_ignore_ascii_case(with));
        if !OWN.into_iter().any(begins) {
            return Ok(None);
        }
        let mut all = read(text, &self.login()?.sees)?;
        let one = if all.len() == 1 { all.pop() } else { None };
        Ok(one.filter(|asks| matches!(asks, Asks::Copied(..) | Asks::GoOn)))
    }
}

/// How statements begin that copy, or go back to a savepoint.
const OWN: [&str; 2] = ["copy", "rollback"];

/// A transaction that goes on from a savepoint. Outside one, there is none to go on.
fn going_on(transaction: TransactionStatus) -> TransactionStatus {
    match transaction {
        TransactionStatus::Idle => TransactionStatus::Idle,
        _ => TransactionStatus::Transaction,
    }
}

/// A value of the server's, as a row.
fn shown(name: &str, value: &str, format: &Format) -> PgWireResult<QueryResponse> {
    let fields = Arc::new(fields(&shown_in(name), format)?);
    let mut row = DataRowEncoder::new(Arc::clone(&fields));
    row.encode_field(&Some(value))?;
    let mut response = QueryResponse::new(fields, stream::iter([Ok(row.take_row())]));
    response.set_command_tag("SHOW");
    Ok(response)
}

#[async_trait]
impl SimpleQueryHandler for Answers {
    /// What is copied goes out as it is made, and not as an answer that others send; nor do these know savepoints.
    async fn on_query<C>(&self, client: &mut C, query: Query) -> PgWireResult<()>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        if !matches!(client.state(), PgWireConnectionState::ReadyForQuery) {
            return Err(PgWireError::NotReadyForQuery);
        }
        let Some(asks) = self.own(&query.query)? else { return self._on_query(client, query).await };
        if matches!(asks, Asks::GoOn) {
            client.set_transaction_status(going_on(client.transaction_status()));
            return self._on_query(client, query).await;
        }
        client.set_state(PgWireConnectionState::QueryInProgress);
        self.copy(client, &asks, &[]).await?;
        client.set_state(PgWireConnectionState::ReadyForQuery);
        let transaction = client.transaction_status();
        send_ready_for_query(client, transaction).await
    }

    async fn do_query<C>(&self, client: &mut C, text: &str) -> PgWireResult<Vec<Response>>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let all = read(text, &self.login()?.sees)?;
        if all.is_empty() {
            return Ok(vec![Response::EmptyQuery]);
        }
        let mut responses = Vec::with_capacity(all.len());
        for asks in &all {
            let answered = match self.is_going_on(&*client, asks) {
                Ok(()) => self.answer(client.portal_store(), asks, &[], &Format::UnifiedText).await,
                Err(refused) => Err(refused.into()),
            };
            match answered {
                Ok(response) => responses.push(response),
                Err(error) if responses.is_empty() => return Err(error),
                Err(error) => {
                    responses.push(Response::Error(Box::new(told(error))));
                    break;
                }
            }
        }
        Ok(responses)
    }
}

#[async_trait]
impl ExtendedQueryHandler for Answers {
    type Statement = Arc<Prepared>;
    type QueryParser = Self;

    fn query_parser(&self) -> Arc<Self> {
        Arc::new(self.clone())
    }

    /// Outside a transaction it ends one: what is open of it is closed.
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

    /// A cursor is a portal too, of which the columns may be asked for.
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

    /// Rows go out as they are made: kept until all are there, they would take as much memory as there are.
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
            self.copy(client, &prepared.asks, &values(&portal)?).await?;
            client.set_state(PgWireConnectionState::ReadyForQuery);
            return Ok(());
        }
        let most = usize::try_from(message.max_rows).unwrap_or(0);
        let state = portal.state();
        let mut state = state.lock().await;
        if matches!(*state, PortalExecutionState::Initial) {
            let response = ExtendedQueryHandler::do_query(self, client, &portal, most).await?;
            let transaction = client.transaction_status();
            let (tag, transaction) = match response {
                Response::Query(rows) => {
                    *state = PortalExecutionState::Suspended(rows);
                    (None, transaction)
                }
                Response::TransactionStart(tag) => (Some(tag), transaction.to_in_transaction_state()),
                Response::TransactionEnd(tag) => (Some(tag), TransactionStatus::Idle),
                Response::Execution(tag) if matches!(prepared.asks, Asks::GoOn) => (Some(tag), going_on(transaction)),
                Response::Execution(tag) => (Some(tag), transaction),
                _ => return Err(Refused::protocol("there is no such answer").into()),
            };
            client.set_transaction_status(transaction);
            if let Some(tag) = tag {
                client.feed(PgWireBackendMessage::CommandComplete(tag.into())).await?;
                client.set_state(PgWireConnectionState::ReadyForQuery);
                return Ok(());
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
        let response = self.answer(client.portal_store(), &prepared.asks, &values, format).await?;
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
