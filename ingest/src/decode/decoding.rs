//! Settings by which the messages of a log are decoded: decoder, bounds and columns.

use std::sync::Arc;

use lake_schemas::rejection::PAYLOAD_BYTES_MAX;
use lake_schemas::{LogTime, Rejection};

use super::columns::Columns;
use super::decoder::Decoder;
use super::event::{Event, Rejected};
use super::json::Json;

/// A decoder together with the checks that all formats share.
#[derive(Clone)]
pub struct Decoding {
    decoder: Arc<dyn Decoder>,
    columns: Columns,
    time_in_future_ms: i64,
}

impl Decoding {
    /// Decodes all columns with a decoder. `time_in_future_ms` is how far an event may be ahead of its log time: the
    /// bound that the table records.
    pub fn new(decoder: Arc<dyn Decoder>, time_in_future_ms: i64) -> Self {
        Self { decoder, columns: Columns::all(), time_in_future_ms }
    }

    /// Decodes all columns of messages in JSON.
    pub fn json(time_in_future_ms: i64) -> Self {
        Self::new(Arc::new(Json::new()), time_in_future_ms)
    }

    /// Returns the same decoding with another selection of columns.
    pub fn with(self, columns: Columns) -> Self {
        Self { columns, ..self }
    }

    /// Returns the wanted columns of events.
    pub(super) fn columns(&self) -> &Columns {
        &self.columns
    }

    /// Decodes one message to its event, or to the reason why it is none.
    pub fn decode<'a>(&self, payload: Option<&'a [u8]>, log_time: Option<LogTime>) -> Result<Event<'a>, Rejected> {
        let mut event = Event::default();
        self.decode_into(&mut event, payload, log_time)?;
        Ok(event)
    }

    /// Decodes one message into an empty event: checks its payload, decodes it, and checks the bounds of its time.
    pub(super) fn decode_into<'a>(
        &self,
        event: &mut Event<'a>,
        payload: Option<&'a [u8]>,
        log_time: Option<LogTime>,
    ) -> Result<(), Rejected> {
        self.decoder.decode(readable(payload)?, event)?;
        if event.event_time.is_too_old() {
            return Err(Rejected::new(Rejection::TimeTooOld, format!("{} is before 2000", event.event_time)));
        }
        let time_in_future_ms = self.time_in_future_ms;
        // The time of a message without a log time is never in the future: rejection depends on the message alone,
        // never on a clock.
        match log_time {
            Some(log_time) if event.event_time.is_ahead_of(log_time, time_in_future_ms) => Err(Rejected::new(
                Rejection::TimeInFuture,
                format!("{} is more than {time_in_future_ms} ms after {log_time}", event.event_time),
            )),
            _ => Ok(()),
        }
    }
}

/// Returns the payload if it is one to give to a decoder: present, not empty, and not too large.
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
