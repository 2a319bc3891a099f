//! Laws of the decoder: each reason for a rejection in its order, hostile input, and that nothing is lost.

use std::borrow::Cow;

use arrow::array::{Array, AsArray};
use arrow::datatypes::Date32Type;
use ingest::decode::{BatchBuilder, Decoding, Event, Message, Rejected, Value};
use lake_schemas::rejection::{COST_MICROS_MAX, DEPTH_MAX, ID_BYTES_MAX, PAYLOAD_BYTES_MAX};
use lake_schemas::rows::{Events, Positions};
use lake_schemas::table::{TIME_IN_FUTURE_MS, column};
use lake_schemas::{Field, LogDate, LogTime, Rejection, TopicPartition};
use proptest::prelude::*;

use crate::NOON_MS;

fn decode(payload: Option<&[u8]>, log_time: Option<LogTime>) -> Result<Event<'_>, Rejected> {
    Decoding::json(TIME_IN_FUTURE_MS).decode(payload, log_time)
}

fn decoded(payload: &[u8]) -> Result<Event<'_>, Rejection> {
    decode(Some(payload), LogTime::from_millis(NOON_MS)).map_err(|rejected| rejected.reason)
}

fn event(text: &str) -> Event<'_> {
    decoded(text.as_bytes()).unwrap_or_else(|reason| panic!("{text}: {reason}"))
}

#[track_caller]
fn rejected(payload: impl AsRef<[u8]>, reason: Rejection) {
    let payload = payload.as_ref();
    assert_eq!(decoded(payload).err(), Some(reason), "{:.200}", String::from_utf8_lossy(payload));
}

/// Makes a click with one member replaced, or added.
fn click_with(name: &str, value: &str) -> String {
    let ad = if name == "ad_id" { "" } else { "\"ad_id\":\"a\"," };
    let time = if name == "timestamp" { "" } else { "\"timestamp\":\"2026-03-07T12:00:00Z\"," };
    format!("{{{ad}{time}\"{name}\":{value}}}")
}

fn nested(levels: usize) -> String {
    format!("{}{}", "[".repeat(levels), "]".repeat(levels))
}

