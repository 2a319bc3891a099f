//! Who connects, and what they see: the password is the key, whatever the name.

use std::fmt::Debug;

use async_trait::async_trait;
use datafusion_postgres::pgwire::api::auth::{
    StartupHandler, finish_authentication, protocol_negotiation, save_startup_parameters_to_metadata,
};
use datafusion_postgres::pgwire::api::{ClientInfo, PgWireConnectionState, PidSecretKeyGenerator};
use datafusion_postgres::pgwire::error::{PgWireError, PgWireResult};
use datafusion_postgres::pgwire::messages::startup::Authentication;
use datafusion_postgres::pgwire::messages::{PgWireBackendMessage, PgWireFrontendMessage};
use futures::{Sink, SinkExt};

use super::answers::Answers;
use super::errors::Refused;
use super::settings;
use crate::sees::Sees;

#[async_trait]
impl StartupHandler for Answers {
    async fn on_startup<C>(&self, client: &mut C, message: PgWireFrontendMessage) -> PgWireResult<()>
    where
        C: ClientInfo + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let (sees, key) = match message {
            PgWireFrontendMessage::Startup(startup) => {
                protocol_negotiation(client, &startup).await?;
                save_startup_parameters_to_metadata(client, &startup);
                if self.server.keys.is_some() {
                    client.set_state(PgWireConnectionState::AuthenticationInProgress);
                    let ask = PgWireBackendMessage::Authentication(Authentication::CleartextPassword);
                    return Ok(client.send(ask).await?);
                }
                (Sees::All, None)
            }
            PgWireFrontendMessage::PasswordMessageFamily(password) => {
                let password = password.into_password()?;
                let keys = self.server.keys.as_ref().ok_or_else(Refused::no_key)?;
                let shown = keys.shown(&password.password).ok_or_else(Refused::no_key)?;
                (shown.sees.clone(), Some(shown))
            }
            _ => return Err(Refused::protocol("a client begins by saying who it is").into()),
        };
        let (pid, secret) = self.server.names.generate(client);
        client.set_pid_and_secret_key(pid, secret.clone());
        self.let_in(sees, key, self.server.cancels.register(pid, secret));
        finish_authentication(client, &settings::told()).await
    }
}
