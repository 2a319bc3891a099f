//! Result of decoding a message, whatever its format: an event, or the reason why it is none.

use std::borrow::Cow;

use lake_schemas::field::ByField;
use lake_schemas::{EventTime, Field, Rejection};

/// An event as its message carries it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event<'a> {
    /// Event time as the producer gives it.
    pub event_time: EventTime,
    /// Id of the ad.
    pub ad_id: Cow<'a, str>,
    /// Values of the other fields. Fields with a member above, and fields that no message carries, are
    /// [`Value::Absent`].
    pub values: ByField<Value<'a>>,
}

/// Value of a field in a message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Value<'a> {
    /// No value: the message does not carry the field.
    #[default]
    Absent,
    /// A value that is text.
    Text(Cow<'a, str>),
    /// A value that is a number.
    Number(i64),
}

impl Default for Event<'_> {
    /// Returns an event without values, for a decoder to fill.
    fn default() -> Self {
        Self { event_time: EventTime::from_micros(0), ad_id: Cow::Borrowed(""), values: ByField::default() }
    }
}

impl Event<'_> {
    /// Returns the text of a field, if the event carries it as text.
    #[inline]
    pub fn text(&self, field: Field) -> Option<&str> {
        match &self.values[field] {
            Value::Text(text) => Some(text),
            _ if field == Field::AdId => Some(&self.ad_id),
            _ => None,
        }
    }

    /// Returns the number of a field, if the event carries it as a number.
    #[inline]
    pub fn number(&self, field: Field) -> Option<i64> {
        match self.values[field] {
            Value::Number(number) => Some(number),
            _ => None,
        }
    }
}

/// The reason why a message is no event, with a detail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// First reason that applies, in the order of [`Rejection`].
    pub reason: Rejection,
    /// The member at fault, or the parser's message.
    pub detail: Option<String>,
}

impl Rejected {
    /// Makes a rejection with a detail.
    pub fn new(reason: Rejection, detail: impl Into<String>) -> Self {
        Self { reason, detail: Some(detail.into()) }
    }
}

impl From<Rejection> for Rejected {
    fn from(reason: Rejection) -> Self {
        Self { reason, detail: None }
    }
}
