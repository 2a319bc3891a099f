//! Why a message cannot be an event: the typed reasons of `clicks_rejected`.
//!
//! The order of the variants is the order in which they are checked, and part of the format: a message has the first
//! reason that applies. Each reason depends on the message alone, so that a replay rejects exactly what live ingest
//! rejected.

use std::fmt;

/// Largest payload that is decoded, in bytes: about Kafka's own default for a message.
pub const PAYLOAD_BYTES_MAX: usize = 1_000_000;

/// Deepest nesting of arrays and objects that is decoded; the message's own object is the first level.
pub const DEPTH_MAX: usize = 64;

/// Longest id, in bytes. Ids are keys of every table; a longer one is a payload in the wrong place.
pub const ID_BYTES_MAX: usize = 1_024;

/// Highest cost of one event, in millionths of the currency: one million. Nobody pays that for a click, so a higher
/// number is a wrong unit or a bug of the producer. Nine million clicks at this price still fit into one sum of 64
/// bits.
pub const COST_MICROS_MAX: i64 = 1_000_000_000_000;

/// First reason that keeps a message from being an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rejection {
    /// No payload at all: Kafka's tombstone.
    NullPayload,
    /// A payload of no bytes.
    Empty,
    /// A payload of more than [`PAYLOAD_BYTES_MAX`] bytes.
    TooLarge,
    /// Bytes that are not UTF-8.
    NotUtf8,
    /// More than [`DEPTH_MAX`] levels of nesting.
    TooDeep,
    /// Text that is not one JSON value.
    NotJson,
    /// JSON, but not an object.
    NotAnObject,
    /// No `ad_id`, or an empty one.
    MissingAd,
    /// A known member of the wrong type, or beyond its range.
    BadField,
    /// Neither `timestamp` nor `event_time`.
    MissingTime,
    /// A time that is neither RFC 3339 with a zone nor whole milliseconds, or beyond the year 9999.
    BadTime,
    /// A time before 2000-01-01.
    TimeTooOld,
    /// A time too far after that of its message.
    TimeInFuture,
}

impl Rejection {
    /// All reasons, in the order in which they are checked.
    pub const ALL: [Self; 13] = [
        Self::NullPayload,
        Self::Empty,
        Self::TooLarge,
        Self::NotUtf8,
        Self::TooDeep,
        Self::NotJson,
        Self::NotAnObject,
        Self::MissingAd,
        Self::BadField,
        Self::MissingTime,
        Self::BadTime,
        Self::TimeTooOld,
        Self::TimeInFuture,
    ];

    /// Returns the word that the table holds.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NullPayload => "null_payload",
            Self::Empty => "empty",
            Self::TooLarge => "too_large",
            Self::NotUtf8 => "not_utf8",
            Self::TooDeep => "too_deep",
            Self::NotJson => "not_json",
            Self::NotAnObject => "not_an_object",
            Self::MissingAd => "missing_ad",
            Self::BadField => "bad_field",
            Self::MissingTime => "missing_time",
            Self::BadTime => "bad_time",
            Self::TimeTooOld => "time_too_old",
            Self::TimeInFuture => "time_in_future",
        }
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
