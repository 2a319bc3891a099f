//! What a format of messages has to offer.

use super::event::{Event, Rejected};

/// Decodes messages of one format.
///
/// A decoder is a pure function of the bytes, which are neither none nor too many. It says the first reason that keeps
/// a message from being an event, in the order of [`Rejection`](lake_schemas::Rejection). The bounds of its time are
/// looked at by whoever calls it, as is what has no payload at all.
pub trait Decoder: Send + Sync {
    /// The event that a payload says, or why it says none.
    fn decode<'a>(&self, payload: &'a [u8]) -> Result<Event<'a>, Rejected>;
}
