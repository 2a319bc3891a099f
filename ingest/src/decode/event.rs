//! One message: an event, or the first reason why it is none.

use std::borrow::Cow;

use lake_schemas::rejection::{COST_MICROS_MAX, ID_BYTES_MAX, PAYLOAD_BYTES_MAX};
use lake_schemas::table::column;
use lake_schemas::{EventTime, LogTime, Rejection};
use serde_json::value::RawValue;

use super::{json, time};

/// What a message says, if it is an event.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the members are the contract's, and say themselves")]
pub struct Event<'a> {
    pub event_time: EventTime,
    pub event_type: Option<Cow<'a, str>>,
    pub ad_id: Cow<'a, str>,
    pub campaign_id: Option<Cow<'a, str>>,
    pub click_id: Option<Cow<'a, str>>,
    pub user_id: Option<Cow<'a, str>>,
    pub publisher_id: Option<Cow<'a, str>>,
    pub country: Option<Cow<'a, str>>,
    pub device: Option<Cow<'a, str>>,
    pub ip: Option<Cow<'a, str>>,
    pub cost_micros: Option<i64>,
    /// The unknown members, as a compact JSON object.
    pub extra: Option<String>,
}

/// Why a message is no event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// The first reason that applies.
    pub reason: Rejection,
    /// Which member, or what the parser said.
    pub detail: Option<String>,
}

impl From<Rejection> for Rejected {
    fn from(reason: Rejection) -> Self {
        Self { reason, detail: None }
    }
}

/// Decodes one message. `time_in_future_ms` is how far its event may be ahead of its log time.
pub fn decode<'a>(
    payload: Option<&'a [u8]>,
    log_time: Option<LogTime>,
    time_in_future_ms: i64,
) -> Result<Event<'a>, Rejected> {
    let members = Members::of(text(payload)?)?;
    let event = members.event()?;
    if event.event_time.is_too_old() {
        return Err(rejected(Rejection::TimeTooOld, format!("{} is before 2000", event.event_time)));
    }
    // A message without a log time has no future: rejection depends on the message alone, never on a clock.
    match log_time {
        Some(log_time) if event.event_time.is_ahead_of(log_time, time_in_future_ms) => Err(rejected(
            Rejection::TimeInFuture,
            format!("{} is more than {time_in_future_ms} ms after {log_time}", event.event_time),
        )),
        _ => Ok(event),
    }
}

fn rejected(reason: Rejection, detail: impl Into<String>) -> Rejected {
    Rejected { reason, detail: Some(detail.into()) }
}

/// The payload as text that may be JSON.
fn text(payload: Option<&[u8]>) -> Result<&str, Rejected> {
    let payload = payload.ok_or(Rejection::NullPayload)?;
    if payload.is_empty() {
        return Err(Rejection::Empty.into());
    }
    if payload.len() > PAYLOAD_BYTES_MAX {
        return Err(rejected(Rejection::TooLarge, format!("{} bytes", payload.len())));
    }
    std::str::from_utf8(payload).map_err(|error| rejected(Rejection::NotUtf8, error.to_string()))
}

/// Why text that is not an object, or not JSON at all, is rejected.
fn not_an_object(text: &str) -> Rejected {
    if json::is_too_deep(text, 0) {
        return Rejection::TooDeep.into();
    }
    match json::is_value(text) {
        Ok(()) => Rejection::NotAnObject.into(),
        Err(error) => rejected(Rejection::NotJson, error.to_string()),
    }
}

/// The members of a message: the known ones by name, the rest as text.
#[derive(Default)]
struct Members<'a> {
    timestamp: Option<&'a RawValue>,
    event_time: Option<&'a RawValue>,
    click_id: Option<&'a RawValue>,
    event_id: Option<&'a RawValue>,
    event_type: Option<&'a RawValue>,
    ad_id: Option<&'a RawValue>,
    campaign_id: Option<&'a RawValue>,
    user_id: Option<&'a RawValue>,
    publisher_id: Option<&'a RawValue>,
    country: Option<&'a RawValue>,
    device: Option<&'a RawValue>,
    ip: Option<&'a RawValue>,
    cost_micros: Option<&'a RawValue>,
    extra: String,
}

impl<'a> Members<'a> {
    fn of(text: &'a str) -> Result<Self, Rejected> {
        let mut members = Self::default();
        let mut too_deep = false;
        let parsed = json::members(text, |name, value| {
            if matches!(value.get().as_bytes().first(), Some(b'[' | b'{')) {
                too_deep |= json::is_too_deep(value.get(), 1);
            }
            members.take(name, value);
        });
        match parsed {
            Ok(()) if too_deep => Err(Rejection::TooDeep.into()),
            Ok(()) => Ok(members),
            Err(_) => Err(not_an_object(text)),
        }
    }

    fn take(&mut self, name: &'a RawValue, value: &'a RawValue) {
        let slot = match json::string(name).as_deref() {
            Some("timestamp") => &mut self.timestamp,
            Some(column::EVENT_TIME) => &mut self.event_time,
            Some(column::CLICK_ID) => &mut self.click_id,
            Some("event_id") => &mut self.event_id,
            Some(column::EVENT_TYPE) => &mut self.event_type,
            Some(column::AD_ID) => &mut self.ad_id,
            Some(column::CAMPAIGN_ID) => &mut self.campaign_id,
            Some(column::USER_ID) => &mut self.user_id,
            Some(column::PUBLISHER_ID) => &mut self.publisher_id,
            Some(column::COUNTRY) => &mut self.country,
            Some(column::DEVICE) => &mut self.device,
            Some(column::IP) => &mut self.ip,
            Some(column::COST_MICROS) => &mut self.cost_micros,
            _ => return self.keep(name.get(), value),
        };
        *slot = Some(value).filter(|value| value.get() != "null");
    }

