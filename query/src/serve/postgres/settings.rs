//! What clients ask about the server, and set for themselves. Nothing that they set changes an answer: times are UTC
//! and text is UTF-8, whatever they say.

use std::time::Duration;

use datafusion::sql::sqlparser::ast::{Expr, Set, Value};
use datafusion_postgres::pgwire::api::auth::DefaultServerParameterProvider;

use super::errors::Refused;

/// The version of PostgreSQL that programs are told: they choose their queries of `pg_catalog` by it.
pub(super) const VERSION: &str = "16.6 (clicklake)";

/// What is shown, by name.
const SHOWN: [(&str, &str); 22] = [
    ("application_name", ""),
    ("bytea_output", "hex"),
    ("client_encoding", "UTF8"),
    ("datestyle", "ISO, YMD"),
    ("default_transaction_isolation", "read committed"),
    ("default_transaction_read_only", "on"),
    ("extra_float_digits", "1"),
    ("in_hot_standby", "off"),
    ("integer_datetimes", "on"),
    ("intervalstyle", "postgres"),
    ("is_superuser", "off"),
    ("lc_collate", "C"),
    ("lc_ctype", "C"),
    ("max_identifier_length", "63"),
    ("search_path", "public"),
    ("server_encoding", "UTF8"),
    ("server_version", VERSION),
    ("server_version_num", "160006"),
    ("standard_conforming_strings", "on"),
    ("timezone", "UTC"),
    ("transaction_isolation", "read committed"),
    ("transaction_read_only", "on"),
];

/// What SHOW answers, if that is not DataFusion's to say.
pub(super) fn shown(words: &str) -> Option<(&'static str, &'static str)> {
    let name = match words {
        "time zone" => "timezone",
        "transaction isolation level" => "transaction_isolation",
        name => name,
    };
    SHOWN.into_iter().find(|(known, _)| *known == name)
}

/// What a client is told when it has logged in.
pub(super) fn told() -> DefaultServerParameterProvider {
    let mut told = DefaultServerParameterProvider::default();
    VERSION.clone_into(&mut told.server_version);
    "UTC".clone_into(&mut told.time_zone);
    told.is_superuser = false;
    told.default_transaction_read_only = true;
    told
}

/// What SET sets that is heeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Setting {
    /// How long statements may take; `None`: as long as the server lets them.
    Limit(Option<Duration>),
    /// Something that would change no answer.
    Unheeded,
}

/// What a statement sets.
pub(super) fn set(set: &Set) -> Result<Setting, Refused> {
    let (variable, values) = match set {
        Set::SingleAssignment { variable, values, hivevar: false, .. } => (variable, values.as_slice()),
        Set::SetTimeZone { .. } | Set::SetNames { .. } | Set::SetNamesDefault {} | Set::SetTransaction { .. } => {
            return Ok(Setting::Unheeded);
        }
        _ => return Err(Refused::unsupported(&format!("{set} is not for this server"))),
    };
    let name = variable.to_string().to_ascii_lowercase();
    let value = values.first().map(text).unwrap_or_default();
    match name.as_str() {
        "statement_timeout" => {
            let limit = duration(&value).ok_or_else(|| {
                Refused::value(&format!("statement_timeout is {value}; give milliseconds, or '30s', or '1min'"))
            })?;
            Ok(Setting::Limit(Some(limit).filter(|limit| !limit.is_zero())))
        }
        "client_encoding" if !["utf8", "utf-8", "unicode"].contains(&value.to_ascii_lowercase().as_str()) => {
            Err(Refused::value("text is UTF-8; other encodings are not for this server"))
        }
        "role" | "session_authorization" => {
            Err(Refused::unsupported("there are no roles: what is seen, a key decides"))
        }
        name if name.contains('.') => {
            Err(Refused::unsupported(&format!("{name} is a setting of the server's own, which SQL does not change")))
        }
        _ => Ok(Setting::Unheeded),
    }
}

fn text(value: &Expr) -> String {
    match value {
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text) | Value::DoubleQuotedString(text) => text.clone(),
            value => value.to_string(),
        },
        Expr::Identifier(name) => name.value.clone(),
        value => value.to_string(),
    }
}

/// A number of milliseconds, or of what stands behind it.
fn duration(value: &str) -> Option<Duration> {
    let value = value.trim();
    let unit = value.trim_start_matches(|letter: char| letter.is_ascii_digit());
    let number: u64 = value[..value.len() - unit.len()].parse().ok()?;
    let millis = match unit.trim() {
        "" | "ms" => 1,
        "s" => 1_000,
        "min" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    Some(Duration::from_millis(number.saturating_mul(millis)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_as_postgresql_reads_them() {
        for (text, millis) in [("0", 0), ("5000", 5_000), ("250ms", 250), ("30s", 30_000), ("1 min", 60_000)] {
            assert_eq!(duration(text), Some(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "soon", "-1", "1d"] {
            assert_eq!(duration(text), None, "{text}");
        }
    }
}