#[test]
fn both_common_shapes_are_events() {
    let one = event(r#"{"click_id":"c","ad_id":"a","user_id":"u","timestamp":"2026-03-07T12:00:45Z"}"#);
    let mut other =
        event(r#"{"event_id":"c","ad_id":"a","user_id":"u","event_type":"click","event_time":1772884845000}"#);
    assert_eq!(std::mem::take(&mut other.values[Field::EventType]), Value::Text(Cow::Borrowed("click")));
    assert_eq!(one, other);
    assert_eq!(one.text(Field::ClickId), Some("c"));
}

#[test]
fn every_reason_of_the_contract_is_given() {
    assert_eq!(decode(None, None).map_err(|r| r.reason).err(), Some(Rejection::NullPayload));
    rejected("", Rejection::Empty);
    rejected(vec![b' '; PAYLOAD_BYTES_MAX + 1], Rejection::TooLarge);
    rejected(b"{\"ad_id\":\"\xff\"}", Rejection::NotUtf8);
    rejected(click_with("x", &nested(DEPTH_MAX)), Rejection::TooDeep);
    rejected("{\"ad_id\":", Rejection::NotJson);
    rejected("[1]", Rejection::NotAnObject);
    rejected("{}", Rejection::MissingAd);
    rejected(click_with("ad_id", "\"\""), Rejection::MissingAd);
    rejected(click_with("ad_id", "null"), Rejection::MissingAd);
    rejected(click_with("ad_id", "7"), Rejection::BadField);
    rejected(click_with("cost_micros", "-1"), Rejection::BadField);
    rejected(click_with("cost_micros", "1.5"), Rejection::BadField);
    rejected(click_with("cost_micros", "9223372036854775808"), Rejection::BadField);
    rejected("{\"ad_id\":\"a\"}", Rejection::MissingTime);
    rejected(click_with("timestamp", "null"), Rejection::MissingTime);
    rejected(click_with("timestamp", "\"noon\""), Rejection::BadTime);
    rejected(click_with("timestamp", "\"2026-03-07T12:00:00\""), Rejection::BadTime);
    rejected(click_with("timestamp", "946684799999"), Rejection::TimeTooOld);
    rejected(click_with("timestamp", &(NOON_MS + TIME_IN_FUTURE_MS + 1).to_string()), Rejection::TimeInFuture);
    event(&click_with("timestamp", &(NOON_MS + TIME_IN_FUTURE_MS).to_string()));
    event(&click_with("timestamp", "946684800000"));
}

#[test]
fn the_first_reason_that_applies_is_the_one() {
    // Each breaks two rules, and names the one that comes first.
    rejected(format!("{}{}", nested(DEPTH_MAX + 1), "}"), Rejection::TooDeep);
    rejected(nested(DEPTH_MAX + 1), Rejection::TooDeep);
    rejected(b"\xff{", Rejection::NotUtf8);
    rejected("[1", Rejection::NotJson);
    rejected(r#"{"cost_micros":-1}"#, Rejection::MissingAd);
    rejected(r#"{"ad_id":"a","cost_micros":-1}"#, Rejection::BadField);
    rejected(r#"{"ad_id":"a","timestamp":{}}"#, Rejection::BadTime);
}

#[test]
fn limits_hold_to_the_byte() {
    let longest = "i".repeat(ID_BYTES_MAX);
    for name in ["ad_id", "campaign_id", "click_id", "event_id", "user_id", "publisher_id"] {
        event(&click_with(name, &format!("\"{longest}\"")));
        rejected(click_with(name, &format!("\"{longest}i\"")), Rejection::BadField);
    }
    event(&click_with("cost_micros", "0"));
    assert_eq!(event(&click_with("cost_micros", "1000000000000")).number(Field::CostMicros), Some(COST_MICROS_MAX));
    rejected(click_with("cost_micros", "1000000000001"), Rejection::BadField);
    event(&click_with("x", &nested(DEPTH_MAX - 1)));
    let full = click_with("x", "\"\"");
    let padding = " ".repeat(PAYLOAD_BYTES_MAX - full.len());
    event(&format!("{full}{padding}"));
}

#[test]
fn an_empty_id_is_none() {
    assert_eq!(event(&click_with("click_id", "\"\"")).text(Field::ClickId), None);
    assert_eq!(event(&click_with("click_id", "null")).text(Field::ClickId), None);
}

#[test]
fn null_is_absent() {
    let text = r#"{"ad_id":"a","timestamp":null,"event_time":1772884800000,"click_id":null,"event_id":"e","ip":null}"#;
    let event = event(text);
    let said = [Field::ClickId, Field::Ip, Field::Extra].map(|field| event.text(field));
    assert_eq!(said, [Some("e"), None, None]);
}

#[test]
fn unknown_members_are_kept_compact() {
    let event = event(
        "{\"ad_id\":\"a\", \"z\" : [1 , 2.50e400, {\"k\" :null}],\n\"timestamp\":\"2026-03-07T12:00:00Z\", \
         \"s\":\"\\ud800 x\"}",
    );
    assert_eq!(event.text(Field::Extra), Some("{\"z\":[1,2.50e400,{\"k\":null}],\"s\":\"\\ud800 x\"}"));
}

#[test]
fn what_a_column_cannot_hold_twice_is_kept_too() {
    let text = r#"{"ad_id":"a","timestamp":"2026-03-07T12:00:00Z","event_time":5,"click_id":"c","event_id":"e"}"#;
    assert_eq!(event(text).text(Field::Extra), Some(r#"{"event_id":"e","event_time":5}"#));
}

#[test]
fn of_a_name_that_occurs_twice_the_last_counts() {
    assert_eq!(event(r#"{"ad_id":"a","timestamp":"2026-03-07T12:00:00Z","ad_id":"b"}"#).ad_id, "b");
    rejected(r#"{"ad_id":"a","timestamp":"2026-03-07T12:00:00Z","ad_id":null}"#, Rejection::MissingAd);
}

#[test]
fn hostile_text_is_taken_or_rejected_by_the_letter() {
    assert_eq!(event(r#"{"\u0061d_id":"a","timestamp":"2026-03-07T12:00:00Z"}"#).ad_id, "a");
    assert_eq!(event(&click_with("country", "\"\\u0000\"")).text(Field::Country), Some("\0"));
    event(&click_with("huge", &format!("1{}", "0".repeat(5_000))));
    rejected(click_with("country", "\"\0\""), Rejection::NotJson);
    rejected(click_with("country", "\"\\ud800\""), Rejection::BadField);
    rejected("\u{feff}{\"ad_id\":\"a\"}", Rejection::NotJson);
    rejected("{\"ad_id\":\"a\"} {}", Rejection::NotJson);
    rejected("{'ad_id':'a'}", Rejection::NotJson);
    rejected("{\"ad_id\":\"a\",}", Rejection::NotJson);
    rejected("NaN", Rejection::NotJson);
    rejected("\"{}\"", Rejection::NotAnObject);
    rejected("[".repeat(900_000), Rejection::TooDeep);
    rejected(format!("{{\"a\":{}", "{\"a\":".repeat(150_000)), Rejection::TooDeep);
}

#[test]
fn a_message_without_a_log_time_has_no_future() {
    let far = click_with("timestamp", "\"9999-12-31T23:59:59Z\"");
    assert!(decode(Some(far.as_bytes()), None).is_ok());
    rejected(&far, Rejection::TimeInFuture);
}

#[test]
fn what_a_message_says_is_what_its_row_says() {
    let mut batch = BatchBuilder::new(TopicPartition::new("t", 0), 0, TIME_IN_FUTURE_MS);
    let texts = [
        r#"{"ad_id":"a","timestamp":"2026-03-07T12:00:45.678Z","click_id":"c","campaign_id":"k","cost_micros":7}"#,
        r#"{"ad_id":"b","event_time":1772884800000,"event_type":"view"}"#,
        r#"{"ad_id":"c","event_time":1772884800000,"event_type":"click"}"#,
    ];
    for (offset, text) in (0..).zip(texts) {
        let log_time = LogTime::from_millis(NOON_MS);
        batch.push(&Message { offset, log_time, key: None, payload: Some(text.as_bytes()) });
    }
    let batch = batch.finish().events;
    let (events, positions) = (Events::of(&batch).expect("a view"), Positions::of(&batch).expect("a view"));
    assert_eq!(positions.offsets(), [0, 1, 2]);
    let log_dates = batch.column_by_name("log_date").expect("a column").as_primitive::<Date32Type>();
    assert_eq!(LogDate::from_days(log_dates.value(0)).to_string(), "2026-03-07");
    assert_eq!(events.event_time(0).to_string(), "2026-03-07T12:00:45.678Z");
    assert_eq!((events.ad_id(0), events.campaign_id(0), events.click_id(0)), ("a", Some("k"), Some("c")));
    assert_eq!((events.cost_micros(0), events.cost_micros(1)), (Some(7), None));
    assert_eq!([0, 1, 2].map(|row| events.is_click(row)), [true, false, true]);
    assert_eq!((events.campaign_id(1), events.click_id(1)), (None, None));
}

/// A rejected row: its reason, and its payload.
type Kept = (String, Option<Vec<u8>>);

/// Pushes one payload through the columns. Returns the rows that came out of it.
fn rows(payload: Option<&[u8]>) -> (usize, Vec<Kept>) {
    let mut batch = BatchBuilder::new(TopicPartition::new("t", 0), 0, TIME_IN_FUTURE_MS);
    batch.push(&Message { offset: 0, log_time: LogTime::from_millis(NOON_MS), key: Some(b"k"), payload });
    let batch = batch.finish();
    let text = |name| batch.rejected.column_by_name(name).expect("a column").as_string::<i32>().clone();
    let payloads = batch.rejected.column_by_name(column::PAYLOAD).expect("a column").as_binary::<i32>();
    let reasons = text(column::REASON);
    let rejected = (0..batch.rejected.num_rows())
        .map(|row| (reasons.value(row).to_owned(), payloads.is_valid(row).then(|| payloads.value(row).to_vec())));
    (batch.events.num_rows(), rejected.collect())
}

proptest! {
    #[test]
    fn any_bytes_are_one_row_and_can_be_had_back(
        payload in prop::option::of(prop::collection::vec(any::<u8>(), 0..200))
    ) {
        let (events, rejected) = rows(payload.as_deref());
        prop_assert_eq!(events + rejected.len(), 1);
        for (_, kept) in rejected {
            prop_assert_eq!(&kept, &payload);
        }
    }

    #[test]
    fn near_misses_of_json_are_one_row_each(
        text in concat!(
            r#"\{("(ad_id|timestamp|event_time|click_id|cost_micros|x)":"#,
            r#"("a"|1772884800000|"2026-03-07T12:00:00Z"|null|-1|\[\]|\{\}|1e999|"\\ud800"|true),? ?){0,6}\}?"#
        )
    ) {
        let (events, rejected) = rows(Some(text.as_bytes()));
        prop_assert_eq!(events + rejected.len(), 1);
        // A text that serde_json takes for an object is never rejected as anything else.
        let is_object = serde_json::from_str::<serde_json::Value>(&text).is_ok_and(|value| value.is_object());
        if is_object {
            let reason = rejected.first().map(|(reason, _)| reason.as_str());
            prop_assert!(!matches!(reason, Some("not_json" | "not_an_object")), "{:?}", reason);
        }
    }

    #[test]
    fn extra_is_the_rest_of_the_message(members in prop::collection::btree_map("[a-z]{1,3}", ".{0,20}", 0..5)) {
        let mut message = serde_json::json!({ "ad_id": "a", "timestamp": NOON_MS });
        for (name, value) in &members {
            message[format!("x_{name}")] = serde_json::json!({ "v": value });
        }
        let text = serde_json::to_string_pretty(&message).expect("JSON");
        let event = decoded(text.as_bytes()).expect("an event");
        let extra: serde_json::Value =
            event.text(Field::Extra).map_or(Ok(serde_json::json!({})), serde_json::from_str).expect("JSON");
        let expected: serde_json::Value =
            members.iter().map(|(name, value)| (format!("x_{name}"), serde_json::json!({ "v": value }))).collect();
        prop_assert_eq!(extra, expected);
    }
}
