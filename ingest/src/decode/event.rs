//! What a message is decoded to, whatever its format: an event, or why it is none.

use std::borrow::Cow;

use lake_schemas::field::ByField;
use lake_schemas::{EventTime, Field, Rejection};

/// What a message says, if it is an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event<'a> {
    /// When it happened, by its own account.
    pub event_time: EventTime,
    /// The ad.
    pub ad_id: Cow<'a, str>,
    /// What else it says. Of fields that have a place above, and of those that no message says, nothing.
    pub values: ByField<Value<'a>>,
}

/// What a message says of a field.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Value<'a> {
    /// Nothing.
    #[default]
    Absent,
    /// A text.
    Text(Cow<'a, str>),
    /// A number.
    Number(i64),
}

impl Event<'_> {
    /// The text that it says of a field, if it does.
    #[inline]
    pub fn text(&self, field: Field) -> Option<&str> {
        match &self.values[field] {
            Value::Text(text) => Some(text),
            _ if field == Field::AdId => Some(&self.ad_id),
            _ => None,
        }
    }

    /// The number that it says of a field, if it does.
    #[inline]
    pub fn number(&self, field: Field) -> Option<i64> {
        match self.values[field] {
            Value::Number(number) => Some(number),
            _ => None,
        }
    }
}

/// Why a message is no event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// The first reason that applies.
    pub reason: Rejection,
    /// Which member, or what the parser said.
    pub detail: Option<String>,
}

impl Rejected {
    /// A rejection with a detail.
    pub fn new(reason: Rejection, detail: impl Into<String>) -> Self {
        Self { reason, detail: Some(detail.into()) }
    }
}

impl From<Rejection> for Rejected {
    fn from(reason: Rejection) -> Self {
        Self { reason, detail: None }
    }
}
