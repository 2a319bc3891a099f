//! Decodes the bytes of a message to a row: an event, or the first reason why it cannot be one.
//!
//! Decoding is a pure function of the message alone, so that a replay decodes exactly what live ingestion decoded. A
//! [`Decoder`] knows one format and has a file of its own; [`Json`] is the first. A [`Decoding`] is a decoder with what
//! all formats share: the checks that no message may fail, whatever its format, and the selection of columns. A
//! [`BatchBuilder`] makes rows out of a partition's messages. The list of [`Field`](lake_schemas::Field) says which
//! fields there are and what they are called: builders are found by field, never by the index of a column.
//!
//! For JSON, serde_json parses, and this module keeps the contract: which members are known, the order of the reasons,
//! and that nothing is lost. It settles what the contract leaves open: of a name that occurs twice the last counts, as
//! in ECMAScript's `JSON.parse`; an `event_time` beside a `timestamp`, or an `event_id` beside a `click_id`, is kept in
//! `extra` like an unknown member; a leading byte order mark is not JSON (RFC 8259, section 8.1).

mod batch;
mod columns;
mod decoder;
mod decoding;
mod event;
mod json;
mod message;
mod raw_json;
mod time;

pub use batch::BatchBuilder;
pub use columns::Columns;
pub use decoder::Decoder;
pub use decoding::Decoding;
pub use event::{Event, Rejected, Value};
pub use json::Json;
pub use message::Message;
