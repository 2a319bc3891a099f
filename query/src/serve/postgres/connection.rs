//! One connection, from its first byte to its last: a message at a time, each within its limits.
//!
//! A client that hangs holds nothing for long: not while it logs in, not while it does not read its rows, and not with
//! a cursor open that it does not ask.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use datafusion_postgres::pgwire::api::cancel::DefaultCancelHandler;
use datafusion_postgres::pgwire::api::{ClientInfo, NoopHandler, PgWireConnectionState};
use datafusion_postgres::pgwire::error::{ErrorInfo, PgWireError};
use datafusion_postgres::pgwire::messages::extendedquery::TARGET_TYPE_BYTE_STATEMENT;
use datafusion_postgres::pgwire::messages::{PgWireBackendMessage, PgWireFrontendMessage};
use datafusion_postgres::pgwire::tokio::server::{
    MaybeTls, PgWireMessageServerCodec, negotiate_tls, process_error, process_message,
};
use futures::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::codec::{Framed, FramedParts};
use tokio_util::sync::CancellationToken;

use super::Postgres;
use super::answers::Answers;
use super::errors::Refused;
use super::metered::Metered;
use super::prepared::Prepared;
use super::statements::STATEMENT_LIMIT;

/// How long somebody may take to log in: a person has typed the password before.
const LOGIN_LIMIT: Duration = Duration::from_secs(10);

/// How long after its limit a statement may take to say so, and a client to read it.
const GRACE: Duration = Duration::from_secs(10);

/// How long statements may go on when the server stops: half of what a stop may take.
const STOP_LIMIT: Duration = Duration::from_secs(10);

/// Bytes of a message: statements are shorter by far, and so is what is bound to their parameters.
const MESSAGE_BYTES_MAX: usize = 1 << 20;

/// Bytes of a message of somebody who has not logged in: their name, and a key.
const LOGIN_BYTES_MAX: usize = 16 << 10;

type Socket = Framed<Metered<MaybeTls>, PgWireMessageServerCodec<Arc<Prepared>>>;

/// Serves one connection.
pub(super) async fn converse(server: Arc<Postgres>, socket: TcpStream, stop: CancellationToken) -> io::Result<()> {
    let answers = Arc::new(Answers::new(server));
    let login = Instant::now() + LOGIN_LIMIT;
    let begun = tokio::select! {
        () = stop.cancelled() => return Ok(()),
        () = sleep_until(login) => return Ok(()),
        begun = negotiate_tls(socket, None) => begun?,
    };
    let Some(begun) = begun else { return Ok(()) };
    let mut socket = metered(begun);
    loop {
        let is_in = answers.is_in();
        socket.get_mut().begin(if is_in { MESSAGE_BYTES_MAX } else { LOGIN_BYTES_MAX });
        let idle = match (is_in, answers.is_holding()) {
            (false, _) => Some(login),
            (true, true) => Some(Instant::now() + STATEMENT_LIMIT),
            (true, false) => None,
        };
        let message = tokio::select! {
            biased;
            () = stop.cancelled() => return farewell(socket, Refused::stopping()).await,
            () = sleep_until(idle.unwrap_or_else(Instant::now)), if idle.is_some() => return Ok(()),
            message = socket.next() => message,
        };
        let Some(message) = message.transpose().map_err(io::Error::from)? else { return Ok(()) };
        if matches!(message, PgWireFrontendMessage::Terminate(_)) {
            return Ok(());
        }
        if !answers.is_welcome() {
            return farewell(socket, Refused::revoked()).await;
        }
        let goes_on = tokio::select! {
            goes_on = timeout(STATEMENT_LIMIT + GRACE, answer(&answers, &mut socket, message)) => {
                goes_on.unwrap_or(Ok(false))?
            }
            () = async { stop.cancelled().await; sleep(STOP_LIMIT).await } => false,
        };
        if !goes_on {
            return Ok(());
        }
    }
}

/// Answers one message; whether there may be another.
async fn answer(answers: &Arc<Answers>, socket: &mut Socket, message: PgWireFrontendMessage) -> io::Result<bool> {
    let is_extended = message.is_extended_query();
    let named = |name: &Option<String>| name.clone().unwrap_or_default();
    let prepares = match &message {
        PgWireFrontendMessage::Parse(parse) => Some(named(&parse.name)),
        _ => None,
    };
    if let PgWireFrontendMessage::Close(close) = &message
        && close.target_type == TARGET_TYPE_BYTE_STATEMENT
    {
        answers.unprepared(Some(&named(&close.name)));
    }
    let cancels = Arc::new(DefaultCancelHandler::new(Arc::clone(&answers.server.cancels)));
    let is_cancel = matches!(message, PgWireFrontendMessage::CancelRequest(_));
    let [startup, simple, extended] = [answers, answers, answers].map(Arc::clone);
    let nothing = Arc::new(NoopHandler);
    let answered = match prepares.as_deref().map_or(Ok(()), |name| answers.may_prepare(name)) {
        Ok(()) => process_message(message, socket, startup, simple, extended, nothing, cancels).await,
        Err(refused) => Err(refused.into()),
    };
    let Err(error) = answered else {
        prepares.into_iter().for_each(|name| answers.prepared(name));
        return Ok(!is_cancel);
    };
    let error = ErrorInfo::from(error);
    let is_in = answers.is_in();
    let is_last = error.is_fatal() || !is_in;
    process_error(socket, PgWireError::UserError(Box::new(error)), is_extended && is_in).await?;
    Ok(!is_last)
}

/// Sends an idle client away, and says why.
async fn farewell(mut socket: Socket, why: PgWireError) -> io::Result<()> {
    if matches!(socket.state(), PgWireConnectionState::ReadyForQuery) {
        let last = PgWireBackendMessage::ErrorResponse(ErrorInfo::from(why).into());
        // Who does not read it by now is gone.
        let _ = timeout(Duration::from_secs(1), socket.send(last)).await;
    }
    Ok(())
}

/// The same connection, of which messages are not longer than they may be.
fn metered(socket: Framed<MaybeTls, PgWireMessageServerCodec<Arc<Prepared>>>) -> Socket {
    let old = socket.into_parts();
    let mut parts = FramedParts::new(Metered::new(old.io, LOGIN_BYTES_MAX), old.codec);
    (parts.read_buf, parts.write_buf) = (old.read_buf, old.write_buf);
    Framed::from_parts(parts)
}
