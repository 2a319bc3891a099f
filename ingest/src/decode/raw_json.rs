//! Reads the members of a JSON object as raw text, and the few facts of raw text that decoding needs.
//!
//! Values stay raw until a column asks for them: numbers of any size and strings of any escapes pass through unharmed.

use std::borrow::Cow;

use lake_schemas::rejection::DEPTH_MAX;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

/// Calls `member` with the raw name and the raw value of each member of the object in `text`, in order.
pub(super) fn members<'a>(
    text: &'a str,
    member: impl FnMut(&'a RawValue, &'a RawValue),
) -> Result<(), serde_json::Error> {
    struct Members<F>(F);

    impl<'a, F: FnMut(&'a RawValue, &'a RawValue)> Visitor<'a> for Members<F> {
        type Value = ();

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'a>>(mut self, mut map: A) -> Result<(), A::Error> {
            while let Some((name, value)) = map.next_entry()? {
                (self.0)(name, value);
            }
            Ok(())
        }
    }

    let mut deserializer = serde_json::Deserializer::from_str(text);
    deserializer.deserialize_map(Members(member))?;
    deserializer.end()
}

/// Returns whether the text is one JSON value, of any kind.
pub(super) fn is_value(text: &str) -> Result<(), serde_json::Error> {
    serde_json::from_str::<IgnoredAny>(text).map(|_| ())
}

/// Returns the string that a raw value holds; `None` if it is no string, or one that Unicode cannot hold (a lone
/// surrogate).
pub(super) fn string(raw: &RawValue) -> Option<Cow<'_, str>> {
    let text = raw.get();
    let inner = text.strip_prefix('"')?.strip_suffix('"')?;
    if memchr::memchr(b'\\', inner.as_bytes()).is_none() {
        return Some(Cow::Borrowed(inner));
    }
    serde_json::from_str(text).ok().map(Cow::Owned)
}

/// Returns the integer that a raw value holds, if it is written as one and fits.
pub(super) fn integer(raw: &RawValue) -> Option<i64> {
    // `parse` also takes a leading '+' and leading zeros, which JSON does not allow: the text has passed as JSON
    // already.
    raw.get().parse().ok()
}

/// Names the kind of a raw value for an error message.
pub(super) fn kind(raw: &RawValue) -> &'static str {
    match raw.get().as_bytes().first() {
        Some(b'"') => "a string",
        Some(b'{') => "an object",
        Some(b'[') => "an array",
        Some(b't' | b'f') => "a boolean",
        Some(b'n') => "null",
        _ => "a number",
    }
}

/// Returns whether arrays and objects are nested more than [`DEPTH_MAX`] levels deep in a text that itself lies `outer`
/// levels deep. Brackets are counted outside strings, whether or not the text is JSON otherwise.
pub(super) fn is_too_deep(text: &str, outer: usize) -> bool {
    let (mut depth, mut in_string, mut escaped) = (outer, false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'[' | b'{' => {
                depth += 1;
                if depth > DEPTH_MAX {
                    return true;
                }
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    false
}

/// Appends JSON text without the white space between its tokens.
pub(super) fn push_compact(to: &mut String, text: &str) {
    let (mut in_string, mut escaped, mut kept) = (false, false, 0);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b' ' | b'\n' | b'\t' | b'\r' if !in_string => {
                to.push_str(&text[kept..at]);
                kept = at + 1;
            }
            _ => {}
        }
    }
    to.push_str(&text[kept..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_space_goes_and_strings_stay() {
        let mut compact = String::new();
        push_compact(&mut compact, "{ \"a b\" :\t[1 ,\n\"\\\" \\\\\" , { } ] }");
        assert_eq!(compact, "{\"a b\":[1,\"\\\" \\\\\",{}]}");
    }

    #[test]
    fn depth_is_counted_outside_strings() {
        let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        assert!(!is_too_deep(&nested(64), 0));
        assert!(is_too_deep(&nested(65), 0));
        assert!(is_too_deep(&nested(64), 1));
        assert!(!is_too_deep(&format!("\"{}\\\"{}\"", "[".repeat(70), "{".repeat(70)), 0));
    }
}
