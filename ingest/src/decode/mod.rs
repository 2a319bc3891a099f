//! From the bytes of a message to a row: an event, or the first reason why it cannot be one.
//!
//! A pure function of the message alone, so that a replay decodes exactly what live decoded. A [`Decoder`] knows one
//! format, and has a file of its own: [`Json`] is the first. A [`Decoding`] is a decoder with what is alike for all
//! formats: what no message may be, whatever it says, and which columns are wanted. A [`BatchBuilder`] makes rows of a
//! partition's messages. Which fields there are, and what they are called, is the list of
//! [`Field`](lake_schemas::Field): builders are found by field, never by where a column stands.
//!
//! Of JSON, parsing is serde_json's; what is ours is the contract: which members are known, the order of the reasons,
//! and that nothing is lost. What the contract leaves open is settled here: of a name that occurs twice the last
//! counts, as in ECMAScript's `JSON.parse`; an `event_time` beside a `timestamp`, or an `event_id` beside a `click_id`,
//! is kept in `extra` like an unknown member; a leading byte order mark is not JSON (RFC 8259, section 8.1).

mod batch;
mod columns;
mod decoder;
mod decoding;
mod event;
mod json;
mod message;
mod raw_json;
mod time;

pub use batch::{BatchBuilder, Place};
pub use columns::Columns;
pub use decoder::Decoder;
pub use decoding::Decoding;
pub use event::{Event, Rejected, Value};
pub use json::Json;
pub use message::Message;
