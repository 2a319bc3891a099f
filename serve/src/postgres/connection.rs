//! Session of a client who has logged in, from its greeting to its last message: one message at a time, each within its
//! limits.
//!
//! A client that hangs holds nothing for long: neither while it does not read its rows, nor with a cursor open that it
//! does not fetch from. A client that hangs while logging in never gets here, see [`super::door`].

use std::io;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use datafusion_postgres::pgwire::api::auth::finish_authentication;
use datafusion_postgres::pgwire::api::{ClientInfo, DefaultClient, NoopHandler, PgWireConnectionState, Type};
use datafusion_postgres::pgwire::error::{ErrorInfo, PgWireError, PgWireResult};
use datafusion_postgres::pgwire::messages::extendedquery::{
    Bind, Close, TARGET_TYPE_BYTE_PORTAL, TARGET_TYPE_BYTE_STATEMENT,
};
use datafusion_postgres::pgwire::messages::response::TransactionStatus;
use datafusion_postgres::pgwire::messages::{PgWireBackendMessage, PgWireFrontendMessage, ProtocolVersion};
use datafusion_postgres::pgwire::tokio::server::{PgWireMessageServerCodec, process_error, process_message};
use futures::{FutureExt, SinkExt};
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::codec::Framed;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::answers::Answers;
use super::engine::Engine;
use super::errors::{Refused, told};
use super::frames::LAST_WORD;
use super::handed::Client;
use super::kept::Kind;
use super::messages::{MessageRead, is_before_sync, is_extended, next};
use super::prepared::Prepared;
use super::settings::{self, ClientSettings};
use super::statements::STATEMENT_LIMIT;

/// Time after its limit that a statement has to report that, and a client to read it.
const GRACE: Duration = Duration::from_secs(10);

/// Time after that which the process has to notice: the runtime does so within moments, unless it hangs.
const STUCK_AFTER: Duration = Duration::from_secs(5);

/// Time that statements may still run when the server stops: half of what a stop may take.
const STOP_LIMIT: Duration = Duration::from_secs(10);

/// Time that a client has to read the last message.
const LAST_LIMIT: Duration = Duration::from_secs(1);

/// Maximum size of a message, in bytes: statements are far shorter, and so are the values of their parameters.
const MESSAGE_BYTES_MAX: usize = 1 << 20;

/// Time that a transaction may be idle: its process makes room for no other key as long as it is open.
const TRANSACTION_LIMIT: Duration = Duration::from_secs(600);

/// Error for a client that has rows open and does not fetch them.
const UNREAD: (&str, &str) =
    ("57P05", "rows that were begun were not asked for in time, which ended the session; read them sooner");

/// Error for a client that leaves a transaction open.
const IN_TRANSACTION: (&str, &str) =
    ("25P03", "a transaction was idle for ten minutes, which ended the session; end transactions, or use autocommit");

type Socket = Framed<UnixStream, PgWireMessageServerCodec<Arc<Prepared>>>;

/// Serves the session of a client who has logged in.
pub(super) async fn converse(
    engine: Arc<Engine>,
    stream: UnixStream,
    client: Client,
    stop: CancellationToken,
) -> io::Result<()> {
    let answers = Arc::new(Answers::new(Arc::clone(&engine)));
    let mut socket = begun(stream, &client);
    answers.begin_with(ClientSettings::at_first(&client.said));
    answers.let_in(client.access, engine.cancels.register(client.session.pid, client.session.secret()));
    finish_authentication(&mut socket, &settings::told()).await.map_err(io::Error::from)?;
    let served = AssertUnwindSafe(serve(&answers, &mut socket, &stop)).catch_unwind().await;
    let ended = match served {
        Ok(ended) => ended,
        Err(_) => {
            // Libraries panic on some messages and values; the log has their own words.
            warn!("a PostgreSQL session ended by a bug");
            let last = PgWireBackendMessage::ErrorResponse(ErrorInfo::from(Refused::bug()).into());
            let _ = timeout(LAST_LIMIT, socket.send(last)).await;
            Ok(())
        }
    };
    // Without the last word, the relay would report the session as lost. A client that does not read it by now is gone.
    let last = async {
        SinkExt::<PgWireBackendMessage>::flush(&mut socket).await?;
        socket.get_mut().write_all(&[LAST_WORD]).await
    };
    let _ = timeout(LAST_LIMIT, last).await;
    ended
}

/// Returns the session's socket, with what was agreed upon at the login.
fn begun(stream: UnixStream, client: &Client) -> Socket {
    let codec = PgWireMessageServerCodec::new(DefaultClient::new(client.address, client.is_secure));
    let mut socket = Framed::new(stream, codec);
    let (major, minor) = client.protocol;
    socket.set_protocol_version(ProtocolVersion::from_version_number(major, minor).unwrap_or_default());
    socket.metadata_mut().extend(client.said.clone());
    socket.set_pid_and_secret_key(client.session.pid, client.session.secret());
    socket
}

