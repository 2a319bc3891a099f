//! Simple query protocol: a text of statements, each answered to its end before the next one begins. The first that
//! fails is the last, and the transaction status that it reports holds for the statements before it, too.

use std::fmt::Debug;

use datafusion_postgres::pgwire::api::portal::Format;
use datafusion_postgres::pgwire::api::query::{send_query_response, send_ready_for_query};
use datafusion_postgres::pgwire::api::results::Response;
use datafusion_postgres::pgwire::api::store::PortalStore;
use datafusion_postgres::pgwire::api::{ClientInfo, ClientPortalStore, PgWireConnectionState};
use datafusion_postgres::pgwire::error::{PgWireError, PgWireResult};
use datafusion_postgres::pgwire::messages::PgWireBackendMessage;
use datafusion_postgres::pgwire::messages::response::EmptyQueryResponse;
use futures::{Sink, SinkExt};
use tokio::time::Instant;

use super::answers::Answers;
use super::protocol::say_done;
use super::statements::{Asks, STATEMENT_LIMIT, read};

impl Answers {
    /// Answers the statements of a text. All of them together have the time limit of one.
    pub async fn answer_text<C>(&self, client: &mut C, text: &str) -> PgWireResult<()>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        if !matches!(client.state(), PgWireConnectionState::ReadyForQuery) {
            return Err(PgWireError::NotReadyForQuery);
        }
        client.set_state(PgWireConnectionState::QueryInProgress);
        let all = read(text, &self.login()?.access)?;
        if all.is_empty() {
            client.feed(PgWireBackendMessage::EmptyQueryResponse(EmptyQueryResponse::new())).await?;
        }
        let at_last = Instant::now() + STATEMENT_LIMIT;
        for asks in &all {
            self.answer_one(client, asks, self.until().min(at_last)).await?;
        }
        client.set_state(PgWireConnectionState::ReadyForQuery);
        let transaction = client.transaction_status();
        send_ready_for_query(client, transaction).await
    }

    /// Answers one statement until the deadline.
    async fn answer_one<C>(&self, client: &mut C, asks: &Asks, until: Instant) -> PgWireResult<()>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        if matches!(asks, Asks::Copied(..)) {
            return self.copy(client, asks, &[], until).await;
        }
        self.is_going_on(&*client, asks)?;
        match self.answer(&*client, asks, &[], &Format::UnifiedText, until).await? {
            Response::Query(rows) => send_query_response(client, rows, true).await,
            response => say_done(client, asks, response).await,
        }
    }
}
