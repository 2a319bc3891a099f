//! The contract of a decoder: what each message format has to offer.

use super::event::{Event, Rejected};

/// Decodes messages of one format.
///
/// A decoder is a pure function of the bytes. It is only given payloads that are neither empty nor too large. It
/// returns the first reason that keeps a message from being an event, in the order of
/// [`Rejection`](lake_schemas::Rejection). The caller checks the bounds of the event time, and messages without a
/// payload.
pub trait Decoder: Send + Sync {
    /// Decodes a payload to its event, or to the reason why it is none.
    fn decode<'a>(&self, payload: &'a [u8]) -> Result<Event<'a>, Rejected>;
}