async fn serve(answers: &Arc<Answers>, socket: &mut Socket, stop: &CancellationToken) -> io::Result<()> {
    loop {
        let held = match socket.transaction_status() {
            _ if answers.is_holding() => Some((STATEMENT_LIMIT, UNREAD)),
            TransactionStatus::Idle => None,
            TransactionStatus::Transaction | TransactionStatus::Error => Some((TRANSACTION_LIMIT, IN_TRANSACTION)),
        };
        let (limit, (code, why)) = held.unwrap_or_default();
        let until = Instant::now() + limit;
        let said = tokio::select! {
            biased;
            () = stop.cancelled() => return farewell(socket, Refused::stopping()).await,
            () = sleep_until(until), if held.is_some() => return farewell(socket, Refused::lost(code, why)).await,
            said = next(socket, MESSAGE_BYTES_MAX) => said,
        };
        let Some(said) = said? else { return Ok(()) };
        if matches!(said, MessageRead::Message(PgWireFrontendMessage::Terminate(_))) {
            return Ok(());
        }
        let _answering = answers.server.under_way.begin(STATEMENT_LIMIT + GRACE + STUCK_AFTER);
        let goes_on = tokio::select! {
            goes_on = timeout(STATEMENT_LIMIT + GRACE, answer(answers, socket, said)) => {
                goes_on.unwrap_or(Ok(false))?
            }
            () = async { stop.cancelled().await; sleep(STOP_LIMIT).await } => false,
        };
        if !goes_on {
            return Ok(());
        }
    }
}

/// Answers one message; returns whether the session goes on.
async fn answer(answers: &Arc<Answers>, socket: &mut Socket, said: MessageRead) -> io::Result<bool> {
    if matches!(socket.state(), PgWireConnectionState::AwaitingSync) && is_passed_over(&said) {
        return Ok(true);
    }
    let (is_of_extended, answered) = match said {
        MessageRead::Message(message) => (message.is_extended_query(), heed(answers, socket, message).await),
        MessageRead::Malformed(why, kind) => (is_extended(kind), Err(why)),
        MessageRead::Lost(why) => (false, Err(why)),
    };
    let Err(error) = answered else { return Ok(true) };
    let error = told(error);
    if error.is_fatal() {
        socket.send(PgWireBackendMessage::ErrorResponse(error.into())).await?;
        return Ok(false);
    }
    process_error(socket, PgWireError::UserError(Box::new(error)), is_of_extended).await?;
    Ok(true)
}

/// Returns whether a message is skipped after an error, up to the next Sync.
fn is_passed_over(said: &MessageRead) -> bool {
    match said {
        MessageRead::Message(message) => !matches!(message, PgWireFrontendMessage::Sync(_)),
        MessageRead::Malformed(_, kind) => is_before_sync(*kind),
        MessageRead::Lost(_) => false,
    }
}

/// Does what a message asks for.
async fn heed(answers: &Arc<Answers>, socket: &mut Socket, message: PgWireFrontendMessage) -> PgWireResult<()> {
    if let PgWireFrontendMessage::Close(close) = &message {
        forget(answers, close);
    }
    let keeps = kept_by(&message);
    if let Some((kind, name, bytes)) = &keeps {
        answers.may_keep(*kind, name, *bytes)?;
    }
    if let PgWireFrontendMessage::Query(query) = &message {
        return answers.answer_text(socket, &query.query).await;
    }
    let (extended, nothing) = (Arc::clone(answers), Arc::new(NoopHandler));
    let [startup, simple, copy] = [&nothing, &nothing, &nothing].map(Arc::clone);
    process_message(message, socket, startup, simple, extended, copy, nothing).await?;
    if let Some((kind, name, bytes)) = keeps {
        answers.keep(kind, name, bytes);
    }
    Ok(())
}

/// Returns what a message asks to keep: under which name, and how many bytes.
fn kept_by(message: &PgWireFrontendMessage) -> Option<(Kind, String, usize)> {
    match message {
        PgWireFrontendMessage::Parse(parse) => {
            let (name, types) = (parse.name.clone().unwrap_or_default(), parse.type_oids.len());
            let bytes = name.len() + parse.query.len() + size_of::<Option<Type>>() * types;
            Some((Kind::Statement, name, bytes))
        }
        PgWireFrontendMessage::Bind(bind) => {
            let name = bind.portal_name.clone().unwrap_or_default();
            let bytes = name.len() + bytes_of(bind);
            Some((Kind::Portal, name, bytes))
        }
        _ => None,
    }
}

/// Returns the bytes of bound values, their formats, and the formats of the columns.
fn bytes_of(bind: &Bind) -> usize {
    let values = bind.parameters.iter().flatten().map(|value| value.len()).sum::<usize>();
    let formats = bind.parameter_format_codes.len() + bind.result_column_format_codes.len();
    values + size_of::<Option<bytes::Bytes>>() * bind.parameters.len() + size_of::<i16>() * formats
}

/// Records that a statement or a portal is closed.
fn forget(answers: &Answers, close: &Close) {
    let name = close.name.as_deref().unwrap_or_default();
    let kind = match close.target_type {
        TARGET_TYPE_BYTE_STATEMENT => Kind::Statement,
        TARGET_TYPE_BYTE_PORTAL => Kind::Portal,
        _ => return,
    };
    answers.forget(kind, Some(name));
}

/// Ends an idle client's session, with the reason.
async fn farewell(socket: &mut Socket, why: PgWireError) -> io::Result<()> {
    if matches!(socket.state(), PgWireConnectionState::ReadyForQuery) {
        let last = PgWireBackendMessage::ErrorResponse(ErrorInfo::from(why).into());
        // A client that does not read it by now is gone.
        let _ = timeout(LAST_LIMIT, socket.send(last)).await;
    }
    Ok(())
}
