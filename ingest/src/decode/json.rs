//! Decodes messages in JSON: each is one object, whose members carry the fields.

use std::borrow::Cow;

use lake_schemas::field::{ByMember, Kind, Member, Role};
use lake_schemas::{Field, Rejection};
use serde_json::value::RawValue;

use super::decoder::Decoder;
use super::event::{Event, Rejected, Value};
use super::{raw_json, time};

/// Decoder of messages in JSON.
pub struct Json {
    ad_id: Sought,
    /// Optional fields, in the order in which they are checked: of several bad members, the first is named. Fields with
    /// several names come first, then other ids, other text, and amounts.
    optional: Vec<Sought>,
    event_time: Sought,
}

/// A field to look for among the members of a message.
struct Sought {
    field: Field,
    /// Member that carries the field by its first name.
    first: Member,
    /// Members that carry the field by another name, in order of precedence.
    others: Vec<Member>,
    kind: Kind,
    bytes_max: Option<usize>,
    amount_max: i64,
}

impl Sought {
    fn new(field: Field) -> Self {
        let mut members = field.members();
        let first = members.next().expect("messages say each field that is looked for");
        let others = members.collect();
        Self { field, first, others, kind: field.kind(), bytes_max: field.bytes_max(), amount_max: field.amount_max() }
    }

    /// Returns the text of a member, if it is no longer than the field allows.
    fn text<'a>(&self, member: Member, raw: &'a RawValue) -> Result<Cow<'a, str>, Rejected> {
        let text = raw_json::string(raw).ok_or_else(|| {
            let found = match raw_json::kind(raw) {
                "a string" => "one that is not valid Unicode",
                other => other,
            };
            Rejected::new(Rejection::BadField, format!("{}: expected a string, found {found}", member.name()))
        })?;
        match self.bytes_max {
            Some(max) if text.len() > max => {
                let detail = format!("{}: {} bytes, more than {max}", member.name(), text.len());
                Err(Rejected::new(Rejection::BadField, detail))
            }
            _ => Ok(text),
        }
    }

    /// Returns the amount of a member, if it is no larger than the field allows.
    fn amount(&self, member: Member, raw: &RawValue) -> Result<i64, Rejected> {
        let max = self.amount_max;
        raw_json::integer(raw).filter(|amount| (0..=max).contains(amount)).ok_or_else(|| {
            let shown: String = raw.get().chars().take(40).collect();
            let detail = format!("{}: expected an integer from 0 to {max}, found {shown}", member.name());
            Rejected::new(Rejection::BadField, detail)
        })
    }
}

impl Json {
    /// Returns a decoder that knows the fields of a click by the names in their list.
    pub fn new() -> Self {
        let is_optional = |field: &Field| {
            let is_value = matches!(field.role(), Role::Id | Role::Dimension | Role::Text | Role::Amount);
            is_value && *field != Field::AdId
        };
        let mut optional: Vec<_> = Field::ALL.into_iter().filter(is_optional).map(Sought::new).collect();
        optional
            .sort_by_key(|sought| (sought.others.is_empty(), sought.bytes_max.is_none(), sought.kind != Kind::Text));
        Self { ad_id: Sought::new(Field::AdId), optional, event_time: Sought::new(Field::EventTime) }
    }
}

impl Default for Json {
    fn default() -> Self {
        Self::new()
    }
}

impl Decoder for Json {
    fn decode<'a>(&self, payload: &'a [u8], into: &mut Event<'a>) -> Result<(), Rejected> {
        let text =
            std::str::from_utf8(payload).map_err(|error| Rejected::new(Rejection::NotUtf8, error.to_string()))?;
        let mut members = Members::default();
        members.parse(text)?;
        members.fill(into, self)
    }
}

/// Returns why text that is not an object, or not JSON at all, is rejected.
fn not_an_object(text: &str) -> Rejected {
    if raw_json::is_too_deep(text, 0) {
        return Rejection::TooDeep.into();
    }
    match raw_json::is_value(text) {
        Ok(()) => Rejection::NotAnObject.into(),
        Err(error) => Rejected::new(Rejection::NotJson, error.to_string()),
    }
}

/// Members of a message: the known ones by name, the others as text for `extra`.
#[derive(Default)]
struct Members<'a> {
    known: ByMember<Option<&'a RawValue>>,
    extra: String,
}

impl<'a> Members<'a> {
    fn parse(&mut self, text: &'a str) -> Result<(), Rejected> {
        let mut too_deep = false;
        let parsed = raw_json::members(text, |name, value| {
            if matches!(value.get().as_bytes().first(), Some(b'[' | b'{')) {
                too_deep |= raw_json::is_too_deep(value.get(), 1);
            }
            self.take(name, value);
        });
        match parsed {
            Ok(()) if too_deep => Err(Rejection::TooDeep.into()),
            Ok(()) => Ok(()),
            Err(_) => Err(not_an_object(text)),
        }
    }

