//! Login over the PostgreSQL wire: the password is the key, whatever the name.
//!
//! A key is sent in clear text only within TLS, or from this machine. Otherwise only keys with a verifier can log in,
//! by SCRAM; and if all keys have one, no client sends a key at all.

use std::fmt::Debug;

use async_trait::async_trait;
use datafusion_postgres::pgwire::api::auth::sasl::scram::random_nonce;
use datafusion_postgres::pgwire::api::auth::{
    StartupHandler, protocol_negotiation, save_startup_parameters_to_metadata,
};
use datafusion_postgres::pgwire::api::{ClientInfo, METADATA_USER, PgWireConnectionState};
use datafusion_postgres::pgwire::error::{PgWireError, PgWireResult};
use datafusion_postgres::pgwire::messages::startup::{Authentication, PasswordMessageFamily};
use datafusion_postgres::pgwire::messages::{PgWireBackendMessage, PgWireFrontendMessage};
use futures::{Sink, SinkExt};
use lake_store::locked::lock;

use super::entering::{Door, Scram};
use super::errors::Refused;
use super::messages::UnparsedBytes;
use crate::keys::{Proved, Who};
use crate::scram::{Begun, MECHANISM};

/// Request to a client that logs in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ask {
    Password,
    Proof,
}

/// Returns what a client is asked for, going by which keys have a verifier and whether the connection is private;
/// `None` if there is nothing that it could safely show.
fn ask(proved: Proved, is_private: bool) -> Option<Ask> {
    match (proved, is_private) {
        (Proved::All, _) | (Proved::Some, false) => Some(Ask::Proof),
        (_, true) => Some(Ask::Password),
        (Proved::None, false) => None,
    }
}

/// Returns the first SCRAM message of a client, if it names our mechanism. The library panics on a message that is cut
/// short.
fn first_of_proof(body: &[u8]) -> Option<&[u8]> {
    let mut rest = UnparsedBytes(body.strip_prefix(MECHANISM.as_bytes())?.strip_prefix(b"\0")?);
    let first = rest.nullable()??;
    rest.0.is_empty().then_some(first)
}

#[async_trait]
impl StartupHandler for Door {
    async fn on_startup<C>(&self, client: &mut C, message: PgWireFrontendMessage) -> PgWireResult<()>
    where
        C: ClientInfo + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let who = match message {
            PgWireFrontendMessage::Startup(startup) => {
                protocol_negotiation(client, &startup).await?;
                save_startup_parameters_to_metadata(client, &startup);
                if let Some(keys) = &self.server.keys {
                    client.set_state(PgWireConnectionState::AuthenticationInProgress);
                    let is_private = client.is_secure() || client.socket_addr().ip().is_loopback();
                    let ask = match ask(keys.are_proved(), is_private).ok_or_else(Refused::in_clear_text)? {
                        Ask::Password => Authentication::CleartextPassword,
                        Ask::Proof => {
                            *lock(&self.scram) = Scram::Asked;
                            Authentication::SASL(vec![MECHANISM.to_owned()])
                        }
                    };
                    return Ok(client.send(PgWireBackendMessage::Authentication(ask)).await?);
                }
                Who::ANYONE
            }
            PgWireFrontendMessage::PasswordMessageFamily(password) => {
                let keys = self.server.keys.as_ref().ok_or_else(Refused::no_key)?;
                let state = std::mem::take(&mut *lock(&self.scram));
                match state {
                    Scram::Unasked => {
                        let password = password.into_password()?;
                        keys.shown(&password.password).ok_or_else(Refused::no_key)?
                    }
                    Scram::Asked => {
                        let PasswordMessageFamily::Raw(first) = password else { return Err(Refused::no_proof()) };
                        let first = first_of_proof(&first).ok_or_else(Refused::no_proof)?;
                        let begun = Begun::new(first, &random_nonce()).ok_or_else(Refused::no_proof)?;
                        let said = Authentication::SASLContinue(begun.server_first().to_owned().into());
                        *lock(&self.scram) = Scram::Begun(begun);
                        return Ok(client.send(PgWireBackendMessage::Authentication(said)).await?);
                    }
                    Scram::Begun(begun) => {
                        let last = password.into_sasl_response()?;
                        let proof = begun.proof(&last.data).ok_or_else(Refused::no_proof)?;
                        let name = client.metadata().get(METADATA_USER).cloned().unwrap_or_default();
                        let found = self.server.proofs.look(keys, &name, proof).await;
                        let (who, said) = found.ok_or_else(|| {
                            if keys.are_proved() == Proved::All { Refused::no_key() } else { Refused::no_proved_key() }
                        })?;
                        let said = Authentication::SASLFinal(said.into());
                        client.send(PgWireBackendMessage::Authentication(said)).await?;
                        who
                    }
                }
            }
            _ => {
                return Err(Refused::protocol(
                    "a connection begins with a startup message, and a password where one is asked for",
                )
                .into());
            }
        };
        self.let_in(who);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_first_login_message_is_read_as_a_whole_or_refused() {
        let said = |rest: &[u8]| [MECHANISM.as_bytes(), rest].concat();
        assert_eq!(first_of_proof(&said(b"\0\0\0\0\x02n,")), Some(&b"n,"[..]));
        for rest in [
            &b""[..],
            b"\0",
            b"\0\0\0",
            b"\0\0\0\0\x03n,",
            b"\0\0\0\0\x01n,",
            b"\0\xff\xff\xff\xff",
            b"\0\xff\xff\xff\xfb",
            b"\0\x7f\xff\xff\xffn,",
            b"-PLUS\0\0\0\0\x02n,",
        ] {
            assert_eq!(first_of_proof(&said(rest)), None, "{rest:?}");
        }
        assert_eq!(first_of_proof(b""), None);
    }

    #[test]
    fn a_key_crosses_a_network_within_tls_or_not_at_all() {
        for (proved, is_private, expected) in [
            (Proved::None, true, Some(Ask::Password)),
            (Proved::None, false, None),
            (Proved::Some, true, Some(Ask::Password)),
            (Proved::Some, false, Some(Ask::Proof)),
            (Proved::All, true, Some(Ask::Proof)),
            (Proved::All, false, Some(Ask::Proof)),
        ] {
            assert_eq!(ask(proved, is_private), expected, "{proved:?}, {is_private}");
        }
    }
}
