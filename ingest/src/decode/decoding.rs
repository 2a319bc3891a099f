//! How the messages of a log are decoded: by which decoder, within which bounds, and which columns are wanted of them.

use std::sync::Arc;

use lake_schemas::rejection::PAYLOAD_BYTES_MAX;
use lake_schemas::{LogTime, Rejection};

use super::columns::Columns;
use super::decoder::Decoder;
use super::event::{Event, Rejected};
use super::json::Json;

/// A decoder, and what is alike for all formats.
#[derive(Clone)]
pub struct Decoding {
    decoder: Arc<dyn Decoder>,
    columns: Columns,
    time_in_future_ms: i64,
}

impl Decoding {
    /// All columns of what a decoder says. `time_in_future_ms` is how far an event may be ahead of its log time: the
    /// bound that the table records.
    pub fn new(decoder: Arc<dyn Decoder>, time_in_future_ms: i64) -> Self {
        Self { decoder, columns: Columns::all(), time_in_future_ms }
    }

    /// All columns of messages in JSON.
    pub fn json(time_in_future_ms: i64) -> Self {
        Self::new(Arc::new(Json::new()), time_in_future_ms)
    }

    /// The same, with these columns of the events.
    pub fn with(self, columns: Columns) -> Self {
        Self { columns, ..self }
    }

    /// Which columns are wanted of the events.
    pub(super) fn columns(&self) -> &Columns {
        &self.columns
    }

    /// Decodes one message.
    pub fn decode<'a>(&self, payload: Option<&'a [u8]>, log_time: Option<LogTime>) -> Result<Event<'a>, Rejected> {
        let event = self.decoder.decode(readable(payload)?)?;
        if event.event_time.is_too_old() {
            return Err(Rejected::new(Rejection::TimeTooOld, format!("{} is before 2000", event.event_time)));
        }
        let time_in_future_ms = self.time_in_future_ms;
        // A message without a log time has no future: rejection depends on the message alone, never on a clock.
        match log_time {
            Some(log_time) if event.event_time.is_ahead_of(log_time, time_in_future_ms) => Err(Rejected::new(
                Rejection::TimeInFuture,
                format!("{} is more than {time_in_future_ms} ms after {log_time}", event.event_time),
            )),
            _ => Ok(event),
        }
    }
}

/// The payload, if it is one that a decoder looks into.
fn readable(payload: Option<&[u8]>) -> Result<&[u8], Rejected> {
    let payload = payload.ok_or(Rejection::NullPayload)?;
    if payload.is_empty() {
        return Err(Rejection::Empty.into());
    }
    if payload.len() > PAYLOAD_BYTES_MAX {
        return Err(Rejected::new(Rejection::TooLarge, format!("{} bytes", payload.len())));
    }
    Ok(payload)
}
