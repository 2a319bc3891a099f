//! From the bytes of a message to a row: an event, or the first reason why it cannot be one.
//!
//! A pure function of the message alone, so that a replay decodes exactly what live decoded. Parsing is serde_json's;
//! what is ours is the contract: which members are known, the order of the reasons, and that nothing is lost.
//!
//! Members that the contract leaves open are settled here: of a name that occurs twice the last counts, as in
//! ECMAScript's `JSON.parse`; an `event_time` beside a `timestamp`, or an `event_id` beside a `click_id`, is kept in
//! `extra` like an unknown member; a leading byte order mark is not JSON (RFC 8259, section 8.1).

mod batch;
mod event;
mod json;
mod time;

pub use batch::{BatchBuilder, Columns, Message, Place};
pub use event::{Event, Rejected, decode};