    fn take(&mut self, name: &'a RawValue, value: &'a RawValue) {
        match raw_json::string(name).as_deref().and_then(Member::named) {
            Some(member) => self.known[member] = Some(value).filter(|value| value.get() != "null"),
            None => self.keep([name.get()], value),
        }
    }

    /// Adds a member that no column holds to `extra`. Its name comes with its quotes, in parts.
    fn keep<const PARTS: usize>(&mut self, name: [&str; PARTS], value: &RawValue) {
        self.extra.push(if self.extra.is_empty() { '{' } else { ',' });
        name.into_iter().for_each(|part| self.extra.push_str(part));
        self.extra.push(':');
        raw_json::push_compact(&mut self.extra, value.get());
    }

    /// Returns the value of a field and the member that carries it. Other members that carry the same field go to
    /// `extra`.
    fn find(&mut self, sought: &Sought) -> Option<(Member, &'a RawValue)> {
        let mut found = self.known[sought.first].map(|value| (sought.first, value));
        for &other in &sought.others {
            match (found, self.known[other]) {
                (_, None) => {}
                (None, Some(value)) => found = Some((other, value)),
                (Some(_), Some(value)) => self.keep(["\"", other.name(), "\""], value),
            }
        }
        found
    }

    /// Fills an event with the values of the members. The caller compares its time with the bounds.
    fn fill(&mut self, event: &mut Event<'a>, json: &Json) -> Result<(), Rejected> {
        event.ad_id = match self.find(&json.ad_id) {
            Some((member, raw)) if raw.get() != "\"\"" => json.ad_id.text(member, raw)?,
            _ => return Err(Rejection::MissingAd.into()),
        };
        for sought in &json.optional {
            if let Some((member, raw)) = self.find(sought) {
                event.values[sought.field] = match sought.kind {
                    Kind::Text => Value::Text(sought.text(member, raw)?),
                    _ => Value::Number(sought.amount(member, raw)?),
                };
            }
        }
        // An empty id counts as none: two events with empty ids are no copies of each other.
        if matches!(&event.values[Field::ClickId], Value::Text(id) if id.is_empty()) {
            event.values[Field::ClickId] = Value::Absent;
        }
        let Some((_, raw_time)) = self.find(&json.event_time) else { return Err(Rejection::MissingTime.into()) };
        event.event_time = time::parse(raw_time).map_err(|detail| Rejected::new(Rejection::BadTime, detail))?;
        if !self.extra.is_empty() {
            self.extra.push('}');
            event.values[Field::Extra] = Value::Text(Cow::Owned(std::mem::take(&mut self.extra)));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(text: &str) -> Result<Event<'_>, Rejected> {
        let mut event = Event::default();
        Json::new().decode(text.as_bytes(), &mut event).map(|()| event)
    }

    #[test]
    fn a_cost_beyond_the_bound_is_a_bad_field_that_names_the_bound() {
        let message =
            |cost: &str| format!(r#"{{"ad_id":"a","timestamp":"2026-03-07T12:00:00Z","cost_micros":{cost}}}"#);
        for (cost, expected) in [("null", None), ("0", Some(0)), ("1000000000000", Some(1_000_000_000_000))] {
            let message = message(cost);
            let event = decoded(&message).expect("an event");
            assert_eq!(event.number(Field::CostMicros), expected, "{cost}");
        }
        for cost in ["1000000000001", "9000000000000000000", "9223372036854775808", "-1"] {
            let message = message(cost);
            let Rejected { reason, detail } = decoded(&message).expect_err(cost);
            let detail = detail.expect("a detail");
            assert_eq!(reason, Rejection::BadField, "{cost}");
            assert!(detail.contains("to 1000000000000") && detail.ends_with(&format!("found {cost}")), "{detail}");
        }
    }

    /// Checks which of several bad members `clicks_rejected` names: that must not change.
    #[test]
    fn of_members_that_are_wrong_the_first_is_named() {
        let looked_at = [
            "ad_id",
            "click_id",
            "campaign_id",
            "user_id",
            "publisher_id",
            "event_type",
            "country",
            "device",
            "ip",
            "cost_micros",
        ];
        for from in 0..looked_at.len() {
            let wrong: Vec<_> = looked_at[from..].iter().rev().map(|name| format!("\"{name}\":[]")).collect();
            let ad = if from == 0 { "" } else { "\"ad_id\":\"a\"," };
            let message = format!("{{{ad}{}}}", wrong.join(","));
            let detail = decoded(&message).expect_err("all are wrong").detail.expect("a detail");
            assert!(detail.starts_with(&format!("{}: expected a", looked_at[from])), "{detail}");
        }
    }

    #[test]
    fn a_member_that_says_a_field_otherwise_is_named_as_it_is_called() {
        let detail = decoded(r#"{"ad_id":"a","event_id":7}"#).expect_err("no text").detail;
        assert_eq!(detail.as_deref(), Some("event_id: expected a string, found a number"));
    }
}
