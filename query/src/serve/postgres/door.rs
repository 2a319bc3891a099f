//! One connection at the server, from its first byte until its client has logged in; then it is passed on to whoever
//! answers that key. No SQL is read here.

use std::io;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use datafusion_postgres::pgwire::api::auth::StartupHandler;
use datafusion_postgres::pgwire::api::{ClientInfo, PidSecretKeyGenerator};
use datafusion_postgres::pgwire::error::PgWireError;
use datafusion_postgres::pgwire::messages::{PgWireBackendMessage, PgWireFrontendMessage};
use datafusion_postgres::pgwire::tokio::server::{MaybeTls, PgWireMessageServerCodec, negotiate_tls};
use futures::{FutureExt, SinkExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_util::codec::{Framed, FramedParts};
use tokio_util::sync::CancellationToken;

use super::Postgres;
use super::errors::{Refused, told};
use super::handed::{Client, Session};
use super::login::Scram;
use super::messages::{Said, next};
use super::relay::relay;
use crate::serve::keys::Who;
use crate::serve::places::Place;

/// How long somebody may take to log in: a person has typed the password before.
const LOGIN_LIMIT: Duration = Duration::from_secs(10);

/// How long somebody may take to read why they are sent away.
const REFUSED_LIMIT: Duration = Duration::from_secs(1);

/// Bytes of a message of somebody who has not logged in: their name, and a key.
const LOGIN_BYTES_MAX: usize = 16 << 10;

/// Whoever is behind it has asked for no statement.
type Socket = Framed<MaybeTls, PgWireMessageServerCodec<()>>;

/// A connection whose client has not logged in yet.
pub(super) struct Door {
    /// What it has in common with others.
    pub server: Arc<Postgres>,
    /// How far a login by proof is.
    pub scram: Mutex<Scram>,
    who: OnceLock<Who>,
}

/// Serves one connection, which has a place among others.
pub(super) async fn open(
    server: Arc<Postgres>,
    socket: TcpStream,
    place: &Place,
    stop: &CancellationToken,
) -> io::Result<()> {
    let door = Door { server, scram: Mutex::default(), who: OnceLock::new() };
    let logged_in = tokio::select! {
        () = stop.cancelled() => return Ok(()),
        () = place.is_given_away() => return Ok(()),
        logged_in = timeout(LOGIN_LIMIT, AssertUnwindSafe(door.log_in(socket)).catch_unwind()) => logged_in,
    };
    // Who has not logged in by now is not told why.
    let Ok(logged_in) = logged_in else { return Ok(()) };
    let logged_in = logged_in.map_err(|_| io::Error::other("a login came upon a bug"))?;
    let Some((mut socket, who)) = logged_in? else { return Ok(()) };
    if !place.belongs_to(who.key) {
        let all_are_taken = place.was_given_away();
        let why = if all_are_taken { Refused::too_many_connections() } else { Refused::too_many_of_key() };
        return refuse(&mut socket, why).await;
    }
    let (pid, secret) = door.server.names.generate(&socket);
    let client = Client {
        sees: who.sees.clone(),
        session: Session::new(pid, &secret),
        protocol: socket.protocol_version().version_number(),
        said: socket.metadata().clone(),
        address: socket.socket_addr(),
        is_secure: socket.is_secure(),
    };
    let (handle, _registered) = door.server.cancels.register(pid, secret);
    match door.server.answering.open(&who, client).await {
        Ok(opened) => {
            let FramedParts { io, read_buf, .. } = socket.into_parts();
            let lost = async {
                match &door.server.keys {
                    Some(keys) => keys.until_lost(&who).await,
                    None => std::future::pending().await,
                }
            };
            relay(io, read_buf, opened, &handle, lost).await
        }
        Err(refused) => refuse(&mut socket, refused).await,
    }
}

impl Door {
    /// Takes note of who has logged in.
    pub fn let_in(&self, who: Who) {
        // Nobody logs in twice.
        let _ = self.who.set(who);
    }

    /// Talks to a client until it has logged in; `None`: it has not, and knows why.
    async fn log_in(&self, socket: TcpStream) -> io::Result<Option<(Socket, Who)>> {
        let tls = self.server.tls.as_ref().map(|tls| tls.postgresql());
        let Some(mut socket) = negotiate_tls(socket, tls).await? else { return Ok(None) };
        // What came before TLS came from somebody between, who would be taken for whoever logs in behind it.
        if socket.is_secure() && !socket.read_buffer().is_empty() {
            return Ok(None);
        }
        loop {
            let Some(said) = next(&mut socket, LOGIN_BYTES_MAX).await? else { return Ok(None) };
            let answered = match said {
                Said::Message(PgWireFrontendMessage::Terminate(_)) => return Ok(None),
                Said::Message(PgWireFrontendMessage::CancelRequest(request)) => {
                    self.server.cancels.cancel(request.pid, &request.secret_key).await;
                    return Ok(None);
                }
                Said::Message(message) => self.on_startup(&mut socket, message).await,
                Said::Malformed(why, _) | Said::Lost(why) => Err(why),
            };
            if let Err(why) = answered {
                refuse(&mut socket, why).await?;
                return Ok(None);
            }
            if let Some(who) = self.who.get() {
                return Ok(Some((socket, who.clone())));
            }
        }
    }
}

/// Says why a client is sent away.
async fn refuse(socket: &mut Socket, error: PgWireError) -> io::Result<()> {
    let last = PgWireBackendMessage::ErrorResponse(told(error).into());
    timeout(REFUSED_LIMIT, async {
        socket.send(last).await?;
        SinkExt::<PgWireBackendMessage>::close(socket).await
    })
    .await?
}
