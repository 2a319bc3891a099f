//! Law: any bytes decode to an event or a rejection, and an event can be encoded again.

use ingest::decode::Decoding;
use lake_schemas::rejection::{ID_BYTES_MAX, Rejection};
use lake_schemas::rows::is_cost;
use lake_schemas::table::TIME_IN_FUTURE_MS;
use lake_schemas::{Field, LogTime};
use serde_json::Value;

/// Time of the messages: 2026-03-07T12:00:00Z.
const NOON_MS: i64 = 1_772_884_800_000;

/// Holds the law for the payload of a message.
pub fn law(payload: &[u8]) {
    let decoded = Decoding::json(TIME_IN_FUTURE_MS).decode(Some(payload), LogTime::from_millis(NOON_MS));
    let parsed = serde_json::from_slice::<Value>(payload);
    match decoded {
        Ok(event) => {
            assert!(!event.ad_id.is_empty() && event.ad_id.len() <= ID_BYTES_MAX);
            assert!(event.number(Field::CostMicros).is_none_or(is_cost));
            assert!(event.text(Field::ClickId).is_none_or(|id| !id.is_empty()));
            if let Some(extra) = event.text(Field::Extra) {
                // It keeps numbers and surrogates that a value cannot hold, so only its shape is looked at.
                assert!(extra.starts_with('{') && extra.ends_with('}'));
            }
        }
        Err(rejected) => {
            let is_object = parsed.is_ok_and(|value| value.is_object());
            let denied = matches!(rejected.reason, Rejection::NotJson | Rejection::NotAnObject | Rejection::NotUtf8);
            assert!(!(is_object && denied), "{rejected:?}");
        }
    }
}
