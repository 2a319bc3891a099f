//! The contract of a decoder: what each message format has to offer.

use super::event::{Event, Rejected};

/// Decodes messages of one format.
///
/// A decoder is a pure function of the bytes. It is only given payloads that are neither empty nor too large. It
/// returns the first reason that keeps a message from being an event, in the order of
/// [`Rejection`](lake_schemas::Rejection). The caller checks the bounds of the event time, and messages without a
/// payload.
pub trait Decoder: Send + Sync {
    /// Decodes a payload into an empty event, or to the reason why it is none; then what the event holds is of no use.
    ///
    /// The event is handed in because it is some 500 bytes long: returned by value, it is copied once for each caller.
    fn decode<'a>(&self, payload: &'a [u8], into: &mut Event<'a>) -> Result<(), Rejected>;
}
