//! Handles one connection from its first byte until its client has logged in, and then passes it on to the process that
//! answers that key. No SQL is read here.

use std::io;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use datafusion_postgres::pgwire::api::auth::StartupHandler;
use datafusion_postgres::pgwire::api::{ClientInfo, PidSecretKeyGenerator};
use datafusion_postgres::pgwire::error::PgWireError;
use datafusion_postgres::pgwire::messages::cancel::CancelRequest;
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
use super::messages::{MessageRead, next};
use super::relay::relay;
use crate::keys::Who;
use crate::places::ConnectionPermit;

/// Time that a client has to log in: a person has typed the password before.
const LOGIN_LIMIT: Duration = Duration::from_secs(10);

/// Time that a client without a place has to cancel a statement: programs send that as soon as they are connected.
const CANCEL_LIMIT: Duration = Duration::from_secs(2);

/// Time that a client has to read why it is refused.
const REFUSED_LIMIT: Duration = Duration::from_secs(1);

/// Maximum size of a message before login, in bytes: a name, and a key.
const LOGIN_BYTES_MAX: usize = 16 << 10;

/// Socket of a client that has sent no statement yet.
type Socket = Framed<MaybeTls, PgWireMessageServerCodec<()>>;

/// Connection whose client has not logged in yet.
pub(super) struct Door {
    /// Server, shared by all connections.
    pub server: Arc<Postgres>,
    /// State of a login by proof.
    pub scram: Mutex<Scram>,
    who: OnceLock<Who>,
}

/// Serves one connection, which has a place among others.
pub(super) async fn open(
    server: Arc<Postgres>,
    socket: TcpStream,
    place: &ConnectionPermit,
    stop: &CancellationToken,
) -> io::Result<()> {
    let door = Door::new(server);
    let logged_in = tokio::select! {
        () = stop.cancelled() => return Ok(()),
        () = place.is_given_away() => return Ok(()),
        logged_in = timeout(LOGIN_LIMIT, AssertUnwindSafe(door.log_in(socket)).catch_unwind()) => logged_in,
    };
    // A client that has not logged in by now is not told why.
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
        access: who.access.clone(),
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

/// Lets a client without a place cancel a statement, which may free a place; tells any other client that there are too
/// many connections.
pub(super) async fn turn_away(
    server: Arc<Postgres>,
    socket: TcpStream,
    place: &ConnectionPermit,
    stop: &CancellationToken,
) -> io::Result<()> {
    let door = Door::new(server);
    let heard = tokio::select! {
        () = stop.cancelled() => return Ok(()),
        () = place.is_given_away() => return Ok(()),
        heard = timeout(CANCEL_LIMIT, AssertUnwindSafe(door.hear(socket)).catch_unwind()) => heard?,
    };
    heard.map_err(|_| io::Error::other("a cancellation came upon a bug"))?
}

impl Door {
    fn new(server: Arc<Postgres>) -> Self {
        Self { server, scram: Mutex::default(), who: OnceLock::new() }
    }

    /// Records who has logged in.
    pub fn let_in(&self, who: Who) {
        // A client logs in only once.
        let _ = self.who.set(who);
    }

    /// Talks to a client until it has logged in; `None` if it has not, and was told why.
    async fn log_in(&self, socket: TcpStream) -> io::Result<Option<(Socket, Who)>> {
        let Some(mut socket) = self.negotiate(socket).await? else { return Ok(None) };
        loop {
            let Some(said) = next(&mut socket, LOGIN_BYTES_MAX).await? else { return Ok(None) };
            let answered = match said {
                MessageRead::Message(PgWireFrontendMessage::Terminate(_)) => return Ok(None),
                MessageRead::Message(PgWireFrontendMessage::CancelRequest(request)) => {
                    self.cancel(&request).await;
                    return Ok(None);
                }
                MessageRead::Message(message) => self.on_startup(&mut socket, message).await,
                MessageRead::Malformed(why, _) | MessageRead::Lost(why) => Err(why),
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

impl Door {
    /// Negotiates TLS with a client; `None` if the client does not go on.
    async fn negotiate(&self, socket: TcpStream) -> io::Result<Option<Socket>> {
        let tls = self.server.tls.as_ref().map(|tls| tls.postgresql());
        let socket: Option<Socket> = negotiate_tls(socket, tls).await?;
        // Bytes that came before TLS came from somebody in between, and would be taken for those of the client that
        // logs in.
        Ok(socket.filter(|socket| !socket.is_secure() || socket.read_buffer().is_empty()))
    }

    /// Cancels the statement of a session, given by its number and secret.
    async fn cancel(&self, request: &CancelRequest) {
        self.server.cancels.cancel(request.pid, &request.secret_key).await;
    }

    /// Cancels a statement if the client asks for that, or tells it that there are too many connections.
    async fn hear(&self, socket: TcpStream) -> io::Result<()> {
        let Some(mut socket) = self.negotiate(socket).await? else { return Ok(()) };
        match next(&mut socket, LOGIN_BYTES_MAX).await? {
            None => Ok(()),
            Some(MessageRead::Message(PgWireFrontendMessage::CancelRequest(request))) => {
                self.cancel(&request).await;
                Ok(())
            }
            Some(_) => refuse(&mut socket, Refused::too_many_connections()).await,
        }
    }
}

/// Tells a client why it is refused.
async fn refuse(socket: &mut Socket, error: PgWireError) -> io::Result<()> {
    let last = PgWireBackendMessage::ErrorResponse(told(error).into());
    timeout(REFUSED_LIMIT, async {
        socket.send(last).await?;
        SinkExt::<PgWireBackendMessage>::close(socket).await
    })
    .await?
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use datafusion_postgres::pgwire::messages::startup::SecretKey;
    use lake_store::Lake;
    use object_store::memory::InMemory;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use url::Url;

    use super::*;
    use crate::places::Places;

    /// Returns the answer to a client without a place that says this.
    async fn told(server: &Arc<Postgres>, said: &[u8]) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let mut client = TcpStream::connect(listener.local_addr().expect("an address")).await.expect("it listens");
        let (socket, _) = listener.accept().await.expect("a client");
        client.write_all(said).await.expect("it is taken");
        let place = Places::new(1, false).take(IpAddr::V4(Ipv4Addr::LOCALHOST)).expect("a place");
        turn_away(Arc::clone(server), socket, &place, &CancellationToken::new()).await.expect("it is answered");
        let mut told = Vec::new();
        client.read_to_end(&mut told).await.expect("it is closed");
        String::from_utf8_lossy(&told).into_owned()
    }

    #[tokio::test]
    async fn who_cancels_is_heard_without_a_place_and_everyone_else_is_sent_away() {
        let lake = Lake::on(Arc::new(InMemory::new()), Url::parse("memory:///lake").expect("an address"));
        let server = Arc::new(Postgres::new(lake, None, 1 << 20).expect("a server"));
        let (handle, _registered) = server.cancels.register(7, SecretKey::I32(8));
        let mut cancelled = handle.start_query().await;
        let request = |secret: i32| [16, 80_877_102, 7, secret].map(i32::to_be_bytes).concat();
        assert_eq!(told(&server, &request(9)).await, "", "it is a secret");
        assert!(matches!(cancelled.try_recv(), Ok(None)), "nothing is cancelled");
        assert_eq!(told(&server, &request(8)).await, "");
        assert!(matches!(cancelled.try_recv(), Ok(Some(()))), "it is cancelled");
        let said = told(&server, b"\0\0\0\x10\0\x03\0\0user\0a\0\0").await;
        assert!(said.starts_with('E') && said.contains("53300"), "{said:?}");
    }
}