    /// Keeps a member that has no column.
    fn keep(&mut self, name: &str, value: &RawValue) {
        self.extra.push(if self.extra.is_empty() { '{' } else { ',' });
        self.extra.push_str(name);
        self.extra.push(':');
        json::push_compact(&mut self.extra, value.get());
    }

    /// The event that the members make, up to what its time is compared with.
    fn event(mut self) -> Result<Event<'a>, Rejected> {
        let ad_id = match self.ad_id {
            None => return Err(Rejection::MissingAd.into()),
            Some(raw) if raw.get() == "\"\"" => return Err(Rejection::MissingAd.into()),
            Some(raw) => id(column::AD_ID, raw)?,
        };
        let click_id = match (self.click_id, self.event_id) {
            (Some(raw), other) => {
                other.into_iter().for_each(|other| self.keep("\"event_id\"", other));
                Some(id(column::CLICK_ID, raw)?)
            }
            (None, Some(raw)) => Some(id("event_id", raw)?),
            (None, None) => None,
        };
        let campaign_id = self.campaign_id.map(|raw| id(column::CAMPAIGN_ID, raw)).transpose()?;
        let user_id = self.user_id.map(|raw| id(column::USER_ID, raw)).transpose()?;
        let publisher_id = self.publisher_id.map(|raw| id(column::PUBLISHER_ID, raw)).transpose()?;
        let event_type = self.event_type.map(|raw| string(column::EVENT_TYPE, raw)).transpose()?;
        let country = self.country.map(|raw| string(column::COUNTRY, raw)).transpose()?;
        let device = self.device.map(|raw| string(column::DEVICE, raw)).transpose()?;
        let ip = self.ip.map(|raw| string(column::IP, raw)).transpose()?;
        let cost_micros = self.cost_micros.map(cost).transpose()?;
        let raw_time = match (self.timestamp, self.event_time) {
            (Some(raw), other) => {
                other.into_iter().for_each(|other| self.keep("\"event_time\"", other));
                raw
            }
            (None, Some(raw)) => raw,
            (None, None) => return Err(Rejection::MissingTime.into()),
        };
        let event_time = time::parse(raw_time).map_err(|detail| rejected(Rejection::BadTime, detail))?;
        let extra = (!self.extra.is_empty()).then(|| {
            self.extra.push('}');
            self.extra
        });
        Ok(Event {
            event_time,
            event_type,
            ad_id,
            campaign_id,
            click_id: click_id.filter(|id| !id.is_empty()),
            user_id,
            publisher_id,
            country,
            device,
            ip,
            cost_micros,
            extra,
        })
    }
}

fn string<'a>(name: &str, raw: &'a RawValue) -> Result<Cow<'a, str>, Rejected> {
    json::string(raw).ok_or_else(|| {
        let found = match json::kind(raw) {
            "a string" => "one that is not valid Unicode",
            other => other,
        };
        rejected(Rejection::BadField, format!("{name}: expected a string, found {found}"))
    })
}

fn id<'a>(name: &str, raw: &'a RawValue) -> Result<Cow<'a, str>, Rejected> {
    let id = string(name, raw)?;
    if id.len() > ID_BYTES_MAX {
        let detail = format!("{name}: {} bytes, more than {ID_BYTES_MAX}", id.len());
        return Err(rejected(Rejection::BadField, detail));
    }
    Ok(id)
}

fn cost(raw: &RawValue) -> Result<i64, Rejected> {
    json::integer(raw).filter(|cost| (0..=COST_MICROS_MAX).contains(cost)).ok_or_else(|| {
        let shown: String = raw.get().chars().take(40).collect();
        let detail = format!("cost_micros: expected an integer from 0 to {COST_MICROS_MAX}, found {shown}");
        rejected(Rejection::BadField, detail)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(cost: &str) -> Result<Option<i64>, Rejected> {
        let message = format!(r#"{{"ad_id":"a","timestamp":"2026-03-07T12:00:00Z","cost_micros":{cost}}}"#);
        decode(Some(message.as_bytes()), None, 0).map(|event| event.cost_micros)
    }

    #[test]
    fn a_cost_beyond_the_bound_is_a_bad_field_that_names_the_bound() {
        for (cost, expected) in [("null", None), ("0", Some(0)), ("1000000000000", Some(1_000_000_000_000))] {
            assert_eq!(decoded(cost), Ok(expected), "{cost}");
        }
        for cost in ["1000000000001", "9000000000000000000", "9223372036854775808", "-1"] {
            let Rejected { reason, detail } = decoded(cost).expect_err(cost);
            let detail = detail.expect("a detail");
            assert_eq!(reason, Rejection::BadField, "{cost}");
            assert!(detail.contains("to 1000000000000") && detail.ends_with(&format!("found {cost}")), "{detail}");
        }
    }
}
