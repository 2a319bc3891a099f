//! Messages that the server passes to the process that answers a key's SQL, over a socket that only the two of them
//! have: a client who has logged in, or a request about one.

use std::collections::HashMap;
use std::io::{self, Error, ErrorKind};
use std::net::SocketAddr;

use bytes::Bytes;
use datafusion_postgres::pgwire::messages::startup::SecretKey;
use query::RowAccess;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Maximum size of such a message, in bytes: a key with as many campaigns as a file of keys may name, and a client's
/// startup parameters.
const BYTES_MAX: u32 = 8 << 20;

/// Purpose of a connection between the two.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Handed {
    /// Life line, by which each notices the end of the other.
    Life,
    /// Session of a client: all that follows is between the process and the client.
    Client(Client),
    /// Request to cancel what a client has under way.
    Cancel(Session),
}

/// Identifier of a session, as its client knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Session {
    pub pid: i32,
    secret: Vec<u8>,
}

impl Session {
    /// Creates the identifier from a number and a secret.
    pub fn new(pid: i32, secret: &SecretKey) -> Self {
        Self { pid, secret: secret.to_bytes().to_vec() }
    }

    /// Returns the secret that a client shows to cancel.
    pub fn secret(&self) -> SecretKey {
        match <[u8; 4]>::try_from(self.secret.as_slice()) {
            Ok(number) => SecretKey::I32(i32::from_be_bytes(number)),
            Err(_) => SecretKey::Bytes(Bytes::from(self.secret.clone())),
        }
    }
}

/// A client who has logged in.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Client {
    /// Row-level access of the client.
    pub access: RowAccess,
    /// Identifier of the session.
    pub session: Session,
    /// Protocol version that was agreed upon: its major and its minor number.
    pub protocol: (u16, u16),
    /// Startup parameters of the client: its name, the database, and the like.
    pub said: HashMap<String, String>,
    /// Address of the client.
    pub address: SocketAddr,
    /// Whether the client's connection is encrypted.
    pub is_secure: bool,
}

impl Handed {
    /// Sends the message, with its length before it.
    pub async fn send(&self, to: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
        let text = serde_json::to_vec(self)?;
        let length = u32::try_from(text.len()).ok().filter(|length| *length <= BYTES_MAX).ok_or_else(too_long)?;
        to.write_u32(length).await?;
        to.write_all(&text).await
    }

    /// Receives a message.
    pub async fn receive(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Self> {
        let length = from.read_u32().await?;
        if length > BYTES_MAX {
            return Err(too_long());
        }
        let mut text = vec![0; length as usize];
        from.read_exact(&mut text).await?;
        Ok(serde_json::from_slice(&text)?)
    }
}

fn too_long() -> Error {
    Error::new(ErrorKind::InvalidData, "what is handed over is too long")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_client_is_handed_over_to_a_process_unchanged() {
        for secret in [SecretKey::I32(-5), SecretKey::Bytes(Bytes::from_static(&[7; 32]))] {
            let client = Client {
                access: RowAccess::Campaigns(["spring".to_owned(), "Sommer \u{fc}".to_owned()].into()),
                session: Session::new(100_007, &secret),
                protocol: (3, 2),
                said: HashMap::from([("user".to_owned(), "a\nb".to_owned())]),
                address: ([127, 0, 0, 1], 5432).into(),
                is_secure: true,
            };
            let (mut one, mut other) = tokio::io::duplex(4_096);
            Handed::Client(client.clone()).send(&mut one).await.expect("it is sent");
            one.write_all(b"Q").await.expect("what follows is the client's");
            let Ok(Handed::Client(taken)) = Handed::receive(&mut other).await else { panic!("it is no client") };
            assert_eq!((&taken.access, &taken.session, &taken.said), (&client.access, &client.session, &client.said));
            assert!(taken.session.secret().eq_value(&secret));
            assert_eq!(other.read_u8().await.expect("it follows"), b'Q');
        }
    }

    #[tokio::test]
    async fn a_message_that_claims_to_be_endless_is_refused() {
        let (mut one, mut other) = tokio::io::duplex(64);
        one.write_u32(u32::MAX).await.expect("it is sent");
        assert_eq!(Handed::receive(&mut other).await.expect_err("it is too long").kind(), ErrorKind::InvalidData);
    }
}
